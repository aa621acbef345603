"""From a table's file to canonical records: read as it is, then judged by the schema, all problems at once.

The pipeline calls `read_raw`, takes the ids off (`synthgen.deidentify`), and calls `canonical`.
`read_table` does the three for a table that is only to be evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, require_columns, unit_texts
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables import files
from synthgen.ingest.tables.canonical import Reading, read_column, settled, since
from synthgen.ingest.tables.hints import hints
from synthgen.schema.fields import Column
from synthgen.schema.file_dialect import Formulas, escaped, unescaped
from synthgen.schema.schema import Schema

MAX_PROBLEMS = 20


@dataclass(frozen=True)
class IngestReport:
    """What ingest found and changed. Sensitive: exact counts, for the internal report only.

    Attributes:
        records: records read.
        units: patients, or rows of a row-level table.
        missing: records without a value, by column.
        clipped: records moved to a bound, by column, where the schema says ``outside: clip``.
        other: records put under ``other``, by column, where the schema says ``outside: other``.
        rounded: numbers that were read with more decimals than the schema declares, by column.
    """

    records: int
    units: int
    missing: Mapping[str, int]
    clipped: Mapping[str, int]
    other: Mapping[str, int]
    rounded: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        counts = {"missing": dict(self.missing), "clipped": dict(self.clipped), "other": dict(self.other)}
        return {"records": self.records, "units": self.units, **counts}


def read_raw(
    path: Path,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    columns: Sequence[str] | None = None,
    known: Collection[str] = (),
    formulas: Formulas = "keep",
) -> pd.DataFrame:
    """Read a table as it is: cells of CSV as text, Parquet with its own types.

    Args:
        path: ``.csv`` or any other text, also compressed as ``.gz``, ``.bz2``, ``.xz``, ``.zst`` or a
            ``.zip`` of one file; ``.parquet`` or ``.pq``.
        delimiter: one character.
        encoding: of text; a byte order mark of UTF-8 is dropped.
        decimal: decimal sign, a point or a comma; cells stay text here, so it is only checked.
        columns: names of the columns to keep; None keeps all.
        known: names of which the first line of a CSV file must have one: else another delimiter or encoding
            that fits is named.
        formulas: of text, whether formulas of spreadsheets were escaped when it was written.

    Returns:
        The raw table. Of text the index is named ``line`` and holds each record's first line. A column
        without a name is called ``column_<position>``. Sensitive.

    Raises:
        DataError: missing, empty, damaged or ragged file, wrong encoding, columns named alike, or a column
            asked for that is not there; with path and line, and nothing of a cell.
        ConfigError: unknown encoding, or a delimiter or decimal sign that is none.
        OperationError: the disk refuses.
    """
    path = Path(path)
    if decimal not in (".", ","):
        step = "Correct the decimal sign."
        raise ConfigError(
            "Expected a point or a comma as decimal sign, got another.", where=str(path), next_step=step
        )
    if files.is_parquet(path):
        frame = files.read_parquet(path, columns=columns)
    elif formulas == "escape":
        asked = None if columns is None else [escaped(name) for name in columns]
        frame = files.read_csv(
            path, delimiter=delimiter, encoding=encoding, columns=asked, known=[escaped(n) for n in known]
        )
        frame = frame.rename(columns=unescaped).apply(_unescaped)
    else:
        frame = files.read_csv(path, delimiter=delimiter, encoding=encoding, columns=columns, known=known)
    absent = [name for name in columns or () if name not in frame.columns]
    if absent:
        step = "Check the names."
        raise DataError(
            f"Expected columns {absent}, found none of that name.", where=str(path), next_step=step
        )
    return frame


def _unescaped(cells: pd.Series) -> pd.Series:
    codes, distinct = pd.factorize(cells)
    texts = pd.array([unescaped(text) for text in distinct], dtype="str")
    return pd.Series(texts.take(codes), index=cells.index, name=cells.name)


def formulas_of(schema: Schema) -> Formulas:
    """Return whether formulas of spreadsheets are escaped in a schema's tables, as its dialect says."""
    return "keep" if schema.dialect is None else schema.dialect.formulas


