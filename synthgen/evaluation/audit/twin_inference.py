"""Ask on simulated cohorts whose truth is known whether intervals from synthetic records hold it.

Twins are fitted by the release's plan to as many simulated patients as the plan declares, and cost nothing.
Their columns share one factor, and the label follows a logistic regression of known coefficients. A
researcher then fits that regression to a twin's records. What holds here may fail on real patients, whose
dependence is richer; what fails here fails there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.simulate import simulate
from synthgen.evaluation.statistics.intervals import Z
from synthgen.evaluation.statistics.logit import coefficients
from synthgen.evaluation.utility.inference import FEATURES, MAX_ROWS, WANTED, features, varies
from synthgen.schema.schema import Schema

SHARED = 0.3
"""Part of each column's variance, on the normal scale, that is the common factor's."""
SPREAD, COMMON = 1.0, 0.3
"""Standard deviation of the true logit, and the share of the label's last category at its mean."""
STAMPS = ("valid for inference", "not for inference")


@dataclass(frozen=True)
class TwinInference:
    """Coverage of 95 % intervals on simulated cohorts, or why there is none. Publishable.

    Attributes:
        coverage: share of true coefficients inside intervals that are widened by sqrt(1 + m/n), for m
            synthetic records from n patients; None if no twin was fitted.
        naive: the same of intervals as if the records were patients.
        coefficients: over all twins.
        fits: twins.
        patients: of each.
        reason: why no twin was fitted; empty if one was.
    """

    coverage: float | None = None
    naive: float | None = None
    coefficients: int = 0
    fits: int = 0
    patients: int = 0
    reason: str = ""

    @property
    def stamp(self) -> str:
        """``valid for inference`` if coverage reaches 90 %; what was not measured is not."""
        return STAMPS[0] if self.coverage is not None and self.coverage >= WANTED else STAMPS[1]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> TwinInference:
        """Return what `to_json` wrote."""
        return cls(**content)


def why_not(schema: Schema, target: str | None) -> str:
    """Return why a schema has no such twin; empty if it has one."""
    if schema.images is not None or schema.unit.is_linked:
        return "Coverage is asked of tables of single records alone."
    if target is None or schema.column(target).kind != "category" or len(schema.columns) < 2:
        return "No target of categories was named, or there is nothing to predict it from."
    if any(target in rule.columns for rule in schema.parsed_rules):
        return "A hard rule speaks of the target, which a simulated truth would break."
    return ""


def coverage_on_twins(
    drawn: Callable[[RealTable, int], SyntheticTable],
    schema: Schema,
    target: str,
    *,
    patients: int,
    fits: int,
    rng: np.random.Generator,
) -> TwinInference:
    """Return how often intervals hold the truth. Reads no real record.

    Args:
        drawn: fits a twin by the release's plan to a cohort, and draws so many records.
        schema: the release's schema, for which `why_not` says nothing.
        target: the label column.
        patients: of each twin: the plan's public number.
        fits: twins.
        rng: open randomness.
    """
    widened, naive = [], []
    for _ in range(fits):
        cohort, truth = cohort_of(schema, target, patients, rng=rng)
        records = drawn(cohort, min(patients, MAX_ROWS)).frame
        apart, errors = _estimates(schema, target, records, truth)
        naive.append(apart <= Z * errors)
        widened.append(apart <= Z * errors * np.sqrt(1 + len(records) / patients))
    held, plain = (np.concatenate(part) for part in (widened, naive))
    if not len(held):
        return TwinInference(reason="No feature varies enough to have a coefficient.")
    return TwinInference(float(held.mean()), float(plain.mean()), len(held), fits, patients)


def cohort_of(
    schema: Schema, target: str, n: int, *, rng: np.random.Generator
) -> tuple[RealTable, dict[str, float]]:
    """Return a simulated cohort, one record a patient, and its true coefficients by feature."""
    frame = _joined(simulate(schema, n, rng=rng).frame, schema, target, rng)
    found = {name: x for name, x in features(schema, frame, target).items() if varies(x)}
    names = list(found)[:FEATURES]
    signs = np.where(rng.random(len(names)) < 0.5, -1.0, 1.0)
    logit = sum((s * found[name] for s, name in zip(signs, names, strict=True)), np.zeros(n))
    size = SPREAD / max(float(logit.std()), 1e-9)
    at = np.log(COMMON / (1 - COMMON)) + size * (logit - logit.mean())
    labels = schema.column(target).labels
    codes = rng.integers(0, len(labels) - 1, n)
    codes[rng.random(n) < 1 / (1 + np.exp(-at))] = len(labels) - 1
    frame[target] = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(labels)))
    units = np.array([f"twin{i}" for i in range(n)])
    frame = frame[[column.name for column in schema.columns]]
    return RealTable(schema, frame, units), dict(zip(names, size * signs, strict=True))


def _joined(frame: pd.DataFrame, schema: Schema, target: str, rng: np.random.Generator) -> pd.DataFrame:
    """Return the columns with the same values, put in the order of a common factor; not those of rules."""
    ruled = {name for rule in schema.parsed_rules for name in rule.columns} | {target}
    factor = rng.normal(size=len(frame))
    for column in schema.columns:
        if column.name not in ruled:
            own = np.sqrt(SHARED) * factor + np.sqrt(1 - SHARED) * rng.normal(size=len(frame))
            ordered = frame[column.name].sort_values(kind="stable").reset_index(drop=True)
            frame[column.name] = ordered.iloc[np.argsort(np.argsort(own))].reset_index(drop=True)
    return frame


def _estimates(
    schema: Schema, target: str, records: pd.DataFrame, truth: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far each coefficient lies from the truth, and its standard error.

    Infinity and 0 where the records hold too little of a feature to estimate it: no interval holds that.
    """
    records = records[records[target].notna()]
    found = features(schema, records, target)
    label = (records[target] == schema.column(target).labels[-1]).to_numpy(dtype=float)
    apart, errors = np.full(len(truth), np.inf), np.zeros(len(truth))
    kept = [j for j, name in enumerate(truth) if varies(found[name])]
    if kept and varies(label):
        matrix = np.column_stack([np.ones(len(label)), *(found[list(truth)[j]] for j in kept)])
        beta, spread = (part[1:] for part in coefficients(matrix, label))
        apart[kept] = np.abs(beta - np.array(list(truth.values()))[kept])
        errors[kept] = spread
    return apart, errors
