"""What an attack's scores prove: its advantage, its true positive rates, and what a claim allows of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from synthgen.evaluation.base import Claim, Estimate
from synthgen.evaluation.statistics.intervals import (
    Z,
    difference_of_shares,
    insufficient,
    not_applicable,
    wilson,
)

SPLITS = 20
RATES = {"10pct": 0.1, "1pct": 0.01, "0.1pct": 0.001}
CHANCE = 0.775
"""Standard deviation of a cross-fitted advantage of scores that know nothing, in Newcombe's.

It is the same for all such scores and hardly depends on the number of patients (250 draws each of 150 to
1,500: .76 to .80), since the threshold then falls anywhere. It is 1 where one threshold is best beyond doubt.
"""
ONE_SIDED = 0.715
"""What no more than 5 % of the same advantages exceed, in 1.96 of Newcombe's standard deviations.

No truth lies below 0, so that a truth of 0 can be missed on one side only, which may miss it as often as
both (17,800 draws of 133 to 2,600 members: 1.34 to 1.45 standard deviations, 1.40 on average). Two-sided,
96.2 % of the intervals hold a truth of 0.
"""
STEPS = 40
"""Fixed-point steps to an interval's end; each leaves less than .6 of the distance."""
KINDS = ("tpr", "excess", "beyond_claim")
"""True positive rate, what of it exceeds the false positive rate, and what exceeds the claim's."""
FALSE_POSITIVES = 10
"""Non-members expected above a threshold, below which the true positive rate there says nothing."""


def needed() -> dict[str, int]:
    """Return by estimate how many non-members it takes at least."""
    patients = {name: math.ceil(FALSE_POSITIVES / rate) for name, rate in RATES.items()}
    return {f"{kind}_{name}": n for name, n in patients.items() for kind in KINDS}


def advantage(members: np.ndarray, others: np.ndarray, *, rng: np.random.Generator) -> Estimate:
    """Return the best true minus false positive rate, without the bias of choosing the threshold.

    The threshold is chosen on one half of the patients and measured on the other, both ways round, so
    an attack that knows nothing has an expected advantage of 0. The mean over ``SPLITS`` random splits
    leaves little to the draw of the halves. The interval holds all truths that are not rejected: a truth is
    rejected if the value lies further off than 1.96 of the standard deviations that this very truth implies,
    which lie between `CHANCE` times Newcombe's at 0 and Newcombe's itself at a few of them; for the lower end
    between `ONE_SIDED` times and once.
    """
    ranks, other_ranks = _ranks(members, others, rng)
    sizes = (len(members), len(others))
    member = np.zeros(sum(sizes), dtype=bool)
    member[ranks] = True
    half = np.zeros((SPLITS, len(member)), dtype=bool)
    for places in (ranks, other_ranks):
        half[:, places] = [halves(len(places), rng) for _ in range(SPLITS)]
    hits, others_hit = _cross_fitted(member, half)
    value, low, high = difference_of_shares(hits, sizes[0], others_hit, sizes[1])
    return Estimate(
        value, value - _reach(value, low - value), value + _reach(value, high - value), n=sum(sizes)
    )


def expected_advantage(members: int, others: int) -> Estimate:
    """Return the advantage of an attack that finds nothing, with the interval that so few patients leave.

    Args:
        members: training patients that it is tried on.
        others: holdout patients.
    """
    value, low, high = difference_of_shares(members / 2, members, others / 2, others)
    return Estimate(value, value - _reach(value, low), value + _reach(value, high), n=members + others)


def _reach(value: float, step: float) -> float:
    """Return how far from an advantage the last truth lies that is not rejected.

    Args:
        value: cross-fitted advantage.
        step: from there to the end of Newcombe's interval: below 0 for the lower end.
    """
    if step == 0:
        return 0.0
    reach, least = abs(step), ONE_SIDED if step < 0 else CHANCE
    for _ in range(STEPS):
        truth = value + math.copysign(reach, step)
        deviations = abs(truth) * Z / abs(step)
        reach = abs(step) * math.sqrt(1 - (1 - least**2) * math.exp(-deviations))
    return reach


