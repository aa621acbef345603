"""How sure a rule must be of a harm among so many comparisons: Holm for refusals, false discovery for doubts.

Each estimate has a tail: the one-sided probability of one that lies as far beyond the threshold if the truth
lies at the threshold. Comparisons are corrected within a head, so that many groups in one head make no other
head blind; the heads share the policy's probability evenly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.evaluation.base import Estimate
from synthgen.release.gate.policy import Rule

CERTAIN = 0.025
"""Tail of a 95 % interval's end."""


@dataclass(frozen=True)
class Level:
    """The level at which a comparison was decided.

    Attributes:
        tail: the one-sided probability that its own tail had to stay below.
        comparisons: of its head.
        proven: whether it did.
    """

    tail: float
    comparisons: int
    proven: bool

    @property
    def percent(self) -> str:
        """The confidence of the two-sided interval at this level, such as ``99.98``."""
        beyond = 200 * self.tail
        return f"{100 - beyond:.{max(0, 1 - math.floor(math.log10(beyond)))}f}"


def is_compared(rule: Rule, estimate: Estimate) -> bool:
    """Return whether chance may decide: there is a threshold, an answer, and an interval."""
    return rule.threshold is not None and estimate.status == "ok" and estimate.low < estimate.high


def depth(rule: Rule, estimate: Estimate, factor: float, *, least: bool) -> float:
    """Return how far into harm the interval's mildest (``least``) or worst end lies; negative outside."""
    low, high = interval(estimate, factor)
    threshold = float(rule.threshold or 0.0)
    if rule.harm == "above":
        return (low if least else high) - threshold
    if rule.harm == "below":
        return threshold - (high if least else low)
    ends = (low - threshold, -threshold - high) if least else (high - threshold, -threshold - low)
    return max(ends)


def interval(estimate: Estimate, factor: float) -> tuple[float, float]:
    """Return the 95 % interval, grown by a factor; an exact value, which may be infinite, has no ends."""
    if not estimate.low < estimate.high:
        return estimate.value, estimate.value
    below, above = estimate.value - estimate.low, estimate.high - estimate.value
    return estimate.value - factor * below, estimate.value + factor * above


def factor_of(tail: float, estimate: Estimate) -> float:
    """Return by how much a 95 % interval grows at that one-sided tail, by Student's quantiles."""
    from scipy.special import stdtrit

    return float(stdtrit(estimate.freedom, tail) / stdtrit(estimate.freedom, CERTAIN))


def tail_of(rule: Rule, estimate: Estimate, truth: float | None = None) -> float:
    """Return the probability of an estimate as far into harm, by Student's quantiles.

    Args:
        rule: says where harm lies.
        estimate: a figure with an interval.
        truth: what it would be; None is the threshold.

    Example:
        >>> rule = Rule(metric="m", key="k", title="t", harm="above", threshold=0.1, source="s")
        >>> round(tail_of(rule, Estimate(0.2, 0.1, 0.3, n=9)), 4)
        0.025
    """
    from scipy.special import stdtr, stdtrit

    threshold = float(rule.threshold or 0.0)
    low, high = (-threshold, threshold) if rule.harm == "outside" else (threshold, threshold)
    if truth is not None:
        low = high = truth
    above = (estimate.value - high, estimate.value - estimate.low)
    below = (low - estimate.value, estimate.high - estimate.value)
    sides = {"above": [above], "below": [below], "outside": [above, below]}[rule.harm]
    ends = [math.copysign(math.inf, gap) if not width > 0 else gap / width for gap, width in sides]
    deviations = max(ends) * -float(stdtrit(estimate.freedom, CERTAIN))
    return min(1.0, len(sides) * float(stdtr(estimate.freedom, -deviations)))


def holm(tails: Sequence[float], level: float, weights: Sequence[int]) -> list[Level]:
    """Return by comparison whether its tail is proven, at most by ``level`` for one that is not true.

    Source: Holm (1979), Scandinavian Journal of Statistics 6:65.

    Args:
        tails: one a comparison.
        level: largest probability that any comparison without harm is called proven.
        weights: sides of each, for the level that is stated.
    """
    order = np.argsort(tails, kind="stable")
    found: dict[int, Level] = {}
    still, share = True, level
    for place, i in enumerate(order.tolist()):
        share = level / (len(tails) - place) if still else share
        still = still and tails[i] <= share
        found[i] = Level(share / weights[i], len(tails), still)
    return [found[i] for i in range(len(tails))]


def false_discovery(tails: Sequence[float], level: float) -> list[bool]:
    """Return which comparisons stand, so that at most ``level`` of those are expected to be false.

    Where there is no harm at all, any of them stands with at most that probability.

    Source: Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57:289; for figures of
    the same patients, which rise together, Benjamini and Yekutieli (2001), Annals of Statistics 29:1165.
    """
    ordered = np.sort(np.asarray(tails))
    held = np.flatnonzero(ordered <= level * np.arange(1, len(tails) + 1) / max(len(tails), 1))
    least = ordered[held[-1]] if len(held) else -1.0
    return [bool(tail <= least) for tail in tails]
