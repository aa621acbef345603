"""The public description of a table: columns, types, bounds, categories, roles, and the privacy unit.

Everything a generator may know before it pays for it stands here, so nothing in a schema may be
read off the data unless a person confirms it as public. The words are those of Frictionless Table
Schema v2 and ours (``role``, ``bins``, ``outside``, ``unit``, ``rules``).

The canonical form of a column's values, used everywhere behind ``ingest``:

* a category (text, boolean, or integer with an enum) is a pandas ``Categorical`` over `Column.labels`;
* a number, integer or date is ``float64``; a date is days from its public origin;
* a missing value is NaN in both.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from synthgen import yamlfile
from synthgen.errors import ConfigError
from synthgen.rules import Rule, parse_rule
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
    """One column as the file writes it."""

    name: str = Key(min_length=1)
    type: Literal["string", "integer", "number", "boolean", "date"]
    role: Role | None = None
    title: str | None = None
    description: str | None = None
    constraints: Constraints = Constraints()
    bins: int | None = Key(default=None, ge=2, le=1000)
    outside: Literal["error", "clip", "other"] = "error"
    bounds: Literal["paid"] | None = None
    categories: Literal["paid"] | None = None
    origin: str = "1970-01-01"
    format: str | None = None
    missing_values: tuple[str, ...] | None = Key(default=None, alias="missingValues")
    true_values: tuple[str, ...] = Key(default=("true", "True", "TRUE", "1"), alias="trueValues", min_length=1)
    false_values: tuple[str, ...] = Key(default=("false", "False", "FALSE", "0"), alias="falseValues", min_length=1)
    confirmed: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Field:
        enum = self.constraints.enum
        if self.type == "string" and enum and not all(isinstance(value, str) for value in enum):
            raise ValueError("enum of a string column holds a value that is not text; quote it")
        if self.type == "integer" and enum and not all(isinstance(value, int) for value in enum):
            raise ValueError("enum of an integer column holds a value that is not an integer")
        if self.type in ("number", "boolean", "date") and enum:
            raise ValueError(f"a {self.type} column takes no enum")
        if enum and len(set(enum)) != len(enum):
            raise ValueError("enum names a category twice")
        if set(self.true_values) & set(self.false_values):
            raise ValueError("trueValues and falseValues overlap")
        numeric = self.type in ("number", "date") or (self.type == "integer" and not enum)
        if self.outside == "clip" and not numeric:
            raise ValueError("outside: clip is for numbers; a category takes error or other")
        if self.outside == "other" and (numeric or self.type == "boolean"):
            raise ValueError("outside: other is for categories; a number takes error or clip")
        return self


class Unit(Settings):
    """Whose privacy is protected: the patient, or, asked for by name, the row."""

    column: str | None = None
    max_records: int = Key(default=1, ge=1, le=256)
    level: Literal["patient", "row"] = "patient"

    @model_validator(mode="after")
    def _agree(self) -> Unit:
        if self.level == "patient" and not self.column:
            raise ValueError("unit needs the column that names the patient, or `level: row` if each row is a patient")
        if self.level == "row" and (self.column or self.max_records != 1):
            raise ValueError("a row-level unit has no column and one record")
        return self


@dataclass(frozen=True)
class Column:
    """A column that generators may see, with its public domain.

    Attributes:
        name: the column's name.
        kind: how its values are held.
        role: what it is for: feature, label, protected or time.
        labels: the categories in public order, ``other`` last if the schema allows it; empty for numbers.
        minimum: public lower bound (days from origin for a date); NaN for categories.
        maximum: public upper bound; NaN for categories.
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


