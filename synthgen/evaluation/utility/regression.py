"""Utility: how much worse a number of real patients is predicted by what was learnt on synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, spread
from synthgen.evaluation.learners.expected_labels import labels_of
from synthgen.evaluation.learners.regressions import (
    ARMS,
    COLUMNS,
    LEARNERS,
    MAX_ROWS,
    MIN_PATIENTS,
    TREE_ROWS,
    known,
    numbers_of,
    scaled,
    squared_errors,
)
from synthgen.evaluation.statistics.intervals import from_draws, insufficient
from synthgen.evaluation.statistics.patients import multiplicities
from synthgen.schema.schema import Column

DRAWS = 200
CAPS = {"rows": MAX_ROWS, "rows_a_tree": TREE_ROWS}
DEFINITION = (
    "R squared on the untouched real holdout (squared error over that of the holdout's mean), of ridge"
    " regression, boosting and a forest, mean over learners, trained on synthetic minus trained on as many"
    " real records (one of each of random patients); paired patient bootstrap. Numbers lie on public bounds."
    f" Every label that is a number, else the first {COLUMNS} numbers of the schema."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare regressions learnt from synthetic and from real records, on the real holdout.

    Args:
        inputs: see `Inputs`; a holdout patient's k records weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``target.gap`` (not applicable where the target is a category) and ``<column>.gap``, at most 1;
        ``groups["gap"]``: of every other label that is a number.
    """
    columns = numbers_of(inputs)
    if not columns:
        note = "There is no number to predict, or no column to predict it from."
        return _result({}, status="not-applicable", note=note)
    found: dict[str, Estimate] = {}
    others: dict[str, Estimate] = {}
    learners: dict[str, Any] = {}
    labels = labels_of(inputs)
    for column in columns:
        key = "target.gap" if column.name == inputs.target else f"{column.name}.gap"
        found[key], learners[column.name] = _gap(inputs, column, rng=rng)
        if column.name in labels and column.name != inputs.target:
            others[column.name] = found[key]
    groups = {"gap": others} if others else {}
    if all(estimate.status != "ok" for estimate in found.values()):
        note = f"Fewer than {MIN_PATIENTS} patients or rows with a known value."
        return _result(found, groups=groups, status="insufficient", note=note)
    nothing = Estimate(np.nan, np.nan, np.nan, n=0, status="not-applicable")
    return _result(
        {"target.gap": nothing, **found}, groups=groups, details={"r_squared": learners, "caps": CAPS}
    )


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    columns = numbers_of(declared)
    if not any(column.name == declared.target for column in columns):
        nothing = Estimate(np.nan, np.nan, np.nan, n=0, status="not-applicable")
        return _result({"target.gap": nothing})
    n = min(declared.compared, declared.holdout)
    gap = enough(around(0.0, spread(n, NOISE["r_squared"]), n), n, MIN_PATIENTS)
    note = "" if gap.status == "ok" else f"Fewer than {MIN_PATIENTS} patients or rows with a known value."
    return _result({"target.gap": gap}, status=gap.status, note=note)


def _gap(inputs: Inputs, column: Column, *, rng: np.random.Generator) -> tuple[Estimate, dict[str, float]]:
    """Return the gap of one number, mean over learners, and each learner's R squared."""
    train, holdout = (known(part, column.name) for part in (inputs.train, inputs.holdout))
    synthetic = inputs.synthetic.frame[inputs.synthetic.frame[column.name].notna()].reset_index(drop=True)
    units, n_units = holdout.unit_codes()
    rows = min(len(synthetic), train.unit_codes()[1], MAX_ROWS)
    if min(rows, n_units) < MIN_PATIENTS:
        return insufficient(n_units), {}
    truth, weights = scaled(column, holdout.frame), holdout.unit_weights()
    draws = multiplicities(n_units, DRAWS, rng=rng)

    def mean(values: np.ndarray) -> np.ndarray:
        by_patient = np.bincount(units, weights=values * weights, minlength=n_units)
        return np.asarray(draws @ by_patient / draws.sum(axis=1))

    spread = np.maximum(mean(truth**2) - mean(truth) ** 2, 1e-12)
    shown: dict[str, float] = {}
    gaps = []
    errors = squared_errors(inputs)[column.name]
    for learner in LEARNERS:
        r_squared = {arm: 1 - mean(errors[learner, arm]) / spread for arm in ARMS}
        gaps.append(r_squared["synthetic"] - r_squared["real"])
        shown |= {f"{learner}.{arm}": float(values[0]) for arm, values in r_squared.items()}
    return from_draws(np.mean(gaps, axis=0), n=n_units), shown


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result("utility_regression", "Regression, trained on synthetic", DEFINITION, estimates, **more)
