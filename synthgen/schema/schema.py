"""The public description of a table: columns, types, bounds, categories, roles, and the privacy unit.

Everything a generator may know before it pays for it stands here, so nothing in a schema may be
read off the data unless a person confirms it as public. The words are those of Frictionless Table
Schema v2 and ours (``role``, ``bins``, ``outside``, ``unit``, ``rules``).

The canonical form of a column's values, used everywhere behind ``ingest``:

* a category (text, boolean, or integer with an enum) is a pandas ``Categorical`` over `Column.labels`;
* a number or integer is ``float64``, and so is a date or datetime (days from its public origin; an instant
  is one in UTC) and a time of day (days from midnight);
* a missing value is NaN in both.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field as Key
from pydantic import field_validator, model_validator

from synthgen.errors import ConfigError
from synthgen.files import limits, yaml_file
from synthgen.schema.completeness import Gap, describe, gaps
from synthgen.schema.fields import (
    MAX_CATEGORIES,
    OTHER,
    Column,
    Constraints,
    Field,
    Kind,
    Label,
    Role,
    column_of,
    days,
    domain_of,
    has_domain,
)
from synthgen.schema.file_dialect import Dialect
from synthgen.schema.image_format import FILE_COLUMN, MOST_LEFT_OUT, Images
from synthgen.schema.privacy_unit import Unit
from synthgen.schema.rule_clauses import contradiction
from synthgen.schema.rules import Domain, Rule, parse_rule
from synthgen.settings import Settings

__all__ = [
    "MAX_CATEGORIES",
    "OTHER",
    "Column",
    "Constraints",
    "Field",
    "Images",
    "Kind",
    "Label",
    "Role",
    "Schema",
    "Unit",
    "days",
    "load_schema",
]


_LATER = {"records": "single", "order": None, "static": False, "decimals": None, "timezone": None}
_LATER_IMAGES = {"dicom": None, "most_left_out": MOST_LEFT_OUT}


class Schema(Settings):
    """A table's public description.

    Attributes:
        others: what becomes of the table's columns that are not among the fields: ``error`` refuses the
            table, ``drop`` leaves them out, as ``role: drop`` does.

    Raises:
        ConfigError: on load, with path, line and key of the first problem.
    """

    unit: Unit
    missing_values: tuple[str, ...] = Key(default=("",), alias="missingValues")
    fields: tuple[Field, ...] = Key(min_length=1)
    rules: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    others: Literal["error", "drop"] = "error"
    images: Images | None = None
    dialect: Dialect | None = None

    @field_validator("unit", mode="before")
    @classmethod
    def _row_by_name(cls, value: Any) -> Any:
        return {"level": "row"} if value == "row" else value

    @model_validator(mode="after")
    def _agree(self) -> Schema:
        names = [field.name for field in self.fields]
        twice = sorted(name for name, number in Counter(names).items() if number > 1)
        if twice:
            second = len(names) - 1 - names[::-1].index(twice[0])
            raise ValueError(f"fields.{second}: expected each name once, got {twice} twice")
        if self.unit.column is not None:
            roles = {field.name: field.role for field in self.fields}
            if self.unit.column not in roles:
                raise ValueError("unit.column: expected a field, got a name that is not among the fields")
            if roles[self.unit.column] != "id":
                raise ValueError("unit.column: expected a field with `role: id`, got another role")
        if not any(field.role not in ("id", "drop") for field in self.fields):
            raise ValueError(
                "fields.0: expected a column that is neither id nor drop, but no column is left to model"
            )
        labels = [field.name for field in self.fields if field.role == "label"]
        if len(labels) > 8:
            raise ValueError("expected at most 8 label columns")
        for number, field in enumerate(self.fields):
            try:
                field.check_tokens(self.tokens(field))
            except ValueError as error:
                raise ValueError(f"fields.{number}: {error}") from None
        self._check_since()
        self._check_order()
        if self.images is not None:
            self.images.check(roles={field.name: field.role for field in self.fields}, unit=self.unit.column)
        self._check_rules()
        return self

    def _check_since(self) -> None:
        dates = {
            f.name: f for f in self.fields if f.type in ("date", "datetime") and f.role not in ("id", "drop")
        }
        for field in dates.values():
            base = None if field.since is None else dates.get(field.since)
            if field.since is None:
                continue
            if base is None or base.since is not None:
                raise ValueError(
                    f"column {field.name!r}: since names no modelled date with an origin of its own"
                )
            if (field.type, field.timezone is None) != (base.type, base.timezone is None):
                raise ValueError(
                    f"column {field.name!r}: since names a column of the same type; expected two dates, two "
                    "local datetimes, or two with a timezone"
                )
            if field.constraints.required and not base.constraints.required:
                raise ValueError(
                    f"column {field.name!r}: required, so the date that it counts from must be too"
                )

    def _check_order(self) -> None:
        if self.unit.order is None:
            return
        field = next((f for f in self.fields if f.name == self.unit.order), None)
        if field is None or field.role in ("id", "drop") or not field.is_numeric or field.since is not None:
            raise ValueError("unit.order: expected a modelled date, number or integer without `since`")
        if not field.constraints.required or field.static or field.bounds == "paid":
            raise ValueError("unit.order: expected `required: true`, declared bounds, and no `static`")

    def _check_rules(self) -> None:
        bound = []
        for number, text in enumerate(self.rules):
            try:
                bound.append(self._bound(text))
            except ValueError as error:
                raise ValueError(
                    f"rules.{number}: expected a rule that can be checked, but {error}"
                ) from None
        against = contradiction(bound, self._domains) if bound else None
        if against is not None:
            texts = " and ".join(repr(self.rules[number]) for number in against)
            what = "contradict each other" if len(against) > 1 else "cannot be met"
            raise ValueError(
                f"rules.{against[-1]}: expected rules that some record within the public bounds and "
                f"categories can meet, but {texts} {what}"
            )

    def _bound(self, text: str) -> Rule:
        """Return a rule as the columns make it. A word with a minus may be two columns without blanks."""
        rule, names = parse_rule(text), {field.name for field in self.fields}
        unknown = sorted(rule.columns - names)
        if unknown:
            glued = any(part in names for name in unknown for part in name.split("-") if "-" in name)
            raise ValueError(f"{unknown} is not among the fields" + ("; write blanks around -" * glued))
        return rule.bound(self._domains)

    @cached_property
    def _domains(self) -> dict[str, Domain]:
        """What rules have to know of each column whose domain is known."""
        return {field.name: domain_of(field) for field in self.fields if has_domain(field)}

    def tokens(self, field: Field) -> tuple[str, ...]:
        """Return the texts that mean a missing value in a column: its own, else the table's."""
        return self.missing_values if field.missing_values is None else field.missing_values

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Columns that generators see, in the file's order. Ids and dropped columns are not among them."""
        return tuple(column_of(field) for field in self.fields if not field.is_unseen)

    @property
    def added_columns(self) -> tuple[str, ...]:
        """What a synthetic table has behind the schema's columns: the names of images that none names."""
        if self.images is None or self.images.file is not None:
            return ()
        name, taken = FILE_COLUMN, {field.name for field in self.fields}
        while name in taken:
            name += "_"
        return (name,)

    @property
    def file_column(self) -> str | None:
        """The column of a synthetic table that names each record's image; None if it has no images."""
        return next(iter(self.added_columns), None if self.images is None else self.images.file)

    @cached_property
    def parsed_rules(self) -> tuple[Rule, ...]:
        """The rules that speak only of columns that generators see."""
        known = {column.name for column in self.columns}
        return tuple(rule for rule in map(self._bound, self.rules) if rule.columns <= known)

    def column(self, name: str) -> Column:
        """Return a modelled column by name.

        Raises:
            ConfigError: the schema has no such column, or it is an id or dropped.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise ConfigError(
            f"Expected one of {[c.name for c in self.columns]}, got {name!r}.",
            next_step="Name a modelled column.",
        )

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Return the names of the columns of that role, in the file's order."""
        return tuple(field.name for field in self.fields if (field.role or "feature") == role)

    @property
    def paid(self) -> tuple[Field, ...]:
        """The columns whose domain is, or is to be, paid for, in the file's order."""
        marked = [field for field in self.fields if not field.is_unseen]
        return tuple(f for f in marked if f.bounds == "paid" or f.categories == "paid")

    @property
    def resolved(self) -> bool:
        """Whether every domain is there that was to be paid for."""
        return not any(field.unpaid for field in self.paid)

    def digest(self) -> str:
        """Return a SHA-256 over the schema's content, in hex.

        Keys that came later count only where they say something, so that older digests still hold.
        """
        content = self.model_dump(mode="json", by_alias=True)
        content.pop("dialect")  # how a file is written is no part of what it holds
        for holder in (content["unit"], *content["fields"]):
            for key, default in _LATER.items():
                if holder.get(key, default) == default:
                    holder.pop(key, None)
        if content["others"] == "error":
            content.pop("others")
        if content["images"] is not None:
            for key, usual in _LATER_IMAGES.items():
                if content["images"][key] == usual:
                    content["images"].pop(key)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other content; what was derived from the old content is derived anew."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("columns", "parsed_rules", "_domains"):
            copied.__dict__.pop(name, None)
        return copied

    def public(self) -> Self:
        """Return the schema that may leave: the one place that decides what of a schema is published.

        An id or a dropped column keeps its name, its type and its role, which the output needs. Its bounds,
        categories, format, words and texts go, since they tell how a hospital numbers its patients or what
        stands in a column that nobody released; so do the hard rules that name such a column. All else was
        confirmed as public, or paid for. The public schema of a public schema is itself.

        Example:
            >>> field = Field(name="ward", type="string", role="drop", title="Ward of Dr X")
            >>> schema = Schema(unit=Unit(level="row"), fields=(field, Field(name="ill", type="boolean")))
            >>> schema.public().fields[0].title is None
            True
        """
        fields = tuple(
            Field(name=field.name, type=field.type, role=field.role) if field.is_unseen else field
            for field in self.fields
        )
        return self.model_copy(
            update={"fields": fields, "rules": tuple(rule.text for rule in self.parsed_rules)}
        )

    def with_domains_of(self, other: Schema) -> Self:
        """Return this schema with the domains of another that were to be paid for here.

        All else stays as it is here: a public schema does not say how ids and dropped columns are read.
        """
        found = {field.name: field for field in other.fields}
        fields = tuple(
            found[field.name] if field.unpaid and not field.is_unseen else field for field in self.fields
        )
        return self.model_copy(update={"fields": fields})

    def with_date_format(self, form: str | None, *, where: str) -> Self:
        """Return this schema with a format for the dates that have none of their own.

        Args:
            form: strptime format, or None.
            where: the config's path, for the message.

        Raises:
            ConfigError: a date written so cannot be read back.
        """
        if form is None:
            return self
        fields = []
        for field in self.fields:
            if field.type == "date" and field.format is None and not field.is_unseen:
                try:
                    field.model_copy(update={"format": form}).times.check()
                except ValueError as error:
                    step = "Correct date_format, or give the column a type and format of its own."
                    problem = f"data: date_format: column {field.name!r}: {error}"
                    raise ConfigError(problem, where=where, next_step=step) from None
                field = field.model_copy(update={"format": form})
            fields.append(field)
        return self.model_copy(update={"fields": tuple(fields)})

    def has_digest(self, digest: object) -> bool:
        """Return whether a digest in a model is that of this schema (older models have the whole one)."""
        return digest in (self.public().digest(), self.digest())

    def gaps(self, *, unpaid: bool = False) -> tuple[Gap, ...]:
        """Return all that a modelled column lacks: a confirmed public domain, a text for missing values.

        Args:
            unpaid: let a domain be missing that is still to be paid for.
        """
        return (*gaps(self.fields, unpaid=unpaid), *_unwritable(self))

    def require_complete(
        self, *, where: str = "schema", lines: dict[str, int] | None = None, unpaid: bool = False
    ) -> None:
        """Refuse a schema in which a domain is missing or not confirmed as public.

        Args:
            unpaid: let a domain be missing that is still to be paid for.
            where: the schema's path, for the message.
            lines: 1-based line of each column, for the message.

        Raises:
            ConfigError: names every such column, its line, and what to declare or confirm.
        """
        found = self.gaps(unpaid=unpaid)
        if found:
            raise describe(found, lines=lines or {}, where=where)


