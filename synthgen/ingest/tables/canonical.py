"""Read one raw column by its public domain, without judging: what is missing, wrong, or outside.

Work is done once for each distinct cell, so a column of a million records costs little more than
its distinct values.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synthgen.errors import ConfigError
from synthgen.schema import code_systems as codes
from synthgen.schema.fields import OTHER, Column, days
from synthgen.schema.time_formats import TimeForm, is_native


@dataclass(frozen=True)
class Reading:
    """One column, read. All arrays have one entry a record. Sensitive.

    Attributes:
        values: the number (of a date: days from origin), or the position among the column's labels; NaN
            where there is none. A number outside its bounds is still here.
        missing: the cell is a missing token or a null.
        wrong: the cell is not of the column's type.
        outside: the cell is of the type, and not in the domain.
        spaced: the cell is outside, and a label once blanks around it are cut.
        changed: the cell is read and will be written otherwise: rounded to the field's decimals or its finest
            part of time, or in the spelling of its true and false values, numbers or format.
    """

    values: np.ndarray
    missing: np.ndarray
    wrong: np.ndarray
    outside: np.ndarray
    spaced: np.ndarray
    changed: np.ndarray


def read_column(
    raw: pd.Series, column: Column, tokens: Sequence[str], *, decimal: str, date_format: str | None
) -> Reading:
    """Read a raw column.

    Args:
        raw: cells as text, or native Parquet values.
        column: its public domain. A category without labels has no domain yet, so nothing is outside.
        tokens: texts that mean missing.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; the field's own goes first; None is ISO.

    Raises:
        ConfigError: the date format is not one.
    """
    try:
        if column.kind == "category":
            return _categories(raw, column, tokens, decimal)
        if column.field.is_moment:
            values, missing, changed = _moments(raw, _form(column, date_format), tokens)
        else:
            values, missing = _numbers(raw, tokens, decimal)
            changed = np.zeros(len(raw), dtype=bool)
    except TypeError:  # nested Parquet values cannot be told apart
        return _all_wrong(len(raw))
    wrong = ~missing & ~np.isfinite(values)
    if column.kind == "integer" and column.field.since is None:
        wrong |= ~missing & (values != np.round(values))
    values = np.where(missing | wrong, np.nan, values)
    if column.field.since is None:
        changed |= column.is_finer(values)
    with np.errstate(invalid="ignore"):
        outside = (values < column.minimum) | (values > column.maximum)
    changed &= ~(missing | wrong | outside)
    return Reading(values, missing, wrong, outside, np.zeros(len(raw), dtype=bool), changed)


def _form(column: Column, date_format: str | None) -> TimeForm:
    """Return how a column's moments are written; the field's own format goes before the table's."""
    form = column.field.times
    if form.kind != "date" or form.format is not None or date_format is None:
        return form
    form = replace(form, format=date_format)
    try:
        form.check()
    except ValueError as error:
        step = "Correct --date-format, data.table.date_format, or the field's type and format."
        raise ConfigError(f"column {column.name!r}: {error}", where="date format", next_step=step) from None
    return form


def since(reading: Reading, base: Reading, column: Column, origin: str) -> Reading:
    """Return a date's days since another date of the same record, judged by the column's own bounds.

    An interval whose start is missing is missing too.

    Args:
        reading: days of the date from its own origin.
        base: days of the date that it counts from.
        column: the date's public domain, in days since ``base``.
        origin: the other date's origin.
    """
    values = reading.values + days(column.field.origin, origin) - base.values
    if column.kind != "integer":  # a difference of moments, whose floats may be a hair off
        values = column.of_steps(np.round(values * (column.per_unit or 1.0)))
    with np.errstate(invalid="ignore"):
        outside = (values < column.minimum) | (values > column.maximum)
    missing = reading.missing | (base.missing & ~reading.wrong)
    return replace(reading, values=values, missing=missing, outside=outside)


