"""Fit three regressions of a number on synthetic and on real records, and try both on one real holdout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import euclidean, ordinal
from synthgen.evaluation.learners.expected_labels import labels_of
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.schema.schema import Column

MAX_ROWS = 20_000
TREE_ROWS = 5_000
"""Records that each tree of the forest is grown on, drawn with replacement; its 40 trees see all."""
MIN_PATIENTS = 100
COLUMNS = 2
SEED = 7
LEARNERS = ("ridge", "boosting", "forest")
ARMS = ("real", "synthetic")


def numbers_of(inputs: Inputs | Declared) -> list[Column]:
    """Return the labels that are numbers, else the first numbers; none where nothing could predict them."""
    numbers = [column for column in inputs.schema.columns if column.kind != "category"]
    if len(inputs.schema.columns) < 2:
        return []
    labels = labels_of(inputs)
    return [column for column in numbers if column.name in labels] or numbers[:COLUMNS]


Errors = Mapping[tuple[str, str], np.ndarray]


@remembered
def squared_errors(inputs: Inputs) -> dict[str, Errors]:
    """Return by number, learner and arm the squared error of each holdout record whose number is known.

    Numbers lie on the public scale. Models are fitted once while the inputs live; those of too few patients
    are left out.
    """
    found: dict[str, Errors] = {}
    for column in numbers_of(inputs):
        train, holdout = (known(part, column.name) for part in (inputs.train, inputs.holdout))
        frame = inputs.synthetic.frame
        synthetic = frame[frame[column.name].notna()].reset_index(drop=True)
        rows = min(len(synthetic), train.unit_codes()[1], MAX_ROWS)
        if min(rows, holdout.unit_codes()[1]) < MIN_PATIENTS:
            continue
        rng = np.random.default_rng(SEED)
        arms = {
            "real": one_record_each(train, rows, rng=rng),
            "synthetic": sample_rows(synthetic, rows, rng=rng),
        }
        truth = scaled(column, holdout.frame)
        found[column.name] = {
            (learner, arm): (truth - _predict(inputs, column, learner, arms[arm], holdout.frame)) ** 2
            for learner in LEARNERS
            for arm in ARMS
        }
    return found


def known(part: RealTable, name: str) -> RealTable:
    """Return the records in which a column is known."""
    return part.select(np.asarray(part.frame[name].notna(), dtype=bool))


def scaled(column: Column, frame: pd.DataFrame) -> np.ndarray:
    """Return a number on the public scale."""
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
        model.fit(first, scaled(column, frame))
        return np.asarray(np.clip(model.predict(second), 0.0, 1.0), dtype=float)
