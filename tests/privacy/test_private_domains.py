"""Ranges and categories that are paid for: what one patient can do to them, and what they find."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from synthgen.privacy.marginal_queries import LATTICE, lattice_weights
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.partition_selection import stable_histogram, survival, threshold_for
from synthgen.privacy.private_bounds import noisy_range, public_edges, significant

ONE = np.int64(LATTICE)


class Exact(NoiseSource):
    """Adds nothing and keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def _gaussian(self, values, sigma):
        self.asked.append(values.copy())
        return values.copy()

    def _select(self, lattice, epsilon, units):
        raise NotImplementedError


def weights_of(n_others, n_outlier):
    codes = np.append(np.arange(n_others), np.full(n_outlier, n_others))
    return lattice_weights(codes, n_others + 1)


@pytest.mark.parametrize("kind", ["integer", "number", "date"])
@pytest.mark.parametrize("n_outlier", [1, 40])
def test_an_extreme_patient_moves_a_range_histogram_by_one_patient_at_most(kind, n_outlier):
    edges = public_edges(kind)
    others = np.linspace(1, 900, 200)
    extreme = np.resize([1e300, -1e300, np.inf, -np.inf, np.nan, 0.0, 1e-300, 5e12], n_outlier)
    exact = Exact()
    noisy_range(others, np.full(200, ONE), edges, sigma=1.0, noise=exact)
    values, weights = np.append(others, extreme), weights_of(200, n_outlier)
    noisy_range(values, weights, edges, sigma=1.0, noise=exact)
    moved = exact.asked[1] - exact.asked[0]
    assert np.abs(moved).sum() <= LATTICE
    assert np.linalg.norm(moved.astype(float)) <= LATTICE
    assert np.abs(moved).sum() > 0.8 * LATTICE * (n_outlier > 1 or math.isfinite(extreme[0]))


def test_records_that_weigh_one_each_would_be_caught():
    edges, exact = public_edges("number"), Exact()
    noisy_range(np.array([1.0]), np.array([ONE]), edges, sigma=1.0, noise=exact)
    values = np.append(1.0, np.geomspace(1, 1e9, 40))
    noisy_range(values, np.full(41, ONE), edges, sigma=1.0, noise=exact)
    assert np.linalg.norm((exact.asked[1] - exact.asked[0]).astype(float)) > 5 * LATTICE


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.random.default_rng(0).normal(120, 15, 5000), 60, 225),
        (np.random.default_rng(0).normal(-3.0, 0.5, 5000), -5.7, -1.5),
        (np.random.default_rng(0).exponential(1.0, 5000), 0.0, 20.0),
        (np.random.default_rng(0).uniform(0.97, 1.03, 5000), 0.8, 1.3),
    ],
)
def test_a_range_covers_nearly_all_and_is_not_much_wider(values, low, high):
    found = noisy_range(
        values, np.full(5000, ONE), public_edges("number"), sigma=15.0, noise=NoiseSource.for_tests(1)
    )
    assert found is not None
    outside = np.mean((values < found[0]) | (values > found[1]))
    print(f"range {found[0]:g} to {found[1]:g}, {outside:.2%} outside")
    assert low <= found[0] < found[1] <= high
    assert outside < 0.02


def test_noise_alone_shows_no_range_and_a_lower_bar_would():
    # Of 400 grids of noise two are expected to show something; 10 or more has a chance of 1e-4 under .005.
    edges, noise = public_edges("number"), NoiseSource.for_tests(2)
    empty, none = np.array([]), np.array([], dtype=np.int64)
    shown = [noisy_range(empty, none, edges, sigma=9.0, noise=noise) is not None for _ in range(400)]
    assert sum(shown) < 10
    grids = np.random.default_rng(3).normal(0, 9.0, (50, len(edges) - 1))
    assert sum(significant(grid, 6.0).any() for grid in grids) > 10  # noise that is larger than said


def test_every_value_of_a_kind_lies_between_public_borders():
    for kind in ("integer", "number", "date"):
        edges = np.array(public_edges(kind))
        assert (np.diff(edges) > 0).all()
    whole = np.array(public_edges("integer"))
    assert (whole == np.round(whole)).all()
    assert public_edges("date", "2000-01-01")[0] - public_edges("date")[0] == -10957


@pytest.mark.parametrize("max_records", [1, 4, 40])
@pytest.mark.parametrize("sigma", [0.4, 8.0, 60.0])
def test_a_threshold_holds_what_a_patient_alone_could_show_however_it_splits_its_records(sigma, max_records):
    threshold = threshold_for(1e-9, sigma=sigma, max_records=max_records)
    assert survival(threshold, sigma=sigma, max_records=max_records) <= 1e-9
    if threshold > 1:
        assert survival(threshold * 0.999, sigma=sigma, max_records=max_records) > 1e-9
    for k in range(1, max_records + 1):  # k records, each in a category of its own, or all in one
        for weights in (np.full(k, 1 / k), np.array([1.0])):
            assert norm.sf((threshold - weights) / sigma).sum() <= 1e-9


# How a patient's three records may lie: the worst case, and the one with the most categories.
@pytest.mark.parametrize("own", [[0, 0, 0], [0, 1, 2]])
def test_a_patients_own_category_survives_as_rarely_as_stated_and_half_the_threshold_is_caught(own):
    # False alarms 1e-4, fixed seed. The bound is reached where all records lie in one category.
    delta, sigma, n = 0.05, 5.0, 6000
    noise = NoiseSource.for_tests(4)
    codes = np.array(own + [3] * 40)
    weights = np.append(lattice_weights(np.zeros(3, dtype=np.int64), 1), np.full(40, ONE))
    found = {}
    for part in (1.0, 0.5):
        threshold = part * threshold_for(delta, sigma=sigma, max_records=3)
        shown = [
            bool(
                np.isfinite(
                    stable_histogram(codes, weights, 4, sigma=sigma, threshold=threshold, noise=noise)[:3][
                        np.unique(own)
                    ]
                ).any()
            )
            for _ in range(n)
        ]
        found[part] = sum(shown)
    limit = int(binom.isf(1e-4, n, delta))
    print(f"shown {found[1.0] / n:.4f} of at most {delta}; at half the threshold {found[0.5] / n:.4f}")
    assert found[1.0] <= limit < found[0.5]


def test_what_stays_hidden_is_not_returned_and_what_many_hold_is():
    codes, weights = np.append(np.zeros(500, dtype=int), [1, -1, 2]), np.full(503, ONE)
    noise = NoiseSource.for_tests(0)
    counts = stable_histogram(codes, weights, 3, sigma=5.0, threshold=60.0, noise=noise)
    assert counts[0] == pytest.approx(500, abs=25)
    assert np.isnan(counts[1:]).all()
    assert (
        len(stable_histogram(np.array([-1]), np.array([ONE]), 0, sigma=5.0, threshold=9.0, noise=noise)) == 0
    )


@pytest.mark.parametrize(("delta", "sigma"), [(0.0, 1.0), (0.5, 1.0), (1e-9, 0.0)])
def test_a_threshold_needs_a_delta_and_noise(delta, sigma):
    with pytest.raises(ValueError, match="Expected 0 < delta"):
        threshold_for(delta, sigma=sigma, max_records=1)
