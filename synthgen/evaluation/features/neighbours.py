"""Distances to, and places of, the nearest rows of a table, in chunks that keep memory bounded."""

from __future__ import annotations

import numpy as np

CHUNK = (512, 8192)
GROUP = 64
"""Rows of a group: of the k nearest rows each lies in one of the k groups with the nearest rows."""


def k_nearest(points: np.ndarray, base: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return each point's distances to its k nearest rows of ``base``, nearest first, and their places.

    Args:
        points: ``(point, feature)`` float32.
        base: ``(row, feature)`` float32, at least one row; with fewer than k rows the last is repeated.
        k: neighbours.

    Returns:
        ``(point, k)`` float64 and int64; exact to about 1e-3 near 0, as float32 allows.

    Example:
        >>> k_nearest(np.float32([[0.0]]), np.float32([[3.0], [1.0]]), 2)[1]
        array([[1, 0]])
    """
    found = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
    points, base = _varying(points, base)
    rows = np.concatenate([-2 * base, np.einsum("ij,ij->i", base, base)[:, None]], axis=1)
    ones = np.ones((min(len(points), CHUNK[0]), 1), dtype=points.dtype)
    for at in range(0, len(points), CHUNK[0]):
        block = points[at : at + CHUNK[0]]
        wide = np.concatenate([block, ones[: len(block)]], axis=1)
        distances, places = _of_block(wide, rows, min(k, len(base)))
        distances += np.einsum("ij,ij->i", block, block)[:, None]
        order = np.argsort(distances, axis=1, kind="stable")
        filled = np.pad(order, ((0, 0), (0, k - order.shape[1])), mode="edge")
        found[0][at : at + CHUNK[0]] = np.take_along_axis(distances, filled, axis=1)
        found[1][at : at + CHUNK[0]] = np.take_along_axis(places, filled, axis=1)
    return np.sqrt(np.maximum(found[0], 0.0)), found[1]


def within(points: np.ndarray, base: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Return how many rows of ``base`` lie within each point's radius.

    Args:
        points: ``(point, feature)`` float32.
        base: ``(row, feature)`` float32.
        radius: one a point.

    Example:
        >>> within(np.float32([[0.0]]), np.float32([[3.0], [1.0]]), np.array([2.0])).tolist()
        [1]
    """
    counts = np.zeros(len(points), dtype=np.int64)
    points, base = _varying(points, base)
    norms = np.einsum("ij,ij->i", base, base)
    limits = radius**2 - np.einsum("ij,ij->i", points, points)
    for at in range(0, len(points), CHUNK[0]):
        block = -2 * points[at : at + CHUNK[0]]
        for start in range(0, len(base), CHUNK[1]):
            rows = slice(start, start + CHUNK[1])
            near = block @ base[rows].T + norms[rows] <= limits[at : at + CHUNK[0], None]
            counts[at : at + CHUNK[0]] += near.sum(axis=1)
    return counts


def _varying(points: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the features that have one value everywhere, such as a mark of what is never missing."""
    if len(points) == 0:
        return points, base
    varies = (points != points[0]).any(axis=0) | (base != points[0]).any(axis=0)
    return points[:, varies], base[:, varies]


def _of_block(block: np.ndarray, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the k least of squared distance less the point's own norm, in any order."""
    best = np.zeros((len(block), 0), dtype=block.dtype), np.zeros((len(block), 0), dtype=np.int64)
    for start in range(0, len(rows), CHUNK[1]):
        partial = block @ rows[start : start + CHUNK[1]].T
        places = _least(partial, min(k, partial.shape[1]))
        values = np.concatenate([best[0], np.take_along_axis(partial, places, axis=1)], axis=1)
        where = np.concatenate([best[1], places + start], axis=1)
        order = np.argsort(values, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(values, order, axis=1), np.take_along_axis(where, order, axis=1)
    return best


def _least(values: np.ndarray, k: int) -> np.ndarray:
    """Return the places of each row's k least values, in any order."""
    if k == 1:
        return np.asarray(values.argmin(axis=1)[:, None])
    n_rows, width = values.shape
    n_groups = width // GROUP
    if width % GROUP or n_groups <= k:
        return np.argpartition(values, k - 1, axis=1)[:, :k]
    nearest = values.reshape(n_rows, GROUP, n_groups).min(axis=1)
    groups = np.argpartition(nearest, k - 1, axis=1)[:, :k]
    places = (groups[:, :, None] + n_groups * np.arange(GROUP)).reshape(n_rows, -1)
    least = np.argpartition(np.take_along_axis(values, places, axis=1), k - 1, axis=1)[:, :k]
    return np.take_along_axis(places, least, axis=1)
