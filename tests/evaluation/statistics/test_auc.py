"""The weighted AUROC and DeLong's interval, against brute force and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from synthgen.evaluation.statistics.auc import delong, weighted_auc

RECORDS = st.lists(
    st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30
).filter(lambda rows: any(p and w for _, p, w in rows) and any(not p and w for _, p, w in rows))


def brute(rows: list[tuple[int, bool, int]]) -> float:
    won = total = 0.0
    for score, positive, weight in rows:
        for other, other_positive, other_weight in rows:
            if positive and not other_positive:
                won += weight * other_weight * ((score > other) + 0.5 * (score == other))
                total += weight * other_weight
    return won / total


@settings(derandomize=True, max_examples=100, deadline=None)
@given(rows=RECORDS)
def test_the_weighted_auc_is_the_weighted_share_of_pairs_won(rows: list[tuple[int, bool, int]]) -> None:
    scores, positive, weights = (np.array(part) for part in zip(*rows, strict=True))
    got = weighted_auc(scores.astype(float), positive, weights[None].astype(float))
    assert got[0] == pytest.approx(brute(rows))


def test_each_row_of_weights_is_a_draw_and_one_without_positives_is_nan() -> None:
    scores, positive = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    got = weighted_auc(scores, positive, np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]]))
    assert got[0] == roc_auc_score(positive, scores)
    assert np.isnan(got[1])


def test_delong_has_the_value_of_sklearn_and_covers_chance_at_its_rate() -> None:
    """2,000 repetitions: .95 stays within .935 to .965 but for 2e-3; a half-wide interval covers .67."""
    rng = np.random.default_rng(4)
    covered = narrow = 0
    for _ in range(2000):
        members, others = rng.integers(0, 20, 60).astype(float), rng.integers(0, 20, 90).astype(float)
        estimate = delong(members, others)
        covered += estimate.low <= 0.5 <= estimate.high
        narrow += abs(estimate.value - 0.5) <= (estimate.high - estimate.low) / 4
    truth = np.repeat([1, 0], [60, 90])
    assert estimate.value == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    assert 0.935 <= covered / 2000 <= 0.965
    assert narrow / 2000 < 0.75


def test_delong_of_one_patient_is_insufficient() -> None:
    assert delong(np.array([1.0]), np.array([0.0, 1.0])).status == "insufficient"
