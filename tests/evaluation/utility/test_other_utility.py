"""Regression, augmentation and inference: against other implementations, and on junk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.statistics.logit import coefficients
from synthgen.evaluation.utility import augmentation, inference, regression
from tests.support.controls import CONTROLS, INDEPENDENT, inputs_of


@pytest.fixture(scope="module")
def fair() -> Inputs:
    return inputs_of(INDEPENDENT, 2, 2000)


@pytest.fixture(scope="module")
def shuffled() -> Inputs:
    return inputs_of(next(c for c in CONTROLS if c.name == "marginals only"), 2, 2000)


def test_coefficients_are_those_of_sklearn_and_their_errors_those_of_repetition() -> None:
    """400 repetitions: the spread is known to 3.5 %, three and a half standard errors are 12 %."""
    rng = np.random.default_rng(0)
    matrix = np.column_stack([np.ones(500), rng.normal(size=500), rng.random(500) < 0.3]).astype(float)
    truth = np.array([-0.5, 0.8, 1.0])
    found = []
    for i in range(400):
        labels = (rng.random(500) < 1 / (1 + np.exp(-matrix @ truth))).astype(float)
        beta, errors = coefficients(matrix, labels)
        found.append(beta)
        if i == 0:
            other = LogisticRegression(C=1e9, fit_intercept=False, max_iter=500).fit(matrix, labels)
            np.testing.assert_allclose(beta, other.coef_[0], atol=2e-3)
    np.testing.assert_allclose(np.std(found, axis=0), errors, rtol=0.15)
    np.testing.assert_allclose(np.mean(found, axis=0), truth, atol=0.05)


def test_a_label_that_separates_gives_finite_coefficients() -> None:
    matrix = np.column_stack([np.ones(100), np.arange(100) / 100])
    beta, errors = coefficients(matrix, (np.arange(100) >= 50).astype(float))
    assert np.isfinite(beta).all()
    assert np.isfinite(errors).all()


def test_an_independent_sample_is_valid_for_inference_and_shuffled_columns_are_not(
    fair: Inputs, shuffled: Inputs
) -> None:
    rng = np.random.default_rng(0)
    valid, not_valid = (inference.evaluate(inputs, rng=rng) for inputs in (fair, shuffled))
    assert valid.details["stamp"] == "valid for inference"
    assert valid.estimates["overlap"].value > 0.6
    assert not_valid.details["stamp"] == "not for inference"
    assert not_valid.estimates["overlap"].value < valid.estimates["overlap"].value
    assert not_valid.estimates["coverage"].value < 0.9


@pytest.mark.slow
def test_widened_intervals_cover_as_often_as_they_say_and_naive_ones_do_not() -> None:
    """100 cohorts of about 17 coefficients: coverage near .95; without the factor it would be near .89."""
    shares = []
    for seed in range(100):
        inputs = inputs_of(INDEPENDENT, 700 + seed, 1500)
        shares.append(inference.evaluate(inputs, rng=np.random.default_rng(0)).estimates["coverage"])
    assert np.mean([share.value for share in shares]) >= 0.935


def test_a_regression_loses_nothing_on_real_records_and_much_on_shuffled_ones(
    fair: Inputs, shuffled: Inputs
) -> None:
    results = [
        regression.evaluate(replace(inputs, target="sodium"), rng=np.random.default_rng(0))
        for inputs in (fair, shuffled)
    ]
    gaps = [result.estimates["target.gap"] for result in results]
    assert gaps[0].low - 0.02 <= 0
    assert abs(gaps[0].value) < 0.05
    assert gaps[1].high < -0.05
    shown = results[0].details["r_squared"]["sodium"]
    learners = regression.LEARNERS
    steps = [shown[f"{learner}.synthetic"] - shown[f"{learner}.real"] for learner in learners]
    assert np.mean(steps) == pytest.approx(gaps[0].value)


def test_where_the_target_is_a_category_its_gap_does_not_apply_and_numbers_stand_in(fair: Inputs) -> None:
    result = regression.evaluate(fair, rng=np.random.default_rng(0))
    assert result.estimates["target.gap"].status == "not-applicable"
    assert {key for key, e in result.estimates.items() if e.status == "ok"} == {"age.gap", "creatinine.gap"}


def test_real_records_beside_real_ones_help_and_junk_does_not(fair: Inputs, shuffled: Inputs) -> None:
    rng = np.random.default_rng(0)
    good, junk = (
        augmentation.evaluate(inputs, rng=rng).estimates["mean.gain"] for inputs in (fair, shuffled)
    )
    assert good.high > 0
    assert good.value > -0.005
    assert junk.value < good.value
