"""Read and write days, moments and times of day in a declared form, so that each text comes back as it was.

A date is a calendar day. A datetime without ``timezone`` is the local time that the hospital wrote; with one
it is an instant, written with the offset that the zone has at that instant. A time is a time of day. As
numbers, all three are days: from a public origin, or from midnight.

A form is refused, before anything is read, if what it writes cannot be read back: a date's form without the
day, or with a time of day that a date would lose; two-digit years beyond 1969 to 2068; an offset without a
zone to write it in.
"""

from __future__ import annotations

import datetime
import re
import zoneinfo
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

MomentKind = Literal["date", "datetime", "time"]
KINDS: tuple[str, ...] = ("date", "datetime", "time")
LONGEST = 100
"""Characters of the longest format."""
_DIRECTIVE = re.compile(r"%(-?)(:?)([A-Za-z%])")
_TIME = frozenset("HIpMSfXcrRTs")
_DAY = frozenset("aAwdbBmyYjUWGVuxcDFeCgh")
_COMPOSITE = frozenset("cxXrRTDFsChg")
_PER_DAY = {"f": 86_400, "S": 86_400, "M": 1_440, "H": 24, "I": 24}
_DAY_US = 86_400_000_000
_PROBES = ("1969-12-31T23:59:59", "2000-02-29T00:00:00", "2024-11-07T13:05:09", "2031-10-26T01:30:00")


