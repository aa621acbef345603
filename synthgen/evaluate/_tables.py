"""Tables of cells: counts of marginals by random block of patients, which the bootstrap resamples whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

BLOCKS = 50
MAX_PAIRS = 1_000


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
            draws: ``(draw, block)`` multiplicities.
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


def pairs(n_columns: int, *, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return all pairs of columns, or ``MAX_PAIRS`` random ones."""
    found: list[tuple[int, ...]] = list(combinations(range(n_columns), 2))
    if len(found) <= MAX_PAIRS:
        return found
    return [found[i] for i in sorted(rng.permutation(len(found))[:MAX_PAIRS])]
