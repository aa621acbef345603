"""Leakage: do synthetic numbers have more decimals than the schema declares?

A column that is published with one decimal and comes out with fifteen holds what no patient's value can be:
noise that was added to a patient's value, a mean of several, or digits that carry a message. Such a table is
not what its schema says, and comparisons of exact values see nothing in it.
"""

from __future__ import annotations

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.chunked_neighbours import chunks
from synthgen.evaluation.statistics.intervals import exactly, insufficient, not_applicable

ALL_ROWS = True
DEFINITION = (
    "Share of synthetic records with a number between two values that its column can hold: whole numbers of"
    " an integer, the declared decimals of a number, whole days of a date; of a file that was read, the"
    " share of the column with the most. Exact, over all rows. Columns without declared decimals are left"
    " out."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count records whose numbers are finer than declared, of all synthetic rows.

    Args:
        inputs: see `Inputs`; no real record is read.
        rng: not used.

    Returns:
        ``finer`` (0 to 1); in the details the shares by column.
    """
    columns = [column for column in inputs.schema.columns if column.kind != "category"]
    columns = [column for column in columns if column.per_unit is not None and column.field.since is None]
    if not len(inputs.synthetic):
        return _result({"finer": insufficient(0)}, {}, note="There are no synthetic records.")
    if not columns:
        return _result({"finer": not_applicable()}, {})
    finer = np.zeros(len(inputs.synthetic), dtype=bool)
    counts = dict.fromkeys((column.name for column in columns), 0)
    for start, chunk in chunks(inputs.synthetic.frame):
        for column in columns:
            found = column.is_finer(chunk[column.name].to_numpy(dtype=float))
            finer[start : start + len(chunk)] |= found
            counts[column.name] += int(found.sum())
    for name, count in (inputs.synthetic.rounded or {}).items():
        counts[name] = max(counts.get(name, 0), count)
    shares = {name: count / len(finer) for name, count in counts.items() if count}
    most = max([float(finer.mean()), *shares.values()])
    return _result({"finer": exactly(most, n=len(finer))}, shares)


def expect(declared: Declared) -> MetricResult:
    """Return that no number is finer: ours are written as declared."""
    return _result({"finer": exactly(0.0, n=declared.synthetic)}, {})


def _result(estimates: dict[str, Estimate], shares: dict[str, float], *, note: str = "") -> MetricResult:
    return result(
        "leakage_decimals",
        "Decimals beyond the declared ones",
        DEFINITION,
        estimates,
        better="lower",
        details={"columns": shares},
        reads_real=False,
        status="insufficient" if note else "ok",
        note=note,
    )
