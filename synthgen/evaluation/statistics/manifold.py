"""Precision, density and coverage of one sample by balls around the points of another.

Each real point has a ball that reaches to its k-th nearest real neighbour. Intervals rest on random splits of
all samples in halves, radii measured anew in each: a ball grows where a point is missing, so figures with
radii held fixed vary by twice as much as they do.

Of shares the halves serve the design effect only: the variance over that of as many independent points. A
share near 1 rests on few misses, and so does its variance, which is small where the share is high by chance:
an interval of that variance misses too often. How points fall out together is known much better than how many
do, and changes less with size. A score interval knows what variance each truth implies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.statistics.intervals import Z, from_halves, insufficient, quantile, wilson
from synthgen.evaluation.statistics.patients import half_samples
from synthgen.evaluation.statistics.score_interval import ratio_of_shares

NEIGHBOURS = 5
SPLITS = 20
TIE = 1e-9
"""Squared distance that float64 arithmetic may make of 0: records that are equal must count as such."""
Places = Mapping[str, np.ndarray]
"""Which points of each side are looked at."""


def squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return squared Euclidean distances, ``(first, second)`` float64, from ``(point, feature)`` arrays."""
    first, second = first.astype(float), second.astype(float)
    norms = np.einsum("ij,ij->i", first, first)[:, None] + np.einsum("ij,ij->i", second, second)
    norms -= 2 * (first @ second.T)
    return np.asarray(np.maximum(norms, 0.0, out=norms))


def radii(between: np.ndarray, *, k: int = NEIGHBOURS) -> np.ndarray:
    """Return the squared distance from each real point to its k-th nearest other real point.

    Args:
        between: squared distances of real points among themselves, at least k + 1 of them.
        k: neighbours.
    """
    return np.asarray(np.partition(between, k, axis=1)[:, k])  # a point's distance to itself is among them


def compare(across: np.ndarray, squared_radii: np.ndarray, *, k: int = NEIGHBOURS) -> dict[str, float]:
    """Return ``precision``, ``density`` and ``coverage`` of the other points.

    Args:
        across: squared distances, ``(real, other)``; at least one real point.
        squared_radii: of the real points' balls.
        k: neighbours that the radii reach to.

    Returns:
        precision: share of other points in any ball. density: balls that hold a point, over k, mean over
        other points. coverage: share of balls that hold any other point. Without other points coverage is
        0 and the rest NaN.

    Source: Naeem et al. (2020), arXiv:2002.09797, equations 1, 3 and 4; a point on a ball's rim is inside,
    since records of few distinct values have balls of radius 0.
    """
    inside = across <= squared_radii[:, None] + TIE
    coverage = float(inside.any(axis=1).mean())
    if across.shape[1] == 0:
        return {"coverage": coverage, "precision": float("nan"), "density": float("nan")}
    homes = inside.sum(axis=0)
    return {
        "coverage": coverage,
        "precision": float((homes > 0).mean()),
        "density": float(homes.mean() / k),
    }


def in_halves(
    figures: Callable[[Places], Mapping[str, float]], places: Places, *, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return each figure on all points, on the first halves of `SPLITS` splits, then on the other halves.

    Args:
        figures: takes the places of points by side and returns figures by name.
        places: all points by side; each side is split on its own.
        rng: draws the splits.
    """
    held = {side: half_samples(len(points), SPLITS, rng=rng) > 0 for side, points in places.items()}
    found = [
        figures({side: points[held[side][draw]] for side, points in places.items()})
        for draw in range(1 + 2 * SPLITS)
    ]
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def intervals(part: str, synthetic: np.ndarray, real: np.ndarray, n_real: int) -> dict[str, Estimate]:
    """Return a part's figure of synthetic points, of real ones in their place, and the ratio of the two.

    Args:
        part: of `compare`, or recall: all but the density are shares.
        synthetic: the figure of synthetic points, of `in_halves`.
        real: of real points.
        n_real: points whose balls are looked at.
    """
    alone, together = (density, ratio) if part == "density" else (share, share_ratio)
    return {
        "synthetic": alone(synthetic, n_real),
        "real": alone(real, n_real),
        "ratio": together(synthetic, real, n_real),
    }


def share(draws: np.ndarray, n_real: int) -> Estimate:
    """Return a share of `in_halves` with Wilson's interval, of as many independent points as it is worth.

    Source: Korn and Graubard (1998), Survey Methodology 24:193, the effective size with its degrees of
    freedom; Franco et al. (2019), Journal of Survey Statistics and Methodology 7:334, Wilson's interval.
    """
    found = from_halves(draws, n=n_real, units=n_real)
    if found.status != "ok":
        return found
    effect = design_effect(draws, _spread(float(np.nanmean(draws[1:]))), n_real)
    size = n_real / effect * (Z / quantile(found.freedom)) ** 2
    low, high = wilson(found.value * size, size)
    return replace(found, low=low, high=high)


def share_ratio(draws: np.ndarray, baseline: np.ndarray, n_real: int) -> Estimate:
    """Return a share over that of real points in the others' place, with a score interval.

    The design effect is that of the ratio, so it holds what both shares owe to the same balls. Where few of
    few points are missed the interval covers more often than 95 %, as any of so discrete a count does: up to
    three misses in all say nothing against equal shares, whichever side they are on, by the exact mid-P too.
    """
    found = ratio(draws, baseline, n_real)
    if found.status != "ok":
        return found
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = draws / baseline
    first, second = (float(np.nanmean(part[1:])) for part in (draws, baseline))
    independent = (_spread(first) + (first / second) ** 2 * _spread(second)) / second**2
    size = n_real / design_effect(ratios, independent, n_real)
    low, high = ratio_of_shares(float(draws[0]), float(baseline[0]), size, z=quantile(found.freedom))
    return replace(found, low=low, high=high)


def design_effect(draws: np.ndarray, independent: float, n_real: int) -> float:
    """Return the variance among halves over that of as many independent points; 1 where nothing varies.

    Args:
        draws: of `in_halves`.
        independent: variance of a figure of one point, at the mean of the halves.
        n_real: points of the whole.
    """
    halves = draws[1:].reshape(2, -1)
    steps = halves[0] - halves[1]
    variance = float(np.mean(steps[np.isfinite(steps)] ** 2)) / 2
    return variance * (n_real // 2) / independent if min(variance, independent) > 0 else 1.0


def _spread(share: float) -> float:
    """Return the variance of one point that counts with this chance."""
    return share * (1 - share)


def density(draws: np.ndarray, n_real: int) -> Estimate:
    """Return a figure of `in_halves` that is no share with its interval, which ends at 0."""
    return _from_zero(from_halves(draws, n=n_real, units=n_real))


def ratio(draws: np.ndarray, baseline: np.ndarray, n_real: int) -> Estimate:
    """Return a figure over that of real points in the others' place, with an interval that ends at 0.

    Where nothing varies, as for a group that was dropped, one patient's share stands for the error.
    """
    if not baseline[0] > 0:
        return insufficient(n_real)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = from_halves(draws / baseline, n=n_real, units=n_real)
    if found.status != "ok":
        return found
    half = max(found.high - found.value, Z / n_real / float(baseline[0]))
    return _from_zero(replace(found, low=found.value - half, high=found.value + half))


def _from_zero(found: Estimate) -> Estimate:
    return replace(found, low=max(0.0, found.low)) if found.status == "ok" else found
