"""Why cells do not fit their column, in words for a person and without a cell: the usual reasons."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from synthgen.files.parquet import NESTED
from synthgen.ingest.tables.canonical import Reading, text_of
from synthgen.schema.fields import Column

IS_NESTED = "nested values: write a column for each"
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_DECIMAL_POINT = re.compile(r"[+-]?\d+\.\d+")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[,.' \u202f]\d{3})+(?:[.,]\d+)?")
_FRACTION = re.compile(r"[+-]?\d*[.,]\d+")
_WORDS = {
    "nan",
    "na",
    "n/a",
    "inf",
    "-inf",
    "+inf",
    "infinity",
    "null",
    "none",
    "?",
    "-",
    ".",
    "missing",
    "unknown",
}
DATE_FORMATS = (
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%Y%m%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d%b%Y",
    "%b %d, %Y",
    "%d.%m.%y",
    "%m/%d/%y",
)
"""Formats of dates that are tried, in this order."""
LOOKED = 1000
"""So many bad cells of a column are looked at for a reason."""


def hints(
    raw: pd.Series, reading: Reading, column: Column, decimal: str, date_format: str | None
) -> tuple[str, str]:
    """Return why cells are not of the column's type, and why they are outside its domain; as far as it shows.

    Args:
        raw: the raw column. Sensitive.
        reading: what was read from it.
        column: its public domain.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None is ISO.
    """
    form = (column.field.format or date_format or "%Y-%m-%d") if column.field.type == "date" else ""
    return _wrong(raw, reading, column, decimal, form), _outside(raw, reading, column)


def _wrong(raw: pd.Series, reading: Reading, column: Column, decimal: str, form: str) -> str:
    texts = _texts(raw, reading.wrong)
    if not texts:
        return ""
    if NESTED in texts:
        return IS_NESTED
    if column.field.type == "boolean":
        return "see trueValues and falseValues"
    if column.kind == "category":  # any text could be one
        return IS_NESTED
    if any(text.lower() in _WORDS for text in texts):
        return "words for no value: see missingValues"
    if column.field.is_moment:
        return _moment_hint(raw, texts, column) or (_date_hint(texts, form) if form else _FORMAT)
    if any(_THOUSANDS.fullmatch(text) and not _is_number(text, decimal) for text in texts):
        return "signs between thousands: take them out"
    if decimal == "." and any(_DECIMAL_COMMA.fullmatch(text) for text in texts):
        return 'a decimal comma: add --decimal , (in a config: decimal: "," under data)'
    if decimal == "," and any(_DECIMAL_POINT.fullmatch(text) for text in texts):
        return 'a decimal point: add --decimal . (in a config: decimal: "." under data)'
    if column.kind == "integer" and any(_FRACTION.fullmatch(text) for text in texts):
        return "fractions: see type: number"
    return ""


_FORMAT = "see format: it says how each part is written"
_OFFSET = re.compile(r"\d[+-]\d\d:?\d\d$")
_CLOCK = re.compile(r"\d\d:\d\d")


def _moment_hint(raw: pd.Series, texts: list[str], column: Column) -> str:
    """Return what a field of days, moments or times of day lacks for its cells, as far as it shows."""
    field = column.field
    zone = getattr(getattr(raw.dtype, "tz", None), "key", None) or getattr(raw.dtype, "tz", None)
    if field.type == "date" and (zone is not None or any(_CLOCK.search(text) for text in texts)):
        return "a time of day, which a date does not keep: see type: datetime"
    if field.type == "datetime" and zone is not None and field.timezone is None:
        return f"instants with a zone: set timezone: {zone}"
    if field.type == "datetime" and field.timezone is None and any(_OFFSET.search(text) for text in texts):
        return "offsets from UTC: set timezone, and %z in the format"
    if field.timezone is not None and any(text.endswith("Z") for text in texts):
        return "a letter Z: write it in the format in place of %z, and leave timezone out"
    return ""


def _date_hint(texts: list[str], form: str) -> str:
    """Return which common format reads all cells that were looked at, or with which they were read."""
    for other in DATE_FORMATS:
        if other != form and _reads(texts, other):
            option = f"--date-format {other!r} (in a config: date_format: {other!r} under data)"
            return f"not {form} but {other}: set the field's format, or add {option}"
    return f"read as {form}: see format"


def _reads(texts: list[str], form: str) -> bool:
    try:
        return bool(
            pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce").notna().all()
        )
    except ValueError:
        return False


def _outside(raw: pd.Series, reading: Reading, column: Column) -> str:
    if reading.spaced.any():
        return "blanks around a category"
    if not column.labels:
        return ""
    texts = _texts(raw, reading.outside)
    if NESTED in texts:
        return IS_NESTED
    known = {str(label).casefold() for label in column.labels}
    same = any(text.casefold() in known for text in texts)
    return "a category in other capitals" if same else ""


def _texts(raw: pd.Series, where: np.ndarray) -> list[str]:
    cells = raw[where]
    try:
        return [text_of(cell).strip() for cell in cells.drop_duplicates().iloc[:LOOKED]]
    except TypeError:  # nested Parquet values
        return []


def _is_number(text: str, decimal: str) -> bool:
    return re.fullmatch(rf"[+-]?\d+(?:{re.escape(decimal)}\d+)?", text) is not None
