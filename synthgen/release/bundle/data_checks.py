"""Read a released data file back and check it against its schema, by the schema's words alone.

This is the recipient's side: it knows nothing of how the file was made. Cells are judged by
distinct value, so a million rows cost little more than their distinct values.
"""

from __future__ import annotations

import csv
import io
import lzma
import math
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.images import file_name
from synthgen.data.tables import SyntheticTable, id_is_number
from synthgen.errors import DataError
from synthgen.files import limits, parquet
from synthgen.release.bundle.image_archive import archive_problems
from synthgen.schema.fields import Column, Field
from synthgen.schema.file_dialect import Dialect, format_of, is_parquet, reading, unescaped
from synthgen.schema.schema import Schema
from synthgen.schema.time_formats import is_native

FORMATS = ("csv", "parquet")
ID_DIGITS = 18
"""Most digits of a fresh id: more do not fit 64 bits, and no table has so many rows."""
_DAMAGED = (StopIteration, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, RuntimeError)
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
    return checked(path, schema, records=records)[0]


def checked(path: Path, schema: Schema, *, records: int) -> tuple[list[str], SyntheticTable | None]:
    """Return what is wrong with a data file, and its records if it is a table with which nothing is wrong.

    Args:
        path: as of `data_problems`, which says what is checked.
        schema: the public schema.
        records: number of records that the privacy record states.
    """
    if path.suffix == ".zip":
        return archive_problems(path, schema, records=records), None
    try:
        if is_parquet(path) and (rows := _rows_of(path)) != records:
            return [f"expected {records} records, found {rows}"], None
        frame = read_frame(path, schema.dialect)
    except DataError as error:
        return [" ".join(filter(None, (error.message, error.next_step)))], None
    problems, canonical = _judged(frame, schema, records=records)
    if problems:
        return problems, None
    units = None
    if schema.unit.is_linked:
        units = frame[str(schema.unit.column)].map(_text).str.removeprefix("S").astype(int).to_numpy()
    return [], SyntheticTable(schema, pd.DataFrame(canonical, index=range(len(frame))), units=units)


def _judged(frame: pd.DataFrame, schema: Schema, *, records: int) -> tuple[list[str], dict[str, Any]]:
    """Return what is wrong with a table's cells, and its columns in canonical form."""
    expected = [field.name for field in schema.fields if field.role != "drop"]
    expected += schema.added_columns
    if list(frame.columns) != expected:
        missing = [name for name in expected if name not in set(frame.columns)]
        extra = len(set(frame.columns) - set(expected))
        return [f"expected the schema's columns in its order; {missing} lack, {extra} are unknown"], {}
    problems = [] if len(frame) == records else [f"expected {records} records, found {len(frame)}"]
    if schema.file_column is not None:
        named = [file_name(i) for i in range(1, len(frame) + 1)]
        same = frame[schema.file_column].tolist() == named
        problems += (
            [] if same else [f"column {schema.file_column!r}: expected fresh file names, found others"]
        )
    for field in schema.fields:
        if field.role == "id" and field.name != schema.file_column:
            is_unit = field.name == schema.unit.column
            problems += _id_problems(
                frame[field.name], field, number=id_is_number(field, schema), is_unit=is_unit
            )
    canonical: dict[str, Any] = {}
    for column in schema.columns:
        cells = frame[column.name]
        if column.field.since is not None:
            cells = _intervals(cells, frame[column.field.since], column, schema)
        decimal = "." if schema.dialect is None else schema.dialect.decimal_char
        values, found = _canonical(cells, column, schema.tokens(column.field), decimal=decimal)
        canonical[column.name] = values
        problems += [f"column {column.name!r}: {message}" for message in found]
    for rule in schema.parsed_rules:
        violated = int(rule.violated(canonical).sum())
        if violated:
            problems.append(f"hard rule {rule.text!r}: violated in {violated} records")
    if schema.unit.is_linked:
        problems += _linked_problems(frame[str(schema.unit.column)].map(_text), canonical, schema)
    return problems, canonical


def _rows_of(path: Path) -> int:
    """Return the number of records by a Parquet file's footer.

    Raises:
        DataError: the file is none, or asks for more than the limits.
    """
    try:
        return int(parquet.open_parquet(path).metadata.num_rows)
    except (OSError, ValueError) as error:
        raise DataError("cannot be read as parquet", where=path.name) from error


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
    """Return days between two dates of a record, as numbers; what is missing or no date keeps its cell."""
    start = schema.column(str(column.field.since)).field
    last = _moments(cells, column.field.model_copy(update={"origin": start.origin}))
    first = _moments(starts, start)
    days = pd.Series(column.field.times.snapped(last - first), index=cells.index).astype(object)
    return days.where(days.notna(), cells)


