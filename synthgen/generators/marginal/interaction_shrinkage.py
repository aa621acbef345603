"""Shrink a noisy pair of columns towards independence, frequency by frequency.

With few patients most cells of a pair are noise. What two columns say about each other is mostly
smooth along an ordered column, so the interaction is turned into frequencies and each band of them is
shrunk by what the noise alone would explain (James and Stein 1961; Efron and Morris 1973): a band
that is all noise vanishes, a strong one stays. It reads noisy counts only, so it is post-processing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from synthgen.encode.table import Grid
from synthgen.generators.compression import Compression


@dataclass(frozen=True)
class Bands:
    """An orthonormal basis over a column's coarse cells, in bands.

    Attributes:
        basis: float array (cell, coefficient); the first coefficient is the constant.
        band: int array, the band of each coefficient; 0 is the constant alone.
    """

    basis: np.ndarray
    band: np.ndarray

    @classmethod
    def of(cls, grid: Grid, merging: Compression) -> Bands:
        """Return cosines in octaves for an ordered column, one band for a category.

        A missing cell of its own is a band of its own.
        """
        n_cells = merging.n_coarse
        alone = grid.missing is not None and int((merging.coarse == merging.coarse[grid.missing]).sum()) == 1
        n_ordered = n_cells - int(alone)
        columns, bands = [np.ones(n_cells)], [0]
        if grid.is_ordered and alone:
            columns.append(np.eye(n_cells)[merging.coarse[grid.missing]])
            bands.append(1)
        middle = np.arange(n_cells) + 0.5
        for k in range(1, n_ordered if grid.is_ordered else n_cells):
            wave = np.cos(np.pi * k * middle / n_ordered) * (middle < n_ordered)
            columns.append(wave if grid.is_ordered else np.eye(n_cells)[k])
            bands.append(2 + int(np.log2(k)) if grid.is_ordered else 1)
        basis, _ = np.linalg.qr(np.column_stack(columns))
        return cls(basis, np.array(bands))


def shrink(
    counts: np.ndarray, expected: np.ndarray, *, sigma: float, rows: Bands, columns: Bands
) -> np.ndarray:
    """Return a pair's counts with its interaction shrunk; row and column sums stay.

    Args:
        counts: noisy counts, shape (row, column), in patients.
        expected: counts under independence, in patients.
        sigma: standard deviation of each count's noise, in patients.
        rows: basis over the rows.
        columns: basis over the columns.

    Returns:
        Counts in patients, of the same shape. Where ``sigma`` is 0 they are ``counts``.
    """
    waves = rows.basis.T @ (counts - expected) @ columns.basis
    for row, column in itertools.product(np.unique(rows.band), np.unique(columns.band)):
        if row == 0 or column == 0:
            continue
        where = np.ix_(rows.band == row, columns.band == column)
        power = float((waves[where] ** 2).sum())
        waves[where] *= max(0.0, 1.0 - waves[where].size * sigma**2 / power) if power > 0 else 1.0
    return np.asarray(expected + rows.basis @ waves @ columns.basis.T)
