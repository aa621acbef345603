"""Squared kernel distance of two samples, with all that its variance is made of.

Where two samples differ, its variance is what each point adds by itself, and falls as one over the size.
Where they agree, points add nothing by themselves; what is left, from pairs of points, falls as one over the
size squared (Serfling, 1980, section 5.2.1; Sutherland and Deka, 2019, arXiv:1906.02104).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DEGREE = 3


@dataclass(frozen=True)
class Square:
    """An unbiased squared distance.

    Attributes:
        value: may be below 0.
        pairs: variance that pairs of points give it: all there is where the samples agree.
        noise: what chance adds to the plain distance, which counts a point with itself; taken off in value.
        first: what each point of the first sample adds; the sum of squares is its part of the variance.
        second: the same of the second sample.
    """

    value: float
    pairs: float
    noise: float
    first: np.ndarray
    second: np.ndarray


def gram(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the base of the kernel, ``x.y/d + 1``, whose third power the kernel is."""
    return np.asarray(first @ second.T / first.shape[1] + 1.0)


def square(within: np.ndarray, across: np.ndarray, other: np.ndarray) -> Square:
    """Return the squared distance of two samples by the kernel of the first, of both, and of the second.

    Source: Gretton et al. (2012), Journal of Machine Learning Research 13:723, equation 3.
    """
    (own, mine), (theirs, yours) = _means(within), _means(other)
    n, m = across.shape
    first, second = 2 * (mine - across.mean(axis=1)), 2 * (yours - across.mean(axis=0))
    return Square(
        value=own + theirs - 2 * float(across.mean()),
        pairs=2 * variance_of_pairs(within) / (n * (n - 1))
        + 4 * variance_of_pairs(across) / (n * m)
        + 2 * variance_of_pairs(other) / (m * (m - 1)),
        noise=(float(np.trace(within)) / n - own) / n + (float(np.trace(other)) / m - theirs) / m,
        first=(first - first.mean()) / n,
        second=(second - second.mean()) / m,
    )


def single(distance: Square) -> float:
    """Return the variance that points give by themselves; pairs count twice in the measured one."""
    return float((distance.first**2).sum() + (distance.second**2).sum()) - 2 * distance.pairs


def _means(kernel: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the mean of a sample's kernel, points with themselves left out, over all and by point."""
    by_point = (kernel.sum(axis=1) - np.diagonal(kernel)) / (len(kernel) - 1)
    return float(by_point.mean()), by_point


def variance_of_pairs(kernel: np.ndarray) -> float:
    """Return the variance of the kernel of two points less what each point adds alone."""
    rows, columns = kernel.mean(axis=1, keepdims=True), kernel.mean(axis=0, keepdims=True)
    alone = (kernel - rows - columns + kernel.mean()) ** 2
    if kernel.shape[0] != kernel.shape[1]:
        return float(alone.mean())
    return float((alone.sum() - np.trace(alone)) / (len(alone) * (len(alone) - 1)))


def coefficients(mine: np.ndarray) -> np.ndarray:
    """Return how each pair of points counts in the squared distance of some points to all others.

    Args:
        mine: which points are of the first sample.

    Returns:
        ``(point, point)``; the sum of its products with the kernel is the squared distance.
    """
    n, m = int(mine.sum()), int((~mine).sum())
    same = np.where(mine, 1 / (n * max(n - 1, 1)), 1 / (m * max(m - 1, 1)))
    found = np.where(mine[:, None] == mine, same, -1 / (n * m))
    np.fill_diagonal(found, 0.0)
    return found


def pull(base: np.ndarray, first: np.ndarray, second: np.ndarray, weights: np.ndarray | float) -> np.ndarray:
    """Return how a weighted sum of kernels moves with the scale of the points.

    Args:
        base: `gram` of both.
        first: scaled points.
        second: scaled points.
        weights: of each pair.

    Returns:
        ``(2, feature)``: the derivative by the mean and by the standard deviation that points are scaled by,
        in standard deviations.
    """
    slope = DEGREE * base ** (DEGREE - 1) * weights / first.shape[1]
    mean = -(slope.sum(axis=1) @ first + slope.sum(axis=0) @ second)
    return np.stack([mean, -2 * ((slope @ second) * first).sum(axis=0)])


def through_scale(points: np.ndarray, pulls: np.ndarray) -> np.ndarray:
    """Return what each point adds to a figure through the mean and deviation of all, which scale them."""
    return np.asarray((points @ pulls[0] + (points**2 - 1) @ pulls[1] / 2) / len(points))
