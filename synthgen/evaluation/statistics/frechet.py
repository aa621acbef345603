"""Squared Frechet distance of two samples of features, and what its variance is made of.

Between samples that agree the distance is, up to smaller terms, the squared distance of the means of ``x``
and of its products ``x_i x_j``, each over the root of ``2 (l_i + l_j)``, along the axes of the covariance,
whose variances are ``l`` (Bhatia, Jain and Lim, 2019, arXiv:1712.01504). So its variance is that of a kernel
distance there, see `kernel_discrepancy`; what the smaller terms add is measured on random halves of all
points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from synthgen.evaluation.statistics.kernel_discrepancy import variance_of_pairs

MOST = 300
"""Points a side on which the variance of pairs is measured."""
LEAST = 1e-6
"""Of the largest variance: along axes of less, points do not vary."""
STEP = 1.0
"""Of the logarithm, between the exponentials whose sum stands for 1 over a number, to .1 %."""

DEALS = 12
"""Random halves on which the distance is compared with the local one."""
Distance = Callable[[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], float]
"""Takes the moments of two samples."""


@dataclass(frozen=True)
class Variance:
    """Parts of the variance of a distance.

    Attributes:
        single: from what each point adds by itself, without bias; may be below 0.
        pairs: of the plain distance where the samples agree.
        extrapolated: of the extrapolated one there, which takes off the distances of its own halves.
        shared: covariance there of two plain distances from the same first sample.
        noise: what chance adds to the plain distance there.
    """

    single: float
    pairs: float
    extrapolated: float
    shared: float
    noise: float


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Frechet distance of normals fitted to two samples, ``(point, feature)``."""
    return of_moments(moments(first), moments(second))


def moments(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and covariance."""
    return sample.mean(axis=0), np.cov(sample, rowvar=False)


def of_moments(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
    """Return the squared distance of two normals.

    The root of the product has the trace of the root of ``S1^1/2 S2 S1^1/2``, which is symmetric.
    """
    (mean, own), (centre, other) = first, second
    shift = mean - centre
    values, vectors = np.linalg.eigh(own)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0.0)).sum()
    return float(shift @ shift + np.trace(own) + np.trace(other) - 2 * shared)


def extrapolated(
    first: np.ndarray, second: np.ndarray, distance: Distance = of_moments
) -> tuple[float, float]:
    """Return the distance at endless samples, and the plain one, of two samples in random order."""
    middle = min(len(first), len(second)) // 2
    parts = [
        [moments(half) for half in (part[:middle], part[middle : 2 * middle])] for part in (first, second)
    ]
    halves = [distance(a, b) for a in parts[0] for b in parts[1]]
    plain = distance(moments(first), moments(second))
    return 2 * plain - float(np.mean(halves)), plain


def variance(first: np.ndarray, second: np.ndarray, *, rng: np.random.Generator) -> Variance:
    """Return the parts of the variance of the distance of two samples of equal size, in random order."""
    n, few = len(first), slice(0, MOST)
    values, axes = np.linalg.eigh((np.cov(first, rowvar=False) + np.cov(second, rowvar=False)) / 2)
    spread = np.maximum(values, LEAST * values[-1])
    mine, theirs = ((sample - sample.mean(axis=0)) @ axes for sample in (first, second))
    kernels = [
        local_kernel(a[few], b[few], spread) for a, b in ((mine, mine), (mine, theirs), (theirs, theirs))
    ]
    within, across, other = (variance_of_pairs(kernel) / n**2 for kernel in kernels)
    means = [np.diagonal(k).mean() - (k.sum() - np.trace(k)) / len(k) / (len(k) - 1) for k in kernels[::2]]
    growth = beyond_local(np.concatenate([first, second]) @ axes, spread, rng=rng)
    pairs = 2 * (within + 2 * across + other) * growth[1]
    return Variance(
        single=float(sum((adds**2).sum() for adds in influences(first, second)) - 2 * pairs),
        pairs=float(pairs),
        extrapolated=float(4 * (within + across + other) * growth[0]),
        shared=float(2 * within * growth[1]),
        noise=float(sum(means)) / n,
    )


def beyond_local(points: np.ndarray, spread: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
    """Return how much more the distance varies than the local one, extrapolated and plain.

    Both are measured on the same random halves of all points, so their ratio varies little.

    Args:
        points: of both samples, along the covariance's axes.
        spread: variances along these axes.
        rng: draws the halves.
    """
    if not spread[-1] > 0:
        return np.ones(2)
    weights = 1 / (2 * (spread[:, None] + spread))

    def local(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> float:
        shift = first[0] - second[0]
        return float(shift @ shift + (weights * (first[1] - second[1]) ** 2).sum())

    found = []
    for _ in range(DEALS):
        one, other = np.split(rng.permutation(points)[: len(points) // 2 * 2], 2)
        found.append((extrapolated(one, other), extrapolated(one, other, local)))
    spreads = np.var(found, axis=0)
    return np.asarray(spreads[0] / spreads[1])


def local_kernel(first: np.ndarray, second: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return ``x.y + sum_ij x_i x_j y_i y_j / (2 (l_i + l_j))`` of all pairs of points.

    Args:
        first: points along the covariance's axes.
        second: points along the same.
        spread: variances ``l`` along these axes, positive.

    One over a number is the integral of ``exp(u - number exp(u))``, summed over steps in u.
    """
    if not spread[-1] > 0:
        return np.zeros((len(first), len(second)))
    found = first @ second.T
    for u in np.arange(-np.log(2 * spread.max()) - 7, -np.log(2 * spread.min()) + 2 + STEP, STEP):
        found += STEP * np.exp(u) / 2 * ((first * np.exp(-spread * np.exp(u))) @ second.T) ** 2
    return np.asarray(found)


def influences(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what each point adds to the distance; the sum of squares is a sample's part of the variance.

    The derivative by a covariance is one less the map that carries its normal to the other's.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    own, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    found = []
    for sample, step, mine, theirs in ((first, shift, own, other), (second, -shift, other, own)):
        centred = sample - sample.mean(axis=0)
        adds = 2 * centred @ step + ((centred @ (np.eye(len(mine)) - _carry(mine, theirs))) * centred).sum(
            axis=1
        )
        found.append((adds - adds.mean()) / len(sample))
    return found[0], found[1]


def _carry(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the linear map that carries a normal of one covariance to one of the other.

    Source: Dowson and Landau (1982), Journal of Multivariate Analysis 12:450.
    """
    values, vectors = np.linalg.eigh(own)
    roots = np.sqrt(np.maximum(values, 0.0))
    varied = values > LEAST * values[-1]
    inverse = (vectors * np.divide(1.0, roots, out=np.zeros_like(roots), where=varied)) @ vectors.T
    root = (vectors * roots) @ vectors.T
    inner, turned = np.linalg.eigh(root @ other @ root)
    return np.asarray(inverse @ ((turned * np.sqrt(np.maximum(inner, 0.0))) @ turned.T) @ inverse)
