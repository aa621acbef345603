"""Fidelity of linked records: what follows what within a patient, beside what real patients reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.features.histories import (
    LAG_BINS,
    MIN_PATIENTS,
    estimates_of,
    lagged_columns,
    pair_side,
    pair_sizes,
    sides_of,
)
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.tables import distances, splits

ALL_ROWS = True
LINKED_ONLY = True
KEYS = ("tvd", "ceiling", "excess")
GAP = "time to the next row"
DEFINITION = (
    "Total variation of (value in a row, value in the patient's next row), mean over the columns that are not"
    f" static and the time between the rows, {LAG_BINS} equal widths for numbers (of time: {2 * LAG_BINS} in"
    " its logarithm), missing a cell, each patient's pairs weighing 1 in all; synthetic to holdout; ceiling:"
    " as many training patients to holdout; excess: the difference. Intervals are about the mean over new"
    " draws of as many patients, generator held fixed. Split halves of patients."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare neighbouring rows of patients with two rows or more.

    Args:
        inputs: see `Inputs`; of each patient the first ``max_records`` rows count.
        rng: draws samples, and splits of 50 random blocks of patients in halves.

    Returns:
        ``tvd``, ``ceiling`` (0 to 1) and ``excess`` (-1 to 1); ``details["worst_pairs"]`` by column.
    """
    schema = inputs.schema
    columns = lagged_columns(schema)
    names = [column.name for column in columns]
    if not schema.unit.is_linked:
        return _answer(
            {}, status="not-applicable", note="The records are not linked: a row stands for itself."
        )
    if not columns and schema.unit.order is None:
        return _answer({}, status="not-applicable", note="Every column is static.")
    found = sides_of(inputs, rng=rng, least_rows=2)
    if found is None:
        few = f"Fewer than {MIN_PATIENTS} patients on a side have two rows."
        return _answer({key: insufficient(0) for key in KEYS}, status="insufficient", note=few)
    histories, n_holdout = found
    sides = {name: pair_side(side, schema, rng=rng) for name, side in histories.items()}
    cliques: list[tuple[int, ...]] = [(2 * i, 2 * i + 1) for i in range(len(columns))]
    if schema.unit.order is not None:
        cliques.append((2 * len(columns),))
    table = distances(sides, cliques, pair_sizes(schema), splits(list(sides), rng=rng))
    labels = [[f"{name} before", name] for name in names] + [[GAP]] * (schema.unit.order is not None)
    rows = [
        {"columns": label, "synthetic": float(table[i, 0, 0]), "real": float(table[i, 1, 0])}
        for i, label in enumerate(labels)
    ]
    rows.sort(key=lambda row: float(row["real"]) - float(row["synthetic"]))  # type: ignore[arg-type]
    return _answer(estimates_of(table, n=n_holdout), details={"worst_pairs": rows})


def _answer(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result(
        "fidelity_lag_pairs",
        "Pairs of neighbouring rows of a patient",
        DEFINITION,
        estimates,
        better="lower",
        **more,
    )
