"""Read a released data file back and check it against its schema, by the schema's words alone.

This is the recipient's side: it knows nothing of how the file was made. Cells are judged by
distinct value, so a million rows cost little more than their distinct values.
"""

from __future__ import annotations

import csv
import datetime
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen.errors import DataError
from synthgen.fields import Column, Field
from synthgen.image_records import file_name
from synthgen.release._archive import archive_problems
from synthgen.schema import Schema

FORMATS = ("csv", "parquet")
_INTEGER = re.compile(r"[-+]?\d+(\.0+)?")


def data_problems(path: Path, schema: Schema, *, records: int) -> list[str]:
    """Return what is wrong with a data file; empty if nothing is.

    Checked are the columns and their order, the number of records, ids (fresh and sequential), and for
    each modelled column type, categories, bounds and required values, then the hard rules.

    Args:
        path: a CSV or Parquet file.
        schema: the public schema.
        records: number of records that the privacy record states.

    Returns:
        sentences that name columns and counts, never a cell.
    """
    if path.suffix == ".zip":
        return archive_problems(path, schema, records=records)
    try:
        frame = read_frame(path)
    except DataError as error:
        return [error.message]
    expected = [field.name for field in schema.fields if field.role != "drop"]
    expected += schema.added_columns
    if list(frame.columns) != expected:
        missing = [name for name in expected if name not in set(frame.columns)]
        extra = len(set(frame.columns) - set(expected))
        return [f"expected the schema's columns in its order; {missing} lack, {extra} are unknown"]
    problems = [] if len(frame) == records else [f"expected {records} records, found {len(frame)}"]
    if schema.file_column is not None:
        named = [file_name(i) for i in range(1, len(frame) + 1)]
        same = frame[schema.file_column].tolist() == named
        problems += (
            [] if same else [f"column {schema.file_column!r}: expected fresh file names, found others"]
        )
    for field in schema.fields:
        if field.role == "id" and field.name != schema.file_column:
            problems += _id_problems(frame[field.name], field, is_unit=field.name == schema.unit.column)
    canonical: dict[str, Any] = {}
    for column in schema.columns:
        cells = frame[column.name]
        if column.field.since is not None:
            cells = _intervals(cells, frame[column.field.since], column, schema)
        values, found = _canonical(cells, column, schema.tokens(column.field))
        canonical[column.name] = values
        problems += [f"column {column.name!r}: {message}" for message in found]
    for rule in schema.parsed_rules:
        violated = int(rule.violated(canonical).sum())
        if violated:
            problems.append(f"hard rule {rule.text!r}: violated in {violated} records")
    if schema.unit.is_linked:
        problems += _linked_problems(frame[str(schema.unit.column)].map(_text), canonical, schema)
    return problems


def _linked_problems(units: pd.Series, canonical: dict[str, Any], schema: Schema) -> list[str]:
    """Return where linked rows are not as a synthetic patient's would be: few, in order, static the same."""
    most, order = schema.unit.max_records, schema.unit.order
    found = [f"patients of more than {most} rows"] if (units.value_counts() > most).any() else []
    if (units[units.shift() != units]).duplicated().any():
        found.append("patients whose rows do not stand together")
    if order is not None and (pd.Series(canonical[order]).groupby(units.to_numpy()).diff() < 0).any():
        found.append("patients whose rows are not in order")
    for column in schema.columns:
        if column.field.static:
            codes = pd.Series(pd.factorize(canonical[column.name], use_na_sentinel=False)[0])
            if (codes.groupby(units.to_numpy()).nunique() > 1).any():
                found.append(f"patients who differ in the static column {column.name!r}")
    return [f"column {schema.unit.column!r}: found {text}" for text in found]


def _intervals(cells: pd.Series, starts: pd.Series, column: Column, schema: Schema) -> pd.Series:
    """Return days between two dates of a record, as text; what is missing or no date keeps its cell."""
    start = schema.column(str(column.field.since)).field
    last = cells.map(lambda cell: _days(cell, column.field.model_copy(update={"origin": start.origin})))
    first = starts.map(lambda cell: _days(cell, start))
    both = last.notna() & first.notna()
    return cells.where(~both, (last - first).where(both, 0).astype(int).astype(str))


def read_frame(path: Path) -> pd.DataFrame:
    """Return the raw cells of a file: text of a CSV, native values of a Parquet file.

    Raises:
        DataError: the file is not of its kind, not UTF-8, ragged, or names a column twice.
    """
    kind = path.suffix.removeprefix(".")
    if kind not in FORMATS:
        raise DataError(f"expected a file of {list(FORMATS)}", where=path.name)
    try:
        names, frame = _read_csv(path) if kind == "csv" else _read_parquet(path)
    except (OSError, ValueError, csv.Error, StopIteration) as error:
        raise DataError(f"cannot be read as {kind}", where=path.name) from error
    if len(set(names)) != len(names):
        raise DataError("a column is named twice", where=path.name)
    return frame


