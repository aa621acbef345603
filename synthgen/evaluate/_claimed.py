"""What a claimed guarantee allows an attack: its trade-off curve between false and true positives."""

from __future__ import annotations

import json
import math
from functools import lru_cache

from synthgen.evaluate._base import Claim, Estimate
from synthgen.evaluate._intervals import clopper_pearson


def beyond_claim(claim: Claim, rate: Estimate, above: int, n_others: int) -> Estimate:
    """Return a true positive rate minus the most that the claim allows.

    Args:
        claim: the guarantee.
        rate: the attack's true positive rate.
        above: non-members above the attack's threshold.
        n_others: non-members.

    Returns:
        Its low end is the rate's low end minus the curve at the high end of the false positive rate's
        interval, so both errors must come together for a false alarm; the high end likewise.
    """
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