def canonical(
    frame: pd.DataFrame,
    units: np.ndarray | None,
    schema: Schema,
    *,
    decimal: str = ".",
    date_format: str | None = None,
    where: str = "",
) -> tuple[RealTable, IngestReport]:
    """Bring raw columns into the canonical form of `synthgen.schema.schema`.

    Args:
        frame: raw modelled columns, as `read_raw` returns them. Sensitive.
        units: the patient of each record as text, empty if it has none; None for a row-level table.
        schema: the table's public description.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None is ISO. A field's own ``format`` goes first.
        where: the table's path, for messages.

    Returns:
        The records, with the public schema, which is all that what learns from them ever sees; and the
        internal report of what was missing and changed.

    Raises:
        DataError: names all columns that do not keep to the schema, with counts and the first line.
        ConfigError: the schema lacks a domain, or a date format is not one.
    """
    _require_readable(frame, units, schema, where)
    problems = _Problems(frame.index, where)
    if units is not None:
        problems.add(
            str(schema.unit.column), np.asarray(units == "", dtype=bool), "records without a patient"
        )
    columns: dict[str, pd.Series] = {}
    counts: dict[str, dict[str, int]] = {"missing": {}, "clipped": {}, "other": {}, "rounded": {}}
    starts: dict[str | None, Reading] = {column.field.since: _NONE for column in schema.columns}
    for column in sorted(schema.columns, key=lambda one: one.field.since is not None):
        tokens = schema.tokens(column.field)
        reading = read_column(frame[column.name], column, tokens, decimal=decimal, date_format=date_format)
        if column.name in starts:
            starts[column.name] = reading
        if column.field.since is not None:
            start = schema.column(column.field.since)
            reading = since(reading, starts[start.name], column, start.field.origin)
        _judge(reading, column, problems, hints(frame[column.name], reading, column, decimal, date_format))
        counts["missing"][column.name] = int(reading.missing.sum())
        if column.kind != "category" and not column.field.is_moment and reading.changed.any():
            counts["rounded"][column.name] = int(reading.changed.sum())
        if column.field.outside != "error":
            counts[_CHANGED[column.field.outside]][column.name] = int(reading.outside.sum())
        columns[column.name] = settled(reading, column)
    problems.refuse()
    content = pd.DataFrame({column.name: columns[column.name] for column in schema.columns})
    table = RealTable(schema.public(), content, row_units(content) if units is None else units)
    return table, IngestReport(len(table), table.unit_codes()[1], **counts)


def _require_readable(frame: pd.DataFrame, units: np.ndarray | None, schema: Schema, where: str) -> None:
    schema.require_complete()
    require_columns(frame.columns, schema, where=where, ids="optional")
    if (units is None) != (schema.unit.level == "row"):
        raise ValueError(f"Expected units of level {schema.unit.level!r}, got {units is not None=}.")
    if frame.empty:
        step = "Export the table again."
        raise DataError("Expected records, got a table without any.", where=where, next_step=step)


def read_table(
    path: Path,
    schema: Schema,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
    ids: Literal["required", "optional"] = "required",
) -> tuple[RealTable, IngestReport]:
    """Read a table that is to be evaluated, or checked: `read_raw`, its columns checked, `canonical`.

    Args:
        path: see `read_raw`.
        schema: the table's public description.
        delimiter: see `read_raw`.
        encoding: see `read_raw`.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None is ISO.
        ids: ``optional`` takes a table without ids, such as a synthetic one: each row is then its own unit.

    Raises:
        DataError: as `read_raw`, `require_columns` and `canonical` say.
        ConfigError: as `read_raw` and `canonical` say.
    """
    known = [field.name for field in schema.fields]
    raw = read_raw(
        path,
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal,
        known=known,
        formulas=formulas_of(schema),
    )
    require_columns(raw.columns, schema, where=str(path), ids=ids)
    units: np.ndarray | None = None
    if schema.unit.column is not None:
        if schema.unit.column in raw.columns:
            units = unit_texts(raw[schema.unit.column], schema)
        else:
            units = np.arange(1, len(raw) + 1).astype(str).astype(object)
    modelled = raw[[column.name for column in schema.columns]]
    return canonical(modelled, units, schema, decimal=decimal, date_format=date_format, where=str(path))


