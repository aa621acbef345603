"""Precision, density and coverage of one sample by balls around the points of another.

Each real point has a ball that reaches to its k-th nearest real neighbour. Intervals rest on
influences: what each point, real or other, adds to a figure by standing where it stands. The sum of
their squares about their mean is the jackknife's variance, biased upwards if at all (Efron and Stein,
1981, Annals of Statistics 9:586), but for the radii, which are held fixed. A ratio of two figures over
the same real points pairs their influences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthgen.evaluate._base import Estimate
from synthgen.evaluate._intervals import Z, insufficient

NEIGHBOURS = 5
TIE = 1e-9
"""Squared distance that float64 arithmetic may make of 0: records that are equal must count as such."""


@dataclass(frozen=True)
class Figure:
    """A mean with its influences.

    Attributes:
        value: the mean.
        real: what each real point adds, ``(real,)``.
        other: what each other point adds, ``(other,)``.
    """

    value: float
    real: np.ndarray
    other: np.ndarray


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


def compare(across: np.ndarray, squared_radii: np.ndarray, *, k: int = NEIGHBOURS) -> dict[str, Figure]:
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
    n_real, n_other = across.shape
    inside = across <= squared_radii[:, None] + TIE
    visits, homes = inside.sum(axis=1), inside.sum(axis=0)
    covered, precise = visits > 0, homes > 0
    lone_visitor = np.bincount(inside.argmax(axis=1)[visits == 1], minlength=n_other) if n_other else homes
    lone_home = np.bincount(inside.argmax(axis=0)[homes == 1], minlength=n_real)
    coverage = float(covered.mean())
    found = {"coverage": Figure(coverage, (covered - coverage) / n_real, lone_visitor / n_real)}
    if n_other == 0:
        nothing = Figure(float("nan"), np.zeros(n_real), np.zeros(0))
        return {**found, "precision": nothing, "density": nothing}
    precision = float(precise.mean())
    found["precision"] = Figure(precision, lone_home / n_other, (precise - precision) / n_other)
    found["density"] = Figure(
        float(homes.mean() / k),
        (visits - visits.mean()) / (k * n_other),
        (homes - homes.mean()) / (k * n_other),
    )
    return found


def estimate(figure: Figure) -> Estimate:
    """Return a figure with its normal interval."""
    if not np.isfinite(figure.value):
        return insufficient(len(figure.real))
    half = Z * float(np.sqrt(_squares(figure.real) + _squares(figure.other)))
    return _about(figure.value, half, figure)


def ratio(figure: Figure, baseline: Figure) -> Estimate:
    """Return a figure over that of real points in the others' place, with a normal interval.

    The influences of the real points, which both share, are paired; where none is left, as for a group
    that was dropped, one patient's share stands for the error.
    """
    if not np.isfinite(figure.value) or not baseline.value > 0:
        return insufficient(len(figure.real))
    value = figure.value / baseline.value
    shared = figure.real - value * baseline.real
    variance = _squares(shared) + _squares(figure.other) + value**2 * _squares(baseline.other)
    error = max(float(np.sqrt(variance)), 1 / len(figure.real)) / baseline.value
    return _about(value, Z * error, figure)


def _squares(influences: np.ndarray) -> float:
    return float(influences.var() * len(influences)) if len(influences) else 0.0


def _about(value: float, half: float, figure: Figure) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - half), high=value + half, n=len(figure.real))
