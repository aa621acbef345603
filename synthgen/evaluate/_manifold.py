"""Precision, density and coverage of one sample by balls around the points of another.

Each real point has a ball that reaches to its k-th nearest real neighbour. Intervals rest on random splits of
all samples in halves, radii measured anew in each: a ball grows where a point is missing, so figures with
radii held fixed vary by twice as much as they do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from synthgen.evaluate._base import Estimate
from synthgen.evaluate._intervals import Z, from_halves, insufficient
from synthgen.evaluate._patients import half_samples

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


def estimate(draws: np.ndarray, n_real: int) -> Estimate:
    """Return a figure of `in_halves` with its interval, which ends at 0."""
    return _from_zero(from_halves(draws, n=n_real, units=n_real))


def ratio(draws: np.ndarray, baseline: np.ndarray, n_real: int) -> Estimate:
    """Return a figure over that of real points in the others' place, with an interval.

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
