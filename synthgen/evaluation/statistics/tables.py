"""Tables of cells: counts of marginals by random block of patients, which are split in halves whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from synthgen.evaluation.statistics.patients import half_samples

BLOCKS = 50
SPLITS = 100
"""Random splits in halves, of which each costs as much as two bootstrap draws."""
MAX_PAIRS = 1_000
ARMS = ("synthetic", "ceiling")
"""What is compared with the holdout: synthetic records, and as many of training patients."""


Draws = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Side:
    """One table as cell codes.

    Attributes:
        codes: ``(record, column)`` cells.
        weights: one a record.
        blocks: the random block of each record's patient.
    """

    codes: np.ndarray
    weights: np.ndarray
    blocks: np.ndarray

    @classmethod
    def of_rows(cls, codes: np.ndarray, *, rng: np.random.Generator) -> Side:
        """Return a table in which each row is a patient of its own."""
        return cls(codes, np.ones(len(codes)), rng.permutation(len(codes)) % BLOCKS)

    def counts(self, columns: Sequence[int], sizes: Sequence[int], draws: np.ndarray) -> np.ndarray:
        """Return the weight in each cell of a marginal, ``(draw, cell)``.

        Args:
            columns: the marginal's columns.
            sizes: cells of every column.
            draws: ``(draw, block)`` multiplicities, such as `half_samples`.
        """
        cell = np.zeros(len(self.codes), dtype=np.int64)
        for column in columns:
            cell = cell * sizes[column] + self.codes[:, column]
        width = int(np.prod([sizes[column] for column in columns]))
        flat = np.bincount(self.blocks * width + cell, weights=self.weights, minlength=BLOCKS * width)
        return np.asarray(draws @ flat.reshape(BLOCKS, width))

    def shares(self, columns: Sequence[int], sizes: Sequence[int], draws: np.ndarray) -> np.ndarray:
        """Return the cell shares of a marginal, ``(draw, cell)``. See `counts`."""
        counts = self.counts(columns, sizes, draws)
        return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def distances(
    sides: Mapping[str, Side], cliques: Sequence[tuple[int, ...]], sizes: Sequence[int], draws: Draws
) -> np.ndarray:
    """Return total variation to the holdout of each of `ARMS`, ``(clique, arm, draw)``.

    Args:
        sides: the tables of both arms and of the holdout.
        cliques: the marginals' columns.
        sizes: cells of every column.
        draws: by side, of `splits`.
    """
    table = np.zeros((len(cliques), len(ARMS), len(draws["holdout"])))
    for i, clique in enumerate(cliques):
        holdout = sides["holdout"].shares(clique, sizes, draws["holdout"])
        for j, name in enumerate(ARMS):
            shares = sides[name].shares(clique, sizes, draws[name])
            table[i, j] = np.abs(shares - holdout).sum(axis=1) / 2
    return table


def splits(names: Sequence[str], *, rng: np.random.Generator) -> Draws:
    """Return `SPLITS` splits of every side's blocks in halves, independent of each other."""
    return {name: half_samples(BLOCKS, SPLITS, rng=rng) for name in names}


def pairs(n_columns: int, *, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return all pairs of columns, or ``MAX_PAIRS`` random ones."""
    found: list[tuple[int, ...]] = list(combinations(range(n_columns), 2))
    if len(found) <= MAX_PAIRS:
        return found
    return [found[i] for i in sorted(rng.permutation(len(found))[:MAX_PAIRS])]
