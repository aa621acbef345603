"""Fidelity: synthetic records that medicine calls impossible, by the schema's hard rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.statistics.intervals import exactly, insufficient

ALL_ROWS = True
DEFINITION = (
    "Share of synthetic records for which at least one hard rule of the schema is known to be false; a count"
    " over the released records, so without sampling error."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count the synthetic records that violate a rule.

    Args:
        inputs: see `Inputs`; only the synthetic records are read.
        rng: not used.

    Returns:
        ``violated``, from 0 to 1; ``details["rules"]`` counts by rule.
    """
    rules, frame = inputs.schema.parsed_rules, inputs.synthetic.frame
    if not rules:
        return _result({}, {}, "not-applicable", "The schema has no hard rule.")
    if len(frame) == 0:
        return _result({"violated": insufficient(0)}, {}, "insufficient", "There are no synthetic records.")
    broken = np.column_stack([rule.violated(frame) for rule in rules])
    counts = {rule.text: int(count) for rule, count in zip(rules, broken.sum(axis=0), strict=True)}
    share = exactly(float(broken.any(axis=1).mean()))
    return _result({"violated": share}, {"rules": counts, "records": len(frame)})


def _result(
    estimates: Mapping[str, Estimate], details: Mapping[str, Any], status: Status = "ok", note: str = ""
) -> MetricResult:
    return MetricResult(
        name="fidelity_rules",
        head="fidelity",
        title="Hard clinical rules",
        estimates=estimates,
        better="lower",
        reads_real=False,
        definition=DEFINITION,
        details=details,
        status=status,
        note=note,
    )
