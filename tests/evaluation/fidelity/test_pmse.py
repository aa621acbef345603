"""S_pMSE against a fitted logistic model and its null expectation; it sees what destroys pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from synthgen.evaluation.base import Inputs, MetricResult
from synthgen.evaluation.fidelity import pmse

Build = Callable[..., Inputs]
Rows = Callable[[int, int], pd.DataFrame]


def run(inputs: Inputs) -> MetricResult:
    return pmse.evaluate(inputs, rng=np.random.default_rng(0))


def test_it_is_that_of_a_saturated_logistic_model_with_its_published_expectation() -> None:
    """Synthpop: pMSE = mean (p - c)^2 of the fitted propensities, over (k - 1)(1 - c)^2 c / N."""
    rng = np.random.default_rng(0)
    observed, synthetic = rng.integers(0, 6, 300), rng.choice(6, 200, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    cells = np.concatenate([observed, synthetic])
    matrix, label = np.eye(6)[cells], np.repeat([0, 1], [300, 200])
    model = LogisticRegression(C=1e8, max_iter=10_000, tol=1e-10, fit_intercept=False).fit(matrix, label)
    propensity, share = model.predict_proba(matrix)[:, 1], 200 / 500
    expected = np.mean((propensity - share) ** 2) / ((6 - 1) * (1 - share) ** 2 * share / 500)
    counts = [np.bincount(cells[label == side], minlength=8)[None, :].astype(float) for side in (0, 1)]
    assert pmse.standardised(*counts) == pytest.approx([expected], rel=1e-4)


@pytest.mark.parametrize(("fixed", "expectation"), [(True, 1.0), (False, 2.0)])
def test_its_null_expectation_is_one_for_a_model_and_two_for_two_samples(
    fixed: bool, expectation: float
) -> None:
    """2,000 draws; a mean beyond 3.3 standard errors has probability 1e-3; the other expectation fails."""
    rng, shares = np.random.default_rng(1), np.array([0.4, 0.3, 0.2, 0.1])
    drawn = rng.multinomial(1000, shares, 2000).astype(float)
    observed = np.tile(1000 * shares, (2000, 1)) if fixed else rng.multinomial(1000, shares, 2000)
    found = pmse.standardised(observed.astype(float), drawn)
    error = found.std() / np.sqrt(2000)
    assert abs(found.mean() - expectation) < 3.3 * error
    assert abs(found.mean() - (3.0 - expectation)) > 3.3 * error


def test_two_constant_columns_cannot_differ() -> None:
    assert pmse.standardised(np.array([[9.0, 0]]), np.array([[7.0, 0]])).tolist() == [0.0]


def test_a_pair_of_the_result_is_the_brute_force_table(build: Build, rows: Rows) -> None:
    inputs = build(lambda train, n: rows(n, 1), n=400)
    first, second = rows(200, 2), rows(200, 3)
    schema = inputs.schema
    pair = [i for i, column in enumerate(schema.columns) if column.name in ("sex", "creatinine")]
    found = pmse._by_pair(inputs, first, second, [tuple(pair)], np.random.default_rng(0))[0][0, 0]
    pooled = pd.concat([first, second], ignore_index=True)
    edges = np.unique(np.quantile(pooled["creatinine"].dropna(), [0.2, 0.4, 0.6, 0.8]))
    group = pooled["creatinine"].map(
        lambda v: "missing" if np.isnan(v) else sum(float(edge) < v for edge in edges)
    )
    table = pd.crosstab([pooled["sex"].astype(str), group], np.repeat([0, 1], 200)).to_numpy(float)
    expected = pmse.standardised(table[:, :1].T, table[:, 1:].T)[0]
    assert found == pytest.approx(expected)


def test_an_independent_sample_lies_where_real_ones_do_and_shuffled_columns_do_not(
    build: Build, rows: Rows
) -> None:
    good = run(build(lambda train, n: rows(n, 20), n=3000)).estimates
    assert good["mean"].low < good["mean_real"].value < good["mean"].high
    assert good["mean"].value == pytest.approx(2.0, abs=0.6)

    def shuffled(train: Any, n: int) -> pd.DataFrame:
        drawn, rng = rows(n, 20), np.random.default_rng(2)
        return pd.DataFrame({name: drawn[name].iloc[rng.permutation(n)].array for name in drawn})

    bad = run(build(shuffled, n=3000))
    assert bad.estimates["mean"].low > 3
    assert bad.estimates["max"].value > 10
    worst = [set(row["columns"]) for row in bad.details["worst_pairs"][:3]]
    assert {"age", "died"} in worst


def test_the_interval_covers_the_expectation_of_independent_samples(build: Build, rows: Rows) -> None:
    """25 seeds; more than 5 misses of a 95 % interval have a probability of 1e-3."""
    missed = 0
    for seed in range(25):
        inputs = build(lambda train, n, seed=seed: rows(n, 700 + seed), n=400, seed=300 + seed)
        found = pmse.evaluate(inputs, rng=np.random.default_rng(seed)).estimates["mean"]
        missed += not found.low <= 2.0 <= found.high
    assert missed <= 5


def test_under_fifty_patients_there_is_no_answer(build: Build, rows: Rows) -> None:
    result = run(build(lambda train, n: rows(n, 1), n=60))
    assert result.status == "insufficient"
    assert result.estimates["mean"].status == "insufficient"
