"""The claim's trade-off curve."""

from __future__ import annotations

import math

import pytest
from dp_accounting import dp_event

from synthgen.evaluate._base import Claim, Estimate
from synthgen.evaluate._claimed import allowed, beyond_claim
from synthgen.privacy.events import to_json


def test_the_allowed_rate_follows_the_curve_and_without_one_epsilon_and_delta() -> None:
    curve = Claim(epsilon=4.0, delta=1e-5, event=to_json(dp_event.GaussianDpEvent(1.0)))
    assert allowed(curve, 0.1) == pytest.approx(0.3891, abs=2e-3)
    bare = Claim(epsilon=math.log(2), delta=0.01)
    assert allowed(bare, 0.1) == pytest.approx(0.21)
    assert allowed(bare, 0.9) == pytest.approx(1 - (1 - 0.01 - 0.9) / 2)
    assert allowed(Claim(epsilon=2000.0, delta=0.0), 0.1) == 1.0


def test_a_rate_beyond_the_claim_takes_both_intervals_at_their_mildest() -> None:
    claim = Claim(epsilon=math.log(2), delta=0.0)
    estimate = beyond_claim(claim, Estimate(0.5, 0.4, 0.6, n=100), 10, 100)
    assert estimate.value == pytest.approx(0.3)
    assert estimate.low == pytest.approx(0.4 - 2 * 0.1762, abs=1e-3)
    assert estimate.high == pytest.approx(0.6 - 2 * 0.0490, abs=1e-3)
