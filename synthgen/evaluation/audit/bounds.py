"""Audit a mechanism: what its outputs prove against the guarantee that it claims, and what they could prove.

Two audits, for two questions. ``one_run`` asks of a plan: canaries go in or out of one fit by secret
coins, an attacker guesses the coins, and many right guesses are a lower bound of epsilon. Its ceiling,
what all guesses right would show, stands beside it: below the claim the audit has no power, and finding
nothing shows nothing. ``many_runs`` asks of the code: fits on two neighbouring data sets, as bad as can be,
whose outputs are told apart against the claimed trade-off curve. It sees a noise that is off by a factor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from synthgen.evaluation.statistics.intervals import CONFIDENCE, clopper_pearson

MOST = 60.0
"""Largest epsilon, and mu, that is looked for."""
Verdict = Literal["violation", "no violation", "no power"]
Curve = Callable[[float], float]
"""A claimed trade-off curve: the largest true positive rate at a false positive rate."""


@dataclass(frozen=True)
class OneRun:
    """What one fit with canaries shows.

    Attributes:
        canaries: canaries, each in by a fair secret coin.
        guesses: coins that were guessed; the attacker may abstain from the rest.
        right: right guesses.
        epsilon: lower bound of epsilon at the claim's delta, at the stated confidence.
        ceiling: the bound if all guesses had been right.
        mu: lower bound of mu of Gaussian DP by the f-DP version, which guesses every coin.
        ceiling_mu: that bound if all guesses had been right.
        claimed: the epsilon that is claimed.
        confidence: of the bounds.
    """

    canaries: int
    guesses: int
    right: int
    epsilon: float
    ceiling: float
    mu: float
    ceiling_mu: float
    claimed: float
    confidence: float = CONFIDENCE

    @property
    def verdict(self) -> Verdict:
        """``violation``, ``no power`` if even the ceiling does not exceed the claim, or ``no violation``."""
        if self.epsilon > self.claimed:
            return "violation"
        return "no violation" if self.ceiling > self.claimed else "no power"


def one_run(
    scores: np.ndarray,
    coins: np.ndarray,
    *,
    epsilon: float,
    delta: float,
    guesses: int | None = None,
    confidence: float = CONFIDENCE,
) -> OneRun:
    """Bound epsilon from one fit.

    Guarantee:
        If the fit is ``(epsilon, delta)``-DP for adding or removing one canary, ``epsilon`` of the result
        exceeds it with probability at most ``1 - confidence``, whatever the attack.

    Args:
        scores: one a canary, high for those believed in.
        coins: which canaries were in, each by a fair coin that the attacker did not see.
        epsilon: what is claimed, at ``delta``.
        delta: probability of failure.
        guesses: coins to guess, the highest scores in and the lowest out; fixed beforehand. None: all.
        confidence: of the bounds.

    Source: Steinke, Nasr and Jagielski (2023), arXiv:2305.08846, Theorem 5.2 and Appendix D; Mahloujifar,
        Melis and Chaudhuri (2024), arXiv:2410.22235, Algorithm 1.
    """
    m = len(scores)
    if coins.shape != scores.shape or m == 0:
        raise ValueError(
            f"Expected a coin for each of at least one score, got {coins.shape}, {scores.shape}."
        )
    count = m if guesses is None else min(guesses, m)
    order = np.argsort(scores, kind="stable")
    low, high = order[: count // 2], order[m - (count - count // 2) :]
    right = int((~coins[low]).sum() + coins[high].sum())
    tail = 1 - confidence
    bound, ceiling = (epsilon_bound(m, count, hits, delta=delta, tail=tail) for hits in (right, count))
    all_right = int((~coins[order[: m // 2]]).sum() + coins[order[m // 2 :]].sum())
    mu, ceiling_mu = (mu_bound(m, hits, tail=tail) for hits in (all_right, m))
    return OneRun(m, count, right, bound, ceiling, mu, ceiling_mu, epsilon, confidence)


def best_run(
    scores: np.ndarray,
    coins: np.ndarray,
    *,
    epsilon: float,
    delta: float,
    shares: Sequence[float],
    confidence: float = CONFIDENCE,
) -> OneRun:
    """Bound epsilon from one fit by the best of several numbers of guesses.

    A weak leak shows in the surest guesses, a gross one in all of them, whose ceiling is the highest.

    Guarantee:
        that of `one_run`: the error is shared among the numbers (Bonferroni), which are fixed beforehand.

    Args:
        scores: see `one_run`.
        coins: see `one_run`.
        epsilon: what is claimed, at ``delta``.
        delta: probability of failure.
        shares: parts of the coins that are guessed.
        confidence: of the bounds.
    """
    each = 1 - (1 - confidence) / len(shares)
    runs = [
        one_run(
            scores, coins, epsilon=epsilon, delta=delta,
            guesses=max(2, round(share * len(coins))), confidence=each,
        )
        for share in shares
    ]  # fmt: skip
    best = max(runs, key=lambda run: run.epsilon)
    return replace(best, ceiling=max(run.ceiling for run in runs), confidence=confidence)


def p_value(m: int, guesses: int, right: int, *, epsilon: float, delta: float) -> float:
    """Return a bound on the probability of so many right guesses if the guarantee holds.

    Source: Steinke et al. (2023), Theorem 5.2: a binomial tail, and what delta may add to it.

    Example:
        >>> round(p_value(100, 100, 100, epsilon=0.0, delta=0.0) * 2**100, 6)
        1.0
    """
    from scipy.stats import binom

    chance = 1 / (1 + np.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, chance))
    steps = np.arange(1, right + 1)
    sums = np.cumsum(binom.pmf(right - steps, guesses, chance))
    slope = float((sums / steps).max(initial=0.0))
    return min(1.0, tail + 2 * m * delta * slope)


def epsilon_bound(m: int, guesses: int, right: int, *, delta: float, tail: float) -> float:
    """Return the largest epsilon that so many right guesses rule out, 0 if none.

    Example:
        >>> round(epsilon_bound(100, 100, 100, delta=0.0, tail=0.05), 1)
        3.5
    """
    return _largest(lambda e: p_value(m, guesses, right, epsilon=e, delta=delta) <= tail)


def mu_bound(m: int, right: int, *, tail: float) -> float:
    """Return the largest mu of Gaussian DP that so many right guesses of all coins rule out, 0 if none."""
    from scipy.special import ndtr, ndtri

    def ruled_out(mu: float) -> bool:
        return not plausible(lambda x: float(ndtr(ndtri(x) - mu)), m, right, tail=tail)

    return _largest(ruled_out)


def plausible(needed: Curve, m: int, right: int, *, tail: float) -> bool:
    """Return whether an f-DP guarantee allows so many right guesses with probability ``tail`` or more.

    Args:
        needed: the inverse of ``1 - f``: the least probability under one data set of an event that has the
            given one under a neighbour.
        m: canaries, all of whose coins are guessed.
        right: right guesses.
        tail: probability.

    Source: Mahloujifar et al. (2024), Theorem 9 and Algorithm 1, for two outcomes a coin.
    """
    r, h = tail * right / m, tail * (m - right) / m
    for i in range(right - 1, -1, -1):
        grown = max(h, needed(min(r, 1.0)))
        r += i / (m - i) * (grown - h)
        h = grown
        if r + h > 1:
            return False
    return bool(r + h <= 1)


def _largest(ruled_out: Callable[[float], bool]) -> float:
    """Return the border between what is ruled out, which lies below, and what is not."""
    if not ruled_out(0.0):
        return 0.0
    low, high = 0.0, MOST
    if ruled_out(high):
        return high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if ruled_out(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class ManyRuns:
    """What many fits on two neighbouring data sets show.

    Attributes:
        runs: fits on each of the two.
        true_positive: rate at which those with the patient are called so; its lower bound is ``low``.
        false_positive: rate at which those without are; its upper bound is ``high``.
        low: Clopper and Pearson's bound.
        high: Clopper and Pearson's bound.
        allowed: what the claim allows at ``high``.
        violated: whether ``low`` is above it.
    """

    runs: int
    true_positive: float
    false_positive: float
    low: float
    high: float
    allowed: float
    violated: bool


def many_runs(
    with_patient: Sequence[float],
    without: Sequence[float],
    claim: Curve,
    *,
    threshold: float = 0.0,
    confidence: float = CONFIDENCE,
) -> ManyRuns:
    """Test a claimed trade-off curve.

    Guarantee:
        A mechanism that keeps to its claim is blamed with probability at most ``1 - confidence``: both
        bounds, at half of it each, would have to fail.

    Args:
        with_patient: the attacker's score of each fit with the patient.
        without: of each fit without.
        claim: the claimed trade-off curve.
        threshold: the score from which on a fit is said to hold the patient; fixed beforehand.
        confidence: of the test.
    """
    n, other = len(with_patient), len(without)
    hits = int((np.asarray(with_patient) > threshold).sum())
    false = int((np.asarray(without) > threshold).sum())
    low, high = (
        clopper_pearson(hits, n, confidence=confidence)[0],
        clopper_pearson(false, other, confidence=confidence)[1],
    )
    allowed = claim(high)
    return ManyRuns(n, hits / n, false / other, low, high, allowed, low > allowed)


def power(
    n: int, true_positive: float, false_positive: float, claim: Curve, *, confidence: float = CONFIDENCE
) -> float:
    """Return the probability that ``many_runs`` blames a mechanism whose attack has these rates.

    Args:
        n: fits on each data set.
        true_positive: the attack's true rate.
        false_positive: the attack's true rate.
        claim: the claimed trade-off curve.
        confidence: of the test.

    Example:
        >>> power(1000, 0.9, 0.1, lambda rate: rate) > 0.99
        True
    """
    from scipy.stats import binom

    counts = np.arange(n + 1)
    likely = counts[binom.pmf(counts, n, false_positive) > 1e-7]
    hits = counts[binom.pmf(counts, n, true_positive) > 1e-7]
    lows = np.array([clopper_pearson(int(k), n, confidence=confidence)[0] for k in hits])
    found = 0.0
    for false in likely:
        allowed = claim(clopper_pearson(int(false), n, confidence=confidence)[1])
        above = binom.pmf(hits[lows > allowed], n, true_positive).sum()
        found += float(binom.pmf(false, n, false_positive) * above)
    return found


def runs_needed(
    true_positive: float, false_positive: float, claim: Curve, *, wanted: float = 0.9, most: int = 20_000
) -> int | None:
    """Return the least number of fits, to 10 %, that gives the wanted power; None beyond ``most``."""
    n = 20
    while n <= most:
        if power(n, true_positive, false_positive, claim) >= wanted:
            return n
        n = int(n * 1.1) + 1
    return None
