"""Draft a schema from a table's cells: a guess for each column, its part, and what holds between columns."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.deidentify.identifier_names import names_patient
from synthgen.deidentify.identifier_values import Found, find
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.schema_draft import column_relations, draft, suggest


@dataclass(frozen=True)
class Named:
    """The columns whose part in a study a person names.

    Attributes:
        unit: names the patient.
        labels: outcomes.
        protected: groups that fairness is about.
    """

    unit: str | None = None
    labels: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()

    def require_in(self, names: Sequence[str]) -> None:
        """Refuse names that are no column, or a column in two parts.

        Raises:
            ConfigError: says which option.
        """
        parts = {"--unit": (self.unit,), "--label": self.labels, "--protected": self.protected}
        for option, given in parts.items():
            for name in given:
                if name is None or name in names:
                    continue
                like = nearest(name, names)
                listed = f"Nearest: {', '.join(map(repr, like))}. " if like else ""
                raise ConfigError(
                    f"Expected a column of the table, found none of the name {name!r}.",
                    where=option,
                    next_step=f"{listed}Check its spelling and capitals, and the delimiter.",
                )
        all_named = [name for given in parts.values() for name in given if name is not None]
        if len(set(all_named)) < len(all_named):
            raise ConfigError(
                "Expected each column in one part, got one twice.",
                where="--unit, --label, --protected",
                next_step="Name it once.",
            )


def nearest(name: str, names: Sequence[str]) -> list[str]:
    """Return up to three of the names that are most like one, whatever their capitals.

    Example:
        >>> nearest("nun", ["id", "NUM", "number", "age"])
        ['NUM', 'number']
    """
    by_lower = {other.lower(): other for other in reversed(names)}
    return [by_lower[like] for like in difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.4)]


NOTHING = Named()


@dataclass(frozen=True)
class Draft:
    """A schema's draft.

    Attributes:
        text: as YAML. With suggestions it holds values of patients.
        identifiers: columns whose cells look like a person's identifiers, if cells were read. Sensitive.
        notes: what a person should do before anything else, such as name the decimal sign.
    """

    text: str
    identifiers: tuple[Found, ...] = ()
    notes: tuple[str, ...] = ()


def unit_of(names: Sequence[str], named: Named) -> str | None:
    """Return the patient's column: the one that a person names, else the first that its name shows.

    Raises:
        ConfigError: there is no column of a name that the person gave.
    """
    named.require_in(names)
    taken = {*named.labels, *named.protected}
    return named.unit or next((name for name in names if names_patient(name) and name not in taken), None)


def suggested(
    frame: pd.DataFrame,
    named: Named,
    *,
    decimal: str = ".",
    date_format: str | None = None,
    dialect: Mapping[str, str] = draft.NO_DIALECT,
) -> Draft:
    """Return a draft whose fields are guessed from the cells.

    Args:
        frame: the raw table. Sensitive.
        named: the columns whose part a person names.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None tries common ones.
        dialect: how the table is written, in the schema's words, as far as it is not the usual one.

    Raises:
        DataError: there is no record, or no column to model.
        ConfigError: a person names a column that is not there.
    """
    unit = unit_of(list(map(str, frame.columns)), named)
    if frame.empty:
        step = "Export the table again, or draft it without --suggest."
        raise DataError("Expected records, got a table without any.", where="--suggest", next_step=step)
    identifiers = find(frame, list(frame.columns), lambda name: suggest.TOKENS)
    kinds = {one.column: one.kind for one in identifiers}
    fields: dict[str, suggest.Suggestion] = {}
    for name in map(str, frame.columns):
        if name == unit or name in kinds:
            fields[name] = suggest.identifying(frame[name], kinds.get(name), is_unit=name == unit)
        else:
            fields[name] = suggest.suggest(
                frame[name], name, decimal=decimal, date_format=date_format, has_unit=unit is not None
            )
    _take_parts(frame, fields, named)
    if not any(field.is_modelled for field in fields.values()):
        raise DataError(
            "Expected a column that can be modelled, got ids, free text and identifiers alone.",
            where="--suggest",
            next_step="Draft it without --suggest, and declare the columns by hand.",
        )
    held = _related(frame, fields, decimal)
    commas = [name for name, field in fields.items() if suggest.COMMA in field.reasons]
    notes = [f"Columns {commas} seem to hold decimal commas: draft anew with --decimal ,"] if commas else []
    rows = "" if unit is None else f"; {_rows_of_patients(frame[unit])}"
    text = draft.suggested(
        [(name, field.keys, field.reasons) for name, field in fields.items()],
        unit=unit,
        unit_hint=f"{draft.UNIT_HINT}{rows}",
        rules=held,
        dialect=dialect,
    )
    return Draft(text, tuple(identifiers), tuple(notes))


def _take_parts(frame: pd.DataFrame, fields: dict[str, suggest.Suggestion], named: Named) -> None:
    """Give columns their roles, in place: those that a person names, else an outcome that shows itself."""
    for role, given in (("label", named.labels), ("protected", named.protected)):
        for name in given:
            fields[name] = suggest.named(frame[name], fields[name], role)
    if not named.labels:
        outcome = next((name for name, field in fields.items() if suggest.is_outcome(name, field)), None)
        if outcome is not None:
            fields[outcome] = fields[outcome].with_keys(role="label").because("an outcome by its name")


def _rows_of_patients(units: pd.Series) -> str:
    """Return in words how many rows patients have."""
    rows = units.dropna().astype(str).value_counts().to_numpy()
    if not len(rows) or rows.max() == 1:
        return "each has one row"
    half, most = np.quantile(rows, (0.5, 0.9), method="higher").tolist()
    linked = "`records: linked` if they belong together"
    return f"half of them have at most {half}, nine in ten at most {most} rows; {linked}"


def _related(frame: pd.DataFrame, fields: dict[str, suggest.Suggestion], decimal: str) -> list[str]:
    """Count dates from those that they never precede, in place; return what else held in every record."""
    modelled = {name: field for name, field in fields.items() if field.is_modelled}
    dated = {name: field.days for name, field in modelled.items() if field.days is not None}
    dated = {name: days for name, days in dated.items() if days.form.kind != "time"}
    moments = {name: days.of(frame[name]) for name, days in dated.items()}
    zoned = {name: (days.form.kind, days.form.timezone is None) for name, days in dated.items()}
    numbers, decimals = {}, {}
    for name, field in modelled.items():
        if field.keys["type"] in ("integer", "number") and "minimum" in field.keys.get("constraints", {}):
            numbers[name] = suggest.numbers_of(frame[name], decimal)
            decimals[name] = int(field.keys.get("decimals", 0 if field.keys["type"] == "integer" else 9))
    counted = column_relations.intervals(moments, zoned)
    for one in counted:
        limits = {"minimum": one.least, "maximum": one.most}
        why = f"never before {one.base}: days since it, so that no drawn one is"
        fields[one.column] = fields[one.column].with_keys(since=one.base, constraints=limits).because(why)
    return column_relations.rules(numbers, decimals) + column_relations.orders(moments, counted)