def lines_of(document: Any, schema: Schema) -> dict[str, int]:
    """Return the 1-based line on which each column of a parsed schema file begins."""
    found = {f.name: yaml_file.line_of(document, ("fields", i)) for i, f in enumerate(schema.fields)}
    return {name: line for name, line in found.items() if line}


def load_schema(path: str | Path, *, complete: bool = True, unpaid: bool = False) -> Schema:
    """Read a schema file.

    Args:
        path: YAML 1.2 file.
        complete: also require every modelled column to have a confirmed public domain.
        unpaid: let a domain be missing that is still to be paid for.

    Raises:
        ConfigError: with path and line.
    """
    path = Path(path)
    document = yaml_file.read(path)
    listed = document.get("fields") if isinstance(document, dict) else None
    limits.require("schema_fields", len(listed) if isinstance(listed, list) else 0, where=str(path))
    schema = yaml_file.parse(Schema, document, path=path)
    if complete:
        schema.require_complete(where=str(path), lines=lines_of(document, schema), unpaid=unpaid)
    return schema


def _unwritable(schema: Schema) -> tuple[Gap, ...]:
    """Return the columns whose missing values could not be written as text."""
    problem = "expected a text for missing values, or `required: true`, found neither."
    step = 'Set `missingValues: [""]`, or `constraints: {required: true}` where no value is missing.'
    return tuple(
        Gap(field.name, "domain", problem, step)
        for field in schema.fields
        if field.role not in ("id", "drop") and not (field.constraints.required or schema.tokens(field))
    )
