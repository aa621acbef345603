"""Noise has the stated law, and each statistical test rejects a wrong one. False alarms: 1e-3, fixed seeds.

The operating system's source has no seed, so its tests are deterministic only up to their false alarms;
they therefore run at 1e-6.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logsumexp

from synthgen.privacy.noise import NoiseSource, on_lattice

SEEDED, SYSTEM = 1e-3, 1e-6


def scale_is(noise: np.ndarray, sigma: float, false_alarms: float) -> bool:
    """Two-sided chi-square test of the variance."""
    statistic = float((noise.astype(float) ** 2).sum() / sigma**2)
    low, high = stats.chi2.ppf([false_alarms / 2, 1 - false_alarms / 2], noise.size)
    return low <= statistic <= high


def law_is(counts: np.ndarray, probabilities: np.ndarray, false_alarms: float) -> bool:
    return float(stats.chisquare(counts, probabilities * counts.sum()).pvalue) > false_alarms


@pytest.mark.parametrize(
    ("source", "false_alarms"), [(NoiseSource.for_tests(0), SEEDED), (NoiseSource.system(), SYSTEM)]
)
@pytest.mark.parametrize("sigma", [4.0, 700.0, 3.0 * 2**16])
def test_noise_has_the_stated_scale_and_a_wrong_scale_is_rejected(source, false_alarms, sigma):
    noise = source.discrete_gaussian(np.zeros(8000, dtype=np.int64), sigma=sigma)
    assert scale_is(noise, sigma, false_alarms)
    assert not scale_is(noise, 1.1 * sigma, false_alarms)
    assert not scale_is(noise, 0.9 * sigma, false_alarms)
    assert abs(noise.mean()) < 5 * sigma / math.sqrt(noise.size)


@pytest.mark.parametrize(
    ("source", "false_alarms"), [(NoiseSource.for_tests(1), SEEDED), (NoiseSource.system(), SYSTEM)]
)
def test_small_noise_follows_the_discrete_gaussian_and_not_a_rounded_one(source, false_alarms):
    sigma, support = 0.7, np.arange(-3, 4)
    noise = source.discrete_gaussian(np.zeros(20_000, dtype=np.int64), sigma=sigma)
    counts = np.array([(np.clip(noise, -3, 3) == k).sum() for k in support])
    wide = np.arange(-20, 21)
    weights = np.exp(-(wide**2) / (2 * sigma**2))
    exact = np.array([weights[np.clip(wide, -3, 3) == k].sum() for k in support]) / weights.sum()
    rounded = np.diff(stats.norm.cdf([-np.inf, *(support[:-1] + 0.5), np.inf], scale=sigma))
    assert law_is(counts, exact, false_alarms)
    assert not law_is(counts, rounded, false_alarms)


@pytest.mark.parametrize(
    ("source", "false_alarms"), [(NoiseSource.for_tests(2), SEEDED), (NoiseSource.system(), SYSTEM)]
)
def test_selection_follows_the_exponential_mechanism_and_not_one_of_another_epsilon(source, false_alarms):
    scores, epsilon, sensitivity = np.array([0.0, 1.3, 2.0, 3.1]), 1.5, 1.25
    draws = [source.select(scores, epsilon=epsilon, sensitivity=sensitivity) for _ in range(8000)]
    counts = np.bincount(draws, minlength=4)

    def law(epsilon: float) -> np.ndarray:
        weights = np.exp(epsilon * scores / (2 * sensitivity))
        return weights / weights.sum()

    assert law_is(counts, law(epsilon), false_alarms)
    assert not law_is(counts, law(1.3 * epsilon), false_alarms)
    assert not law_is(counts, law(2 * epsilon), false_alarms)  # the factor 2 of the mechanism forgotten


@pytest.mark.parametrize("epsilon", [1e-3, 0.1, 0.3, 1.0, 2.0])
def test_the_booked_selection_covers_the_divergence_of_the_worst_pair(epsilon):
    # Adding a patient raises candidate 0's score by the sensitivity and lowers all others': the worst case.
    tightest = 0.0
    for first in (0.01, 0.3, 0.5, 0.7, 0.99):
        before = np.log([first, 1 - first])
        after = before + np.array([1.0, -1.0]) * epsilon / 2
        after -= logsumexp(after)
        for a in (1.01, 1.5, 2.0, 8.0, 64.0, 500.0):
            for p, q in ((before, after), (after, before)):
                renyi = logsumexp(a * p + (1 - a) * q) / (a - 1)
                tightest = max(tightest, renyi / (a * epsilon**2 / 8))
        assert np.abs(after - before).max() <= epsilon
    assert 0.9 < tightest <= 1 + 1e-6  # half of the booking would not cover it


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20),
    st.floats(1e-6, 1e6),
    st.data(),
)
def test_the_lattice_never_widens_the_distance_of_neighbours_beyond_its_sensitivity(
    scores, sensitivity, data
):
    moves = data.draw(st.lists(st.floats(-1, 1), min_size=len(scores), max_size=len(scores)))
    near = np.array(scores)
    far = near + sensitivity * np.array(moves)
    allowed = np.abs(far - near) <= sensitivity  # floating point may overshoot by one part in 2**52
    one, units = on_lattice(near, sensitivity)
    two, _ = on_lattice(far, sensitivity)
    assert (np.abs(one - two)[allowed] <= units).all()


@settings(derandomize=True)
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=9), st.integers(1, 2**20))
def test_integer_scores_with_integer_sensitivity_stay_as_they_are(scores, sensitivity):
    lattice, units = on_lattice(np.array(scores, dtype=np.int64), sensitivity)
    assert lattice.tolist() == scores
    assert units == sensitivity


def test_rounding_costs_at_most_two_millionths_of_epsilon():
    for sensitivity in (1.0, 1.9999, 0.3, 5.1e4):
        _, units = on_lattice(np.array([0.0]), sensitivity)
        unit = 2.0 ** (math.floor(math.log2(sensitivity)) - 20)
        assert 1.0 < units * unit / sensitivity < 1 + 2.1e-6


def test_only_the_system_source_is_private():
    assert NoiseSource.system().is_private
    assert not NoiseSource.for_tests(0).is_private
    assert not NoiseSource.none().is_private


def test_a_seeded_source_repeats_and_the_system_does_not():
    values = np.arange(50, dtype=np.int64).reshape(5, 10)
    first, second = (NoiseSource.for_tests(3).discrete_gaussian(values, sigma=9.0) for _ in range(2))
    assert (first == second).all()
    first, second = (NoiseSource.system().discrete_gaussian(values, sigma=9.0) for _ in range(2))
    assert first.shape == values.shape
    assert (first != second).any()


def test_no_noise_gives_the_exact_answers():
    values = np.array([5, -3], dtype=np.int64)
    noise = NoiseSource.none()
    assert noise.discrete_gaussian(values, sigma=1.0) is not values
    assert noise.discrete_gaussian(values, sigma=1.0).tolist() == [5, -3]
    assert noise.select(np.array([0.5, 0.75]), epsilon=1e-9, sensitivity=1.0) == 1


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf])
def test_a_sigma_that_is_no_scale_is_refused(sigma):
    with pytest.raises(ValueError, match="Expected sigma > 0"):
        NoiseSource.none().discrete_gaussian(np.zeros(1, dtype=np.int64), sigma=sigma)


@pytest.mark.parametrize("values", [np.zeros(2), np.zeros(2, dtype=np.int32), [1, 2]])
def test_values_off_the_integer_lattice_are_refused(values):
    with pytest.raises(ValueError, match="int64"):
        NoiseSource.none().discrete_gaussian(values, sigma=1.0)


@pytest.mark.parametrize(
    "scores", [np.array([]), np.array([1.0, math.nan]), np.zeros((2, 2)), np.array(["a"])]
)
def test_scores_that_are_no_vector_of_numbers_are_refused(scores):
    with pytest.raises(ValueError, match="Expected"):
        NoiseSource.none().select(scores, epsilon=1.0, sensitivity=1.0)


@pytest.mark.parametrize(
    ("epsilon", "sensitivity"), [(0.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (1.0, math.inf)]
)
def test_a_selection_without_a_budget_or_sensitivity_is_refused(epsilon, sensitivity):
    with pytest.raises(ValueError, match="Expected"):
        NoiseSource.none().select(np.array([1.0]), epsilon=epsilon, sensitivity=sensitivity)


def test_the_system_source_takes_less_than_100_microseconds_a_value():
    source, values = NoiseSource.system(), np.zeros(20_000, dtype=np.int64)
    source.discrete_gaussian(values[:1], sigma=1.0)
    start = time.perf_counter()
    source.discrete_gaussian(values, sigma=3.0 * 2**16)
    micros = (time.perf_counter() - start) / values.size * 1e6
    print(f"discrete Gaussian: {micros:.1f} us a value")
    assert micros < 100


def test_noise_of_different_counts_is_independent() -> None:
    """The counts of one draw scatter as the noise does: false alarms below 1e-8 (10 % is six deviations)."""
    drawn = NoiseSource.system().discrete_gaussian(np.zeros(2000, dtype=np.int64), sigma=50.0)
    assert drawn.std() == pytest.approx(50.0, rel=0.1)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.14  # six deviations


def test_words_masks_and_gaussians_of_the_system_repeat_in_no_other_source_or_draw() -> None:
    sources = [NoiseSource.system(), NoiseSource.system()]
    for draw in (
        lambda source: source._words(64).tolist(),
        lambda source: source.poisson_mask(512, rate=0.5).tolist(),
        lambda source: source.gaussian(64, sigma=1.0).tolist(),
        lambda source: source.pick(np.full(64, 1000)).tolist(),
    ):
        drawn = [draw(source) for source in (*sources, sources[0])]
        assert drawn[0] != drawn[1]
        assert drawn[0] != drawn[2]