class Schema(Settings):
    """A table's public description.

    Raises:
        ConfigError: on load, with path, line and key of the first problem.
    """

    unit: Unit
    missing_values: tuple[str, ...] = Key(default=("",), alias="missingValues")
    fields: tuple[Field, ...] = Key(min_length=1)
    rules: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None

    @field_validator("unit", mode="before")
    @classmethod
    def _row_by_name(cls, value: Any) -> Any:
        return {"level": "row"} if value == "row" else value

    @model_validator(mode="after")
    def _agree(self) -> Schema:
        names = [field.name for field in self.fields]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"fields name {twice} twice")
        if self.unit.column is not None:
            roles = {field.name: field.role for field in self.fields}
            if self.unit.column not in roles:
                raise ValueError("unit.column is not among the fields")
            if roles[self.unit.column] != "id":
                raise ValueError("the unit's column needs `role: id`")
        if not any(field.role not in ("id", "drop") for field in self.fields):
            raise ValueError("no column is left to model; expected at least one that is neither id nor drop")
        labels = [field.name for field in self.fields if field.role == "label"]
        if len(labels) > 8:
            raise ValueError("expected at most 8 label columns")
        for text in self.rules:
            unknown = sorted(parse_rule(text).columns - {field.name for field in self.fields})
            if unknown:
                raise ValueError(f"a rule names {unknown}, which is not among the fields")
        return self

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns that generators see, in the file's order. Ids and dropped columns are not among them."""
        return tuple(_column(field) for field in self.fields if field.role not in ("id", "drop"))

    @cached_property
    def parsed_rules(self) -> tuple[Rule, ...]:
        """The rules that speak only of columns that generators see."""
        known = {column.name for column in self.columns}
        return tuple(rule for rule in map(parse_rule, self.rules) if rule.columns <= known)

    def column(self, name: str) -> Column:
        """Return a modelled column by name.

        Raises:
            ConfigError: the schema has no such column, or it is an id or dropped.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(
            f"Expected one of {[c.name for c in self.columns]}, got {name!r}.", next_step="Name a modelled column."
        )

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Return the names of the columns of that role, in the file's order."""
        return tuple(field.name for field in self.fields if (field.role or "feature") == role)

    def digest(self) -> str:
        """Return a SHA-256 over the schema's content, in hex."""
        content = json.dumps(self.model_dump(mode="json", by_alias=True), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def require_complete(self, *, where: str = "schema", lines: dict[str, int] | None = None) -> None:
        """Refuse a schema in which a domain is missing or not confirmed as public.

        Args:
            where: the schema's path, for the message.
            lines: 1-based line of each column, for the message.

        Raises:
            ConfigError: names the column, its line, and what to declare.
        """
        for field in self.fields:
            problem = _gap(field)
            if problem:
                line = (lines or {}).get(field.name)
                raise ConfigError(
                    f"column {field.name!r}: {problem[0]}",
                    where=f"{where}:{line}" if line else where,
                    next_step=problem[1],
                )


def load_schema(path: str | Path, *, complete: bool = True) -> Schema:
    """Read a schema file.

    Args:
        path: YAML 1.2 file.
        complete: also require every modelled column to have a confirmed public domain.

    Raises:
        ConfigError: with path and line.
    """
    path = Path(path)
    document = yamlfile.read(path)
    schema = yamlfile.parse(Schema, document, path=path)
    if complete:
        lines = {field.name: yamlfile.line_of(document, ("fields", i)) or 0 for i, field in enumerate(schema.fields)}
        schema.require_complete(where=str(path), lines=lines)
    return schema


def days(text: str, origin: str) -> float:
    """Return the days from an ISO origin to an ISO date."""
    return float((datetime.date.fromisoformat(text) - datetime.date.fromisoformat(origin)).days)


def _gap(field: Field) -> tuple[str, str] | None:
    """Return what is missing for a column to have a public domain, and what to do."""
    if field.role in ("id", "drop"):
        return None
    if not field.confirmed:
        return (
            "its domain was read from the data and is not confirmed as public.",
            "Check it against a public source, then remove `confirmed: false`.",
        )
    if field.bounds == "paid" or field.categories == "paid":
        return ("paid bounds and categories are not available yet.", "Declare the domain from a public source.")
    limits = field.constraints
    if field.type == "string" and limits.enum is None:
        return ("expected constraints.enum, found none.", "List its public categories, or set `role: drop`.")
    if field.type in ("integer", "number", "date") and limits.enum is None:
        for key in ("minimum", "maximum"):
            if getattr(limits, key) is None:
                return (
                    f"expected a public bound constraints.{key}, found none.",
                    "Declare it from medical knowledge, not from the data, or set `role: drop`.",
                )
        column = _column(field)
        if not column.minimum < column.maximum:
            return ("expected constraints.minimum < constraints.maximum.", "Correct the bounds.")
    return None


def _column(field: Field) -> Column:
    labels: tuple[Label, ...] = ()
    kind: Kind
    if field.type == "boolean":
        kind, labels = "category", (False, True)
    elif field.constraints.enum is not None or field.type == "string":
        kind, labels = "category", tuple(field.constraints.enum or ())
        if field.outside == "other" and OTHER not in labels:
            labels = (*labels, OTHER)
    else:
        kind = field.type  # type: ignore[assignment]
    return Column(
        name=field.name,
        kind=kind,
        role=field.role or "feature",
        labels=labels,
        minimum=_bound(field, field.constraints.minimum),
        maximum=_bound(field, field.constraints.maximum),
        nullable=not field.constraints.required,
        bins=field.bins,
        field=field,
    )


def _bound(field: Field, value: float | int | str | None) -> float:
    if value is None:
        return float("nan")
    if field.type == "date":
        try:
            return days(str(value), field.origin)
        except ValueError:
            raise ConfigError(f"column {field.name!r}: expected ISO dates as bounds.") from None
    if isinstance(value, str):
        raise ConfigError(f"column {field.name!r}: expected a number as bound, got text.")
    return float(value)
