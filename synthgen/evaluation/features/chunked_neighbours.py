"""Nearest rows of a table of any length: every row is seen, in chunks that keep memory bounded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from synthgen.evaluation.features.design import euclidean
from synthgen.evaluation.features.neighbours import k_nearest
from synthgen.schema.schema import Schema

ROWS = 50_000
"""Rows whose coordinates are in memory at a time."""


def chunks(frame: pd.DataFrame) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the place of a chunk's first row, and the chunk, until every row was there once."""
    for start in range(0, len(frame), ROWS):
        yield start, frame.iloc[start : start + ROWS]


def nearest_rows(
    schema: Schema, points: np.ndarray, frame: pd.DataFrame, names: Sequence[str], k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's distances to its k nearest rows of a table, nearest first, and their places.

    Args:
        schema: public description.
        points: ``(point, feature)`` float32, of `euclidean` with the same names.
        frame: at least one row; with fewer than k the last is repeated.
        names: columns to compare.
        k: neighbours.
    """
    best = np.full((len(points), 0), np.inf), np.zeros((len(points), 0), dtype=np.int64)
    for start, chunk in chunks(frame):
        distances, places = k_nearest(points, euclidean(schema, chunk, names), min(k, len(chunk)))
        values = np.concatenate([best[0], distances], axis=1)
        where = np.concatenate([best[1], places + start], axis=1)
        order = np.argsort(values, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(values, order, axis=1), np.take_along_axis(where, order, axis=1)
    missing = k - best[0].shape[1]
    if missing > 0:
        best = (
            np.pad(best[0], ((0, 0), (0, missing)), mode="edge"),
            np.pad(best[1], ((0, 0), (0, missing)), mode="edge"),
        )
    return best
