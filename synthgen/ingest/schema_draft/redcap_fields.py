"""Which columns a REDCap variable has in a raw export, and what the dictionary says of each."""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synthgen.deidentify.identifier_names import kind_of
from synthgen.errors import ConfigError
from synthgen.ingest.schema_draft.redcap_dictionary import TITLES, Variable
from synthgen.ingest.schema_draft.redcap_logic import box_name
from synthgen.schema.fields import MAX_CATEGORIES

BOUNDS = "declare constraints.{} from medical knowledge, or `bounds: paid`, or `role: drop`"
ZERO_ONE = {"trueValues": ["1"], "falseValues": ["0"]}
"""REDCap exports yes and no as digits."""

FREE = "free text: list public categories as constraints.enum, or `categories: paid`, or `role: drop`"
NAMED = "its name says {}: `role: drop`, or `identifier: false` if it identifies nobody"
STATUS = {"0": "Incomplete", "1": "Unverified", "2": "Complete"}
IDENTIFYING = re.compile(r"e?mail|phone|ssn|zipcode|postal|v?mrn")
"""Starts of the validation types whose texts identify a person."""
A = {"integer": "an integer", "number": "a number", "date": "a date", "datetime": "a datetime"}
LONGEST = 300


@dataclass(frozen=True)
class Drafted:
    """A column of the export.

    Attributes:
        name: the column.
        content: its keys in the schema, without the name.
        todo: what a person must decide, or nothing.
        hint: what else a person should know.
        logic: its branching logic.
        box: whether it is a box of a checkbox.
        form: the form that it stands on, or nothing.
    """

    name: str
    content: dict[str, Any]
    todo: str = ""
    hint: str = ""
    logic: str = ""
    box: bool = False
    form: str = ""


def fields_of(variables: Sequence[Variable], path: Path) -> list[Drafted]:
    """Return the columns of a raw export: the record's id first, each form's status after its last field.

    Raises:
        ConfigError: a bound cannot be read, with line and column.
    """
    found = [
        Drafted(
            variables[0].name, {"type": "string", "role": "id", **_texts(variables[0])}, hint="the record"
        )
    ]
    for number, variable in enumerate(variables):
        if number:
            found += [replace(one, form=variable.form) for one in _columns(variable, path)]
        following = variables[number + 1].form if number + 1 < len(variables) else None
        if variable.form != following:
            name = f"{variable.form}_complete"
            found.append(Drafted(name, _choice(STATUS, title="Form status"), form=variable.form))
    return found


def structural(forms: Sequence[str]) -> dict[str, Drafted]:
    """Return the columns that REDCap adds to an export for events, repeats, groups and surveys."""
    listed = list(dict.fromkeys(forms))
    found = [
        Drafted(
            "redcap_event_name", {"type": "string"}, "list the project's event names as constraints.enum"
        ),
        Drafted("redcap_repeat_instrument", {"type": "string", "constraints": {"enum": listed}}),
        Drafted(
            "redcap_repeat_instance",
            {"type": "integer", "constraints": {"minimum": 1}},
            BOUNDS.format("maximum"),
        ),
        Drafted(
            "redcap_data_access_group",
            {"type": "string"},
            "list the project's groups as constraints.enum, or `role: drop`",
        ),
        _dropped("redcap_survey_identifier", "it names a person"),
        *(_dropped(f"{form}_timestamp", "the moment of a survey") for form in listed),
    ]
    return {one.name: one for one in found}


def _columns(variable: Variable, path: Path) -> list[Drafted]:
    """Return the columns of one variable; a descriptive text has none, a checkbox one a box."""
    name, texts = variable.name, _texts(variable)
    if variable.type == "descriptive":
        return []
    reason = _why_dropped(variable)
    names = {box_name(name, code): label for code, label in variable.choices}
    if variable.type != "checkbox":
        names = {name: ""}
    if reason:
        return [_dropped(column, reason, texts) for column in names]
    if variable.type == "checkbox":
        title = texts.get("title", name)
        contents = {
            c: {"type": "boolean", "title": f"{title}: {_clean(label)}", **ZERO_ONE}
            for c, label in names.items()
        }
        return [Drafted(c, content, logic=variable.logic, box=True) for c, content in contents.items()]
    content, todo, hint = _content(variable, path)
    kind = kind_of(name)
    todo = NAMED.format(kind) if kind else todo
    if variable.required and not variable.logic:
        hint = "; ".join(filter(None, [hint, "required on the form, which REDCap does not enforce"]))
    return [Drafted(name, {"type": content.pop("type"), **texts, **content}, todo, hint, variable.logic)]


def _why_dropped(variable: Variable) -> str:
    if variable.identifier:
        return "the dictionary marks it as an identifier"
    if variable.type in ("file", "signature"):
        return "a file"
    if variable.type == "notes":
        return "free text"
    if variable.type == "text":
        if IDENTIFYING.match(variable.validation):
            return f"its validation, {variable.validation}, says that it identifies a person"
    return ""


