"""Coverage and closed forms of the intervals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from synthgen.evaluation.base import Estimate
from synthgen.evaluation.statistics.intervals import (
    clopper_pearson,
    difference_of_shares,
    from_draws,
    from_halves,
    insufficient,
    jeffreys,
    log_ratio_of_shares,
    of_square,
    wilson,
    without_interval,
)
from synthgen.evaluation.statistics.patients import half_samples, multiplicities


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


def distance(first: np.ndarray, second: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Total variation of two tables, given as one-hot records, by draw of the records of each."""
    n = len(first)
    shares = [
        w @ table / w.sum(axis=1, keepdims=True)
        for w, table in zip((draws[:, :n], draws[:, n:]), (first, second), strict=True)
    ]
    return np.asarray(np.abs(shares[0] - shares[1]).sum(axis=1) / 2)


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_halves_cover_a_distance_where_samples_agree_and_where_they_differ(shift: float) -> None:
    """400 repetitions: .95 lies between .915 and .985 but for 1e-3; a bootstrap is wider."""
    rng, n, cells = np.random.default_rng(7), 120, 12
    chance = np.ones(cells) + shift * np.repeat([1, -1], cells // 2)
    found: dict[str, list[Estimate]] = {"halves": [], "bootstrap": []}
    for _ in range(400):
        tables = [np.eye(cells)[rng.choice(cells, n, p=p / p.sum())] for p in (np.ones(cells), chance)]
        draws = {
            "halves": np.hstack([half_samples(n, 50, rng=rng) for _ in tables]),
            "bootstrap": np.hstack([multiplicities(n, 100, rng=rng) for _ in tables]),
        }
        drawn = {name: distance(*tables, held) for name, held in draws.items()}
        found["halves"].append(from_halves(drawn["halves"], n=n, units=n))
        found["bootstrap"].append(from_draws(drawn["bootstrap"], n=n))
    truth = np.mean([estimate.value for estimate in found["halves"]])
    assert 0.915 <= np.mean([e.low <= truth <= e.high for e in found["halves"]]) <= 0.985
    width = {name: np.mean([e.high - e.low for e in held]) for name, held in found.items()}
    assert shift or width["bootstrap"] > 1.15 * width["halves"]


def test_an_interval_of_a_positive_figure_is_symmetric_on_the_logarithm() -> None:
    halves = np.concatenate([[2.0], 2 + np.random.default_rng(8).normal(0, 0.5, 400)])
    found = from_halves(halves, n=9, units=50, positive=True)
    assert found.low * found.high == pytest.approx(4.0)
    assert found.freedom < 50
    assert math.isnan(without_interval(1.0, n=9).low)


def test_a_squared_distances_interval_holds_all_truths_that_are_not_rejected() -> None:
    """Pairs .01, single points .04 at 1: a truth t implies .01 + g t, with g drawn to noise's .02."""
    pairs, single, noise, value = 0.01, 0.04, 1.0, 1.0
    growth = (single + 2 * pairs / noise * 0.1) / (value + 0.1)
    found = of_square(value, n=9, single=single, pairs=pairs, noise=noise)
    for end in (found.low, found.high):
        assert (value - end) ** 2 == pytest.approx(1.959964**2 * (pairs + growth * end))
    near = of_square(0.1, n=9, single=-0.001, pairs=pairs, noise=noise)
    assert near.low == pytest.approx(0.1 - 0.1959964)  # where samples agree pairs are all there is
    none = of_square(-0.5, n=9, single=0.0, pairs=pairs, noise=noise)
    assert (none.low, none.high) == pytest.approx((-0.6959964, -0.3040036))


def test_a_ratio_to_a_divisor_that_is_not_told_from_0_has_no_upper_end() -> None:
    known = {"n": 9, "single": 0.0, "pairs": 1e-8, "noise": 1e-4, "divisor": 0.5}
    sure = of_square(1.0, **known, divisor_variance=0.01)
    assert (sure.low, sure.high) == pytest.approx((1 / (0.5 + 0.196), 1 / (0.5 - 0.196)), rel=1e-2)
    vague = of_square(1.0, **known, divisor_variance=0.09)
    assert vague.low == pytest.approx(1 / (0.5 + 3 * 0.196), rel=1e-2)
    assert 1e9 < vague.high < math.inf
    assert of_square(1.0, n=9, single=0.0, pairs=0.0, noise=0.0, divisor=math.nan).status == "insufficient"
