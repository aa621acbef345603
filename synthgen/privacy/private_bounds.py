"""Find the range of a number from noisy counts on a grid that everybody knows beforehand.

The grid is public and the same for every column of a kind: preferred numbers (ISO 3, series R20: steps of
about 12 %) on both sides of zero for numbers and integers, blocks of 90 days for dates. One noisy
histogram over it is paid for; both ends, rounded outward to the grid, are post-processing of it.
A quantile by the exponential mechanism would need two selections, of which each misses by some
``2 log(grid) / epsilon`` patients; the histogram finds what ``SIGNIFICANT`` standard deviations stand out.
"""

from __future__ import annotations

import datetime
from functools import cache
from typing import Literal

import numpy as np

from synthgen.privacy.marginal_queries import LATTICE, weighted_marginal
from synthgen.privacy.noise import NoiseSource

SIGNIFICANT = 4.5
"""Standard deviations that a window's count must exceed: noise alone does so on one grid in 200."""

WINDOWS = (1, 2, 4, 8, 16)
BLOCK_DAYS = 90
FIRST_DAY, LAST_DAY = datetime.date(1850, 1, 1), datetime.date(2250, 1, 1)
_R20 = "1 1.12 1.25 1.4 1.6 1.8 2 2.24 2.5 2.8 3.15 3.55 4 4.5 5 5.6 6.3 7.1 8 9"


@cache
def public_edges(kind: Literal["integer", "number", "date"], origin: str = "1970-01-01") -> tuple[float, ...]:
    """Return the borders of a kind's public cells; cell ``i`` holds ``edges[i] <= value < edges[i + 1]``.

    Args:
        kind: of the column.
        origin: ISO date from which a date's days are counted.

    Example:
        >>> edges = public_edges("integer")
        >>> [edge for edge in edges if 8 <= edge <= 20]
        [8.0, 9.0, 10.0, 11.0, 12.0, 14.0, 16.0, 18.0, 20.0]
    """
    if kind == "date":
        first, last = ((day - datetime.date.fromisoformat(origin)).days for day in (FIRST_DAY, LAST_DAY))
        return tuple(float(day) for day in range(first, last + BLOCK_DAYS, BLOCK_DAYS))
    exponents = range(12) if kind == "integer" else range(-6, 12)
    sizes = {float(f"{digits}e{exponent}") for exponent in exponents for digits in _R20.split()} | {1e12}
    if kind == "integer":
        sizes = {float(int(size)) for size in sizes}
    return tuple(sorted({0.0} | sizes | {-size for size in sizes}))


def noisy_range(
    values: np.ndarray,
    weights: np.ndarray,
    edges: tuple[float, ...],
    *,
    sigma: float,
    noise: NoiseSource,
) -> tuple[float, float] | None:
    """Return the borders of the cells that hold a column's values, as far as the noise lets them be seen.

    Guarantee:
        ``1 / (2 sigma**2)``-zCDP when a patient comes or goes: the counts move by at most `LATTICE` in the
        L2 norm, whatever the patient's values are. Values beyond the grid lie in its last cells.

    Args:
        values: one number a record, NaN where it is missing; infinities go to the grid's ends. Sensitive.
        weights: int64 lattice weight of each record, over all of its patient's records. Sensitive.
        edges: the public borders.
        sigma: standard deviation of the noise, in patients.
        noise: source of the noise.

    Returns:
        lower border of the first and upper border of the last cell that stands out, each one cell further
        out, since a tail is too thin to stand out, but never beyond zero; an end within a hundredth of the
        other one from zero is zero. None if no cell stands out.

    Source: Gaussian histogram, Bun and Steinke (2016), arXiv:1605.02065, Proposition 1.6; ranges from a
        histogram on a public geometric grid: Wilson et al. (2020), arXiv:1909.01917, Section 5.
    """
    known = ~np.isnan(values)
    n_cells = len(edges) - 1
    cells = np.clip(np.searchsorted(np.array(edges), values[known], side="right") - 1, 0, n_cells - 1)
    exact = weighted_marginal([cells], [n_cells], weights[known])
    noisy = noise.discrete_gaussian(exact, sigma=sigma * LATTICE) / LATTICE
    found = np.flatnonzero(significant(noisy, sigma))
    if not len(found):
        return None
    low, high = int(found[0]), int(found[-1]) + 1
    low -= int(low > 0 and edges[low] != 0)
    high += int(high < n_cells and edges[high] != 0)
    first, last = edges[low], edges[high]
    return (0.0 if 0 < 100 * first <= last else first), (0.0 if first <= 100 * last < 0 else last)


def significant(noisy: np.ndarray, sigma: float) -> np.ndarray:
    """Return which cells lie in a window whose count the noise does not explain.

    Narrow windows go first, and what they hold does not count for wider ones: a tail that is thin in
    each cell is found by the wide ones, without widening a range that narrow ones have found.

    Args:
        noisy: noisy count of each cell, in patients.
        sigma: standard deviation of their noise.
    """
    taken = np.zeros(len(noisy), dtype=bool)
    for width in WINDOWS:
        starts = np.arange(0, len(noisy), width)
        rest = np.where(taken, 0.0, noisy)
        size = np.add.reduceat((~taken).astype(float), starts)
        stands_out = np.add.reduceat(rest, starts) > SIGNIFICANT * sigma * np.sqrt(np.maximum(size, 1.0))
        taken |= np.repeat(stands_out, width)[: len(noisy)]
    return taken
