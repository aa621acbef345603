"""What an attack's scores prove: its advantage, its true positive rates, and what a claim allows of them."""

from __future__ import annotations

import json
import math
from functools import lru_cache

import numpy as np

from synthgen.evaluate._base import Claim, Estimate
from synthgen.evaluate._intervals import clopper_pearson, difference_of_shares, insufficient, not_applicable

SPLITS = 10
RATES = {"10pct": 0.1, "1pct": 0.01, "0.1pct": 0.001}
FALSE_POSITIVES = 10
"""Non-members expected above a threshold, below which the true positive rate there says nothing."""


def needed() -> dict[str, int]:
    """Return by estimate how many non-members it takes at least."""
    patients = {name: math.ceil(FALSE_POSITIVES / rate) for name, rate in RATES.items()}
    return {f"{kind}_{name}": n for name, n in patients.items() for kind in ("tpr", "beyond_claim")}


def advantage(members: np.ndarray, others: np.ndarray, *, rng: np.random.Generator) -> Estimate:
    """Return the best true minus false positive rate, without the bias of choosing the threshold.

    The threshold is chosen on one half of the patients and measured on the other, both ways round, so
    an attack that knows nothing has an expected advantage of 0. The mean over ``SPLITS`` random splits
    leaves little to the draw of the halves.
    """
    ranks, other_ranks = _ranks(members, others, rng)
    hits = other_hits = 0
    for _ in range(SPLITS):
        half, other_half = halves(len(members), rng), halves(len(others), rng)
        for side in (False, True):
            threshold = _best_threshold(ranks[half == side], other_ranks[other_half == side])
            hits += int((ranks[half != side] >= threshold).sum())
            other_hits += int((other_ranks[other_half != side] >= threshold).sum())
    shares = difference_of_shares(hits / SPLITS, len(members), other_hits / SPLITS, len(others))
    return Estimate(*shares, n=len(members) + len(others))


def true_positive_rates(
    members: np.ndarray, others: np.ndarray, *, claim: Claim | None, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Return the true positive rate at fixed false positive rates, and what exceeds the claim.

    The threshold is a non-member's score. The true false positive rate above the ``k + 1``-th largest of
    n scores has a Beta(k + 1, n - k) distribution, whose quantile is the upper end of Clopper and
    Pearson's interval, so no non-member is spent on choosing the threshold.
    """
    ranks, other_ranks = _ranks(members, others, rng)
    descending = np.sort(other_ranks)[::-1]
    estimates: dict[str, Estimate] = {}
    for name, rate in RATES.items():
        if len(others) < needed()[f"tpr_{name}"]:
            nothing = insufficient(len(others))
            estimates[f"tpr_{name}"] = nothing
            estimates[f"beyond_claim_{name}"] = not_applicable() if claim is None else nothing
            continue
        above = math.floor(rate * len(others))
        hits = int((ranks > descending[above]).sum())
        low, high = clopper_pearson(hits, len(members))
        estimate = Estimate(hits / len(members), low, high, n=len(members))
        estimates[f"tpr_{name}"] = estimate
        estimates[f"beyond_claim_{name}"] = (
            not_applicable() if claim is None else _beyond(claim, estimate, above, len(others))
        )
    return estimates


def _beyond(claim: Claim, rate: Estimate, above: int, n_others: int) -> Estimate:
    """Return a true positive rate minus the claim's, both ends on the false positive rate's own interval."""
    low, high = clopper_pearson(above, n_others)
    return Estimate(
        value=rate.value - allowed(claim, above / n_others),
        low=rate.low - allowed(claim, high),
        high=rate.high - allowed(claim, low),
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
    from synthgen.privacy.events import from_json

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


def _best_threshold(ranks: np.ndarray, other_ranks: np.ndarray) -> int:
    """Return the rank from which on calling a patient a member gains most."""
    order = np.concatenate([ranks, other_ranks])
    step = np.concatenate(
        [np.full(len(ranks), 1 / len(ranks)), np.full(len(other_ranks), -1 / len(other_ranks))]
    )
    descending = np.argsort(order)[::-1]
    gain = np.cumsum(step[descending])
    return int(order[descending[int(np.argmax(gain))]])
