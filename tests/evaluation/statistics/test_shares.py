"""Differences of two shares: against a likelihood maximised by hand, exact coverage, and shared rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from synthgen.evaluation.statistics.intervals import difference_of_shares
from synthgen.evaluation.statistics.shares import Shared, independent_shares, paired_shares, variance_of_rows

Method = Callable[[float, float, float, float], tuple[float, float, float]]


@pytest.mark.parametrize(("hits", "n", "other", "m"), [(56, 70, 48, 80), (9, 10, 3, 10), (3, 400, 1, 300)])
def test_an_end_is_the_truth_from_which_the_difference_lies_1_96_deviations_off(
    hits: int, n: int, other: int, m: int
) -> None:
    value, *ends = independent_shares(hits, n, other, m)
    for end in ends:

        def unlikely(second: float, end: float = end) -> float:
            return -float(stats.binom.logpmf(hits, n, second + end) + stats.binom.logpmf(other, m, second))

        bounds = (max(0.0, -end) + 1e-9, min(1.0, 1 - end) - 1e-9)
        second = optimize.minimize_scalar(
            unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-10}
        ).x
        first = second + end
        deviation = np.sqrt(first * (1 - first) / n + second * (1 - second) / m)
        assert abs(value - end) / deviation == pytest.approx(1.959964, rel=1e-3)


def test_the_extremes_have_an_interval() -> None:
    assert independent_shares(0, 100, 0, 100) == pytest.approx((0.0, -0.037, 0.037), abs=1e-3)
    assert independent_shares(50, 50, 0, 50) == pytest.approx((1.0, 0.9, 1.0), abs=0.05)
    assert independent_shares(0, 50, 50, 50) == pytest.approx((-1.0, -1.0, -0.9), abs=0.05)
    assert paired_shares(np.zeros(100), np.zeros(100)) == pytest.approx((0.0, -0.037, 0.037), abs=1e-3)


def exact_coverage(method: Method, share: float, n: int, m: int) -> float:
    likely = [[(x, p) for x in range(k) if (p := float(stats.binom.pmf(x, k, share))) > 1e-5] for k in (n, m)]
    found = 0.0
    for (x, p), (y, q) in itertools.product(*likely):
        _, low, high = method(x, n, y, m)
        found += p * q * (low <= 0 <= high)
    return found


def test_few_hits_are_covered_by_95_percent_and_by_newcombes_intervals_more_often() -> None:
    """Exact, but for 1e-3 of unlikely hits."""
    assert 0.945 < exact_coverage(independent_shares, 0.02, 400, 300) < 0.955
    assert exact_coverage(difference_of_shares, 0.02, 400, 300) > 0.958


@pytest.mark.parametrize("chances", [False, True])
def test_shares_of_the_same_patients_are_covered_and_as_if_of_others_more_often(chances: bool) -> None:
    """1,000 repetitions: .95 lies between .93 and .97 but for 4e-3."""
    rng, covered = np.random.default_rng(3), np.zeros(2)
    for _ in range(1000):
        own = rng.beta(0.5, 1.5, 300)
        first, second = (
            rng.binomial(4, own, 300) / 4 if chances else rng.random(300) < own,
            rng.random(300) < own,
        )
        sides = first.astype(float), second.astype(float)
        together = paired_shares(*sides)
        apart = difference_of_shares(sides[0].sum(), 300, sides[1].sum(), 300)
        covered += [together[1] <= 0 <= together[2], apart[1] <= 0 <= apart[2]]
    assert 0.93 <= covered[0] / 1000 <= 0.97
    assert covered[1] / 1000 > 0.975


@pytest.mark.parametrize(("total", "alone"), [(40, False), (120, False), (40, True), (120, True)])
def test_rows_that_hit_several_patients_add_variance_and_rows_that_hit_one_take_some_off(
    total: int, alone: bool
) -> None:
    """1,000 repetitions: a variance is known within 15 % but for 1e-3. Patients lie in 60 cells, or alone."""
    rng, n, size = np.random.default_rng(5), 100, 40
    values, own, shared, errors = [], [], [], []
    for _ in range(1000):
        cells = np.arange(n) if alone else rng.integers(0, 60, n)
        patients, rows = np.nonzero(cells[:, None] == rng.integers(0, 150 if alone else 60, total))
        chance = 1 - (1 - size / total) ** np.bincount(patients, minlength=n)
        values.append(chance.mean())
        own.append(chance.var() / n)
        found = variance_of_rows(patients, rows, n=n, total=total, size=size)
        shared.append(found.variance)
        errors.append(found.error)
    assert np.mean(own) + np.mean(shared) == pytest.approx(np.var(values), rel=0.15)
    assert np.mean(shared) < -0.1 * np.mean(own) if alone else np.mean(shared) > 0.1 * np.mean(own)
    assert alone or 0.5 * np.var(shared) < np.mean(errors) < 1.5 * np.var(shared)


def test_a_variance_that_is_hardly_known_makes_the_interval_longer_as_students_is() -> None:
    hit = np.repeat([1.0, 0.0], [30, 70]), np.repeat([0.0, 1.0], [70, 30])
    own = float((hit[0] - hit[1]).var()) / 100
    halves = [
        float(np.subtract(*paired_shares(*hit, shared=Shared(own, error))[:0:-1]))
        for error in (0.0, 2 * (2 * own) ** 2 / 4)
    ]
    assert halves[1] / halves[0] == pytest.approx(2.776 / 1.960, rel=1e-3)


def test_a_hit_counts_once_a_patient_and_a_sure_patient_not_at_all() -> None:
    twice = variance_of_rows(np.array([0, 0, 1]), np.array([0, 0, 0]), n=10, total=5, size=5)
    assert twice.variance == pytest.approx(2 / 90 - (2 / 10) ** 2 / 5)
    many = np.repeat([0, 1], 20), np.tile(np.arange(20), 2)
    assert variance_of_rows(*many, n=10, total=20, size=20) == Shared()