def read_frame(path: Path, dialect: Dialect | None = None) -> pd.DataFrame:
    """Return the raw cells of a file: text of a CSV, native values of a Parquet file.

    Args:
        path: a CSV file, compressed or not, or a Parquet file.
        dialect: how text is written; None is UTF-8 with commas.

    Raises:
        DataError: the file is not of its kind or encoding, ragged, or names a column twice.
    """
    kind = format_of(path)
    if kind not in FORMATS:
        raise DataError(f"expected a file of {list(FORMATS)}", where=path.name)
    try:
        names, frame = _read_csv(path, dialect or Dialect()) if kind == "csv" else _read_parquet(path)
    except (OSError, EOFError, ValueError, LookupError, ArithmeticError, csv.Error, *_DAMAGED) as error:
        raise DataError(f"cannot be read as {kind}", where=path.name) from error
    if kind == "csv" and dialect is not None and dialect.formulas == "escape":
        names = [unescaped(name) for name in names]
        frame = pd.DataFrame({i: _plain(frame.iloc[:, i]) for i in range(len(names))}).set_axis(names, axis=1)
    if len(set(names)) != len(names):
        raise DataError("a column is named twice", where=path.name)
    return frame


def _plain(cells: pd.Series) -> pd.Series:
    codes, distinct = pd.factorize(cells)
    return pd.Series(np.array([unescaped(text) for text in distinct], dtype=object)[codes], dtype=object)


def _read_csv(path: Path, dialect: Dialect) -> tuple[list[str], pd.DataFrame]:
    """Return names and cells; equal cells are one object, and no record is longer than the limits allow."""
    found, where = limits.current(), path.name
    with reading(path) as raw:
        text = io.TextIOWrapper(raw, "utf-8-sig" if dialect.bom else dialect.encoding, newline="")
        lines = _Lines(text, found.record_characters, where)
        rows = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
        names = lines.record(rows)
        limits.require("table_columns", len(names), where=where)
        columns: list[list[str]] = [[] for _ in names]
        known: dict[str, str] = {}
        for number in range(1, 2**62):
            try:
                record = lines.record(rows)
            except StopIteration:
                break
            if len(record) != len(names):
                raise ValueError("Expected as many cells as columns in each line.")
            if number % _ROWS == 0:
                limits.require("table_rows", number, where=where)
                limits.require("table_cells", number * len(names), where=where)
            for column, cell in zip(columns, record, strict=True):
                column.append(known.setdefault(cell, cell) if len(known) < _KNOWN else known.get(cell, cell))
    cells = {place: pd.Series(column, dtype=object) for place, column in enumerate(columns)}
    return names, pd.DataFrame(cells).set_axis(names, axis=1)


_ROWS, _KNOWN = 10_000, 1_000_000


class _Lines:
    """Lines of a text, for a CSV reader, up to the length that a record may have."""

    def __init__(self, stream: io.TextIOWrapper, most: int, where: str) -> None:
        self._stream = stream
        self._most = self._left = most
        self._where = where

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(self._most + 1)
        self._left -= len(line)
        if self._left < 0:
            limits.refuse("record_characters", where=self._where)
        if not line:
            raise StopIteration
        return line

    def record(self, rows: Iterator[list[str]]) -> list[str]:
        """Return the next record.

        Raises:
            TooLarge: it is longer than the limits allow.
            StopIteration: there is none.
        """
        self._left = self._most
        return next(rows)


def _read_parquet(path: Path) -> tuple[list[str], pd.DataFrame]:
    table = parquet.read(path)
    # Not through the pandas metadata of the file: what it says of types and indexes is not to be trusted.
    columns = {name: _objects(_wide(table.column(name))) for name in set(table.column_names)}
    return list(table.column_names), pd.DataFrame(columns)[list(dict.fromkeys(table.column_names))]


