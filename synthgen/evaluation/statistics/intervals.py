"""Intervals at 95 %: Wilson for shares, Newcombe for differences, DeLong for AUCs, resampling for the rest.

Resampling serves the standard deviation only: a gate that corrects for multiplicity scales an interval, and
200 draws have no tails to scale. Smooth figures are resampled with replacement (bootstrap). Distances and
their kin are not smooth where two samples agree, and a bootstrap draw, which holds patients twice, is too
wide there by half; they are measured on disjoint halves instead, whose difference has no such bias.
`scripts/bench_coverage.py` measures how often each interval holds the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synthgen.evaluation.base import Estimate

CONFIDENCE = 0.95
Z = 1.959963984540054
"""Standard normal quantile of a two-sided interval at ``CONFIDENCE``."""

WIDEST = 100.0
"""Half width of an interval on the logarithm at most; beyond, a figure has no upper end in effect."""


def exactly(value: float, *, n: int = 0) -> Estimate:
    """Return a number that has no sampling error, such as a declared epsilon."""
    return Estimate(value=float(value), low=float(value), high=float(value), n=n)


def insufficient(n: int) -> Estimate:
    """Return the answer that there are too few patients for one."""
    nan = float("nan")
    return Estimate(value=nan, low=nan, high=nan, n=n, status="insufficient")


def not_applicable() -> Estimate:
    """Return the answer that the inputs lack what the question is about, such as a claim."""
    nan = float("nan")
    return Estimate(value=nan, low=nan, high=nan, n=0, status="not-applicable")


def from_draws(draws: np.ndarray, *, n: int) -> Estimate:
    """Return a normal interval with the bootstrap's standard deviation.

    Args:
        draws: the estimate on the data itself, then on each bootstrap draw.
        n: patients that it rests on.
    """
    value, resampled = float(draws[0]), draws[1:][np.isfinite(draws[1:])]
    if not np.isfinite(value) or len(resampled) < 0.9 * (len(draws) - 1):
        return insufficient(n)
    half = Z * float(np.std(resampled, ddof=1))
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def from_halves(draws: np.ndarray, *, n: int, units: float, positive: bool = False) -> Estimate:
    """Return an interval from the same figure on disjoint halves of everything that was drawn.

    The halves of a split are independent, so half their squared difference estimates the variance at half the
    size, and a quarter that at full size, wherever it falls as 1/size: for a distance both where two samples
    differ and where they agree. A bootstrap's does not (Politis, Romano and Wolf, 1999, Subsampling).

    Args:
        draws: the figure on the data, on the first half of each split, then on the other halves.
        n: patients that it rests on.
        units: independent pieces that were split; fixes the degrees of freedom.
        positive: the figure varies with its own size; the interval is symmetric on the logarithm.
    """
    value, halves = float(draws[0]), draws[1:].reshape(2, -1)
    steps = halves[0] - halves[1]
    steps = steps[np.isfinite(steps)]
    if not np.isfinite(value) or len(steps) < 0.9 * halves.shape[1]:
        return insufficient(n)
    freedom = 1 / (1 / max(units - 1, 1) + 1 / len(steps))
    half = quantile(freedom) * float(np.sqrt(np.mean(steps**2))) / 2
    if positive and value > 0:
        factor = float(np.exp(min(half / value, WIDEST)))
        return Estimate(value=value, low=value / factor, high=value * factor, n=n, freedom=freedom)
    return Estimate(value=value, low=value - half, high=value + half, n=n, freedom=freedom)


def of_square(
    value: float,
    *,
    n: int,
    single: float,
    pairs: float,
    noise: float,
    divisor: float = 1.0,
    divisor_variance: float = 0.0,
    shared: float = 0.0,
) -> Estimate:
    """Return a squared distance over a divisor, with the interval of all truths that are not rejected.

    Where samples agree the variance is that of pairs; it grows with the true distance, as each point's own
    part does. A truth is kept if the value lies within 1.96 standard deviations that this very truth implies,
    as in Wilson's interval of a share and Fieller's of a ratio. An interval from the variance at the value is
    too wide where samples agree, since value and variance go up together, and too narrow a little beyond.

    Args:
        value: unbiased squared distance.
        n: patients that it rests on.
        single: unbiased variance from what each point adds by itself; may be below 0.
        pairs: variance where the samples agree.
        noise: what chance adds to the plain distance.
        divisor: positive.
        divisor_variance: of the divisor.
        shared: covariance of value and divisor.

    Returns:
        An upper end of ``exp(WIDEST)`` where the divisor is not told from 0.

    Source: Wilson (1927), Journal of the American Statistical Association 22:209; Fieller (1954), Journal of
    the Royal Statistical Society B 16:175.
    """
    parts = (value, single, pairs, noise, divisor, divisor_variance, shared)
    if not np.isfinite(parts).all() or divisor <= 0:
        return insufficient(n)
    least = Z * math.sqrt(pairs)
    growth, known = growth_of_variance(value, single=single, pairs=pairs, noise=noise)
    curve = divisor**2 - Z**2 * max(divisor_variance - 2 * shared * divisor / known, 0.0)
    middle, product = divisor * (value + Z**2 * growth / 2), value**2 - least**2
    root = math.sqrt(max(middle**2 - curve * product, 0.0))
    low, high = (value - least) / divisor, (value + least) / divisor
    if low > 0:
        low = product / (middle + root)
    if high > 0:
        high = (middle + root) / curve if curve > 0 else math.exp(WIDEST)
    return Estimate(value / divisor, low, high, n=n)


def growth_of_variance(value: float, *, single: float, pairs: float, noise: float) -> tuple[float, float]:
    """Return how fast a squared distance's variance grows with it, and the distance that this rests on.

    It is the single points' variance over the distance; near 0, where neither is known, it is drawn to that
    of noise, by as much as pairs' standard deviation weighs. For the arguments see `of_square`.
    """
    tiny, deviation = float(np.finfo(float).tiny), math.sqrt(pairs)
    known = max(value + deviation, deviation, tiny)
    return (max(single, 0.0) + 2 * pairs / max(noise, tiny) * deviation) / known, known


def quantile(freedom: float) -> float:
    """Return Student's quantile of a two-sided interval at ``CONFIDENCE``."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))


