"""Distances to, and places of, the nearest rows of a table, in chunks that keep memory bounded."""

from __future__ import annotations

import numpy as np

CHUNK = (512, 8192)


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
    norms = np.einsum("ij,ij->i", base, base)
    found = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
    for at in range(0, len(points), CHUNK[0]):
        block = points[at : at + CHUNK[0]]
        distances, places = _of_block(block, base, norms, min(k, len(base)))
        distances += np.einsum("ij,ij->i", block, block)[:, None]
        order = np.argsort(distances, axis=1, kind="stable")
        filled = np.pad(order, ((0, 0), (0, k - order.shape[1])), mode="edge")
        found[0][at : at + CHUNK[0]] = np.take_along_axis(distances, filled, axis=1)
        found[1][at : at + CHUNK[0]] = np.take_along_axis(places, filled, axis=1)
    return np.sqrt(np.maximum(found[0], 0.0)), found[1]


def _of_block(
    block: np.ndarray, base: np.ndarray, norms: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k least of squared distance less the point's own norm, in any order."""
    best = np.zeros((len(block), 0)), np.zeros((len(block), 0), dtype=np.int64)
    for start in range(0, len(base), CHUNK[1]):
        partial = norms[start : start + CHUNK[1]] - 2 * (block @ base[start : start + CHUNK[1]].T)
        kept = min(k, partial.shape[1])
        if kept == 1:
            places = partial.argmin(axis=1)[:, None]
        else:
            places = np.argpartition(partial, kept - 1, axis=1)[:, :kept]
        values = np.concatenate([best[0], np.take_along_axis(partial, places, axis=1)], axis=1)
        where = np.concatenate([best[1], places + start], axis=1)
        order = np.argsort(values, axis=1, kind="stable")[:, :k]
        best = np.take_along_axis(values, order, axis=1), np.take_along_axis(where, order, axis=1)
    return best
