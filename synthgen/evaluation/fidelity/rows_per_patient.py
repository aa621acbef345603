"""Fidelity of linked records: how many rows a patient has, beside what real patients reach."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.features.histories import MIN_PATIENTS, estimates_of, length_side, sides_of
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.tables import distances, splits

ALL_ROWS = True
LINKED_ONLY = True
KEYS = ("tvd", "ceiling", "excess")
DEFINITION = (
    "Total variation between the shares of patients with 1, 2, ... max_records rows, synthetic to holdout;"
    " ceiling: as many training patients to holdout; excess: the difference. Intervals are about the mean"
    " over new draws of as many patients, generator held fixed. Split halves of patients."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the numbers of rows per patient.

    Args:
        inputs: see `Inputs`; of each patient the first ``max_records`` rows count.
        rng: draws samples, and splits of 50 random blocks of patients in halves.

    Returns:
        ``tvd``, ``ceiling`` (0 to 1) and ``excess`` (-1 to 1); ``details["mean"]``: mean rows a patient.
    """
    if not inputs.schema.unit.is_linked:
        return _answer(
            {}, status="not-applicable", note="The records are not linked: a row stands for itself."
        )
    found = sides_of(inputs, rng=rng, least_rows=1)
    if found is None:
        few = f"Fewer than {MIN_PATIENTS} patients on a side."
        return _answer({key: insufficient(0) for key in KEYS}, status="insufficient", note=few)
    histories, n_holdout = found
    sides = {name: length_side(side, rng=rng) for name, side in histories.items()}
    table = distances(sides, [(0,)], [inputs.schema.unit.max_records], splits(list(sides), rng=rng))
    means = {name: float(side.lengths.mean()) for name, side in histories.items() if name != "ceiling"}
    return _answer(estimates_of(table, n=n_holdout), details={"mean": means})


def _answer(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result(
        "fidelity_rows_per_patient", "Rows per patient", DEFINITION, estimates, better="lower", **more
    )
