"""Leakage: do records that only one patient has turn up among the synthetic ones?

Some unique records of patients whom the generator never saw turn up by chance, so the share among
the training patients is read against the share among the holdout's. A generator that had seen the
holdout too would hide behind that, so the holdout's share has a control of its own: what as many
records of foreign patients, the reference, match of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.features.design import ordinal
from synthgen.evaluation.statistics.intervals import insufficient, without_interval
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.evaluation.statistics.shares import NOTHING, Compared, paired_shares, variance_of_rows

MIN_PATIENTS = 50
ALL_ROWS = True
DEFINITION = (
    "Of the patients with a record that no other real patient has, the share of whom such a record is"
    " among the synthetic ones, equal in every column as written; training minus other patients (holdout, and"
    " reference where it is of the cohort), by Fisher's exact test and Mee's interval. holdout_excess: of"
    " the holdout patients with a record that no other patient of holdout or training has, the share matched"
    " by as many synthetic rows as there are reference patients, in expectation over which rows, minus the"
    " share matched by one record of each of those (Newcombe, paired). The two shares have no interval of"
    " their own: the synthetic rows move them together."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count exact copies of unique records, among all synthetic rows.

    Args:
        inputs: see `Inputs`.
        rng: draws one record of each reference patient.

    Returns:
        ``difference`` and ``holdout_excess`` (-1 to 1), ``train`` and ``holdout`` (0 to 1), of patients.
    """
    parts = (inputs.train, inputs.holdout, inputs.reference)
    hashes = [_hashes(inputs, part.frame) for part in parts]
    once = _held_by_one_patient(parts, hashes)
    drawn = _hashes(inputs, inputs.synthetic.frame)
    hits, patients = np.zeros(2, dtype=int), np.zeros(2, dtype=int)
    rows: dict[str, float] = {}
    for i, (name, part) in enumerate(zip(("train", "holdout"), parts, strict=False)):
        unique = np.isin(hashes[i], once)
        copied = unique & np.isin(hashes[i], drawn)
        patients[i], hits[i] = len(np.unique(part.units[unique])), len(np.unique(part.units[copied]))
        rows[name] = float(copied.sum() / max(int(unique.sum()), 1))
    if min(patients) < MIN_PATIENTS:
        note = f"Fewer than {MIN_PATIENTS} patients on a side have a record of their own."
        return _result({"difference": insufficient(int(patients.sum()))}, None, {}, "insufficient", note)
    estimates = {
        "difference": _difference(inputs, hashes, once, drawn).estimate(),
        "train": without_interval(hits[0] / patients[0], n=int(patients[0])),
        "holdout": without_interval(hits[1] / patients[1], n=int(patients[1])),
        "holdout_excess": _holdout_excess(inputs, hashes, drawn, rng),
    }
    details = {"synthetic": len(inputs.synthetic), "unweighted": rows}
    return _result(estimates, estimates["holdout"].value, details)


def _difference(inputs: Inputs, hashes: list[np.ndarray], once: np.ndarray, drawn: np.ndarray) -> Compared:
    """Return how many training patients, and how many others, have a copied record of their own."""
    others = [inputs.holdout, inputs.reference] if inputs.reference_of_cohort else [inputs.holdout]
    hits, patients = [], []
    for part, found in zip([inputs.train, *others], hashes, strict=False):
        unique = np.isin(found, once)
        patients.append(len(np.unique(part.units[unique])))
        hits.append(len(np.unique(part.units[unique & np.isin(found, drawn)])))
    return Compared(hits[0], patients[0], sum(hits[1:]), sum(patients[1:]))


def _hashes(inputs: Inputs, frame: pd.DataFrame) -> np.ndarray:
    """Return a 64-bit hash of each record's modelled columns."""
    names = [column.name for column in inputs.schema.columns]
    values = ordinal(inputs.schema, frame, names)[0]
    numbers = [column.name for column in inputs.schema.columns if column.kind != "category"]
    table = pd.DataFrame(values, columns=names)
    table[numbers] = frame[numbers].to_numpy(dtype=float) + 0.0  # as written; -0.0 becomes 0.0
    return np.asarray(pd.util.hash_pandas_object(table, index=False), dtype=np.uint64)


def _held_by_one_patient(parts: tuple[RealTable, ...], hashes: list[np.ndarray]) -> np.ndarray:
    """Return the hashes that exactly one real patient has."""
    owners = pd.DataFrame(
        {
            "hash": np.concatenate(hashes),
            "part": np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
            "unit": np.concatenate([part.unit_codes()[0] for part in parts]),
        }
    ).drop_duplicates()
    found, counts = np.unique(owners["hash"].to_numpy(), return_counts=True)
    return np.asarray(found[counts == 1])


def _holdout_excess(
    inputs: Inputs, hashes: list[np.ndarray], drawn: np.ndarray, rng: np.random.Generator
) -> Estimate:
    """Return what synthetic rows match of the holdout beyond what as many foreign records match."""
    unique = np.isin(hashes[1], _held_by_one_patient((inputs.train, inputs.holdout), hashes[:2]))
    foreign = _hashes(inputs, one_record_each(inputs.reference, len(inputs.reference), rng=rng))
    units = pd.factorize(inputs.holdout.units[unique])[0]
    n, size = int(units.max(initial=-1)) + 1, min(len(drawn), len(foreign))
    if min(n, size) < MIN_PATIENTS:
        return insufficient(min(n, size))
    matched, shared = [], NOTHING
    for rows in (drawn, foreign):
        record, row = _pairs(hashes[1][unique], rows)
        counts = np.bincount(record, minlength=len(units))
        missed = np.ones(n)
        np.multiply.at(missed, units, 1 - chance_of_a_match(counts, len(rows), size))
        matched.append(1 - missed)
        shared += variance_of_rows(units[record], row, n=n, total=len(rows), size=size)
    return Estimate(*paired_shares(*matched, shared=shared), n=n)


def _pairs(wanted: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of equal hashes among the wanted ones and among the rows."""
    found = pd.DataFrame({"hash": wanted, "record": np.arange(len(wanted))}).merge(
        pd.DataFrame({"hash": rows, "row": np.arange(len(rows))}), on="hash"
    )
    return found["record"].to_numpy(), found["row"].to_numpy()


def chance_of_a_match(counts: np.ndarray, total: int, size: int) -> np.ndarray:
    """Return the probability that ``size`` rows out of ``total`` hold a record that ``counts`` rows hold.

    Example:
        >>> chance_of_a_match(np.array([0, 1, 2, 4]), 4, 1).round(2)
        array([0.  , 0.25, 0.5 , 1.  ])
    """
    from scipy.special import gammaln

    left = total - counts
    enough = left >= size
    kept = np.where(enough, left, size)
    none = gammaln(kept + 1) - gammaln(kept - size + 1) - gammaln(total + 1) + gammaln(total - size + 1)
    return np.asarray(np.where(enough, 1 - np.exp(none), 1.0))


def _result(
    estimates: Mapping[str, Estimate],
    control: float | None,
    details: Mapping[str, Any],
    status: Status = "ok",
    note: str = "",
) -> MetricResult:
    return MetricResult(
        name="leakage_exact_match",
        head="leakage",
        title="Copies of unique records",
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=DEFINITION,
        baseline=0.0,
        control=control,
        details=details,
        status=status,
        note=note,
    )
