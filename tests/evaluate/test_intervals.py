"""Coverage and closed forms of the intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from synthgen.evaluate._intervals import (
    clopper_pearson,
    difference_of_shares,
    from_draws,
    insufficient,
    jeffreys,
    log_ratio_of_shares,
    wilson,
)


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (1, 40), (20, 40), (40, 40), (3, 1000)])
def test_clopper_pearson_and_wilson_agree_with_scipy(hits: int, n: int) -> None:
    test = stats.binomtest(hits, n)
    exact, score = test.proportion_ci(method="exact"), test.proportion_ci(method="wilson")
    assert clopper_pearson(hits, n) == pytest.approx((exact.low, exact.high), abs=1e-9)
    assert wilson(hits, n) == pytest.approx((score.low, score.high), abs=1e-9)


def test_jeffreys_never_reaches_zero_or_one() -> None:
    assert 0 < jeffreys(0, 50)[0] < jeffreys(0, 50)[1] < 0.1
    assert 0.9 < jeffreys(50, 50)[0] < jeffreys(50, 50)[1] < 1


def coverage(method: str, share: float, other: float, *, shrink: float = 1.0) -> float:
    rng = np.random.default_rng(3)
    truth = share - other if method == "difference" else math.log(share / other)
    function = difference_of_shares if method == "difference" else log_ratio_of_shares
    found = 0
    for _ in range(2000):
        value, low, high = function(rng.binomial(300, share), 300, rng.binomial(900, other), 900)
        found += value + shrink * (low - value) <= truth <= value + shrink * (high - value)
    return found / 2000


@pytest.mark.parametrize(("share", "other"), [(0.5, 0.5), (0.1, 0.2), (0.05, 0.05)])
@pytest.mark.parametrize("method", ["difference", "ratio"])
def test_intervals_of_two_shares_cover_the_truth_and_shrunken_ones_do_not(
    method: str, share: float, other: float
) -> None:
    """2,000 repetitions: .95 stays above .935 but for 1e-3; a half-wide interval covers .67."""
    assert coverage(method, share, other) >= 0.935
    assert coverage(method, share, other, shrink=0.5) < 0.8


def test_the_log_ratio_of_an_empty_cell_is_finite_and_far_below_zero() -> None:
    value, low, high = log_ratio_of_shares(0, 1000, 100, 1000)
    assert math.isfinite(low)
    assert low < value < high < math.log(0.1)


def test_a_bootstrap_interval_is_centred_on_the_data_not_on_the_resamples() -> None:
    draws = np.concatenate([[0.0], 0.3 + np.random.default_rng(0).normal(0, 0.1, 500)])
    estimate = from_draws(draws, n=9)
    assert estimate.value == 0
    assert estimate.low == pytest.approx(-0.196, abs=0.02)
    assert estimate.high == pytest.approx(0.196, abs=0.02)


def test_draws_without_a_value_are_insufficient() -> None:
    assert from_draws(np.array([0.5, *[np.nan] * 5, *[0.5] * 5]), n=3).status == "insufficient"
    assert math.isnan(insufficient(3).value)