def category_texts(raw: pd.Series, column: Column, tokens: Sequence[str], *, decimal: str) -> pd.Series:
    """Return each record's category as text, NaN where it is missing or, of an integer, none. Sensitive."""
    distinct, cells = _distinct(raw)
    texts = [text_of(cell) for cell in cells]
    keys: list[Any] = list(texts)
    if column.field.type == "integer":
        keys = [_integer(text, decimal) for text in texts]
        keys = [key if re.fullmatch(r"-?\d+", key) else np.nan for key in keys]
    elif column.field.codes is not None and not codes.categories(column.field.codes):
        keys = [codes.category(column.field.codes, text) for text in texts]
    keys = [np.nan if text in set(tokens) else key for text, key in zip(texts, keys, strict=True)]
    return pd.Series(np.append(np.array(keys, dtype=object), np.nan)[distinct], dtype=object)


def settled(reading: Reading, column: Column) -> pd.Series:
    """Return the canonical column, with what is outside moved where the schema says.

    A category that is outside and may not be is missing here: the caller has judged the reading before.
    """
    values = reading.values
    if column.kind != "category":
        return pd.Series(column.snapped(values))
    if column.field.outside == "other" and column.labels:
        values = np.where(reading.outside, float(column.labels.index(OTHER)), values)
    codes = np.where(np.isnan(values), -1, values).astype(np.int64)
    return pd.Series(pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(list(column.labels))))


def text_of(cell: Any) -> str:
    """Return a cell as a CSV file would hold it: 3.0 is 3, a date is ISO."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, (float, np.floating)) and float(cell).is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        is_day = cell.tzinfo is None and cell.time() == datetime.time()
        return cell.date().isoformat() if is_day else cell.isoformat()
    return str(cell)


def _all_wrong(n_records: int) -> Reading:
    none = np.zeros(n_records, dtype=bool)
    return Reading(np.full(n_records, np.nan), none, ~none, none, none, none)


def _distinct(raw: pd.Series) -> tuple[np.ndarray, list[Any]]:
    """Return each record's position among the distinct cells, -1 for a null, and the distinct cells."""
    codes, uniques = pd.factorize(raw)
    return codes, list(uniques)


def _spread(per_cell: Sequence[Any] | np.ndarray, codes: np.ndarray, null: Any) -> np.ndarray:
    """Return one entry a record from one entry a distinct cell; nulls take ``null``."""
    return np.asarray(np.append(np.asarray(per_cell, dtype=type(null)), null)[codes])


def _categories(raw: pd.Series, column: Column, tokens: Sequence[str], decimal: str) -> Reading:
    codes, cells = _distinct(raw)
    texts = [text_of(cell) for cell in cells]
    is_missing = [text in set(tokens) for text in texts]
    lookup = _lookup(column)
    keys = _keys(cells, texts, column, decimal)
    places = [float(lookup.get(key, np.nan)) for key in keys]
    values = _spread(np.where(is_missing, np.nan, places), codes, np.nan)
    missing = _spread(is_missing, codes, True)
    bad = ~missing & np.isnan(values)
    trimmed = [isinstance(key, str) and key.strip() != key and key.strip() in lookup for key in keys]
    spaced = bad & _spread(trimmed, codes, False)
    none = np.zeros(len(raw), dtype=bool)
    if column.field.type == "boolean":
        words = (column.field.false_values[0], column.field.true_values[0])
        respelt = [
            isinstance(cell, str) and text not in words for cell, text in zip(cells, texts, strict=True)
        ]
        return Reading(values, missing, bad, none, spaced, ~missing & ~bad & _spread(respelt, codes, False))
    respelt = [isinstance(c, str) and k != t for c, k, t in zip(cells, keys, texts, strict=True)]
    is_number = column.field.type == "integer"
    changed = ~missing & ~bad & _spread(respelt, codes, False) if is_number else none
    return Reading(values, missing, none, bad if column.labels else none, spaced, changed)


