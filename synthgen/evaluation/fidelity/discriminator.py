"""Fidelity: can a strong classifier tell synthetic from real records, and real from other real ones?

Unlike distances of marginals this sees every interaction. Numbers are seen as fifths of the real ones, heaped
values for themselves: in finer ones a classifier sees harmless marks, such as decimals that no laboratory
writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.statistics.auc import placements
from synthgen.evaluation.statistics.intervals import Z, insufficient
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.evaluation.statistics.pooled_samples import cells
from synthgen.schema.schema import Schema

MAX_ROWS = 10_000
MANY_LABELS = 255
TREES = 60
MIN_PATIENTS = 50
SEED = 7
DEFINITION = (
    "AUROC of gradient boosting that tells synthetic records from the holdout's, one record of each of at"
    " most 10,000 patients against as many synthetic ones, numbers as fifths of the real ones: fitted to"
    " half of either side, measured on the other half (DeLong). Beside it the same for training patients'"
    " records in the synthetic ones' place, and the difference, the holdout's measured records being the"
    " same. Intervals are about these fitted trees on new records. Lopez-Paz and Oquab (2017),"
    " arXiv:1610.06545."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Tell synthetic from real, and real from real.

    Args:
        inputs: see `Inputs`.
        rng: draws records and halves. The classifier's seed is fixed.

    Returns:
        ``auc`` and ``auc_real`` (.5: told apart by chance alone, 1: always), ``excess`` (-1 to 1).
    """
    n_holdout, n_train = inputs.holdout.unit_codes()[1], inputs.train.unit_codes()[1]
    rows = min(len(inputs.synthetic), n_holdout, n_train, MAX_ROWS)
    if rows < MIN_PATIENTS:
        empty = {key: insufficient(rows) for key in ("auc", "auc_real", "excess")}
        return _result(empty, {}, note="Too few patients or rows.")
    fitted = rng.permutation(rows) < rows // 2
    holdout = one_record_each(inputs.holdout, rows, rng=rng)
    drawn = sample_rows(inputs.synthetic.frame, rows, rng=rng)
    trained = one_record_each(inputs.train, rows, rng=rng)
    known = pd.concat([holdout, trained], ignore_index=True)
    shapes = [features(inputs.schema, known, frame) for frame in (drawn, trained, holdout)]
    synthetic, real = (told_apart(inputs.schema, (shape, shapes[2]), fitted) for shape in shapes[:2])
    excess = synthetic.value - real.value
    shared = synthetic.second - real.second
    estimates = {
        "auc": _estimate(synthetic.value, synthetic.first, synthetic.second),
        "auc_real": _estimate(real.value, real.first, real.second),
        "excess": _estimate(excess, synthetic.first, real.first, shared, least=-1.0),
    }
    return _result(estimates, {"rows": rows, "measured": int((~fitted).sum()), "trees": TREES})


@dataclass(frozen=True)
class Area:
    """An AUROC, with what each measured record of either side adds to it."""

    value: float
    first: np.ndarray
    second: np.ndarray


def features(schema: Schema, real: pd.DataFrame, frame: pd.DataFrame) -> np.ndarray:
    """Return the cells of records, ``(record, column)`` float64; borders are quantiles of the real ones."""
    found = [cells(column, real[column.name], frame[column.name])[1] for column in schema.columns]
    return np.column_stack(found).astype(float)


def told_apart(schema: Schema, shapes: tuple[np.ndarray, np.ndarray], fitted: np.ndarray) -> Area:
    """Return the AUROC of one side against the other, in random order; each row is a patient of its own.

    Args:
        schema: of both.
        shapes: features of both sides, as many records each.
        fitted: which rows of both the trees are fitted to; the area is measured on the others.
    """
    ones, zeros = shapes
    categories = np.array([column.kind == "category" for column in schema.columns], dtype=bool)
    few = (ones.max(axis=0) <= MANY_LABELS) & (zeros.max(axis=0) <= MANY_LABELS)
    matrix = np.concatenate([ones[fitted], zeros[fitted]])
    truth = np.repeat([1, 0], fitted.sum())
    scores = _scores(matrix, truth, (ones[~fitted], zeros[~fitted]), categories & few)
    beats, beaten = placements(*scores)
    influences = [
        (shares - shares.mean()) / np.sqrt(len(shares) * (len(shares) - 1)) for shares in (beats, beaten)
    ]
    return Area(float(beats.mean()), *influences)


def _scores(
    matrix: np.ndarray, truth: np.ndarray, tests: tuple[np.ndarray, ...], categories: np.ndarray
) -> list[np.ndarray]:
    """Fit once and return each test's scores."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with sklearn

    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=15,
        categorical_features=categories,
        early_stopping=False,
        random_state=SEED,
    )
    with threadpool_limits(limits=1):  # at this size threads mostly wait for each other
        model.fit(matrix, truth)
        return [np.asarray(model.predict_proba(test)[:, 1]) for test in tests]


def _estimate(value: float, *influences: np.ndarray, least: float = 0.0) -> Estimate:
    """Return a figure with a normal interval from what each record adds; n counts measured patients."""
    half = Z * float(np.sqrt(sum((influence**2).sum() for influence in influences)))
    return Estimate(value, max(least, value - half), min(1.0, value + half), n=len(influences[-1]))


def _result(estimates: dict[str, Estimate], details: dict[str, Any], *, note: str = "") -> MetricResult:
    return MetricResult(
        name="fidelity_discriminator",
        head="fidelity",
        title="Classifier that tells synthetic from real",
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=DEFINITION,
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
