"""Recognise dates by the format that reads every cell of a column and writes it back as it was."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from synthgen.identifiers import words_of

FORMATS = (
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d%b%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%B %d, %Y",
    "%Y%m%d",
    "%d%m%Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
)
"""Formats that are tried, in this order."""
COMPACT = ("%Y%m%d", "%d%m%Y")
YEARS = (1850, 2150)
"""Eight digits are a date only if all of their years lie here."""
_NAMES = frozenset("date day dt datum tag fecha data jour dob admission discharge visit".split())
ISO = "%Y-%m-%d"


@dataclass(frozen=True)
class Days:
    """How the cells of a column are read as dates.

    Attributes:
        keys: the field's keys.
        reasons: why, and what to look at.
        format: strptime format of texts; None for native Parquet values.
    """

    keys: dict[str, Any]
    reasons: tuple[str, ...]
    format: str | None

    def of(self, raw: pd.Series) -> pd.Series:
        """Return each record's moment, NaT where it has none."""
        if self.format is None:
            moments = pd.to_datetime(raw, errors="coerce")
            return moments.dt.tz_localize(None) if isinstance(moments.dtype, pd.DatetimeTZDtype) else moments
        return pd.to_datetime(raw.astype("str"), format=self.format, errors="coerce")

    def widened(self) -> Days:
        """Return the same with a day more at the end, since bounds need a range."""
        limits = dict(self.keys["constraints"])
        last = datetime.date.fromisoformat(limits["maximum"]) + datetime.timedelta(days=1)
        limits["maximum"] = last.isoformat()
        return replace(self, keys={**self.keys, "constraints": limits})


def days_of(
    raw: pd.Series, texts: Sequence[str], *, date_format: str | None, name: str, native: bool
) -> Days | None:
    """Return how a column is read as dates, or None if it holds other values.

    Args:
        raw: the raw column. Sensitive.
        texts: its distinct texts without those that mean missing.
        date_format: the format that a person has named; None tries `FORMATS`.
        name: the column's name, which decides between a short list of digits and dates.
        native: whether the file's own type may be a date.
    """
    if native:
        return _native(raw)
    forms = (date_format,) if date_format else COMPACT if all(t.isdigit() for t in texts) else FORMATS
    fitting = [form for form in forms if _may(texts[0], form) and _reads(texts, form)]
    fitting = [form for form in fitting if form not in COMPACT or _is_compact(texts, form, name)]
    exact = [form for form in fitting if _writes_back(texts, form)]
    if not fitting:
        return None
    form = (exact or fitting)[0]
    moments = _parsed(texts, form)
    hints = []
    if {"%d/%m/%Y", "%m/%d/%Y"} <= set(fitting) or {"%d-%m-%Y", "%m-%d-%Y"} <= set(fitting):
        hints.append("day and month may be the other way round")
    if "%y" in form:
        hints.append("two digits of the year: check the century")
    if not exact:
        hints.append("written with leading zeros")
    keys: dict[str, Any] = {"type": "date", "constraints": _limits(moments)}
    if form not in (ISO, date_format):
        keys["format"] = form
    return Days(keys, (f"dates as {form}", *hints), form)


def _native(raw: pd.Series) -> Days | None:
    kinds = pd.api.types
    is_moment = kinds.is_datetime64_any_dtype(raw.dtype) or isinstance(raw.dtype, pd.DatetimeTZDtype)
    if not is_moment and not all(isinstance(cell, datetime.date) for cell in raw.dropna()):
        return None
    found = Days({"type": "date"}, ("dates by the file's own type",), None)
    return replace(found, keys={"type": "date", "constraints": _limits(found.of(raw).dropna())})


def _limits(moments: pd.Series) -> dict[str, str]:
    return {"minimum": moments.min().date().isoformat(), "maximum": moments.max().date().isoformat()}


def _parsed(texts: Sequence[str], form: str) -> pd.Series:
    plain = pd.Series([text if re.search(r"\d", text) else "" for text in texts], dtype=object)
    moments = pd.to_datetime(plain, format=form, errors="coerce")
    return moments.dt.tz_localize(None) if isinstance(moments.dtype, pd.DatetimeTZDtype) else moments


def _may(text: str, form: str) -> bool:
    """Return whether a text has the format's signs between its parts, before it is parsed."""
    signs = re.sub(r"%[A-Za-z]", "", form)
    return all(sign in text for sign in signs)


def _reads(texts: Sequence[str], form: str) -> bool:
    try:
        return bool(_parsed(texts[:20], form).notna().all() and _parsed(texts, form).notna().all())
    except ValueError:
        return False


def _writes_back(texts: Sequence[str], form: str) -> bool:
    return list(_parsed(texts, form).dt.strftime(form)) == list(texts)


def _is_compact(texts: Sequence[str], form: str, name: str) -> bool:
    years = _parsed(texts, form).dt.year
    named = bool(set(words_of(name)) & _NAMES)
    usual = bool(years.between(*YEARS).all()) and all(re.fullmatch(r"\d{8}", text) for text in texts)
    return usual and (named or (form == "%Y%m%d" and len(texts) >= 3))