def _keys(cells: list[Any], texts: list[str], column: Column, decimal: str) -> list[Any]:
    """Return what to look each distinct cell up by."""
    if column.field.type == "boolean":
        native = (bool, np.bool_)
        return [
            bool(cell) if isinstance(cell, native) else text for cell, text in zip(cells, texts, strict=True)
        ]
    if column.field.codes is not None:
        known = {str(label) for label in column.labels}
        return [text if text in known else codes.category(column.field.codes, text) for text in texts]
    return [_integer(text, decimal) for text in texts] if column.field.type == "integer" else texts


def _lookup(column: Column) -> dict[Any, int]:
    """Return the position of each way to write a label."""
    if column.field.type == "boolean":
        texts = dict.fromkeys(column.field.true_values, 1) | dict.fromkeys(column.field.false_values, 0)
        return {**texts, False: 0, True: 1}
    return {str(label): place for place, label in enumerate(column.labels)}


def _integer(text: str, decimal: str) -> str:
    """Return an integral number in its shortest form, and any other text as it is."""
    match = re.fullmatch(rf"([+-]?)0*(\d{{1,18}})(?:{re.escape(decimal)}0*)?", text.strip())
    if match is None:
        return text
    return str(int(match[1] + match[2]))


def _numbers(raw: pd.Series, tokens: Sequence[str], decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, NaN where the cell is none, and where a cell is missing."""
    if pd.api.types.is_numeric_dtype(raw.dtype) and not pd.api.types.is_bool_dtype(raw.dtype):
        narrow = raw.dtype in (np.dtype("float32"), np.dtype("float16"))
        raw = raw.astype(str) if narrow else raw  # 0.1 of 32 bits is .1, and not .10000000149
        values = raw.astype(float).to_numpy() if narrow else raw.to_numpy(dtype=float, na_value=np.nan)
        written = pd.to_numeric(pd.Series(list(tokens), dtype=object), errors="coerce").to_numpy(float)
        return values, np.isnan(values) | np.isin(values, written[np.isfinite(written)])
    codes, cells = _distinct(raw)
    texts = pd.Series([text_of(cell) for cell in cells], dtype=object)
    missing = texts.isin(list(tokens)).to_numpy(bool)
    plain = texts
    if decimal != ".":  # a point would then part thousands, and 1.234 be read as a thousandth of itself
        plain = texts.mask(texts.str.contains(".", regex=False), "x").str.replace(decimal, ".", regex=False)
    values = pd.to_numeric(plain, errors="coerce").to_numpy(float)
    return _spread(values, codes, np.nan), _spread(missing, codes, True)


def _moments(
    raw: pd.Series, form: TimeForm, tokens: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the days of moments (NaN where the cell is none), which are missing, and which respelt."""
    if pd.api.types.is_datetime64_dtype(raw.dtype) or isinstance(raw.dtype, pd.DatetimeTZDtype):
        return form.read_native(raw), raw.isna().to_numpy(), np.zeros(len(raw), dtype=bool)
    codes, cells = _distinct(raw)
    is_text = np.array([not is_native(cell) for cell in cells], dtype=bool)
    texts = pd.Series([text_of(cell) for cell in cells], dtype=object)
    missing = texts.isin(list(tokens)).to_numpy(bool)
    values = np.full(len(cells), np.nan)
    values[is_text] = form.read(texts[is_text].reset_index(drop=True))
    native = pd.Series(cells, dtype=object)[~is_text].reset_index(drop=True)
    values[~is_text] = form.read_native(native)
    respelt = is_text & ~np.isnan(values) & (form.write(values) != texts.to_numpy())
    return tuple(  # type: ignore[return-value]
        _spread(per_cell, codes, null)
        for per_cell, null in ((values, np.nan), (missing, True), (respelt, False))
    )