def _read_csv(path: Path) -> tuple[list[str], pd.DataFrame]:
    with path.open(encoding="utf-8", newline="") as stream:
        names = next(csv.reader(stream))
    frame = pd.read_csv(
        path, dtype=str, keep_default_na=False, na_filter=False, encoding="utf-8", skip_blank_lines=False
    )
    ragged = not isinstance(frame.index, pd.RangeIndex) or bool(frame.isna().to_numpy().any())
    if ragged:  # pandas takes one cell too many in each line for an index, and fills a short line
        raise ValueError("Expected as many cells as columns in each line.")
    return names, frame.astype(object)


def _read_parquet(path: Path) -> tuple[list[str], pd.DataFrame]:
    from pyarrow import ArrowException, parquet

    try:
        table = parquet.read_table(path)
    except ArrowException as error:
        raise ValueError("Expected a Parquet file.") from error
    # Not through the pandas metadata of the file: what it says of types and indexes is not to be trusted.
    columns = {
        name: pd.Series(table.column(name).to_pylist(), dtype=object) for name in set(table.column_names)
    }
    return list(table.column_names), pd.DataFrame(columns)[list(dict.fromkeys(table.column_names))]


def _id_problems(cells: pd.Series, field: Field, *, is_unit: bool) -> list[str]:
    """Refuse ids that `SyntheticTable` would not write: real ones would look otherwise."""
    pattern = r"[1-9]\d*" if field.type in ("integer", "number") else r"S\d{8,}"
    texts = cells.map(_text)
    if not texts.str.fullmatch(pattern).all():
        return [f"column {field.name!r}: expected fresh sequential ids, found others"]
    numbers = texts.str.removeprefix("S").astype(int).to_numpy()
    fresh = np.arange(1, len(numbers) + 1)
    fits = bool((numbers <= len(numbers)).all()) if is_unit else np.array_equal(numbers, fresh)
    return [] if fits else [f"column {field.name!r}: expected fresh ids from 1, found others"]


def _canonical(cells: pd.Series, column: Column, tokens: tuple[str, ...]) -> tuple[Any, list[str]]:
    """Return a column in canonical form, and what is wrong with it."""
    codes, distinct = pd.factorize(cells.to_numpy(dtype=object), use_na_sentinel=True)
    missing_cell = np.array([_text(value) in (tokens or ("",)) for value in distinct], dtype=bool)
    missing = (codes < 0) | np.append(missing_cell, True)[codes]
    read = _reader(column)
    numbers = np.array(
        [math.nan if gone else read(v) for v, gone in zip(distinct, missing_cell, strict=True)]
    )
    values = np.append(numbers, math.nan)[codes].astype(float)
    wrong = np.isnan(values) & ~missing
    with np.errstate(invalid="ignore"):
        outside = (values < column.minimum) | (values > column.maximum)
    counts = {
        "not of the type, or not among the categories": wrong,
        "outside its bounds": outside,
        "missing though required": missing if not column.nullable else np.zeros_like(missing),
    }
    found = [f"{int(hits.sum())} cells {text}" for text, hits in counts.items() if hits.any()]
    if column.kind != "category":
        return values, found
    places: np.ndarray = np.nan_to_num(values, nan=-1).astype(np.int64)
    return pd.Categorical.from_codes(places, pd.Index(column.labels)), found


def _reader(column: Column) -> Callable[[Any], float]:
    """Return what turns one cell into its number, or position among the labels; NaN if it is neither."""
    field = column.field
    if field.type == "boolean":
        places = {**dict.fromkeys(field.false_values, 0.0), **dict.fromkeys(field.true_values, 1.0)}
        return lambda cell: float(cell) if isinstance(cell, bool) else places.get(_text(cell), math.nan)
    if column.kind == "category":
        positions = {str(label): float(i) for i, label in enumerate(column.labels)}
        return lambda cell: positions.get(_text(cell), math.nan)
    if column.kind == "date":
        return lambda cell: _days(cell, field)
    whole = column.kind == "integer"
    return lambda cell: _number(cell, whole=whole)


def _text(cell: Any) -> str:
    """Return a cell as a CSV file holds it; 3.0 is 3."""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)


def _number(cell: Any, *, whole: bool) -> float:
    text = str(cell)
    if isinstance(cell, bool) or (whole and not _INTEGER.fullmatch(text)):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _days(cell: Any, field: Field) -> float:
    if cell is None:
        return math.nan
    try:
        if isinstance(cell, datetime.datetime):
            day = cell.date()
        elif isinstance(cell, datetime.date):
            day = cell
        elif field.format:
            day = datetime.datetime.strptime(str(cell), field.format).date()
        else:
            day = datetime.date.fromisoformat(str(cell))
    except ValueError:
        return math.nan
    return float((day - datetime.date.fromisoformat(field.origin)).days)