def row_units(frame: pd.DataFrame) -> np.ndarray:
    """Name each record of a row-level table by its content, so that no record's name depends on the others.

    The name is the SHA-256 of the canonical record, then ``#`` and its place among identical records:
    with one record less, all others keep their names. Row numbers would shift with every removal, and
    with them the parts that records belong to. (pandas' own row hash is faster, but 64 bits without
    collision resistance: a patient could be given the name, and so the part, of another.)

    Args:
        frame: canonical columns. Sensitive.

    Returns:
        One text a record.
    """
    parts = [
        series.cat.codes.to_numpy("<f8")
        if isinstance(series.dtype, pd.CategoricalDtype)
        else series.to_numpy("<f8")
        for _, series in frame.items()
    ]
    content = np.column_stack(parts) + 0.0  # -0.0 becomes 0.0: equal numbers, equal bytes
    content[np.isnan(content)] = np.nan  # one bit pattern for all NaN
    names = pd.Series([hashlib.sha256(row.tobytes()).hexdigest() for row in content], dtype=object)
    return np.asarray(names + "#" + names.groupby(names).cumcount().astype(str), dtype=object)


def first_place(records: np.ndarray, index: pd.Index) -> str:
    """Return where the first true entry of a boolean array stands: its line, or its record in Parquet."""
    first = int(np.argmax(records))
    return f"line {index[first]}" if index.name == files.LINE else f"record {first + 1}"


_NONE = Reading(*[np.empty(0)] * 6)
_CHANGED = {"clip": "clipped", "other": "other"}


class _Problems:
    """Collects what is wrong in all columns, so that a person corrects a table once."""

    def __init__(self, index: pd.Index, where: str) -> None:
        self.index = index
        self.where = where
        self.lines: list[str] = []

    def add(self, name: str, records: np.ndarray, text: str, hint: str = "") -> None:
        """Note a problem of the records where the boolean array is true, if there are any."""
        if records.any():
            place = first_place(records, self.index)
            why = f" ({hint})" if hint else ""
            self.lines.append(f"column {name!r}: {int(records.sum())} {text}, first in {place}{why}")

    def refuse(self) -> None:
        """Raise all problems as one error.

        Raises:
            DataError: there is at least one.
        """
        if not self.lines:
            return
        shown = self.lines[:MAX_PROBLEMS]
        if len(self.lines) > MAX_PROBLEMS:
            shown.append(f"and {len(self.lines) - MAX_PROBLEMS} more problems")
        n_problems = f"{len(self.lines)} problem{'s' * (len(self.lines) > 1)}"
        raise DataError(
            f"Expected values as the schema says, got {n_problems}:",
            where=self.where,
            details=shown,
            next_step="Correct the table, or its schema from public knowledge (`outside`, `missingValues`).",
        )


def _judge(reading: Reading, column: Column, problems: _Problems, why: tuple[str, str]) -> None:
    """Note what the schema does not allow, with the reasons that cells are wrong or outside."""
    problems.add(column.name, reading.wrong, f"cells that are no {column.field.type}", why[0])
    if not column.nullable:
        problems.add(column.name, reading.missing, "cells missing in a required column")
    if column.field.outside == "error":
        domain = "categories" if column.labels else "bounds"
        problems.add(column.name, reading.outside, f"cells outside the {domain}", why[1])