def _objects(column: Any) -> pd.Series:
    """Return native values, of which equal ones are one object, so that a cell takes one pointer."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    whole = column.combine_chunks()
    if pa.types.is_null(whole.type):
        return pd.Series([None] * len(whole), dtype=object)
    coded = (whole if isinstance(whole, pa.Array) else pa.chunked_array([whole])).dictionary_encode()
    values = np.empty(len(coded.dictionary) + 1, dtype=object)
    values[:-1] = coded.dictionary.to_pylist()
    places = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)
    return pd.Series(values[places], dtype=object)


def _wide(column: Any) -> Any:
    """Return numbers of 32 bits as those of 64 bits with the same text: .1 and not .10000000149."""
    import pyarrow as pa

    narrow = pa.types.is_float32(column.type) or pa.types.is_float16(column.type)
    return column.cast(pa.float32()).cast(pa.string()).cast(pa.float64()) if narrow else column


def _id_problems(cells: pd.Series, field: Field, *, number: bool, is_unit: bool) -> list[str]:
    """Refuse ids that `SyntheticTable` would not write: real ones would look otherwise."""
    pattern = rf"[1-9]\d{{0,{ID_DIGITS - 1}}}" if number else rf"S\d{{8,{ID_DIGITS}}}"
    texts = cells.map(_text)
    if not texts.str.fullmatch(pattern).all():
        return [f"column {field.name!r}: expected fresh sequential ids, found others"]
    numbers = texts.str.removeprefix("S").astype(int).to_numpy()
    fresh = np.arange(1, len(numbers) + 1)
    fits = bool((numbers <= len(numbers)).all()) if is_unit else np.array_equal(numbers, fresh)
    return [] if fits else [f"column {field.name!r}: expected fresh ids from 1, found others"]


def _canonical(
    cells: pd.Series, column: Column, tokens: tuple[str, ...], *, decimal: str = "."
) -> tuple[Any, list[str]]:
    """Return a column in canonical form, and what is wrong with it."""
    codes, distinct = pd.factorize(cells.to_numpy(dtype=object), use_na_sentinel=True)
    missing_cell = np.array([_text(value) in (tokens or ("",)) for value in distinct], dtype=bool)
    missing = (codes < 0) | np.append(missing_cell, True)[codes]
    if column.field.is_moment and column.field.since is None:
        numbers = np.where(missing_cell, math.nan, _moments(pd.Series(distinct, dtype=object), column.field))
    else:
        read = _reader(column, decimal)
        numbers = np.array(
            [math.nan if gone else read(v) for v, gone in zip(distinct, missing_cell, strict=True)]
        )
    values = np.append(numbers, math.nan)[codes].astype(float)
    wrong = np.isnan(values) & ~missing
    with np.errstate(invalid="ignore"):
        outside = (values < column.minimum) | (values > column.maximum)
        finer = np.zeros_like(wrong) if column.kind == "category" else column.is_finer(values)
    counts = {
        "not of the type, or not among the categories": wrong,
        "outside its bounds": outside,
        "finer than the decimals or the format of its field": finer,
        "missing though required": missing if not column.nullable else np.zeros_like(missing),
    }
    found = [f"{int(hits.sum())} cells {text}" for text, hits in counts.items() if hits.any()]
    if column.kind != "category":
        return values, found
    places: np.ndarray = np.nan_to_num(values, nan=-1).astype(np.int64)
    return pd.Categorical.from_codes(places, pd.Index(column.labels)), found


def _reader(column: Column, decimal: str) -> Callable[[Any], float]:
    """Return what turns one cell into its number, or position among the labels; NaN if it is neither."""
    field = column.field
    if field.type == "boolean":
        places = {**dict.fromkeys(field.false_values, 0.0), **dict.fromkeys(field.true_values, 1.0)}
        return lambda cell: float(cell) if isinstance(cell, bool) else places.get(_text(cell), math.nan)
    if column.kind == "category":
        positions = {str(label): float(i) for i, label in enumerate(column.labels)}
        return lambda cell: positions.get(_text(cell), math.nan)
    whole = column.kind == "integer"
    return lambda cell: _number(cell, whole=whole, decimal=decimal)


def _text(cell: Any) -> str:
    """Return a cell as a CSV file holds it; 3.0 is 3."""
    if isinstance(cell, (float, Decimal)) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)


def _number(cell: Any, *, whole: bool, decimal: str) -> float:
    text = str(cell)
    if isinstance(cell, str) and decimal != ".":
        text = "" if "." in text else text.replace(decimal, ".")
    if isinstance(cell, bool) or (whole and not _INTEGER.fullmatch(text)):
        return math.nan
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _moments(cells: pd.Series, field: Field) -> np.ndarray:
    """Return the days of texts and of native values; NaN for what is neither."""
    native = np.array([is_native(cell) for cell in cells], dtype=bool)
    is_text = ~native & cells.notna().to_numpy(bool)
    days = np.full(len(cells), math.nan)
    if is_text.any():
        days[is_text] = field.times.read(cells[is_text].map(_text).reset_index(drop=True))
    if native.any():
        days[native] = field.times.read_native(cells[native].reset_index(drop=True))
    return days