def _cross_fitted(member: np.ndarray, half: np.ndarray) -> tuple[float, float]:
    """Return how many members and others are called, mean over splits.

    Args:
        member: whether it is one, by rank.
        half: which half each rank falls into, ``(split, rank)``.
    """
    called = np.zeros(2)
    for side in (False, True):
        chosen = half == side
        mine, theirs = chosen & member, chosen & ~member
        step = mine / mine.sum(axis=1, keepdims=True) - theirs / theirs.sum(axis=1, keepdims=True)
        gain = np.cumsum(step[:, ::-1], axis=1)
        threshold = step.shape[1] - 1 - gain.argmax(axis=1)
        above = ~chosen & (np.arange(step.shape[1]) >= threshold[:, None])
        called += [(above & member).sum(), (above & ~member).sum()]
    mine, theirs = called / len(half)
    return float(mine), float(theirs)


def true_positive_rates(
    members: np.ndarray, others: np.ndarray, *, claim: Claim | None, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Return the true positive rate at fixed false positive rates, and what exceeds chance and the claim.

    The threshold is a non-member's score, and the interval is about members above that threshold (Wilson).
    The true false positive rate above the ``k + 1``-th largest of n scores has a Beta(k + 1, n - k)
    distribution, so no non-member is spent on choosing the threshold; what exceeds the claim is a difference
    of two independent figures, whose intervals are joined (MOVER: Donner and Zou, 2012, Statistical Methods
    in Medical Research 21:347).
    """
    ranks, other_ranks = _ranks(members, others, rng)
    descending = np.sort(other_ranks)[::-1]
    estimates: dict[str, Estimate] = {}
    for name, rate in RATES.items():
        if len(others) < needed()[f"tpr_{name}"]:
            nothing = insufficient(len(others))
            estimates[f"tpr_{name}"] = estimates[f"excess_{name}"] = nothing
            estimates[f"beyond_claim_{name}"] = not_applicable() if claim is None else nothing
            continue
        above = math.floor(rate * len(others))
        hits = int((ranks > descending[above]).sum())
        low, high = wilson(hits, len(members))
        estimate = Estimate(hits / len(members), low, high, n=len(members))
        estimates[f"tpr_{name}"] = estimate
        estimates[f"excess_{name}"] = _beyond(lambda false: false, estimate, above, len(others))
        estimates[f"beyond_claim_{name}"] = (
            not_applicable()
            if claim is None
            else _beyond(partial(allowed, claim), estimate, above, len(others))
        )
    return estimates


def _beyond(limit_at: Callable[[float], float], rate: Estimate, above: int, n_others: int) -> Estimate:
    """Return a true positive rate minus what is allowed at the false positive rate, such as by a claim."""
    from scipy.special import betaincinv

    low, high = (float(betaincinv(above + 1, n_others - above, tail)) for tail in (0.025, 0.975))
    most, least, limit = (limit_at(false) for false in (high, low, (above + 1) / (n_others + 1)))
    value = rate.value - limit
    return Estimate(
        value=value,
        low=value - float(np.hypot(rate.value - rate.low, most - limit)),
        high=value + float(np.hypot(rate.high - rate.value, limit - least)),
        n=rate.n,
    )


def allowed(claim: Claim, false_positive_rate: float) -> float:
    """Return the largest true positive rate that the claim allows.

    The claim's whole curve decides where its event is known, otherwise (epsilon, delta) alone.

    Source: Kairouz, Oh and Viswanath (2015), arXiv:1311.0776, Theorem 2.1.
    """
    if claim.event is not None:
        return _on_the_curve(json.dumps(claim.event, sort_keys=True), false_positive_rate)
    power = math.exp(min(claim.epsilon, 700.0))
    steep = power * false_positive_rate + claim.delta
    return max(0.0, min(1.0, steep, 1 - (1 - claim.delta - false_positive_rate) / power))


@lru_cache(maxsize=256)
def _on_the_curve(event: str, false_positive_rate: float) -> float:
    """Return the trade-off curve at a rate; remembered, since all attacks ask at the same few rates."""
    from synthgen.privacy.accountant import tradeoff
    from synthgen.privacy.event_json import from_json

    return tradeoff([from_json(json.loads(event))], false_positive_rate)


def _ranks(
    members: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return joint ranks; ties are broken at random, so neither side gains by them."""
    scores = np.concatenate([members, others])
    order = np.lexsort((rng.permutation(len(scores)), scores))
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = np.arange(len(scores))
    return ranks[: len(members)], ranks[len(members) :]


def halves(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return which of n patients fall into one random half."""
    return np.asarray(rng.permutation(n) % 2 == 0)
