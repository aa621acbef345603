"""Draw a fake table from the schema alone, to build pipelines before any patient's record is there.

Columns are uniform and independent, so the table keeps to the schema and says nothing else.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.data.tables import SyntheticTable
from synthgen.encode.rule_repair import settle
from synthgen.errors import ConfigError
from synthgen.schema.fields import Column
from synthgen.schema.schema import Schema

MISSING_RATE = 0.05
MAX_ROUNDS = 1000


def simulate(schema: Schema, n_records: int, *, rng: np.random.Generator) -> SyntheticTable:
    """Return a table that keeps to the schema's domains and hard rules, drawn from nothing else.

    A patient has 1 to ``max_records`` records, each number as likely; a nullable value is missing at
    `MISSING_RATE`.

    Args:
        schema: the table's public description, with a domain for every column.
        n_records: records to draw, at least one.
        rng: source of the draws.

    Raises:
        ValueError: ``n_records`` is not positive.
        ConfigError: a domain is missing, or the hard rules are not met after `MAX_ROUNDS` redraws.
    """
    if n_records < 1:
        raise ValueError(f"Expected n_records >= 1, got {n_records=}.")
    schema.require_complete()
    content = {column.name: _draw(column, n_records, rng) for column in schema.columns}
    if not schema.unit.is_linked:
        _obey(content, n_records, schema, rng)
        units = _units(schema.unit.max_records, n_records, rng)
        return SyntheticTable(schema, pd.DataFrame(content), units=units)
    units = _units(schema.unit.max_records, n_records, rng)
    _link(content, units, schema)
    _obey(content, n_records, schema, rng)
    return _parted(SyntheticTable(schema, pd.DataFrame(content), units=units))


def _link(content: dict[str, pd.Series], units: np.ndarray, schema: Schema) -> None:
    """Give a patient's records the first one's static values, and the times their order."""
    first = np.flatnonzero(np.r_[True, units[1:] != units[:-1]])[units - 1]
    for column in schema.columns:
        if column.field.static:
            content[column.name] = content[column.name].iloc[first].reset_index(drop=True)
    if schema.unit.order is not None:
        values = content[schema.unit.order].to_numpy(float)
        content[schema.unit.order] = pd.Series(values[np.lexsort([values, units])])


def _parted(table: SyntheticTable) -> SyntheticTable:
    """Let a new patient begin where a hard rule has moved a static value or a time out of its order."""
    units = np.asarray(table.units)
    new = np.r_[True, units[1:] != units[:-1]]
    order = table.schema.unit.order
    if order is not None:
        new[1:] |= np.diff(table.frame[order].to_numpy(float)) < 0
    for column in table.schema.columns:
        if column.field.static:
            codes, _ = pd.factorize(table.frame[column.name], use_na_sentinel=False)
            new[1:] |= np.diff(codes) != 0
    return SyntheticTable(table.schema, table.frame, units=np.cumsum(new))


def _units(max_records: int, n_records: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number of each record's patient, from 1, the records of a patient in a row."""
    sizes = rng.integers(1, max_records + 1, size=n_records)
    return np.repeat(np.arange(1, n_records + 1), sizes)[:n_records]


def _draw(column: Column, n_records: int, rng: np.random.Generator) -> pd.Series:
    """Return uniform values of one column in canonical form."""
    missing = rng.random(n_records) < (MISSING_RATE if column.nullable else 0.0)
    if column.kind == "category":
        codes = np.where(missing, -1, rng.integers(len(column.labels), size=n_records))
        return pd.Series(pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(column.labels))))
    if column.per_unit is None:
        values = rng.uniform(column.minimum, column.maximum, size=n_records)
    else:
        values = column.of_steps(rng.integers(*column.ends, size=n_records, endpoint=True))
    return pd.Series(np.where(missing, np.nan, values))


def _obey(content: dict[str, pd.Series], n_records: int, schema: Schema, rng: np.random.Generator) -> None:
    """Settle, in place, what breaks a rule, and redraw the columns of those rules that are still broken."""
    fixed = [column.name for column in schema.columns if column.field.static]
    fixed += [schema.unit.order] if schema.unit.order is not None else []
    waiting = np.arange(n_records)
    for turn in range(MAX_ROUNDS):
        part = pd.DataFrame({name: values.iloc[waiting] for name, values in content.items()})
        linked = schema.unit.is_linked
        part = settle(part, schema, rng=rng, fixed=fixed if linked else (), exchange=turn == 0 and not linked)
        for name in content:
            content[name].iloc[waiting] = part[name].array
        broken = [(rule.columns, rule.violated(part)) for rule in schema.parsed_rules]
        for column in schema.columns:
            rows = waiting[_any([mask for names, mask in broken if column.name in names], len(waiting))]
            content[column.name].iloc[rows] = _draw(column, len(rows), rng).array
        waiting = waiting[_any([mask for _, mask in broken], len(waiting))]
        if not len(waiting):
            return
    raise ConfigError(
        f"Expected rules that random records can meet, got {len(waiting)} records that break one "
        f"after {MAX_ROUNDS} redraws.",
        where="schema rules",
        next_step="Check that the rules do not contradict each other.",
    )


def _any(masks: list[np.ndarray], n_records: int) -> np.ndarray:
    return np.asarray(np.logical_or.reduce([np.zeros(n_records, dtype=bool), *masks]))
