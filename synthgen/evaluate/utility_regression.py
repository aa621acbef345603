"""Utility: how much worse a number of real patients is predicted by what was learnt on synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._declared import NOISE, Declared, around, enough, spread
from synthgen.evaluate._design import euclidean, ordinal
from synthgen.evaluate._intervals import from_draws, insufficient
from synthgen.evaluate._patients import multiplicities, one_record_each, sample_rows
from synthgen.records import RealTable
from synthgen.schema import Column

MAX_ROWS = 20_000
TREE_ROWS = 5_000
"""Records that each tree of the forest is grown on, drawn with replacement; its 40 trees see all."""
MIN_PATIENTS = 100
COLUMNS = 2
DRAWS = 200
SEED = 7
CAPS = {"rows": MAX_ROWS, "rows_a_tree": TREE_ROWS}
LEARNERS = ("ridge", "boosting", "forest")
DEFINITION = (
    "R squared on the untouched real holdout (squared error over that of the holdout's mean), of ridge"
    " regression, boosting and a forest, mean over learners, trained on synthetic minus trained on as many"
    " real records (one of each of random patients); paired patient bootstrap. Numbers lie on public bounds."
    f" The target if it is a number, else the first {COLUMNS} numbers of the schema."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare regressions learnt from synthetic and from real records, on the real holdout.

    Args:
        inputs: see `Inputs`; a holdout patient's k records weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``target.gap`` (not applicable where the target is a category) and ``<column>.gap``, at most 1.
    """
    columns = _columns(inputs)
    if not columns:
        note = "There is no number to predict, or no column to predict it from."
        return _result({}, status="not-applicable", note=note)
    found: dict[str, Estimate] = {}
    learners: dict[str, Any] = {}
    for column in columns:
        key = "target.gap" if column.name == inputs.target else f"{column.name}.gap"
        found[key], learners[column.name] = _gap(inputs, column, rng=rng)
    if all(estimate.status != "ok" for estimate in found.values()):
        note = f"Fewer than {MIN_PATIENTS} patients or rows with a known value."
        return _result(found, status="insufficient", note=note)
    nothing = Estimate(np.nan, np.nan, np.nan, n=0, status="not-applicable")
    return _result({"target.gap": nothing, **found}, details={"r_squared": learners, "caps": CAPS})


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    columns = _columns(declared)
    if not any(column.name == declared.target for column in columns):
        nothing = Estimate(np.nan, np.nan, np.nan, n=0, status="not-applicable")
        return _result({"target.gap": nothing})
    n = min(declared.compared, declared.holdout)
    gap = enough(around(0.0, spread(n, NOISE["r_squared"]), n), n, MIN_PATIENTS)
    note = "" if gap.status == "ok" else f"Fewer than {MIN_PATIENTS} patients or rows with a known value."
    return _result({"target.gap": gap}, status=gap.status, note=note)


def _columns(inputs: Inputs | Declared) -> list[Column]:
    numbers = [column for column in inputs.schema.columns if column.kind != "category"]
    if len(inputs.schema.columns) < 2:
        return []
    targets = [column for column in numbers if column.name == inputs.target]
    return targets or numbers[:COLUMNS]


def _gap(inputs: Inputs, column: Column, *, rng: np.random.Generator) -> tuple[Estimate, dict[str, float]]:
    """Return the gap of one number, mean over learners, and each learner's R squared."""
    train, holdout = (_known(part, column.name) for part in (inputs.train, inputs.holdout))
    synthetic = inputs.synthetic.frame[inputs.synthetic.frame[column.name].notna()].reset_index(drop=True)
    units, n_units = holdout.unit_codes()
    rows = min(len(synthetic), train.unit_codes()[1], MAX_ROWS)
    if min(rows, n_units) < MIN_PATIENTS:
        return insufficient(n_units), {}
    open_rng = np.random.default_rng(SEED)
    arms = {
        "real": one_record_each(train, rows, rng=open_rng),
        "synthetic": sample_rows(synthetic, rows, rng=open_rng),
    }
    truth, weights = _scaled(column, holdout.frame), holdout.unit_weights()
    draws = multiplicities(n_units, DRAWS, rng=rng)

    def mean(values: np.ndarray) -> np.ndarray:
        by_patient = np.bincount(units, weights=values * weights, minlength=n_units)
        return np.asarray(draws @ by_patient / draws.sum(axis=1))

    spread = np.maximum(mean(truth**2) - mean(truth) ** 2, 1e-12)
    shown: dict[str, float] = {}
    gaps = []
    for learner in LEARNERS:
        fitted = {arm: _predict(inputs, column, learner, frame, holdout.frame) for arm, frame in arms.items()}
        r_squared = {arm: 1 - mean((truth - guess) ** 2) / spread for arm, guess in fitted.items()}
        gaps.append(r_squared["synthetic"] - r_squared["real"])
        shown |= {f"{learner}.{arm}": float(values[0]) for arm, values in r_squared.items()}
    return from_draws(np.mean(gaps, axis=0), n=n_units), shown


def _known(part: RealTable, name: str) -> RealTable:
    return part.select(np.asarray(part.frame[name].notna(), dtype=bool))


def _scaled(column: Column, frame: pd.DataFrame) -> np.ndarray:
    return np.asarray(
        (frame[column.name].to_numpy(dtype=float) - column.minimum) / (column.maximum - column.minimum)
    )


def _predict(
    inputs: Inputs, column: Column, learner: str, frame: pd.DataFrame, test: pd.DataFrame
) -> np.ndarray:
    """Fit one learner and return its guesses on the public scale, kept within the bounds."""
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with sklearn

    names = [other.name for other in inputs.schema.columns if other.name != column.name]
    if learner == "ridge":
        model: Any = Ridge(alpha=1.0)
        first, second = (euclidean(inputs.schema, part, names) for part in (frame, test))
    else:
        (first, categories), (second, _) = (ordinal(inputs.schema, part, names) for part in (frame, test))
        narrow = categories & np.array(
            [len(inputs.schema.column(n).labels) <= 255 for n in names], dtype=bool
        )
        model = HistGradientBoostingRegressor(
            max_iter=60,
            max_leaf_nodes=15,
            categorical_features=narrow,
            early_stopping=False,
            random_state=SEED,
        )
        if learner == "forest":
            first, second = (np.nan_to_num(matrix, nan=-1.0) for matrix in (first, second))
            leaf = max(5, len(frame) // 1000)
            model = RandomForestRegressor(
                n_estimators=40,
                min_samples_leaf=leaf,
                max_samples=min(len(frame), TREE_ROWS),
                max_features=0.5,
                random_state=SEED,
            )
    with threadpool_limits(limits=1):
        model.fit(first, _scaled(column, frame))
        return np.asarray(np.clip(model.predict(second), 0.0, 1.0), dtype=float)


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result("utility_regression", "Regression, trained on synthetic", DEFINITION, estimates, **more)
