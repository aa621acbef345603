"""Measure marginals under one fixed rho: roles first, then what the model explains worst."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from synthgen.generators.compression import Compression
from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.graphical.junction_tree import Attributes, JunctionTree
from synthgen.generators.marginal.marginal_cache import Counts
from synthgen.generators.marginal.workload import Candidate
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, weighted_marginal
from synthgen.privacy.noise import NoiseSource


class Records:
    """The only holder of real cells: every answer it gives is noised and booked first.

    Guarantee:
        All answers together are rho-zCDP for the filter's rho, when neighbours differ by one unit:
        each marginal has L2 sensitivity `LATTICE`, each score L1 sensitivity `LATTICE` times its weight.

    Args:
        cells: for each column the fine cell of each record. Sensitive.
        weights: lattice weight of each record. Sensitive.
        sizes: number of fine cells of each column.
        spender: the filter that holds the plan's rho.
        noise: source of the noise.
    """

    def __init__(
        self,
        cells: Mapping[str, np.ndarray],
        weights: np.ndarray,
        sizes: Mapping[str, int],
        *,
        spender: ZCDPFilter,
        noise: NoiseSource,
    ) -> None:
        self._cells = dict(cells)
        self._weights = weights
        self._sizes = dict(sizes)
        self._spender = spender
        self._noise = noise
        self._exact = self._counts_of()

    def coarsen(self, merging: Mapping[str, Compression]) -> None:
        """Go over to coarser cells, once; merging was chosen from noisy counts."""
        self._cells = {name: merging[name].coarse[cells] for name, cells in self._cells.items()}
        self._sizes = {name: merging[name].n_coarse for name in self._cells}
        self._exact = self._counts_of()

    def measure(self, attributes: Attributes, rho: float) -> Measurement:
        """Return the noisy counts of a clique. Spends ``rho``."""
        self._spender.spend(rho)
        sigma = 1.0 / math.sqrt(2.0 * rho)
        exact = self._exact(attributes)
        with self._noise.query(rho, attributes):
            noisy = self._noise.discrete_gaussian(exact.ravel(), sigma=sigma * LATTICE) / LATTICE
        return Measurement(attributes, noisy.reshape(exact.shape), sigma)

    def errors(
        self, found: Sequence[Candidate], expected: Mapping[Attributes, np.ndarray], *, sigma: float
    ) -> np.ndarray:
        """Return each candidate's score, for `select`. SENSITIVE: nothing but a selection may read it.

        The score is AIM's: weight times (L1 error of the model minus the error that measuring would leave).

        Args:
            found: candidates.
            expected: the model's counts for each, in patients.
            sigma: noise that a measurement would have, in patients.

        Source: McKenna et al. (2022), arXiv:2201.12677, Section 3.2.
        """
        scores = np.empty(len(found))
        for i in sorted(range(len(found)), key=lambda i: -len(found[i].attributes)):
            model = expected[found[i].attributes]
            error = np.abs(self._exact(found[i].attributes) / LATTICE - model).sum()
            scores[i] = found[i].weight * (error - math.sqrt(2 / math.pi) * sigma * model.size)
        return scores

    def select(
        self, scores: np.ndarray, found: Sequence[Attributes], *, sensitivity: float, rho: float
    ) -> int:
        """Return the index of a large score, by the exponential mechanism. Spends ``rho``.

        Args:
            scores: some of what `errors` returned, at least one.
            found: the cliques they speak of.
            sensitivity: the largest weight among the candidates, since one patient moves an L1 error by
                at most one.
            rho: this selection's part.
        """
        self._spender.spend(rho)
        with self._noise.query(rho, list(found)):
            return self._noise.select(scores, epsilon=math.sqrt(8.0 * rho), sensitivity=sensitivity)

    def _counts_of(self) -> Counts:
        """Return exact counts in lattice units over the cells as they are now."""
        return Counts(
            lambda names: weighted_marginal(
                [self._cells[name] for name in names], [self._sizes[name] for name in names], self._weights
            ),
            self._sizes,
        )


def expected_counts(
    tree: JunctionTree, wanted: Sequence[Attributes], sizes: Mapping[str, int], *, total: float, n_draws: int
) -> dict[Attributes, np.ndarray]:
    """Return the model's counts of many cliques at once, from stratified draws.

    Args:
        tree: the model so far.
        wanted: cliques, each in its own order of columns.
        sizes: number of coarse cells of each column.
        total: estimated number of patients.
        n_draws: records to draw; what they miss is far below what one selection's noise hides.
    """
    drawn = {k: v.astype(np.int64) for k, v in tree.sample(n_draws, rng=np.random.default_rng(0)).items()}

    def count(names: Attributes) -> np.ndarray:
        shape = [sizes[name] for name in names]
        flat = np.ravel_multi_index([drawn[name] for name in names], shape)
        return np.bincount(flat, minlength=int(np.prod(shape))) * (total / n_draws)

    counts = Counts(count, sizes)
    return {names: counts(names) for names in sorted(wanted, key=len, reverse=True)}


def split_rho(rho: float, cells: Sequence[int]) -> list[float]:
    """Split rho over marginals so that their summed expected L1 error is least.

    The error of a marginal of m cells is proportional to m * sigma, and sigma to rho**-0.5; the
    Lagrangian gives rho_i proportional to m**(2/3).

    Example:
        >>> [round(part, 3) for part in split_rho(1.0, [8, 64])]
        [0.2, 0.8]
    """
    parts = np.array(cells, dtype=float) ** (2 / 3)
    return [float(part) for part in rho * parts / parts.sum()]
