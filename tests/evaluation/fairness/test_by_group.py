"""Equalised odds, calibration and fidelity by group: against plain loops, and on faults of one group."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.fairness import calibration, equalised_odds, fidelity
from synthgen.evaluation.leakage import strongest
from synthgen.evaluation.learners import by_group
from synthgen.evaluation.learners.tabular import Predictions, predictions
from tests.support.controls import CONTROLS, INDEPENDENT, inputs_of

FLIPPED = next(control for control in CONTROLS if control.name == "flips one group's label")


@pytest.fixture(scope="module")
def flipped() -> Inputs:
    return inputs_of(FLIPPED, 1, 2500)


@pytest.fixture(scope="module")
def fair() -> Inputs:
    return inputs_of(INDEPENDENT, 1, 2500)


def made(seed: int = 0) -> Predictions:
    """Return predictions on 300 records of 200 patients, without any cohort behind them."""
    rng = np.random.default_rng(seed)
    units = np.concatenate([np.arange(200), rng.integers(0, 200, 100)])
    chance = {key: rng.random(300) for key in (("logistic", "real"), ("logistic", "synthetic"))}
    probability = {key: np.column_stack([1 - p, p]) for key, p in chance.items()}
    weights = 1 / np.bincount(units)[units]
    return Predictions(pd.DataFrame(), rng.integers(0, 2, 300), units, 200, weights, probability, 300)


def test_calibration_error_is_that_of_a_plain_loop() -> None:
    found, mask = made(), np.arange(300) % 3 > 0
    draws = np.ones((1, 200))
    error = calibration.calibration_error(found, 1, ("logistic", "real"), mask, draws)
    chance, total = found.probability["logistic", "real"][:, 1], 0.0
    for cell in range(10):
        inside = mask & (chance >= cell / 10) & (chance < (cell + 1) / 10)
        if inside.any():
            w = found.weights[inside]
            total += abs((w * chance[inside]).sum() - (w * (found.truth[inside] == 1)).sum())
    assert error[0] == pytest.approx(total / found.weights[mask].sum())


def test_as_many_are_called_positive_as_are_and_no_threshold_is_fixed() -> None:
    found = made()
    called = by_group.decisions(found, 1, ("logistic", "real"))
    share = found.weights[found.truth == 1].sum() / found.weights.sum()
    assert found.weights[called].sum() / found.weights.sum() == pytest.approx(share, abs=0.01)
    chance = found.probability["logistic", "real"][:, 1]
    assert chance[called].min() > chance[~called].max()


def test_rates_by_group_are_those_of_a_plain_loop(fair: Inputs) -> None:
    result = equalised_odds.evaluate(fair, rng=np.random.default_rng(0))
    found = predictions(fair)
    group = (found.frame["origin"] == "B").to_numpy()
    positive = found.truth == 1
    changes = []
    for learner in ("logistic", "boosting", "forest"):
        rates = {}
        for arm in ("synthetic", "real"):
            called = by_group.decisions(found, 1, (learner, arm))
            w = found.weights
            inside = (w * called)[group & positive].sum() / w[group & positive].sum()
            rates[arm] = inside - (w * called)[positive].sum() / w[positive].sum()
        changes.append(rates["synthetic"] - rates["real"])
    assert result.groups["true_positive"]["origin=B"].value == pytest.approx(np.mean(changes))


def test_a_flipped_label_shows_in_that_group_alone_and_not_in_an_independent_sample(
    flipped: Inputs, fair: Inputs
) -> None:
    rng = np.random.default_rng(0)
    odds = [equalised_odds.evaluate(inputs, rng=rng) for inputs in (flipped, fair)]
    errors = [calibration.evaluate(inputs, rng=rng) for inputs in (flipped, fair)]
    assert "origin=B" in odds[0].details["worst_group"]
    assert "origin=B" in errors[0].details["worst_group"]
    assert errors[0].groups["ece"]["origin=B"].low > 0.05
    assert odds[0].groups["true_positive"]["origin=B"].high < 0
    for result, key in ((odds[1], "true_positive"), (errors[1], "ece")):
        estimate = result.groups[key]["origin=B"]
        assert estimate.low - 0.02 <= 0 <= estimate.high + 0.02


def test_small_crossings_are_insufficient_not_fair(fair: Inputs) -> None:
    few = replace(fair, holdout=fair.holdout.select(np.arange(len(fair.holdout)) < 400))
    for metric, key in ((equalised_odds, "true_positive"), (calibration, "ece")):
        result = metric.evaluate(few, rng=np.random.default_rng(0))
        assert result.groups[key]["sex=F & origin=C"].status == "insufficient"


def test_blurred_columns_of_one_group_show_in_its_fidelity_alone(fair: Inputs) -> None:
    frame = fair.synthetic.frame.copy()
    group = (frame["origin"] == "B").to_numpy()
    frame.loc[group, "sodium"] = np.random.default_rng(0).uniform(110, 170, group.sum())
    blurred = replace(fair, synthetic=replace(fair.synthetic, frame=frame))
    found = [fidelity.evaluate(inputs, rng=np.random.default_rng(0)) for inputs in (blurred, fair)]
    assert found[0].groups["excess"]["origin=B"].low > 0.03
    assert found[0].groups["excess"]["origin=A"].low < 0.01
    assert found[1].groups["excess"]["origin=B"].low < 0.01
    assert "origin=B" in found[0].details["worst_group"]


def test_a_memorised_group_has_the_largest_advantage() -> None:
    inputs = inputs_of(next(c for c in CONTROLS if c.name == "memorises one subgroup"), 3, 1000)
    result = strongest.evaluate(inputs, rng=np.random.default_rng(0))
    groups = result.groups["group_advantage"]
    assert groups["origin=B"].low > 0.3
    assert groups["origin=A"].high < 0.2
    assert result.estimates["advantage"].value == pytest.approx(max(result.details["attacks"].values()))
