"""Train on synthetic, test on real: against a plain re-computation, and at the edges."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation import memo
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fairness import utility_gap
from synthgen.evaluation.learners import tabular
from synthgen.evaluation.utility import tstr

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


@pytest.fixture(scope="module")
def inputs(build: Build, rows: Rows) -> Inputs:
    return build(lambda train, n: rows(n, 600), n=1500)


def test_areas_are_those_of_sklearn_with_patients_weighing_one(inputs: Inputs) -> None:
    result = tstr.evaluate(inputs, rng=np.random.default_rng(0))
    found = tabular.predictions(inputs)
    truth, weights = inputs.holdout.frame["died"].astype(bool), inputs.holdout.unit_weights()
    gaps = []
    for learner in tabular.LEARNERS:
        areas = {}
        for arm in tabular.ARMS:
            score = found.probability[learner, arm][:, 1]
            areas[arm] = roc_auc_score(truth, score, sample_weight=weights)
            assert result.estimates[f"{learner}.{arm}"].value == pytest.approx(areas[arm])
            assert result.details["unweighted"][f"{learner}.{arm}"] == pytest.approx(
                roc_auc_score(truth, score)
            )
        gaps.append(areas["synthetic"] - areas["real"])
        assert result.estimates[f"{learner}.gap"].value == pytest.approx(gaps[-1])
    assert result.estimates["mean.gap"].value == pytest.approx(np.mean(gaps))
    assert min(result.estimates[f"{learner}.real"].value for learner in tabular.LEARNERS) > 0.7


def test_an_independent_sample_loses_nothing_and_shuffled_labels_lose_everything(
    inputs: Inputs, rows: Rows
) -> None:
    assert abs(tstr.evaluate(inputs, rng=np.random.default_rng(0)).estimates["mean.gap"].value) < 0.03
    frame = rows(1500, 600)
    shuffled = frame.assign(died=frame["died"].iloc[np.random.default_rng(0).permutation(1500)].array)
    worse = replace(inputs, synthetic=SyntheticTable(inputs.schema, shuffled))
    estimate = tstr.evaluate(worse, rng=np.random.default_rng(0)).estimates["mean.gap"]
    assert estimate.high < -0.2


def test_both_arms_learn_from_the_same_number_of_records(inputs: Inputs) -> None:
    small = replace(inputs, synthetic=SyntheticTable(inputs.schema, inputs.synthetic.frame[:200]))
    assert tstr.evaluate(small, rng=np.random.default_rng(0)).details["training_rows"] == 200


def test_a_synthetic_table_of_one_label_scores_one_half(inputs: Inputs) -> None:
    frame = inputs.synthetic.frame.assign(died=pd.Categorical([True] * 1500, categories=[False, True]))
    result = tstr.evaluate(
        replace(inputs, synthetic=SyntheticTable(inputs.schema, frame)), rng=np.random.default_rng(0)
    )
    assert {result.estimates[f"{learner}.synthetic"].value for learner in tabular.LEARNERS} == {0.5}


def test_a_label_of_many_categories_is_scored_one_against_the_rest(inputs: Inputs) -> None:
    wards = replace(inputs, target="ward")
    result = tstr.evaluate(wards, rng=np.random.default_rng(0))
    found = tabular.predictions(wards)
    labels = found.classes(np.ones(len(found.truth), dtype=bool))
    assert len(labels) > 3
    weights = inputs.holdout.unit_weights()
    score = found.probability["forest", "real"]
    areas = [roc_auc_score(found.truth == c, score[:, c], sample_weight=weights) for c in labels]
    assert result.estimates["forest.real"].value == pytest.approx(np.mean(areas))


@pytest.mark.parametrize("target", [None, "age"])
def test_without_a_category_to_predict_it_does_not_apply_and_says_why(
    inputs: Inputs, target: str | None
) -> None:
    result = tstr.evaluate(replace(inputs, target=target), rng=np.random.default_rng(0))
    assert result.status == "not-applicable"
    assert result.note


def test_a_rare_outcome_is_insufficient(inputs: Inputs) -> None:
    died = inputs.holdout.frame["died"].astype(bool).to_numpy()
    keep = ~died | (np.cumsum(died) <= 40)
    result = tstr.evaluate(replace(inputs, holdout=inputs.holdout.select(keep)), rng=np.random.default_rng(0))
    assert result.status == "insufficient"


def test_learners_are_fitted_once_while_the_inputs_live(inputs: Inputs) -> None:
    mine = replace(inputs)
    first = tabular.predictions(mine)
    utility_gap.evaluate(mine, rng=np.random.default_rng(0))
    assert tabular.predictions(mine) is first
    held = len(memo._memo)
    del mine
    gc.collect()
    assert len(memo._memo) == held - 1