def _content(variable: Variable, path: Path) -> tuple[dict[str, Any], str, str]:
    """Return the keys of a column, what is to be decided, and what else to know."""
    kind, validation = variable.type, variable.validation
    if kind in ("yesno", "truefalse"):
        return {"type": "boolean", **ZERO_ONE}, "", ""
    if kind in ("dropdown", "radio"):
        if len(variable.choices) > MAX_CATEGORIES:
            return {"type": "string"}, f"over {MAX_CATEGORIES} choices: group them, or `role: drop`", ""
        return _choice(dict(variable.choices), note=variable.note), "", ""
    if kind == "slider":
        return _bounded("integer", variable, path, defaults=("0", "100"))
    if kind == "calc":
        content, todo, hint = _bounded("number", variable, path)
        return content, todo, "; ".join(filter(None, ["calculated", hint]))
    if kind == "text" and validation == "integer":
        return _bounded("integer", variable, path)
    if kind == "text" and validation.startswith("number"):
        content, todo, hint = _bounded("number", variable, path)
        comma = "written with a decimal comma: export with one sign for all, and name it as `decimal`"
        return content, todo, comma if "comma" in validation else hint
    if kind == "text" and validation.startswith("date"):
        kind = "datetime" if validation.startswith("datetime") else "date"
        content, todo, hint = _bounded(kind, variable, path)
        if kind == "datetime":
            seconds = ":%S" if "seconds" in validation else ""
            return {**content, "format": f"%Y-%m-%d %H:%M{seconds}"}, todo, hint
        return content, todo, hint
    if kind == "text" and validation.startswith("time"):
        forms = {"time_mm_ss": "", "time_hh_mm_ss": "%H:%M:%S"}
        form = forms.get(validation, "%H:%M")
        return {"type": "time", "format": form} if form else {"type": "string"}, "" if form else FREE, ""
    return {"type": "string"}, "a list from a query: " + FREE[11:] if kind == "sql" else FREE, ""


def _choice(choices: dict[str, str], *, title: str = "", note: str = "") -> dict[str, Any]:
    """Return a category of raw codes; what they mean is the description."""
    meaning = "; ".join(f"{code} = {_clean(label)}" for code, label in choices.items())
    description = _clean(f"{note}. {meaning}" if note else meaning)
    named = {"title": title} if title else {}
    return {"type": "string", **named, "description": description, "constraints": {"enum": list(choices)}}


def _bounded(
    kind: str, variable: Variable, path: Path, *, defaults: tuple[str, str] = ("", "")
) -> tuple[dict[str, Any], str, str]:
    """Return a number or date with the bounds that the dictionary fixes."""
    limits: dict[str, Any] = {}
    moving = False
    for key, default in zip(("minimum", "maximum"), defaults, strict=True):
        text = getattr(variable, key) or default
        if text in ("today", "now") or "[" in text:
            moving = True
        elif text:
            try:
                limits[key] = _bound(text, kind, variable.validation)
            except ValueError:
                raise _refusal(
                    f"{variable.name!r}: expected {A[kind]} or nothing, got other text.", variable, key, path
                ) from None
    if len(limits) == 2 and limits["minimum"] >= limits["maximum"]:
        raise _refusal(f"{variable.name!r}: expected a minimum below the maximum.", variable, "minimum", path)
    open_ends = [key for key in ("minimum", "maximum") if key not in limits]
    content = {"type": kind} | ({"constraints": limits} if limits else {})
    todo = BOUNDS.format(" and ".join(open_ends)) if open_ends else ""
    return content, todo, "its bound in REDCap moves with the day or the record" if moving else ""


def _refusal(message: str, variable: Variable, key: str, path: Path) -> ConfigError:
    where = f'{path}:{variable.line}, column "{TITLES[key][0]}"'
    return ConfigError(message, where=where, next_step="Correct the line, or leave the range out.")


def _bound(text: str, kind: str, validation: str) -> int | float | str:
    if kind in ("date", "datetime"):
        day, _, clock = text.replace("/", "-").partition(" ")
        if not re.match(r"\d{4}-", day):  # as the field shows it; a dictionary mostly keeps years first
            a, b, year = day.split("-")
            day = f"{year}-{b}-{a}" if "dmy" in validation else f"{year}-{a}-{b}"
        if kind == "date" or not clock:
            return datetime.date.fromisoformat(day).isoformat()
        return datetime.datetime.fromisoformat(f"{day}T{clock}").isoformat()
    number = float(text.replace(",", ".") if "comma" in validation else text)
    if number != number or abs(number) == float("inf"):
        raise ValueError("no number")
    return int(number) if number == int(number) else number


def _texts(variable: Variable) -> dict[str, str]:
    texts = {"title": _clean(variable.label), "description": _clean(variable.note)}
    return {key: text for key, text in texts.items() if text}


def _dropped(name: str, reason: str, texts: dict[str, str] | None = None) -> Drafted:
    return Drafted(name, {"type": "string", "role": "drop", **(texts or {})}, hint=reason)


def _clean(text: str) -> str:
    """Return a label without HTML, on one line."""
    return " ".join(re.sub(r"<[^<>]*>", " ", text).split())[:LONGEST]
