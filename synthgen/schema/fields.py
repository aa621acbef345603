"""One column: as the schema file writes it, and as generators see it.

A `Field` is what a person declares; a `Column` is the public domain that follows from it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from pydantic import Field as Key
from pydantic import model_validator

from synthgen.schema import code_systems as codes
from synthgen.schema.rules import Domain
from synthgen.schema.time_formats import KINDS, TimeForm
from synthgen.settings import Settings

Role = Literal["id", "drop", "feature", "label", "protected", "time"]
Kind = Literal["category", "integer", "number", "date"]
Label = str | int | bool
OTHER = "other"
MAX_CATEGORIES = 1000


class Constraints(Settings):
    """Public bounds or categories of a column."""

    minimum: float | int | str | None = None
    maximum: float | int | str | None = None
    enum: tuple[str | int, ...] | None = Key(default=None, min_length=1, max_length=MAX_CATEGORIES)
    required: bool = False


class Field(Settings):
    """One column as the file writes it.

    Attributes:
        bounds: ``paid``: the bounds, or the one that is not declared, are learnt from the budget's
            ``preprocessing``; values beyond are clipped.
        categories: ``paid``: the categories are learnt from it; what too few patients hold is ``other``.
        codes: ``icd9``, ``icd10`` or ``prefix:N``: values are codes, reduced to a public category.
        since: the date column of the same record from which a date's days are counted; minimum and maximum
            are then days, and a drawn date never leaves its order. A datetime counts from a datetime.
        scale: of a number's bins: ``log`` reaches the smallest step on both sides of zero, ``linear`` makes
            equal bins, ``auto`` follows from the bounds.
        static: the same in all records of a patient, so that linked records share it.
        origin: public date from which a date's days are counted.
        decimals: of a number, the decimals that are kept and written (-2 keeps hundreds); of a datetime or
            time, those of a second.
        format: of dates, datetimes and times in text, see `synthgen.schema.time_formats`; None is ISO 8601.
        timezone: of a datetime whose cells carry an offset: they are instants, written in this zone. Without
            it cells are local times.
    """

    name: str = Key(min_length=1)
    type: Literal["string", "integer", "number", "boolean", "date", "datetime", "time"]
    role: Role | None = None
    title: str | None = None
    description: str | None = None
    constraints: Constraints = Constraints()
    bins: int | None = Key(default=None, ge=2, le=1000)
    outside: Literal["error", "clip", "other"] = "error"
    bounds: Literal["paid"] | None = None
    categories: Literal["paid"] | None = None
    codes: str | None = None
    since: str | None = None
    scale: Literal["auto", "linear", "log"] = "auto"
    static: bool = False
    origin: str = "1970-01-01"
    format: str | None = None
    timezone: str | None = None
    decimals: int | None = Key(default=None, ge=-9, le=15)
    missing_values: tuple[str, ...] | None = Key(default=None, alias="missingValues")
    true_values: tuple[str, ...] = Key(
        default=("true", "True", "TRUE", "1"), alias="trueValues", min_length=1
    )
    false_values: tuple[str, ...] = Key(
        default=("false", "False", "FALSE", "0"), alias="falseValues", min_length=1
    )
    confirmed: bool = True
    identifier: Literal[False] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Field:
        enum = self.constraints.enum
        if self.type == "string" and enum and not all(isinstance(value, str) for value in enum):
            raise ValueError("expected an enum of text, got a value that is not text; quote it")
        if self.type == "integer" and enum and not all(isinstance(value, int) for value in enum):
            raise ValueError("expected an enum of integers, got a value that is not an integer")
        if self.type not in ("string", "integer") and enum:
            raise ValueError(f"expected no enum, for a {self.type} column takes no enum")
        if enum and len(set(enum)) != len(enum):
            raise ValueError("expected each category once, but enum names a category twice")
        if set(self.true_values) & set(self.false_values):
            raise ValueError(
                "expected other texts for true than for false, but trueValues and falseValues overlap"
            )
        numeric = self.is_numeric
        if self.outside == "clip" and not numeric:
            raise ValueError("expected outside: error or other for a category, since clip is for numbers")
        if self.outside == "other" and (numeric or self.type == "boolean"):
            raise ValueError(
                "expected outside: error or clip for a number or boolean, since other is for categories"
            )
        if self.bins and not numeric:
            raise ValueError("expected no bins for a category, since bins are for numbers")
        self._check_kinds(numeric)
        for bound in (self.constraints.minimum, self.constraints.maximum):
            self._check_bound(bound, numeric)
        self._check_form(numeric)
        self.check_tokens(self.missing_values or ())
        return self

    @property
    def is_numeric(self) -> bool:
        """Whether its values are held as numbers: number, date, and integer without categories."""
        listed = self.constraints.enum or self.categories
        return self.type in ("number", *KINDS) or (self.type == "integer" and not listed)

    @property
    def is_moment(self) -> bool:
        """Whether its values are days, moments or times of day."""
        return self.type in KINDS

    @property
    def times(self) -> TimeForm:
        """How its days, moments or times of day are written."""
        kind = self.type
        if kind != "date" and kind != "datetime" and kind != "time":
            raise ValueError(f"Expected a date, datetime or time, got {kind!r}.")
        return TimeForm(kind, self.format, self.timezone, self.decimals, self.origin)

    @property
    def is_unseen(self) -> bool:
        """Whether generators never see the column: an id, or one that is dropped."""
        return self.role in ("id", "drop")

    @property
    def unpaid(self) -> bool:
        """Whether its domain is to be paid for and is not there yet."""
        limits = self.constraints
        if self.bounds == "paid":
            return limits.minimum is None or limits.maximum is None
        return self.categories == "paid" and limits.enum is None

    def _check_kinds(self, numeric: bool) -> None:
        if self.bounds == "paid" and (not numeric or self.type == "time"):
            raise ValueError("bounds: paid is for numbers and dates; a category takes categories: paid")
        if self.categories == "paid" and self.type not in ("string", "integer"):
            raise ValueError("categories: paid is for string and integer columns")
        if self.codes is not None and (self.type != "string" or not codes.PATTERN.fullmatch(self.codes)):
            raise ValueError("expected codes as icd9, icd10 or prefix:N, on a string column")
        if self.since is not None and self.type not in ("date", "datetime"):
            raise ValueError("since is for dates and datetimes")
        if self.scale != "auto" and (not numeric or self.is_moment):
            raise ValueError("scale is for numbers; a category or a moment has none")

    def _check_form(self, numeric: bool) -> None:
        """Refuse a form of text that does not give back what it writes."""
        if self.is_unseen:
            return
        if self.is_moment:
            limits = self.constraints
            low, high = (_bound(self, limits.minimum), _bound(self, limits.maximum, upper=True))
            self.times.check(*(() if self.since is not None else (low, high)))
            return
        if self.format is not None or self.timezone is not None:
            raise ValueError("format and timezone are for date, datetime and time columns")
        if self.decimals is not None and not numeric:
            raise ValueError("decimals are for numbers; a category has none")
        if self.decimals is not None and self.type == "integer" and self.decimals > 0:
            raise ValueError(
                "expected no decimals of an integer, or negative ones, which keep tens or hundreds"
            )

    def _check_bound(self, bound: float | int | str | None, numeric: bool) -> None:
        if bound is None:
            return
        if not numeric:
            raise ValueError("expected no minimum and maximum, for a category takes an enum")
        if self.since is not None:
            if isinstance(bound, str) or (self.type == "date" and not isinstance(bound, int)):
                raise ValueError("expected minimum and maximum of a date with since as whole days")
        elif self.is_moment:
            try:
                self.times.bound(str(bound))
            except ValueError:
                raise ValueError(f"expected {_BOUNDS[self.type]}") from None
        elif isinstance(bound, str):
            raise ValueError("expected minimum and maximum as numbers, got text")
        elif self.type == "integer" and bound != int(bound):
            raise ValueError("expected minimum and maximum of an integer column as integers")
        elif not math.isfinite(bound * 10.0 ** max(self.decimals or 0, 0)):
            raise ValueError("expected bounds that are finite when counted in the smallest difference")

    def check_tokens(self, missing: tuple[str, ...]) -> None:
        """Refuse a text that would mean both a value and its absence."""
        values = {str(value) for value in self.constraints.enum or ()}
        if self.type == "boolean":
            values = {*self.true_values, *self.false_values}
        if values & set(missing):
            raise ValueError("expected missingValues that are no category, but a category is also among them")


_BOUNDS = {
    "date": "origin, minimum and maximum as dates, such as 2000-01-31",
    "datetime": "minimum and maximum as 2000-01-31T08:30:00 (an offset only with timezone)",
    "time": "minimum and maximum as times of day, such as 08:30:00",
}


@dataclass(frozen=True)
class Column:
    """A column that generators may see, with its public domain.

    Attributes:
        name: the column's name.
        kind: how its values are held; datetimes and times are numbers of days.
        role: what it is for: feature, label, protected or time.
        labels: the categories in public order, ``other`` last if the schema allows it; empty for numbers.
        minimum: public lower bound (days from origin for a date); NaN for categories.
        maximum: public upper bound; NaN for categories. Of a date with ``since`` both are days since that
            date, and its kind is integer.
        nullable: whether a value may be missing.
        bins: public number of cells asked for a number; None leaves it to the encoder's public rule.
        field: the column as the schema writes it.
    """

    name: str
    kind: Kind
    role: Role
    labels: tuple[Label, ...]
    minimum: float
    maximum: float
    nullable: bool
    bins: int | None
    field: Field

    @cached_property
    def per_unit(self) -> float | None:
        """Number of values in a unit: 1 of a whole number, 10 of one decimal; None if there is no end."""
        if self.field.is_moment:
            return float(self.field.times.per_day)
        if self.field.decimals is not None:
            return float(10.0**self.field.decimals)
        return 1.0 if self.kind == "integer" else None

    @cached_property
    def ends(self) -> tuple[int, int]:
        """Smallest and largest value within the bounds, in steps of the smallest difference."""
        return self.first_step(self.minimum), self.last_step(self.maximum)

    def first_step(self, value: float) -> int:
        """Return the smallest whole number of steps that is not below a value."""
        steps = value * (self.per_unit or 1.0)
        return round(steps) if _is_whole(steps) else math.ceil(steps)

    def last_step(self, value: float) -> int:
        """Return the largest whole number of steps that is not above a value."""
        steps = value * (self.per_unit or 1.0)
        return round(steps) if _is_whole(steps) else math.floor(steps)

    def of_steps(self, steps: np.ndarray) -> np.ndarray:
        """Return the values of whole numbers of steps, each the float nearest to its decimal text."""
        unit = self.per_unit or 1.0
        return np.asarray(steps / unit if unit >= 1.0 else np.round(steps * np.round(1.0 / unit)))

    def snapped(self, values: np.ndarray) -> np.ndarray:
        """Return numbers at the nearest value that the column can hold, within its bounds as far as known."""
        if self.per_unit is None:
            return np.asarray(np.clip(values, self.minimum, self.maximum))
        low = -math.inf if math.isnan(self.minimum) else self.first_step(self.minimum)
        high = math.inf if math.isnan(self.maximum) else self.last_step(self.maximum)
        return self.of_steps(np.clip(np.round(values * self.per_unit), low, high))

    def is_finer(self, values: np.ndarray) -> np.ndarray:
        """Return which numbers lie between two values of the column, by more than the error of a float."""
        if self.per_unit is None:
            return np.zeros(len(values), dtype=bool)
        with np.errstate(invalid="ignore"):
            away = np.abs(values - self.of_steps(np.round(values * self.per_unit)))
            return np.asarray(away > 1e-4 / self.per_unit + 4.0 * np.spacing(np.abs(values)))


def _is_whole(steps: float) -> bool:
    """Return whether a number is whole but for the error of a float."""
    return abs(steps - round(steps)) <= 1e-4 + 2.0 * float(np.spacing(abs(steps)))


def days(text: str, origin: str) -> float:
    """Return the days from an ISO origin to an ISO date."""
    return TimeForm("date", origin=origin).bound(text)


def has_domain(field: Field) -> bool:
    """Return whether a rule on the column can be checked against its domain; not if a fit learns it."""
    known = field.is_numeric or field.type == "boolean" or bool(labels_of(field))
    return known and field.categories is None


def labels_of(field: Field) -> tuple[Label, ...] | None:
    """Return the categories in public order, or None for a number."""
    if field.is_numeric:
        return None
    if field.type == "boolean":
        return (False, True)
    labels: tuple[Label, ...] = tuple(field.constraints.enum or ())
    if field.codes is not None and codes.categories(field.codes):
        labels = codes.in_order(field.codes, {*codes.categories(field.codes), *map(str, labels)} - {OTHER})
    if not labels:  # not there yet
        return ()
    return (*labels, OTHER) if field.outside == "other" and OTHER not in labels else labels


def column_of(field: Field) -> Column:
    """Return the public domain of a modelled column; a bound that is not declared is NaN."""
    labels = labels_of(field)
    kind = {"datetime": "number", "time": "number"}.get(field.type, field.type)
    if field.since is not None and field.type == "date":
        kind = "integer"
    return Column(
        name=field.name,
        kind="category" if labels is not None else kind,  # type: ignore[arg-type]
        role=field.role or "feature",
        labels=labels or (),
        minimum=_bound(field, field.constraints.minimum),
        maximum=_bound(field, field.constraints.maximum, upper=True),
        nullable=not field.constraints.required,
        bins=field.bins,
        field=field,
    )


def domain_of(field: Field) -> Domain:
    """Return what a hard rule has to know of a column."""
    column = column_of(field)
    has_origin = field.type in ("date", "datetime") and field.since is None
    return Domain(
        labels=labels_of(field),
        step=0.0 if column.per_unit is None else 1.0 / column.per_unit,
        origin=days(field.origin, "1970-01-01") if has_origin else None,
        since=field.since,
        minimum=column.minimum,
        maximum=column.maximum,
        required=field.constraints.required,
    )


def _bound(field: Field, value: float | int | str | None, *, upper: bool = False) -> float:
    """Return a bound as canonical values hold it; of a time of day that has none, an end of the day."""
    if field.is_moment and field.since is None:
        times = field.times
        if value is None and field.type == "time":
            return (times.per_day - 1) / times.per_day if upper else 0.0
        return float("nan") if value is None else times.bound(str(value), upper=upper)
    return float("nan") if value is None else float(value)
