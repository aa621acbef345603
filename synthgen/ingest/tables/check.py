"""List every violation of a schema by a table, by column and count."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from synthgen.data.tables import require_columns, unit_texts
from synthgen.deidentify.identifier_names import kind_of
from synthgen.deidentify.identifier_values import find
from synthgen.errors import DataError
from synthgen.ingest.tables.canonical import Reading, read_column, settled, since
from synthgen.ingest.tables.hints import hints
from synthgen.ingest.tables.linked import patients_who_differ
from synthgen.ingest.tables.table import first_place, formulas_of, read_raw
from synthgen.schema.fields import Column
from synthgen.schema.schema import Schema


@dataclass(frozen=True)
class Violation:
    """What a table does against its schema, without any value.

    Attributes:
        column: the column; of a hard rule, its columns.
        rule: what is not kept, in words.
        count: cells, records, patients or columns that do not keep it. Sensitive, like every exact count.
        first: where the first stands, such as ``line 3``, if it stands in a record.
        hint: the usual reason, if it shows.
        severity: ``information`` if ingest takes it as it is: clipped, put under other, records not used.
    """

    column: str
    rule: str
    count: int
    severity: Literal["error", "information"] = "error"
    first: str = dataclasses.field(default="", compare=False)
    hint: str = dataclasses.field(default="", compare=False)


def check(
    table: Path,
    schema: Schema,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
) -> list[Violation]:
    """Return every violation of a schema, by column.

    Args:
        table: the table's file.
        schema: its description; a domain that is not declared yet is not checked.
        delimiter: see `read_raw`.
        encoding: see `read_raw`.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text.

    Raises:
        DataError: the file cannot be read, has no record, or its first line has none of the schema's columns.
        ConfigError: as `read_raw` says.
    """
    known = [field.name for field in schema.fields]
    raw = read_raw(
        table,
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal,
        known=known,
        formulas=formulas_of(schema),
    )
    return check_frame(raw, schema, table, decimal=decimal, date_format=date_format)


def check_frame(
    raw: pd.DataFrame, schema: Schema, table: Path, *, decimal: str = ".", date_format: str | None = None
) -> list[Violation]:
    """Return every violation of a table that has been read; see `check`."""
    found = _names(raw, schema, table)
    found += _units(raw, schema)
    content: dict[str, pd.Series] = {}
    for column in schema.columns:
        if column.name in raw:
            cells, tokens = raw[column.name], schema.tokens(column.field)
            reading = read_column(cells, column, tokens, decimal=decimal, date_format=date_format)
            start = None if column.field.since is None else schema.column(column.field.since)
            if start is not None and start.name in raw:
                words = schema.tokens(start.field)
                first = read_column(raw[start.name], start, words, decimal=decimal, date_format=date_format)
                reading = since(reading, first, column, start.field.origin)
            found += _cells(reading, column, raw.index, hints(cells, reading, column, decimal, date_format))
            content[column.name] = settled(reading, column)
    found += _static(content, raw, schema)
    return found + _identifiers(raw, schema) + _rules(content, schema, raw.index)


def _names(raw: pd.DataFrame, schema: Schema, table: Path) -> list[Violation]:
    """Return the columns that only one of table and schema has; a table without records is refused."""
    known = [field.name for field in schema.fields]
    if not set(known) & set(raw.columns):
        require_columns(raw.columns, schema, where=str(table))
    if raw.empty:
        step = "Export the table again."
        raise DataError("Expected records, got a table without any.", where=str(table), next_step=step)
    found = [Violation(name, "in the schema, not in the table", 1) for name in known if name not in raw]
    strange = [name for name in map(str, raw) if name not in (*known, *schema.added_columns)]
    if schema.others == "drop":
        text = "in the table, not in the schema; dropped"
        return found + [Violation(name, text, 1, "information") for name in strange]
    hint = "`others: drop` drops all such columns"
    return found + [Violation(name, "in the table, not in the schema", 1, hint=hint) for name in strange]


def identifying_names(schema: Schema) -> list[Violation]:
    """Return the columns that a plan refuses because they are called like identifiers and have no role."""
    hint = "`role: id` or `role: drop`; if it identifies nobody, `role: feature` and `identifier: false`"
    kinds = {f.name: kind_of(f.name) for f in schema.fields if f.role is None and f.identifier is None}
    return [
        Violation(name, f"called like an identifier ({kind})", 1, hint=hint)
        for name, kind in kinds.items()
        if kind
    ]


def _identifiers(raw: pd.DataFrame, schema: Schema) -> list[Violation]:
    asked = [column.name for column in schema.columns if column.field.identifier is None]
    hint = "`role: drop`, or `identifier: false` where a person has checked"
    return [
        Violation(one.column, f"cells that look like identifiers ({one.kind})", one.cells, hint=hint)
        for one in find(raw, asked, lambda name: schema.tokens(schema.column(name).field))
    ]


def _noted(
    column: str,
    rule: str,
    records: np.ndarray,
    index: pd.Index,
    severity: Literal["error", "information"] = "error",
    hint: str = "",
) -> list[Violation]:
    """Return the violation of the records where the boolean array is true, if there are any."""
    count = int(records.sum())
    return [Violation(column, rule, count, severity, first_place(records, index), hint)] if count else []


def _units(raw: pd.DataFrame, schema: Schema) -> list[Violation]:
    unit = schema.unit.column
    if unit is None or unit not in raw:
        return []
    texts = unit_texts(raw[unit], schema)
    blank = np.asarray(texts == "", dtype=bool)
    found = _noted(unit, "blank: a record without a patient", blank, raw.index)
    records = pd.Series(texts[~blank]).value_counts()
    many = int((records > schema.unit.max_records).sum())
    text = f"patients with more than {schema.unit.max_records} records; the rest is not used"
    return found + ([Violation(unit, text, many, "information")] if many else [])


def _static(content: dict[str, pd.Series], raw: pd.DataFrame, schema: Schema) -> list[Violation]:
    """Return the columns of linked records that should be the same for all of a patient and are not."""
    unit = schema.unit.column
    if not schema.unit.is_linked or unit is None or unit not in raw:
        return []
    texts = unit_texts(raw[unit], schema)
    names = [column.name for column in schema.columns if column.field.static and column.name in content]
    found = [(name, patients_who_differ(content[name], texts)) for name in names]
    return [Violation(name, "static, and differs within a patient", count) for name, count in found if count]


def _cells(reading: Reading, column: Column, index: pd.Index, why: tuple[str, str]) -> list[Violation]:
    """Return what the cells of a column do against its field, with the reasons as far as they show."""
    policy = column.field.outside
    outside = "not among the categories" if column.kind == "category" else "outside the bounds"
    if policy != "error":
        outside += "; clipped" if policy == "clip" else "; put under other"
    severity: Literal["error", "information"] = "error" if policy == "error" else "information"
    found = _noted(column.name, f"no {column.field.type}", reading.wrong, index, hint=why[0])
    found += _noted(column.name, outside, reading.outside, index, severity, why[1])
    if not column.nullable:
        found += _noted(column.name, "missing in a required column", reading.missing, index)
    text, hint = _CHANGED.get(column.field.type, _ROUNDED)
    return found + _noted(column.name, text, reading.changed, index, "information", hint)


_RESPELT = "read, and written in another spelling"
_ROUNDED = ("read, and rounded", "see decimals")
_CHANGED = {
    "boolean": (_RESPELT, "the first of trueValues and falseValues is written"),
    "date": (_RESPELT, "see format"),
    "datetime": (f"{_RESPELT}, zone or precision", "see format, timezone and decimals"),
    "time": (f"{_RESPELT} or precision", "see format and decimals"),
    "integer": (_RESPELT, "codes with leading zeros or signs are type: string"),
}


def _rules(content: dict[str, pd.Series], schema: Schema, index: pd.Index) -> list[Violation]:
    """Return how many records break each hard rule whose columns are there."""
    found = []
    for rule in schema.parsed_rules:
        if rule.columns <= content.keys():
            broken = np.asarray(rule.violated(content), dtype=bool)
            found += _noted(", ".join(sorted(rule.columns)), f"rule: {rule.text}", broken, index)
    return found
