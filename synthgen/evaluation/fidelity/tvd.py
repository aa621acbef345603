"""Fidelity: how far one- and two-way marginals lie from the holdout's, beside what real data reaches.

Total variation is biased upwards by sampling error, so it is read against a ceiling: the same
distance for a sample of real training patients of the same size, drawn as a synthetic row is (one
record of a random patient). ``excess`` is the difference, and is 0 on average for a perfect generator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, spread
from synthgen.evaluation.features.design import cell_codes, n_cells
from synthgen.evaluation.statistics.intervals import from_halves, insufficient
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.evaluation.statistics.tables import BLOCKS, SPLITS, Side, distances, pairs, splits
from synthgen.schema.schema import Schema

MAX_ROWS = 50_000
MIN_PATIENTS = 50
WORST = 20
DEFINITION = (
    "Half the sum of absolute differences of cell shares, over public cells (20 equal widths for numbers,"
    " missing a cell), mean over columns (1-way) or pairs (2-way); excess = synthetic to holdout minus"
    " train to holdout. Intervals are about the mean over new draws of as many patients and rows, generator"
    " held fixed: a distance of samples lies above that of their populations. Split halves of patients."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare marginals of synthetic records and of real ones with the holdout's.

    Args:
        inputs: see `Inputs`; a holdout patient's k records weigh 1/k each.
        rng: draws samples, and splits of 50 random blocks of patients in halves.

    Returns:
        ``tvd1``, ``tvd2``, ``ceiling1``, ``ceiling2``, ``excess1``, ``excess2``:
        0 to 1, an excess -1 to 1.
    """
    schema, columns = inputs.schema, inputs.schema.columns
    n_holdout, n_train = inputs.holdout.unit_codes()[1], inputs.train.unit_codes()[1]
    rows = min(len(inputs.synthetic), n_train, MAX_ROWS)
    if min(rows, n_holdout) < MIN_PATIENTS:
        return _result({key: insufficient(n_holdout) for key in _KEYS}, {}, note="Too few patients or rows.")
    sides = {
        "synthetic": _rows(schema, sample_rows(inputs.synthetic.frame, rows, rng=rng), rng),
        "ceiling": _rows(schema, one_record_each(inputs.train, rows, rng=rng), rng),
        "holdout": _holdout(inputs, rng),
    }
    draws = splits(list(sides), rng=rng)
    sizes = [n_cells(column) for column in columns]
    ones: list[tuple[int, ...]] = [(j,) for j in range(len(columns))]
    twos = pairs(len(columns), rng=rng)
    tables = {1: distances(sides, ones, sizes, draws), 2: distances(sides, twos, sizes, draws)}
    names = [column.name for column in columns]
    estimates = _estimates(tables, n_holdout)
    whole = {name: held[:1] for name, held in draws.items()}
    unweighted = distances({**sides, "holdout": _flat(sides["holdout"])}, ones, sizes, whole).mean(axis=0)
    details = {
        "rows": rows,
        "pairs": len(twos),
        "columns": _named(tables[1], ones, names),
        "worst_pairs": _named(tables[2], twos, names)[:WORST],
        "unweighted": {"tvd1": float(unweighted[0, 0]), "ceiling1": float(unweighted[1, 0])},
    }
    return _result(estimates, details)


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    patients = min(declared.compared, declared.holdout)
    noise = spread(patients * len(declared.schema.columns), NOISE["tvd"])
    keys = ("excess1", "excess2") if len(declared.schema.columns) > 1 else ("excess1",)
    found = {key: insufficient(patients) for key in _KEYS}
    found |= {key: enough(around(0.0, noise, patients), patients, MIN_PATIENTS) for key in keys}
    return _result(found, {}, note="" if patients >= MIN_PATIENTS else "Too few patients or rows.")


_KEYS = ("tvd1", "ceiling1", "excess1", "tvd2", "ceiling2", "excess2")


def _rows(schema: Schema, frame: pd.DataFrame, rng: np.random.Generator) -> Side:
    return Side.of_rows(_codes(schema, frame), rng=rng)


def _holdout(inputs: Inputs, rng: np.random.Generator) -> Side:
    units, n_units = inputs.holdout.unit_codes()
    blocks = rng.permutation(n_units) % BLOCKS
    return Side(_codes(inputs.schema, inputs.holdout.frame), inputs.holdout.unit_weights(), blocks[units])


def _flat(side: Side) -> Side:
    return Side(side.codes, np.ones_like(side.weights), side.blocks)


def _codes(schema: Schema, frame: pd.DataFrame) -> np.ndarray:
    return np.column_stack([cell_codes(column, frame[column.name]) for column in schema.columns])


def _estimates(tables: dict[int, np.ndarray], n: int) -> dict[str, Estimate]:
    """Return the six numbers; a table of one column has no pairs."""
    estimates: dict[str, Estimate] = {}
    for way, table in tables.items():
        both = table.mean(axis=0) if len(table) else np.full((2, 1 + 2 * SPLITS), np.nan)
        for key, draws in (("tvd", both[0]), ("ceiling", both[1]), ("excess", both[0] - both[1])):
            estimates[f"{key}{way}"] = from_halves(draws, n=n, units=BLOCKS, positive=key != "excess")
    return estimates


def _named(table: np.ndarray, cliques: list[tuple[int, ...]], names: list[str]) -> list[dict[str, Any]]:
    """Return the cliques with their distances, the largest excess first."""
    rows = [
        {"columns": [names[j] for j in clique], "tvd": float(both[0, 0]), "ceiling": float(both[1, 0])}
        for clique, both in zip(cliques, table, strict=True)
    ]
    return sorted(rows, key=lambda row: float(row["ceiling"]) - float(row["tvd"]))


def _result(estimates: dict[str, Estimate], details: dict[str, Any], *, note: str = "") -> MetricResult:
    return MetricResult(
        name="fidelity_tvd",
        head="fidelity",
        title="Total variation of marginals",
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=DEFINITION,
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
