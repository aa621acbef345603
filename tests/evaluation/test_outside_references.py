"""Our figures beside those of Fairlearn and JAX Privacy, which others have read and use."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from synthgen.evaluation.audit import bounds
from synthgen.evaluation.fairness import calibration, equalised_odds
from synthgen.evaluation.learners import by_group as _by_group
from synthgen.evaluation.learners.tabular import Predictions
from tests.evaluation.fairness.test_by_group import made

DELTA = 1e-6


@pytest.fixture
def frame() -> Any:
    """Return Fairlearn's table of metrics by group."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("fairlearn.metrics", reason="Fairlearn is not installed.")


@pytest.fixture
def auditing() -> Any:
    """Return JAX Privacy's audit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("jax_privacy.auditing", reason="JAX Privacy is not installed.")


def by_group(frame: Any, metric: Any, found: Predictions, said: np.ndarray, group: np.ndarray) -> Any:
    """Return a metric of Fairlearn, weighted as patients are, by group and of everybody."""
    return frame.MetricFrame(
        metrics=metric, y_true=found.truth, y_pred=said, sensitive_features=group,
        sample_params={"sample_weight": found.weights},
    )  # fmt: skip


@pytest.mark.parametrize(("name", "positive"), [("true_positive_rate", True), ("false_positive_rate", False)])
def test_changes_of_error_rates_by_group_are_fairlearns(frame: Any, name: str, positive: bool) -> None:
    found, group = made(), np.arange(300) % 3
    called = {arm: _by_group.decisions(found, 1, ("logistic", arm)) for arm in ("real", "synthetic")}
    theirs = {arm: by_group(frame, getattr(frame, name), found, said, group) for arm, said in called.items()}
    kind = (found.truth == 1) == positive
    steps = {id(found): called["synthetic"].astype(float) - called["real"]}
    for g in range(3):
        ours = equalised_odds._contrast(steps, (group == g) & kind, kind, found, np.ones((1, found.n_units)))
        change = [theirs[arm].by_group[g] - theirs[arm].overall for arm in ("synthetic", "real")]
        assert ours[0] == pytest.approx(change[0] - change[1])


@pytest.mark.parametrize("arm", ["real", "synthetic"])
def test_mean_risk_by_group_is_fairlearns_mean_prediction(frame: Any, monkeypatch: Any, arm: str) -> None:
    found, group = made(), np.arange(300) % 3
    monkeypatch.setattr(calibration, "LEARNERS", ("logistic",))
    risk = found.probability["logistic", arm][:, 1]
    theirs = by_group(frame, frame.mean_prediction, found, risk, group).by_group
    for g in range(3):
        ours = calibration._risk(found, 1, arm, group == g, np.ones((1, found.n_units)))
        assert ours[0] == pytest.approx(theirs[g])


@pytest.mark.parametrize(("m", "guesses", "right"), [(1000, 200, 150), (1000, 1000, 620), (300, 60, 60)])
def test_the_bound_of_one_run_is_jax_privacys(auditing: Any, m: int, guesses: int, right: int) -> None:
    ones, zeros = np.ones(m), np.zeros(m)
    n_in = max(m // 2, right)
    in_scores = np.concatenate([ones[:right], zeros[: n_in - right]])
    out_scores = np.concatenate([ones[: guesses - right], zeros[: m - n_in - guesses + right]])
    theirs = auditing.CanaryScoreAuditor(in_scores, out_scores).epsilon_one_run(
        0.05, DELTA, threshold_strategy=auditing.Explicit(0.5)
    )
    ours = bounds.epsilon_bound(m, guesses, right, delta=DELTA, tail=0.05)
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert ours > 0.1


@pytest.mark.parametrize(("m", "right"), [(1000, 620), (300, 240)])
def test_the_bound_by_trade_off_curves_is_jax_privacys(auditing: Any, m: int, right: int) -> None:
    from dp_accounting import get_sigma_gaussian

    all_called = auditing.CanaryScoreAuditor(np.ones(right), np.ones(m - right))
    epsilon = all_called.epsilon_one_run_fdp(0.05, DELTA, threshold_strategy=auditing.Explicit(0.5))
    ours = bounds.mu_bound(m, right, tail=0.05)
    assert ours == pytest.approx(1 / get_sigma_gaussian(epsilon, DELTA), abs=1e-3)
    assert ours > 0.1
