"""Utility: would a researcher who fits a model to the synthetic records report the right coefficients?

A table may train good classifiers and still mislead inference: its records carry the sampling error of
the patients behind them, and the generator's noise, which no formula for real records counts. Standard
errors are therefore widened by sqrt(1 + m/n), for m synthetic records from n patients; whether that is
enough is what coverage asks. A release below 90 % is stamped: not for inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.statistics.intervals import Z, insufficient, without_interval
from synthgen.evaluation.statistics.logit import coefficients
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.schema.schema import Schema

MAX_ROWS = 30_000
MIN_PATIENTS = 50
MIN_CELL = 20
"""Records with and without a feature on each side, below which its coefficient is left out."""
FEATURES = 60
WANTED = 0.90
DEFINITION = (
    "Logistic regression of the target's last category (of more than two: its commonest) on all other"
    " columns, fitted to synthetic, training and holdout records, one of each patient. overlap: mean share of"
    " the 95 % intervals of synthetic and training coefficients in common (Karr et al. 2006, The American"
    " Statistician 60:224). sign: share of coefficients clearly apart from 0 in training whose sign agrees."
    " coverage: share of coefficients whose synthetic interval, widened by sqrt(1 + m/n), holds the"
    " holdout's, whose own error is added (Raab, Nowok and Dibben 2017, J. Privacy and Confidentiality 7:67)."
    " None has an interval: a table has few coefficients, and they move together. Decruyenaere et al. (2023),"
    " arXiv:2312.07837."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare a regression's coefficients on synthetic and on real records.

    Args:
        inputs: see `Inputs`.
        rng: draws records.

    Returns:
        ``overlap``, ``sign``, ``coverage`` (0 to 1); ``details["stamp"]``: ``valid for inference`` or ``not
        for inference``; ``details["coefficients"]``.
    """
    why = _why_not(inputs)
    if why:
        return _result({}, status="not-applicable", note=why)
    rows = min(len(inputs.synthetic), inputs.train.unit_codes()[1], MAX_ROWS)
    frames = {
        "synthetic": sample_rows(inputs.synthetic.frame, rows, rng=rng),
        "train": one_record_each(inputs.train, rows, rng=rng),
        "holdout": one_record_each(inputs.holdout, MAX_ROWS, rng=rng),
    }
    parts = {name: _matrix(inputs, frame) for name, frame in frames.items()}
    names, kept = _shared(parts)
    fewest = min(min(truth.sum(), (1 - truth).sum()) for _, truth, _ in parts.values())
    if fewest < MIN_PATIENTS or not kept:
        empty = {key: insufficient(rows) for key in ("overlap", "sign", "coverage")}
        return _result(empty, status="insufficient", note="Under 50 positive or negative patients or rows.")
    fits = {
        name: coefficients(np.column_stack([np.ones(len(truth)), matrix[:, kept]]), truth)
        for name, (matrix, truth, _) in parts.items()
    }
    ratio = len(frames["synthetic"]) / inputs.train.unit_codes()[1]
    estimates, table = _compare(fits, names, ratio)
    stamp = "valid for inference" if estimates["coverage"].value >= WANTED else "not for inference"
    return _result(estimates, details={"stamp": stamp, "wanted": WANTED, "coefficients": table})


def _why_not(inputs: Inputs) -> str:
    if inputs.target is None or inputs.schema.column(inputs.target).kind != "category":
        return "No target column of categories was named."
    return "" if len(inputs.schema.columns) > 1 else "There is no column to predict the target from."


def _matrix(inputs: Inputs, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return features of records whose label is known, the label, and the features' names."""
    target = inputs.schema.column(str(inputs.target))
    frame = frame[frame[target.name].notna()]
    label = target.labels[-1]
    if len(target.labels) > 2:
        known = inputs.train.frame[target.name].value_counts()
        label = known.index[0]
    truth = (frame[target.name] == label).to_numpy(dtype=float)
    found = features(inputs.schema, frame, str(inputs.target))
    return np.column_stack(list(found.values())), truth, list(found)


def features(schema: Schema, frame: pd.DataFrame, target: str) -> dict[str, np.ndarray]:
    """Return a regression's columns by name: numbers on the public scale, and a mark for each further label.

    A missing number is the middle, and has a mark beside it.
    """
    found: dict[str, np.ndarray] = {}
    for column in schema.columns:
        if column.name == target:
            continue
        cells = frame[column.name]
        if column.kind == "category":
            for label in column.labels[1:]:
                found[f"{column.name}={label}"] = (cells == label).to_numpy(dtype=float)
        else:
            place = (cells.to_numpy(dtype=float) - column.minimum) / (column.maximum - column.minimum)
            found[column.name] = np.where(np.isnan(place), 0.5, place)
        if column.nullable:
            found[f"{column.name} missing"] = cells.isna().to_numpy(dtype=float)
    return found or {"": np.zeros(len(frame))}


def _shared(parts: Mapping[str, tuple[np.ndarray, np.ndarray, list[str]]]) -> tuple[list[str], list[int]]:
    """Return the features that vary enough on every side, at most ``FEATURES``, and their places."""
    names = next(iter(parts.values()))[2]
    kept = []
    for j in range(len(names)):
        columns = [matrix[:, j] for matrix, _, _ in parts.values()]
        if all(varies(column) for column in columns):
            kept.append(j)
    kept = kept[:FEATURES]
    return [names[j] for j in kept], kept


def varies(column: np.ndarray) -> bool:
    """Return whether enough records lie beside a feature's commonest value."""
    if len(column) == 0:
        return False
    _, counts = np.unique(column, return_counts=True)
    return len(column) - int(counts.max()) >= MIN_CELL


def _compare(
    fits: Mapping[str, tuple[np.ndarray, np.ndarray]], names: list[str], ratio: float
) -> tuple[dict[str, Estimate], list[dict[str, Any]]]:
    (drawn, drawn_se), (train, train_se), (holdout, holdout_se) = (
        tuple(part[1:] for part in fits[name]) for name in ("synthetic", "train", "holdout")
    )
    wide = drawn_se * np.sqrt(1 + ratio)
    common = np.minimum(drawn + Z * drawn_se, train + Z * train_se) - np.maximum(
        drawn - Z * drawn_se, train - Z * train_se
    )
    overlap = np.maximum(common, 0.0) * (1 / drawn_se + 1 / train_se) / (4 * Z)
    covered = np.abs(drawn - holdout) <= Z * np.hypot(wide, holdout_se)
    clear = np.abs(train) > Z * train_se
    agrees = (np.sign(drawn) == np.sign(train))[clear]
    estimates = {
        "overlap": _mean(overlap),
        "sign": _mean(agrees) if clear.any() else insufficient(0),
        "coverage": _mean(covered),
    }
    table = [
        {"term": name, "synthetic": float(drawn[j]), "train": float(train[j]), "overlap": float(overlap[j])}
        for j, name in enumerate(names)
    ]
    return estimates, table


def _mean(values: np.ndarray) -> Estimate:
    return without_interval(float(values.mean()), n=len(values))


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result("utility_inference", "Valid for inference?", DEFINITION, estimates, **more)
