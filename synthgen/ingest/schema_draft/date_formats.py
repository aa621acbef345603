"""Recognise days, moments and times of day by a form that reads every cell and writes it back as it was."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from synthgen.deidentify.identifier_names import words_of
from synthgen.schema.time_formats import TimeForm, zone_of

DAYS = (
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
    "%-d.%-m.%Y",
    "%-d/%-m/%Y",
    "%-m/%-d/%Y",
    "%d.%m.%y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%-d.%-m.%y",
    "%-m/%-d/%y",
)
"""Formats of days that are tried, in this order."""
CLOCKS = (
    "%H:%M:%S",
    "%H:%M",
    "%H:%M:%S.%f",
    "%I:%M:%S %p",
    "%I:%M %p",
    "%-H:%M",
    "%-I:%M:%S %p",
    "%-I:%M %p",
)
"""Formats of times of day that are tried."""
COMPACT = ("%Y%m%d", "%d%m%Y", "%Y%m%d%H%M%S", "%Y%m%d%H%M")
"""Formats without a sign between the parts: digits are a date only if all of their years are usual."""
YEARS = (1850, 2150)
ZONES = (
    "UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Helsinki",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
    "Pacific/Auckland",
)
"""Zones that are tried where cells carry offsets; else a fixed offset."""
_PARTS = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{2}",
    "d": r"\d{2}",
    "H": r"\d{2}",
    "I": r"\d{2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "b": r"[A-Za-z]{3}",
    "B": r"[A-Za-z]{3,9}",
    "p": r"[AaPp][Mm]",
    "z": r"[+-]\d{2}:?\d{2}",
}
_NAMES = frozenset("date day dt datum tag fecha data jour dob admission discharge visit time".split())
_KINDS: tuple[Literal["date", "datetime", "time"], ...] = ("date", "datetime", "time")


@dataclass(frozen=True)
class Days:
    """How the cells of a column are read as days, moments or times of day.

    Attributes:
        keys: the field's keys.
        reasons: why, and what to look at.
        form: how cells are written.
        native: whether they are native Parquet values.
    """

    keys: dict[str, Any]
    reasons: tuple[str, ...]
    form: TimeForm
    native: bool

    def of(self, raw: pd.Series) -> np.ndarray:
        """Return each record's days from 1970-01-01, NaN where it has no value."""
        if self.native:
            return self.form.read_native(raw)
        codes, cells = pd.factorize(raw)
        values = self.form.read(pd.Series([str(cell) for cell in cells], dtype=object))
        return np.append(values, np.nan)[codes]

    def widened(self) -> Days:
        """Return the same with a day more at the end, since bounds need a range."""
        if self.form.kind == "time":
            return self
        limits = dict(self.keys["constraints"])
        limits["maximum"] = _bound(self.form, self.form.bound(limits["maximum"]) + 1.0)
        return replace(self, keys={**self.keys, "constraints": limits})


def days_of(
    raw: pd.Series, texts: Sequence[str], *, date_format: str | None, name: str, native: bool
) -> Days | None:
    """Return how a column is read as days, moments or times of day, or None if it holds other values.

    Args:
        raw: the raw column. Sensitive.
        texts: its distinct texts without those that mean missing.
        date_format: the format that a person has named; None tries common ones.
        name: the column's name, which decides between a short list of digits and dates.
        native: whether the file's own type may be a date.
    """
    if native:
        return _native(raw)
    cells = pd.Series(texts, dtype=object)
    patterns = (date_format,) if date_format else tuple(_patterns(texts[0]))
    fitting = [pattern for pattern in patterns if _looks(texts, pattern)]
    forms = [form for pattern in fitting for form in _forms(pattern, texts) if _writes_back(form, cells)]
    forms = [form for form in forms if form.pattern not in COMPACT or _is_compact(form, cells, name)]
    if not forms:
        return None
    form, others = forms[0], [other.pattern for other in forms[1:]]
    return _found(form, form.read(cells), _hints(form.pattern, others, form), date_format)


def _found(form: TimeForm, values: np.ndarray, hints: Sequence[str], date_format: str | None) -> Days:
    keys: dict[str, Any] = {"type": form.kind}
    if form.kind != "time":  # a time of day has a public range of its own
        ends = {"minimum": _bound(form, np.nanmin(values)), "maximum": _bound(form, np.nanmax(values))}
        keys["constraints"] = ends
    usual = replace(form, format=None)
    is_given = form.kind == "date" and form.pattern == date_format
    if form.pattern != usual.pattern and not is_given:
        keys["format"] = form.pattern
    if form.timezone is not None:
        keys["timezone"] = form.timezone
    if form.decimals:
        keys["decimals"] = form.decimals
    shown = {"date": "dates", "datetime": "moments", "time": "times of day"}[form.kind]
    return Days(keys, (f"{shown} as {form.pattern}", *hints), form, native=False)


def _bound(form: TimeForm, value: float) -> str:
    """Return a value in ISO 8601, to the precision of the form."""
    return str(replace(form, format=None).write(np.array([float(value)]))[0])


def _patterns(text: str) -> Iterator[str]:
    """Yield the patterns that may fit a text, by its shape."""
    if text.isdigit():
        yield from COMPACT
        return
    yield from DAYS
    yield from CLOCKS
    if ":" in text:
        for day in DAYS:
            for sign in ("T", " ", ", "):
                for clock in CLOCKS:
                    yield f"{day}{sign}{clock}"
                    if sign != ", " and "%p" not in clock:
                        yield f"{day}{sign}{clock}Z"
                        yield f"{day}{sign}{clock}%z"
                        yield f"{day}{sign}{clock} %z"