@dataclass(frozen=True)
class TimeForm:
    """How a column of days, moments or times of day is written.

    Attributes:
        kind: ``date``, ``datetime`` or ``time``.
        format: strptime format; also ``%-d`` and the like for numbers without a leading zero, and ``%:z`` for
            an offset with a colon. None is ISO 8601.
        timezone: IANA name of the zone in which instants are written; None for local times.
        decimals: decimals of a second; None for whole seconds, or six where the format has ``%f``.
        origin: ISO date from which days are counted.
    """

    kind: MomentKind
    format: str | None = None
    timezone: str | None = None
    decimals: int | None = None
    origin: str = "1970-01-01"

    @property
    def pattern(self) -> str:
        """The format, ISO 8601 if none is declared."""
        if self.format is not None:
            return self.format
        fraction = ".%f" if self.decimals else ""
        offset = "%:z" if self.timezone else ""
        day, time = "%Y-%m-%d", f"%H:%M:%S{fraction}"
        return {"date": day, "datetime": f"{day}T{time}{offset}", "time": time}[self.kind]

    @property
    def directives(self) -> frozenset[str]:
        """Letters of the pattern's directives."""
        return frozenset(match[3] for match in _DIRECTIVE.finditer(self.pattern)) - {"%"}

    @property
    def per_day(self) -> int:
        """Number of values that a day holds: the finest part of the pattern."""
        if self.kind == "date":
            return 1
        finest = next((part for part in _PER_DAY if part in self.directives), "H")
        return _PER_DAY[finest] * (10**self.places if finest == "f" else 1)

    @property
    def places(self) -> int:
        """Digits that ``%f`` stands for."""
        return 6 if self.decimals is None else self.decimals

    def check(self, *bounds: float) -> None:
        """Refuse a form that does not give back what it writes.

        Args:
            bounds: values that it must be able to write, NaN for none.

        Raises:
            ValueError: what is wrong, and what to declare instead.
        """
        self._check_parts()
        try:
            given = [value for value in bounds if not np.isnan(value)]
            values = np.array([*self._probes(), *given], dtype=float)
            texts = self.write(values)
            back = self.read(pd.Series(texts, dtype=object))
        except (ValueError, ArithmeticError, LookupError, TypeError, re.error):
            raise ValueError(
                f"expected a format that can be read and written, got {self.pattern!r}"
            ) from None
        if not np.array_equal(self.steps(back), self.steps(values), equal_nan=True):
            if "y" in self.directives and "Y" not in self.directives:
                raise ValueError(
                    "expected years of four digits (%Y), or bounds from 1969 to 2068, the years of two digits"
                )
            needs = {
                "date": "the day, month and year; for months or years take type: string or integer",
                "datetime": "the day, month, year and the hour (%I goes with %p)",
                "time": "the hour (%I goes with %p)",
            }[self.kind]
            raise ValueError(f"expected a format that holds {needs}, got {self.pattern!r}")

    def _check_parts(self) -> None:
        if len(self.pattern) > LONGEST:
            raise ValueError(f"expected a format of at most {LONGEST} characters")
        parts = [match[3] for match in _DIRECTIVE.finditer(self.pattern) if match[3] != "%"]
        if len(set(parts)) != len(parts):
            raise ValueError("expected each directive of a format once, such as %Y-%m-%d")
        found = self.directives
        zoned = bool(found & {"z", "Z"})
        if found & _COMPOSITE:
            raise ValueError(
                "expected each part of the format by its own directive, such as %Y-%m-%d %H:%M:%S"
            )
        if "Z" in found:
            raise ValueError(
                "expected offsets (%z) or a literal letter in the format; names of zones (%Z) are ambiguous"
            )
        if self.kind == "date" and (found & _TIME or zoned):
            raise ValueError(
                "expected a format of days; a date keeps no time of day and no zone, so take type: datetime"
            )
        if self.kind == "time" and (found & _DAY or zoned):
            raise ValueError("expected a format of times of day; for a day with a time take type: datetime")
        if self.kind == "datetime" and not found & _TIME:
            raise ValueError("expected a format with a time of day; for days alone take type: date")
        if self.timezone is not None and (self.kind != "datetime" or not zone_of(self.timezone)):
            raise ValueError("expected a timezone such as Europe/Berlin or UTC, on a datetime column")
        if zoned and self.timezone is None:
            raise ValueError(
                "expected a timezone, such as Europe/Berlin, since the format has an offset (%z): cells are "
                "then instants, and are written in that zone"
            )
        if self.timezone is not None and not zoned:
            raise ValueError(
                "expected %z in the format, since a local time does not say which instant of its zone it is"
            )
        if self.decimals is not None and not (
            self.kind != "date" and 0 <= self.decimals <= 6 and ("f" in found) == (self.decimals > 0)
        ):
            raise ValueError("expected decimals of a second from 1 to 6, with %f in the format")

    def _probes(self) -> np.ndarray:
        if self.kind == "time":
            return np.array([0.0, 1.0 / 24, 13.0 / 24, (self.per_day - 1) / self.per_day])
        moments = pd.Series(pd.to_datetime(list(_PROBES)))
        return self.snapped(self._days(moments.to_numpy("M8[us]")))

    @property
    def reach(self) -> tuple[float, float]:
        """First and last value that the form can write and read back."""
        if self.kind == "time":
            return 0.0, (self.per_day - 1) / self.per_day
        short = "y" in self.directives and "Y" not in self.directives
        years = (1969, 2068) if short else (1000, 9998)
        first, last = (np.datetime64(text, "us") for text in (f"{years[0]}-01-02", f"{years[1]}-12-30"))
        return float(self._days(np.array([first]))[0]), float(self._days(np.array([last]))[0])

    def steps(self, values: np.ndarray) -> np.ndarray:
        """Return values as whole numbers of the finest part."""
        return np.asarray(np.round(np.asarray(values, dtype=float) * self.per_day))

    def snapped(self, values: np.ndarray) -> np.ndarray:
        """Return the nearest values that the form can write."""
        return self.steps(values) / self.per_day

    def read(self, texts: pd.Series) -> np.ndarray:
        """Return the days of texts, NaN where a text is not of the form.

        Args:
            texts: a series of text.

        Raises:
            ValueError: the format has a directive that does not exist.
        """
        plain = _DIRECTIVE.sub(lambda match: f"%{match[3]}", self.pattern)
        usable = texts.where(texts.str.contains(r"\d", regex=True).astype(bool), "")  # "now" is no date
        if "z" in self.directives:  # a letter Z would come back as +00:00
            usable = usable.where(~usable.str.endswith("Z"), "")
        moments = pd.to_datetime(usable, format=plain, errors="coerce", utc=self.timezone is not None)
        if isinstance(moments.dtype, pd.DatetimeTZDtype):
            moments = moments.dt.tz_convert("UTC").dt.tz_localize(None)
        return self._days(moments.to_numpy("M8[us]"))

    def read_native(self, cells: pd.Series) -> np.ndarray:
        """Return the days of native Parquet values, NaN where a value is missing or not of the kind.

        A moment with a zone is an instant and fits a form with a zone only, and the other way round; a date
        takes moments at midnight.

        Args:
            cells: timestamps, or objects of dates, moments or times.
        """
        if self.kind == "time" or not (
            pd.api.types.is_datetime64_any_dtype(cells.dtype) or isinstance(cells.dtype, pd.DatetimeTZDtype)
        ):
            return np.array([self._native(cell) for cell in cells], dtype=float)
        has_zone = isinstance(cells.dtype, pd.DatetimeTZDtype)
        if has_zone != (self.timezone is not None):
            return np.full(len(cells), np.nan)
        if has_zone:
            cells = cells.dt.tz_convert("UTC").dt.tz_localize(None)
        days = self._days(cells.to_numpy("M8[us]"))
        return np.where(days == np.round(days), days, np.nan) if self.kind == "date" else days

    def _native(self, cell: Any) -> float:
        if self.kind == "time":
            if not isinstance(cell, datetime.time) or cell.tzinfo is not None:
                return float("nan")
            seconds = cell.hour * 3600 + cell.minute * 60 + cell.second
            return (seconds * 1_000_000 + cell.microsecond) / _DAY_US
        if isinstance(cell, datetime.datetime):
            one = pd.Series([pd.Timestamp(cell)])
            return float(self.read_native(one)[0])
        if isinstance(cell, datetime.date) and self.kind == "date":
            return float(self._days(np.array([cell], dtype="M8[us]"))[0])
        return float("nan")

    def bound(self, text: str, *, upper: bool = False) -> float:
        """Return the days of a bound in ISO 8601, whatever the format is.

        A day as the upper bound of a datetime includes the whole day; a bound without an offset is a time of
        the form's zone.

        Raises:
            ValueError: the text is no such bound.
        """
        if self.kind == "date":
            return float((datetime.date.fromisoformat(text) - datetime.date.fromisoformat(self.origin)).days)
        if self.kind == "time":
            return self._native(datetime.time.fromisoformat(text))
        step = datetime.timedelta(microseconds=_DAY_US // self.per_day)
        whole_day = upper and re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None
        moment = datetime.datetime.fromisoformat(text)
        if whole_day:
            moment += datetime.timedelta(days=1) - step
        zone = zone_of(self.timezone) if self.timezone else None
        if zone is not None:
            local = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
            moment = local.astimezone(datetime.UTC).replace(tzinfo=None)
        elif moment.tzinfo is not None:
            raise ValueError("expected a bound without an offset")
        return float(self._days(np.array([moment], dtype="M8[us]"))[0])

    def bound_text(self, value: float) -> str:
        """Return a value as the ISO 8601 text that `bound` reads."""
        if self.kind == "date":
            return str(self._moments(np.array([value])).astype("M8[D]")[0])
        zone = "%:z" if self.timezone else ""
        form = "%H:%M:%S.%f" if self.kind == "time" else f"%Y-%m-%dT%H:%M:%S.%f{zone}"
        return str(TimeForm(self.kind, form, self.timezone, None, self.origin).write(np.array([value]))[0])

    def write(self, values: np.ndarray) -> np.ndarray:
        """Return the text of each value, None where it is NaN."""
        steps = self.steps(values)
        known = ~np.isnan(steps)
        distinct, places = np.unique(steps[known], return_inverse=True)
        texts = np.empty(len(steps), dtype=object)
        texts[known] = self._texts(distinct / self.per_day)[places]
        return texts

    def native(self, values: np.ndarray) -> pd.Series:
        """Return values as timestamps, in the form's zone if it has one; times of day as objects."""
        steps = self.steps(values)
        moments = pd.Series(self._moments(steps / self.per_day))
        if self.kind == "time":
            return moments.dt.time.astype(object).where(moments.notna(), None)
        return moments if self.timezone is None else self._zoned(moments)

    def _zoned(self, moments: pd.Series) -> pd.Series:
        zoned: pd.Series = moments.dt.tz_localize("UTC").dt.tz_convert(zone_of(str(self.timezone)))
        return zoned

    def _texts(self, values: np.ndarray) -> np.ndarray:
        """Return the texts of known values, part by part of the pattern: strftime has no ``%:z``."""
        moments = pd.Series(self._moments(values))
        if self.timezone is not None:
            moments = self._zoned(moments)
        texts = pd.Series("", index=moments.index, dtype=object)
        start = 0
        for match in re.finditer(r"%:?z|%f", self.pattern):
            texts = texts + _formatted(moments, self.pattern[start : match.start()])
            part = _formatted(moments, match[0].replace(":", ""))
            if match[0] == "%f":
                part = part.str.slice(0, self.places)
            elif self._has_colon(match[0]):
                part = part.str.slice(0, 3) + ":" + part.str.slice(3)
            texts, start = texts + part.astype(object), match.end()
        texts = texts + _formatted(moments, self.pattern[start:])
        return texts.astype(object).to_numpy()

    def _has_colon(self, directive: str) -> bool:
        """Whether an offset is written with a colon: ISO 8601 writes time and offset in the same manner."""
        return ":" in directive or re.search(r"%-?H:%M", self.pattern) is not None

    @cached_property
    def _origin(self) -> np.datetime64:
        day = "1900-01-01" if self.kind == "time" else self.origin
        return np.datetime64(day, "us")

    def _moments(self, days: np.ndarray) -> np.ndarray:
        known = ~np.isnan(days)
        steps = np.round(np.where(known, days, 0.0) * self.per_day).astype(
            "int64"
        )  # a float of days is a hair off
        moments = self._origin + (steps * (_DAY_US // self.per_day)).astype("m8[us]")
        return np.where(known, moments, np.datetime64("NaT", "us"))

    def _days(self, moments: np.ndarray) -> np.ndarray:
        missing = np.isnat(moments)
        since = (np.where(missing, self._origin, moments) - self._origin).astype("m8[us]").astype("int64")
        return np.where(missing, np.nan, since / _DAY_US)


def is_native(cell: Any) -> bool:
    """Return whether a cell is a moment of its own, such as Parquet holds it, and no text or number."""
    return isinstance(cell, (datetime.date, datetime.time))  # a datetime is a date


def zone_of(name: str) -> datetime.tzinfo | None:
    """Return the zone of an IANA name, or None if there is none of that name."""
    if name == "UTC":
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _formatted(moments: pd.Series, pattern: str) -> pd.Series:
    if not pattern:
        return pd.Series("", index=moments.index, dtype=object)
    texts: pd.Series = moments.dt.strftime(pattern).astype(object)
    return texts
