"""The ratio of two shares against a search for the likeliest pair, and its coverage where misses are few."""

from __future__ import annotations

import numpy as np
import pytest

from synthgen.evaluation.statistics.score_interval import ratio_of_shares

Z = 1.959964


def score(ratio: float, first: float, second: float, n: int) -> float:
    """Squared score statistic of a ratio, the likeliest pair of shares found on a grid."""
    below = np.linspace(1e-7, min(1.0, 1 / ratio) - 1e-7, 400_001)
    above = ratio * below
    likelihood = first * np.log(above) + (1 - first) * np.log1p(-above)
    likelihood += second * np.log(below) + (1 - second) * np.log1p(-below)
    best = int(np.argmax(likelihood))
    variance = above[best] * (1 - above[best]) + ratio**2 * below[best] * (1 - below[best])
    return float(n * (first - ratio * second) ** 2 / variance)


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.98, 0.95), (1.0, 0.95), (0.1, 0.9)])
def test_ends_are_where_the_score_of_the_likeliest_pair_is_the_quantile(first: float, second: float) -> None:
    low, high = ratio_of_shares(first, second, 100, z=Z)
    assert low < first / second < high
    for end in (low, high):
        assert score(end, first, second, 100) == pytest.approx(Z**2, rel=2e-3)


def test_shares_of_nothing_and_of_all_have_intervals_that_are_no_points() -> None:
    low, high = ratio_of_shares(0.0, 0.97, 80, z=Z)
    assert low == 0.0
    assert 0.0 < high < 0.1
    low, high = ratio_of_shares(1.0, 1.0, 80, z=Z)
    assert (low, high) == pytest.approx((80 / (80 + Z**2), 1 + Z**2 / 80), rel=1e-6)


@pytest.mark.parametrize("share", [0.7, 0.96, 0.99])
def test_the_interval_covers_also_where_most_pairs_have_two_misses_or_none(share: float) -> None:
    """1,000 pairs of 80: .95 stays above .925 but for 1e-3. Of two full shares a plain one is a point."""
    rng, n, found, plain = np.random.default_rng(1), 80, 0, 0
    for first, second in rng.binomial(n, (0.99 * share, share), size=(1000, 2)) / n:
        low, high = ratio_of_shares(float(first), float(second), n, z=Z)
        found += low <= 0.99 <= high
        ratio = first / second
        half = Z * np.sqrt(first * (1 - first) + ratio**2 * second * (1 - second)) / second / np.sqrt(n)
        plain += abs(ratio - 0.99) <= half
    assert 925 <= found <= (1000 if share > 0.98 else 980)  # no count of so few misses tells less
    assert plain < 925 or share < 0.98
