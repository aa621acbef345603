"""The Brier score against sklearn; it sees wrong probabilities that the AUROC does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss

from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.learners import tabular
from synthgen.evaluation.utility import brier, tstr

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


def run(inputs: Inputs) -> MetricResult:
    return brier.evaluate(inputs, rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def inputs(build: Build, rows: Rows) -> Inputs:
    return build(lambda train, n: rows(n, 610), n=1500)


def test_scores_are_those_of_sklearn_with_patients_weighing_one(inputs: Inputs) -> None:
    result, found = run(inputs), tabular.predictions(inputs)
    truth, weights = inputs.holdout.frame["died"].astype(bool), inputs.holdout.unit_weights()
    gaps = []
    for learner in tabular.LEARNERS:
        scores = {}
        for arm in tabular.ARMS:
            p = found.probability[learner, arm][:, 1]
            scores[arm] = brier_score_loss(truth, p, sample_weight=weights)
            assert result.estimates[f"{learner}.{arm}"].value == pytest.approx(scores[arm])
            assert result.details["unweighted"][f"{learner}.{arm}"] == pytest.approx(
                brier_score_loss(truth, p)
            )
        gaps.append(scores["synthetic"] - scores["real"])
    assert result.estimates["mean.gap"].value == pytest.approx(np.mean(gaps))


def test_of_many_labels_it_is_half_the_squared_distance() -> None:
    p = np.array([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0]])
    assert brier.squared_loss(p, np.array([1, 0])) == pytest.approx([(0.04 + 0.25 + 0.09) / 2, 0.0])


def test_an_independent_sample_costs_nothing(inputs: Inputs) -> None:
    assert abs(run(inputs).estimates["mean.gap"].value) < 0.01


def test_wrong_probabilities_that_rank_well_cost_brier_and_no_area(build: Build, rows: Rows) -> None:
    """Four in five survivors are left out: the ranks stay, every probability is too high."""

    def prevalent(train: object, n: int) -> pd.DataFrame:
        drawn = rows(4 * n, 611)
        keep = drawn["died"].astype(bool).to_numpy() | (np.random.default_rng(1).random(4 * n) < 0.1)
        return drawn[keep][:n]

    inputs = build(prevalent, n=3000)
    area = tstr.evaluate(inputs, rng=np.random.default_rng(0)).estimates["mean.gap"]
    assert area.low > -0.05
    assert run(inputs).estimates["mean.gap"].low > 0.05


@pytest.mark.parametrize("target", [None, "age"])
def test_without_a_category_to_predict_it_does_not_apply_and_says_why(
    inputs: Inputs, target: str | None
) -> None:
    result = run(replace(inputs, target=target))
    assert result.status == "not-applicable"
    assert result.note
