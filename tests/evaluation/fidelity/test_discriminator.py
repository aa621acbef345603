"""A classifier that tells synthetic from real: chance for real samples, near 1 for plain faults."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.fidelity import discriminator
from synthgen.evaluation.statistics.auc import delong

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


def run(inputs: Inputs, seed: int = 0) -> MetricResult:
    return discriminator.evaluate(inputs, rng=np.random.default_rng(seed))


def test_independent_samples_are_told_apart_by_chance_alone(build: Build, rows: Rows) -> None:
    """20 seeds: a mean beyond 3.3 standard errors has probability 1e-3, 5 misses of a 95 % interval 3e-3."""
    found = []
    for seed in range(20):
        inputs = build(lambda train, n, seed=seed: rows(n, 800 + seed), n=400, seed=400 + seed)
        found.append(run(inputs, seed).estimates)
    for key, chance in (("auc", 0.5), ("auc_real", 0.5), ("excess", 0.0)):
        values = np.array([estimates[key].value for estimates in found])
        assert abs(values.mean() - chance) < 3.3 * values.std() / np.sqrt(20)
        missed = sum(not estimates[key].low <= chance <= estimates[key].high for estimates in found)
        assert missed < 5, key


def test_the_area_is_the_analytic_one_of_a_shifted_column(build: Build, rows: Rows) -> None:
    """Women for 60 % of the men: the best area is 1/2 + (share - share') / 2 = .65; deviation .008."""

    def fewer_men(train: object, n: int) -> pd.DataFrame:
        drawn, rng = rows(n, 40), np.random.default_rng(1)
        sex = np.where(rng.random(n) < 0.6, "F", drawn["sex"])
        return drawn.assign(sex=pd.Categorical(sex, categories=["F", "M"]))

    estimates = run(build(fewer_men, n=8000)).estimates
    assert estimates["auc"].value == pytest.approx(0.65, abs=0.03)
    assert estimates["auc_real"].value == pytest.approx(0.5, abs=0.03)


def test_shuffled_columns_and_older_patients_are_seen_and_foreign_decimals_are_not(
    build: Build, rows: Rows
) -> None:
    def shuffled(train: object, n: int) -> pd.DataFrame:
        drawn, rng = rows(n, 41), np.random.default_rng(2)
        return pd.DataFrame({name: drawn[name].iloc[rng.permutation(n)].array for name in drawn})

    assert run(build(shuffled, n=3000)).estimates["excess"].low > 0.1
    older = build(lambda train, n: rows(n, 42).assign(age=lambda f: (f["age"] + 15).clip(upper=100)), n=1000)
    assert run(older).estimates["auc"].low > 0.6
    finer = build(lambda train, n: rows(n, 44).assign(sodium=lambda f: f["sodium"] + 1e-4), n=2000)
    assert run(finer).estimates["excess"].high < 0.1


def test_trees_are_measured_on_records_that_they_were_not_fitted_to(
    build: Build, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    fit = discriminator._scores

    def scores(
        matrix: np.ndarray, truth: np.ndarray, tests: tuple[np.ndarray, ...], categories: object
    ) -> object:
        found = fit(matrix, truth, tests, categories)  # type: ignore[arg-type]
        seen.append((matrix, *tests, delong(*found)))
        return found

    plain, rng = discriminator.features, np.random.default_rng(0)

    def features(*parts: object) -> np.ndarray:
        """Tell the records apart, of which many have the same cells."""
        found = plain(*parts)  # type: ignore[arg-type]
        return np.asarray(found + 1e-6 * rng.random((len(found), 1)))

    monkeypatch.setattr(discriminator, "features", features)
    monkeypatch.setattr(discriminator, "_scores", scores)
    estimates = run(build(lambda train, n: rows(n, 43), n=400)).estimates
    for (matrix, first, second, wanted), key in zip(seen, ("auc", "auc_real"), strict=True):
        assert not {row.tobytes() for row in matrix} & {row.tobytes() for row in (*first, *second)}
        found, value = estimates[key], wanted.value
        half = float(logit(wanted.high) - logit(value)) * value * (1 - value)
        assert (found.value, found.low, found.high) == pytest.approx((value, value - half, value + half))
    assert np.array_equal(seen[0][2], seen[1][2], equal_nan=True)  # the same patients in both arms


def test_under_fifty_patients_there_is_no_answer(build: Build, rows: Rows) -> None:
    assert run(build(lambda train, n: rows(n, 1), n=60)).status == "insufficient"
