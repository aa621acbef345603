"""The variances of squared distances, against brute force and simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from synthgen.evaluation.fidelity.imaging.image_kernel import _scaled, between, discrepancy
from synthgen.evaluation.statistics.frechet import frechet, influences, local_kernel, variance
from synthgen.evaluation.statistics.kernel_discrepancy import (
    coefficients,
    gram,
    pull,
    single,
    square,
    through_scale,
)


def drawn(rng: np.random.Generator, n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=(n, 3)), rng.normal(shift, 1, size=(n, 3))


def kernels(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    return [gram(a, b) ** 3 for a, b in ((x, x), (x, y), (y, y))]


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_the_kernels_variance_is_unbiased_where_samples_agree_and_where_they_differ(shift: float) -> None:
    """Fixed scale. A variance over 1,500 draws is known to 4 % (normal) to 7 %."""
    rng = np.random.default_rng(0)
    found = [square(*kernels(*drawn(rng, 40, shift))) for _ in range(1500)]
    true = np.var([one.value for one in found])
    claimed = np.mean([single(one) + one.pairs for one in found])
    assert claimed == pytest.approx(true, rel=0.2)
    assert (abs(np.mean([single(one) for one in found])) < 0.1 * true) == (shift == 0)


def test_noise_is_what_a_plain_distance_has_too_much() -> None:
    x, y = drawn(np.random.default_rng(1), 12, 0.3)
    within, across, other = kernels(x, y)
    found = square(within, across, other)
    assert found.value + found.noise == pytest.approx(within.mean() + other.mean() - 2 * across.mean())
    mine = np.repeat([True, False], 12)
    both = np.concatenate([x, y])
    assert (coefficients(mine) * gram(both, both) ** 3).sum() == pytest.approx(found.value)


def test_what_a_point_adds_through_the_scale_is_the_derivative() -> None:
    rng = np.random.default_rng(2)
    x, y = drawn(rng, 30, 0.4)
    scaled = _scaled({"holdout": x, "other": y})
    first, second = scaled["holdout"], scaled["other"]
    pulls = pull(gram(first, second), first, second, 1 / 900)

    def moved(mean: np.ndarray, spread: np.ndarray) -> float:
        a, b = ((sample - mean) / spread for sample in (first, second))
        return float((gram(a, b) ** 3).mean())

    for k, step in enumerate(np.eye(3) * 1e-5):
        by_mean = (moved(step, np.ones(3)) - moved(-step, np.ones(3))) / 2e-5
        by_spread = (moved(np.zeros(3), 1 + step) - moved(np.zeros(3), 1 - step)) / 2e-5
        assert (pulls[0, k], pulls[1, k]) == pytest.approx((by_mean, by_spread), rel=1e-4, abs=1e-8)
    assert through_scale(first, pulls).sum() == pytest.approx(0, abs=1e-10)


def jackknifed(figure: Callable[..., float], *samples: np.ndarray) -> float:
    """Return the variance of a figure by leaving out each row of all samples in turn."""
    total = 0.0
    for k, sample in enumerate(samples):
        n = len(sample)
        left = [
            figure(*(np.delete(s, i, axis=0) if j == k else s for j, s in enumerate(samples)))
            for i in range(n)
        ]
        total += (n - 1) * float(np.var(left))
    return total


def test_the_influences_with_scale_and_labels_give_the_jackknifes_variance() -> None:
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 150)
    x = rng.normal(size=(150, 3)) + 0.8 * labels[:, None]
    y = rng.normal(0.8, 1.7, size=(150, 3))

    def scaled(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        parts = _scaled({"holdout": x, "other": y})
        return parts["holdout"], parts["other"]

    found = discrepancy(*scaled(x, y))
    wanted = jackknifed(lambda a, b: discrepancy(*scaled(a, b)).value, x, y)
    assert (found.first**2).sum() + (found.second**2).sum() == pytest.approx(wanted, rel=0.1)

    def unit(both: np.ndarray) -> float:
        points = scaled(both[:, :3], y)[0]
        return between(points, both[:, 3].astype(int), gram(points, points))[0]

    points = scaled(x, y)[0]
    _, adds = between(points, labels, gram(points, points))
    assert (adds**2).sum() == pytest.approx(jackknifed(unit, np.column_stack([x, labels])), rel=0.15)


def test_the_frechet_distances_influences_are_the_jackknifes() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(200, 3)), rng.normal(0.5, 1.5, size=(200, 3)) @ rng.normal(size=(3, 3))
    wanted = jackknifed(frechet, x, y)
    assert sum((adds**2).sum() for adds in influences(x, y)) == pytest.approx(wanted, rel=0.05)


def test_the_local_kernel_is_the_sum_over_pairs_of_axes() -> None:
    rng = np.random.default_rng(5)
    spread = np.array([1.0, 0.1, 1e-4])
    x, y = (rng.normal(size=(4, 3)) * np.sqrt(spread) for _ in range(2))
    weights = 1 / (2 * (spread[:, None] + spread))
    wanted = [[a @ b + ((np.outer(a, a) * weights) * np.outer(b, b)).sum() for b in y] for a in x]
    assert local_kernel(x, y, spread) == pytest.approx(np.array(wanted), rel=0.01, abs=0.01)


def test_the_frechet_distances_variance_is_that_of_simulated_samples_that_agree() -> None:
    """A variance over 400 draws is known to 7 to 10 %."""
    from synthgen.evaluation.statistics.frechet import extrapolated

    rng = np.random.default_rng(6)
    values, parts = [], []
    for _ in range(400):
        x, y = rng.normal(size=(2, 60, 4)) * [2.0, 1.0, 1.0, 0.5]
        values.append(extrapolated(x, y))
        parts.append(variance(x, y, rng=rng))
    extended, plain = np.var(values, axis=0)
    assert np.mean([part.extrapolated for part in parts]) == pytest.approx(extended, rel=0.25)
    assert np.mean([part.pairs for part in parts]) == pytest.approx(plain, rel=0.25)
    assert abs(np.mean([part.single for part in parts])) < 0.2 * plain