def _looks(texts: Sequence[str], pattern: str) -> bool:
    """Return whether every text has the shape of a pattern, before any is parsed."""
    shape = _shape(pattern)
    return shape is not None and all(map(shape.fullmatch, texts))


def _shape(pattern: str) -> re.Pattern[str] | None:
    parts = re.split(r"%(-?:?[A-Za-z%])", pattern)
    found = []
    for place, part in enumerate(parts):
        if place % 2 == 0:
            found.append(re.escape(part))
            continue
        digits = _PARTS.get(part[-1])
        if digits is None:
            return re.compile(r".*\d.*")
        found.append(r"\d{1,2}" if part.startswith("-") else digits)
    return re.compile("".join(found))


def _forms(pattern: str, texts: Sequence[str]) -> Iterator[TimeForm]:
    """Yield the forms of a pattern: of the kind that it has, in each zone where it has an offset."""
    letters = set(re.findall(r"%-?:?([A-Za-z])", pattern))
    has_day, has_clock = bool(letters & {"Y", "y"}), bool(letters & {"H", "I"})
    kind = _KINDS[1 if has_day and has_clock else 2 if has_clock else 0]
    decimals = None
    if "f" in letters:
        lengths = {
            len(found[1]) for found in (re.search(r"\.(\d{1,6})(?!\d)", text) for text in texts) if found
        }
        if len(lengths) != 1:
            return
        decimals = lengths.pop()
    if "z" not in letters:
        yield TimeForm(kind, pattern, None, decimals)
        return
    fixed = {found[0] for found in (re.search(r"[+-]\d{2}:?\d{2}$", text) for text in texts) if found}
    hours = {re.sub(r":?00$", "", offset) for offset in fixed} if len(fixed) == 1 else set()
    named = [f"Etc/GMT{'-' if hour[0] == '+' else '+'}{int(hour[1:])}" for hour in hours if len(hour) == 3]
    colon = any(re.search(r"[+-]\d{2}:\d{2}$", text) for text in texts)
    for zone in (*ZONES, *named):
        yield TimeForm(kind, pattern.replace("%z", "%:z") if colon else pattern, zone, decimals)


def _writes_back(form: TimeForm, cells: pd.Series) -> bool:
    """Return whether a form reads all texts and gives each back as it was; the first ones are tried first."""
    try:
        form.check()
        for part in (cells[:5], cells):
            values = form.read(part)
            if np.isnan(values).any() or list(form.write(values)) != list(part):
                return False
    except (ValueError, OverflowError):
        return False
    return True


def _is_compact(form: TimeForm, cells: pd.Series, name: str) -> bool:
    """Return whether digits are dates: their years are usual, and the name or their number says so."""
    years = pd.to_datetime(pd.Series(form.write(form.read(cells))), format=form.pattern).dt.year
    named = bool(set(words_of(name)) & _NAMES)
    return bool(years.between(*YEARS).all()) and (named or (form.pattern != "%d%m%Y" and len(cells) >= 3))


def _hints(pattern: str, others: Sequence[str], form: TimeForm) -> list[str]:
    hints = []
    swapped = re.sub(r"%(-?)([dm])", lambda m: f"%{m[1]}{'m' if m[2] == 'd' else 'd'}", pattern)
    if swapped in others:
        hints.append("day and month may be the other way round")
    if "%y" in pattern:
        hints.append("two digits of the year: check the century")
    if form.timezone is not None:
        hints.append("the zone is guessed from the offsets: check it")
    elif pattern.endswith("Z"):
        hints.append("the letter Z says UTC")
    elif form.kind == "datetime":
        hints.append("local time")
    return hints


def _native(raw: pd.Series) -> Days | None:
    """Return how native Parquet values are read: days where every moment is a midnight without a zone."""
    cells = raw.dropna()
    zone = None
    if isinstance(raw.dtype, pd.DatetimeTZDtype):
        zone = _zone_name(raw.dtype.tz)
        kinds: tuple[str, ...] = ("datetime",)
    elif pd.api.types.is_datetime64_any_dtype(raw.dtype):
        kinds = ("date", "datetime")
    elif all(isinstance(cell, datetime.date) for cell in cells):
        kinds = ("date", "datetime")
    else:
        kinds = ("time",) if all(isinstance(cell, datetime.time) for cell in cells) else ()
    for kind in kinds:
        for decimals in (None,) if kind == "date" else (None, 3, 6):
            form = TimeForm(cast(Any, kind), None, zone, decimals)
            values = form.read_native(raw)
            known = ~np.isnan(values)
            exact = np.abs(form.snapped(values[known]) - values[known]) < 1e-11 * np.maximum(
                1.0, np.abs(values[known])
            )
            if int(known.sum()) == len(cells) and bool(exact.all()):
                found = _found(form, values, (), None)
                own = f"{found.reasons[0].split(' as ')[0]} by the file's own type"
                return replace(found, reasons=(own,), native=True)
    return None


def _zone_name(zone: Any) -> str | None:
    """Return the IANA name of a zone, or of the fixed offset that it is."""
    name = str(getattr(zone, "key", None) or zone)
    if zone_of(name) is not None:
        return name
    offset = zone.utcoffset(None)
    hours = 0 if offset is None else offset.total_seconds() / 3600
    fixed = f"Etc/GMT{-hours:+.0f}" if hours == round(hours) else ""
    return fixed if fixed and zone_of(fixed) is not None else None