def without_interval(value: float, *, n: int) -> Estimate:
    """Return a figure without an interval, such as the worst of several, which chance chose too."""
    nan = float("nan")
    return Estimate(value=float(value), low=nan, high=nan, n=n)


def clopper_pearson(hits: int, n: int, *, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the exact two-sided interval of a share.

    Source: Clopper and Pearson (1934), Biometrika 26:404.

    Example:
        >>> [round(bound, 3) for bound in clopper_pearson(0, 10)]
        [0.0, 0.308]
    """
    from scipy.special import betaincinv

    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, n - hits + 1, tail))
    high = 1.0 if hits == n else float(betaincinv(hits + 1, n - hits, 1 - tail))
    return low, high


def wilson(hits: float, n: float) -> tuple[float, float]:
    """Return Wilson's interval of a share; ``hits`` may be a sum of weights.

    Source: Wilson (1927), Journal of the American Statistical Association 22:209.

    Example:
        >>> [round(bound, 3) for bound in wilson(5, 10)]
        [0.237, 0.763]
    """
    share = hits / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def jeffreys(hits: float, n: float) -> tuple[float, float]:
    """Return Jeffreys' interval of a share: never 0 or 1, so that its logarithm exists.

    Source: Brown, Cai and DasGupta (2001), Statistical Science 16:101.
    """
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    a, b = hits + 0.5, n - hits + 0.5
    return float(betaincinv(a, b, tail)), float(betaincinv(a, b, 1 - tail))


def difference_of_shares(
    hits: float, n: float, other_hits: float, other_n: float
) -> tuple[float, float, float]:
    """Return the difference of two independent shares, and its interval.

    Source: Newcombe (1998), Statistics in Medicine 17:873, method 10.

    Example:
        >>> [round(bound, 3) for bound in difference_of_shares(56, 70, 48, 80)]
        [0.2, 0.052, 0.334]
    """
    first, second = hits / n, other_hits / other_n
    low1, high1 = wilson(hits, n)
    low2, high2 = wilson(other_hits, other_n)
    value = first - second
    low = value - np.sqrt((first - low1) ** 2 + (high2 - second) ** 2)
    high = value + np.sqrt((high1 - first) ** 2 + (second - low2) ** 2)
    return value, float(low), float(high)


def log_ratio_of_shares(
    hits: float, n: float, other_hits: float, other_n: float
) -> tuple[float, float, float]:
    """Return the logarithm of the ratio of two independent shares, and its interval.

    Shares are Jeffreys' medians, roughly, so that an empty cell has a finite logarithm; the two
    intervals are joined as in Newcombe's method, on the logarithmic scale.

    Source: Donner and Zou (2012), Statistical Methods in Medical Research 21:347 (MOVER).
    """
    first, second = (np.log((h + 0.5) / (m + 1)) for h, m in ((hits, n), (other_hits, other_n)))
    low1, high1 = np.log(jeffreys(hits, n))
    low2, high2 = np.log(jeffreys(other_hits, other_n))
    value = float(first - second)
    low = value - np.hypot(first - low1, high2 - second)
    high = value + np.hypot(high1 - first, second - low2)
    return value, float(low), float(high)


def largest(estimates: Sequence[Estimate]) -> Estimate:
    """Return the largest of several estimates, with an interval that holds for all of them together.

    Args:
        estimates: with 95 % intervals, whose halves are scaled as a normal's.

    Example:
        >>> found = largest([Estimate(0.1, 0.0, 0.2, n=9), Estimate(0.3, 0.2, 0.4, n=9)])
        >>> (found.value, round(found.low, 3), round(found.high, 3))
        (0.3, 0.186, 0.414)
    """
    from scipy.special import ndtri

    known = [estimate for estimate in estimates if estimate.status == "ok"]
    if not known:
        return estimates[0]
    factor = float(-ndtri((1 - CONFIDENCE) / 2 / len(known))) / Z
    return Estimate(
        value=max(e.value for e in known),
        low=max(e.value - factor * (e.value - e.low) for e in known),
        high=max(e.value + factor * (e.high - e.value) for e in known),
        n=min(e.n for e in known),
    )


def difference_of_means(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the difference of the means of two independent samples, with Welch's standard error."""
    if min(len(first), len(second)) < 2:
        return insufficient(len(first) + len(second))
    value = float(first.mean() - second.mean())
    half = Z * float(np.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second)))
    return Estimate(value, value - half, value + half, n=len(first) + len(second))
