"""Merge a column's fine public cells into the coarser ones that a joint model can afford.

Compression looks at noisy one-way counts only, which were paid for. A coarse cell remembers how its
fine cells share its mass, so one-way resolution is kept: only joint structure is seen coarsely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthgen.encode.table import Encoder, Grid
from synthgen.errors import ConfigError
from synthgen.generators.graphical.junction_tree import draw


@dataclass(frozen=True)
class Compression:
    """How a column's fine cells lie in coarse ones.

    Attributes:
        coarse: int array, the coarse cell of each fine cell.
        share: probability of each fine cell inside its coarse cell.
    """

    coarse: np.ndarray
    share: np.ndarray

    @property
    def n_coarse(self) -> int:
        """Number of coarse cells."""
        return int(self.coarse.max()) + 1

    def refine(
        self, cells: np.ndarray, *, rng: np.random.Generator, allowed: np.ndarray | None = None
    ) -> np.ndarray:
        """Draw a fine cell inside each coarse one, in strata.

        Args:
            cells: int array of coarse cells, one a record.
            rng: open randomness.
            allowed: boolean array over the fine cells; others are not drawn.

        Returns:
            int32 array of fine cells, one a record.
        """
        table = np.zeros((self.n_coarse, len(self.coarse)))
        table[self.coarse, np.arange(len(self.coarse))] = self.share
        if allowed is not None:
            held = table * allowed
            even = (self.coarse[None, :] == np.arange(self.n_coarse)[:, None]) * allowed
            table = np.where(held.sum(axis=1, keepdims=True) > 0, held, even)
        return draw(table, np.asarray(cells, dtype=np.int64), rng).astype(np.int32)


def stored_merging(columns: object, tensors: Mapping[str, np.ndarray]) -> dict[str, Compression]:
    """Return how the columns of a saved model are merged; the model may be anybody's.

    Args:
        columns: the columns' names, in the order of the tensors.
        tensors: ``coarse.I`` and ``share.I`` of each column.

    Raises:
        ValueError: a column stands twice or has no name, or its tensors are not a merging.
        KeyError: a tensor is missing.
    """
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise ValueError("Expected the names of columns, got other values.")
    if len(set(columns)) != len(columns):
        raise ValueError("Expected each column once, got one twice.")
    merging = {}
    for i, name in enumerate(columns):
        coarse, share = tensors[f"coarse.{i}"], tensors[f"share.{i}"]
        if coarse.ndim != 1 or coarse.shape != share.shape or not len(coarse) or coarse.dtype != np.int64:
            raise ValueError("Expected a coarse cell and a share for each fine cell, got another shape.")
        if coarse.min() < 0 or coarse.max() >= len(coarse):
            raise ValueError("Expected at most as many coarse cells as fine ones, got more.")
        if share.dtype.kind != "f" or not (np.isfinite(share).all() and (share >= 0).all()):
            raise ValueError("Expected shares of fine cells, got other numbers.")
        merging[name] = Compression(coarse, share)
    return merging


def require_cells(merging: Mapping[str, Compression], encoder: Encoder, *, where: str) -> None:
    """Refuse a saved model whose public cells are not those of this version.

    Args:
        merging: of each column, as it was saved.
        encoder: the cells that this version makes from the model's schema.
        where: the model's folder, for the message.

    Raises:
        ConfigError: names the columns.
    """
    other = [
        name
        for name, grid in encoder.grids.items()
        if name not in merging or len(merging[name].coarse) != grid.n_cells
    ]
    other += [name for name in merging if name not in encoder.grids]
    if other:
        raise ConfigError(
            f"Expected a model with the bins of this version, got others in {other[:5]}.",
            where=where,
            next_step="Draw with the version that fitted it, or fit again.",
        )


def merge(grid: Grid, noisy: np.ndarray, *, sigma: float, n_target: int, keep: bool) -> Compression:
    """Merge fine cells by their noisy counts.

    Neighbouring cells of a number are joined until they hold one part in ``n_target`` of the mass;
    rare categories share one cell. What is too rare to stand alone and has no kin joins the largest cell.

    Args:
        grid: the column's public cells.
        noisy: noisy count of each fine cell, in patients; 0 of a missing cell that noise explains.
        sigma: standard deviation of each count's noise, in patients.
        n_target: aim for this many coarse cells of a number.
        keep: keep every cell of a category (label, protected, named by a rule).
    """
    counts = np.maximum(noisy, 0.0)
    total = max(float(counts.sum()), 1.0)
    rare = 0.0 if keep else max(3.0 * sigma, total / (4.0 * n_target**2))
    values = np.arange(grid.n_values)
    if grid.is_ordered:
        coarse = _join_neighbours(noisy[values], n_target, 3.0 * sigma)
    else:
        coarse = _join_rare(counts[values], rare)
    share = _shares(coarse, noisy[values], sigma if grid.is_ordered else 0.0)
    if grid.missing is not None:
        alone = counts[grid.missing] > rare  # of a kept column: more than none
        mass = np.bincount(coarse, weights=counts[values])
        host = int(np.argmax(mass))
        empty = 1.0 if alone else counts[grid.missing] / max(mass[host] + counts[grid.missing], 1e-9)
        share = np.append(share if alone else np.where(coarse == host, share * (1.0 - empty), share), empty)
        coarse = np.append(coarse, coarse.max() + 1 if alone else host)
    return Compression(coarse, share)


def _join_neighbours(noisy: np.ndarray, n_target: int, least: float) -> np.ndarray:
    """Join neighbours into about ``n_target`` groups that hold at least ``least`` patients each.

    Groups take equal parts of the summed square roots of the counts, between equal width and equal
    mass: dense regions are seen finely and long tails still have cells. A spike stays alone.
    """
    counts = np.maximum(noisy, 0.0)
    spike = counts >= counts.sum() / n_target
    roots = np.where(spike, 0.0, np.sqrt(counts))
    step = roots.sum() / max(n_target - int(spike.sum()), 1)
    coarse = np.zeros(len(noisy), dtype=np.int64)
    group, walked, held = 0, 0.0, 0.0
    for i in range(len(counts)):
        full = walked >= step and held >= least
        if i and (full or spike[i] or spike[i - 1]):
            group, walked, held = group + 1, 0.0, 0.0
        coarse[i] = group
        walked, held = walked + float(roots[i]), held + float(noisy[i])
    return _absorb(coarse, noisy, least)


def _absorb(coarse: np.ndarray, noisy: np.ndarray, least: float) -> np.ndarray:
    """Join each group that holds less than ``least`` to its smaller neighbour."""
    while coarse[-1] > 0:
        held = np.bincount(coarse, weights=noisy)
        thin = int(np.argmin(held))
        if held[thin] >= least:
            break
        left = held[thin - 1] if thin > 0 else np.inf
        right = held[thin + 1] if thin < len(held) - 1 else np.inf
        coarse = coarse - (coarse >= (thin if left <= right else thin + 1))
    return coarse


def _join_rare(counts: np.ndarray, rare: float) -> np.ndarray:
    """Give each frequent category a cell of its own and all rare ones a common cell."""
    alone = counts > rare
    coarse = np.zeros(len(counts), dtype=np.int64)
    coarse[alone] = np.arange(int(alone.sum()))
    if (~alone).any():
        lone = int(alone.sum())
        crowd = counts[~alone].sum() > rare or not alone.any()
        coarse[~alone] = lone if crowd else int(np.argmax(np.where(alone, counts, -1.0)[alone]))
    return coarse


def _shares(coarse: np.ndarray, noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Return how each coarse cell's mass lies on its fine ones, shrunk towards even.

    James and Stein's shrinkage: what the noise alone would explain is taken off, so a group whose
    fine counts say nothing is spread evenly, and a spike stays a spike.
    """
    size = np.bincount(coarse)
    mean = (np.bincount(coarse, weights=noisy) / size)[coarse]
    spread = np.bincount(coarse, weights=(noisy - mean) ** 2)
    kept = np.maximum(0.0, 1.0 - sigma**2 * (size - 1) / np.maximum(spread, 1e-9))[coarse]
    counts = np.maximum(mean + kept * (noisy - mean), 0.0)
    mass = np.bincount(coarse, weights=counts)[coarse]
    return np.asarray(np.where(mass > 0, counts / np.where(mass > 0, mass, 1.0), 1.0 / size[coarse]))
