"""A group for which synthetic training costs more is found; the others are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fairness import utility_gap
from synthgen.evaluation.learners import tabular

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


@pytest.fixture(scope="module")
def inputs(build: Build, rows: Rows) -> Inputs:
    def harmed(train: object, n: int) -> pd.DataFrame:
        """Labels of men are drawn without looking at the patient."""
        frame, rng = rows(n, 700), np.random.default_rng(1)
        men = (frame["sex"] == "M").to_numpy()
        died = np.where(men, rng.random(n) < 0.5, frame["died"].astype(bool))
        return frame.assign(died=pd.Categorical(died, categories=[False, True]))

    return build(harmed, n=2000)


def test_a_group_with_ruined_labels_is_the_worst_and_its_contrast_is_negative(inputs: Inputs) -> None:
    result = utility_gap.evaluate(inputs, rng=np.random.default_rng(0))
    assert "sex=M" in result.details["worst_group"]
    assert result.groups["gap"][result.details["worst_group"]].high < -0.03
    assert result.groups["gap"]["sex=F"].low > 0.0


def test_the_contrast_is_the_groups_gap_minus_the_overall_gap(inputs: Inputs) -> None:
    found = tabular.predictions(inputs)
    died, weights = inputs.holdout.frame["died"].astype(bool).to_numpy(), inputs.holdout.unit_weights()
    men = (inputs.holdout.frame["sex"] == "M").to_numpy()

    def gap(mask: np.ndarray) -> float:
        areas = {
            key: roc_auc_score(died[mask], p[mask, 1], sample_weight=weights[mask])
            for key, p in found.probability.items()
        }
        return float(np.mean([areas[ln, "synthetic"] - areas[ln, "real"] for ln in tabular.LEARNERS]))

    result = utility_gap.evaluate(inputs, rng=np.random.default_rng(0))
    assert result.groups["gap"]["sex=M"].value == pytest.approx(gap(men) - gap(np.ones(len(men), dtype=bool)))


def test_a_crossing_with_ruined_labels_is_found_where_neither_group_is(build: Build, rows: Rows) -> None:
    """Labels are ruined for men of origin B and for nobody else."""

    def harmed(train: object, n: int) -> pd.DataFrame:
        frame, rng = rows(n, 701), np.random.default_rng(1)
        cell = ((frame["sex"] == "M") & (frame["origin"] == "B")).to_numpy()
        died = np.where(cell, ~frame["died"].astype(bool), frame["died"].astype(bool))
        died = np.where(cell & (rng.random(n) < 0.3), rng.random(n) < 0.5, died)
        return frame.assign(died=pd.Categorical(died, categories=[False, True]))

    result = utility_gap.evaluate(build(harmed, n=4000), rng=np.random.default_rng(0))
    gaps = result.groups["gap"]
    assert result.details["worst_group"] == "sex=M & origin=B"
    assert gaps["sex=M & origin=B"].high < -0.05
    assert gaps["sex=M"].low > gaps["sex=M & origin=B"].high
    assert gaps["sex=F & origin=A"].low > -0.05
    assert "sex=missing & origin=A" not in gaps


def test_a_group_under_fifty_positives_or_negatives_is_insufficient(inputs: Inputs) -> None:
    few = (inputs.holdout.frame["origin"] == "C").to_numpy()
    holdout = inputs.holdout.select(~few | (np.cumsum(few) <= 30))
    result = utility_gap.evaluate(replace(inputs, holdout=holdout), rng=np.random.default_rng(0))
    assert result.groups["gap"]["origin=C"].status == "insufficient"
    assert result.groups["gap"]["sex=F & origin=C"].status == "insufficient"
    assert result.groups["gap"]["origin=A"].status == "ok"


@pytest.mark.parametrize("changes", [{"target": None}, {"groups": ()}])
def test_without_a_target_or_groups_it_does_not_apply(inputs: Inputs, changes: dict[str, object]) -> None:
    result = utility_gap.evaluate(replace(inputs, **changes), rng=np.random.default_rng(0))  # type: ignore[arg-type]
    assert result.status == "not-applicable"
