"""Fairness: whose columns are distorted more than everybody's?

A generator may keep the cohort's marginals and still blur a small group's. Within each group the
synthetic records are compared with the holdout's, and read against what as many real training records
reach, since total variation grows as the group shrinks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.features.design import cell_codes, n_cells, partitions
from synthgen.evaluation.statistics.intervals import from_halves, insufficient, without_interval
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.evaluation.statistics.tables import BLOCKS, Draws, Side, distances, splits

MAX_ROWS = 20_000
MIN_PATIENTS = 50
BINS = 10
DEFINITION = (
    "Mean over columns of the total variation of cell shares (10 equal widths for numbers, missing a cell)"
    " from the holdout's within a group, of synthetic records minus of as many training patients' records;"
    " above 0: worse than real. Intervals are about the mean over new draws of as many patients and rows,"
    " generator held fixed: split halves of 50 blocks of patients; worst has none, since chance chose it too."
    " Groups under 50 patients or synthetic records are insufficient; the group's own columns are left out."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare marginals within each group.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: draws records, and splits of blocks of patients in halves.

    Returns:
        ``worst``: the group with the largest excess; ``groups["excess"]``: every group and crossing of two.
    """
    if not inputs.groups:
        return _result({}, {}, status="not-applicable", note="No protected column was named.")
    frames = {
        "synthetic": sample_rows(inputs.synthetic.frame, MAX_ROWS, rng=rng),
        "ceiling": one_record_each(inputs.train, MAX_ROWS, rng=rng),
        "holdout": one_record_each(inputs.holdout, MAX_ROWS, rng=rng),
    }
    codes = {side: _codes(inputs, frame) for side, frame in frames.items()}
    draws = splits(list(frames), rng=rng)
    found: dict[str, Estimate] = {}
    split = {side: list(partitions(inputs.schema, frame, inputs.groups)) for side, frame in frames.items()}
    for p, (_, names) in enumerate(split["holdout"]):
        for i in np.union1d(split["holdout"][p][0], split["ceiling"][p][0]):
            members = {side: np.flatnonzero(split[side][p][0] == i) for side in frames}
            others = [j for j, c in enumerate(inputs.schema.columns) if f"{c.name}=" not in names[i]]
            found[names[i]] = _excess(inputs, codes, members, draws, others, rng)
    known = {group: estimate for group, estimate in found.items() if estimate.status == "ok"}
    if not known:
        note = f"No group has {MIN_PATIENTS} patients and synthetic records."
        return _result({"worst": insufficient(0)}, found, status="insufficient", note=note)
    worst = max(known, key=lambda group: known[group].value)
    return _result(
        {"worst": without_interval(known[worst].value, n=known[worst].n)},
        found,
        details={"worst_group": worst},
    )


def _codes(inputs: Inputs, frame: pd.DataFrame) -> np.ndarray:
    columns = inputs.schema.columns
    return np.column_stack([cell_codes(column, frame[column.name], bins=BINS) for column in columns])


def _excess(
    inputs: Inputs,
    codes: Mapping[str, np.ndarray],
    members: Mapping[str, np.ndarray],
    draws: Draws,
    columns: list[int],
    rng: np.random.Generator,
) -> Estimate:
    """Return one group's excess, equal numbers of synthetic and training records drawn."""
    rows = min(len(members["synthetic"]), len(members["ceiling"]))
    if min(rows, len(members["holdout"])) < MIN_PATIENTS or not columns:
        return insufficient(min(rows, len(members["holdout"])))
    sides = {"holdout": Side.of_rows(codes["holdout"][members["holdout"]], rng=rng)}
    for side in ("synthetic", "ceiling"):
        sides[side] = Side.of_rows(codes[side][rng.permutation(members[side])[:rows]], rng=rng)
    sizes = [n_cells(column, bins=BINS) for column in inputs.schema.columns]
    table = distances(sides, [(column,) for column in columns], sizes, draws).mean(axis=0)
    return from_halves(table[0] - table[1], n=len(members["holdout"]), units=BLOCKS)


def _result(estimates: Mapping[str, Estimate], found: Mapping[str, Estimate], **more: Any) -> MetricResult:
    groups = {"excess": found} if found else {}
    title = "Fidelity by group"
    return result("fairness_fidelity", title, DEFINITION, estimates, better="lower", groups=groups, **more)
