"""Read a REDCap data dictionary: the file that the project's designer downloads, or the API's.

A dictionary describes forms and holds no record. Its two ways of naming columns are both read; order
and further columns do not matter. Messages name line and column of the file, and no cell: the wrong
file may have been given.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables import files

TITLES = {
    "name": ("Variable / Field Name", "field_name"),
    "form": ("Form Name", "form_name"),
    "type": ("Field Type", "field_type"),
    "label": ("Field Label", "field_label"),
    "choices": ("Choices, Calculations, OR Slider Labels", "select_choices_or_calculations"),
    "validation": (
        "Text Validation Type OR Show Slider Number",
        "text_validation_type_or_show_slider_number",
    ),
    "minimum": ("Text Validation Min", "text_validation_min"),
    "maximum": ("Text Validation Max", "text_validation_max"),
    "identifier": ("Identifier?", "identifier"),
    "logic": ("Branching Logic (Show field only if...)", "branching_logic"),
    "note": ("Field Note", "field_note"),
    "required": ("Required Field?", "required_field"),
}
OPTIONAL = {"note", "required"}
CHOICE_TYPES = {"dropdown", "radio", "checkbox"}
TYPES = CHOICE_TYPES | {
    "text", "notes", "calc", "yesno", "truefalse", "slider", "file", "signature", "descriptive", "sql"
}  # fmt: skip
SAME = {"select": "dropdown", "textarea": "notes"}
"""Names of the same types in old exports."""


@dataclass(frozen=True)
class Variable:
    """One line of a dictionary, as it stands there.

    Attributes:
        line: of the file.
        choices: code and label of each choice, of a field that has some.
        text: formula, query or slider labels: what stands in the choices' place otherwise.
    """

    line: int
    name: str
    form: str
    type: str
    label: str
    choices: tuple[tuple[str, str], ...]
    text: str
    validation: str
    minimum: str
    maximum: str
    identifier: bool
    logic: str
    note: str
    required: bool


def read(path: Path, *, delimiter: str = ",", encoding: str = "utf-8") -> list[Variable]:
    """Return the variables of a dictionary, in its order; the first numbers the records.

    Raises:
        ConfigError: the file is no dictionary, or a line of it is not as REDCap writes it.
    """
    try:
        header, records = files.csv_records(path, delimiter=delimiter, encoding=encoding)
    except DataError as error:
        raise ConfigError(error.message, where=error.where, next_step=error.next_step) from None
    place = _columns(header, path)
    found = [
        _variable({key: row[at].strip() for key, at in place.items()}, line, path) for line, row in records
    ]
    if not found:
        step = "Download the dictionary again."
        raise ConfigError("Expected variables, got a header alone.", where=f"{path}:1", next_step=step)
    _require_names_once(found, path)
    return found


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Return the position of each column that is used."""
    words = [_plain(name) for name in header]
    place = {}
    for key, titles in TITLES.items():
        at = [words.index(_plain(title)) for title in titles if _plain(title) in words]
        if at:
            place[key] = at[0]
    lacking = [TITLES[key][0] for key in TITLES if key not in place and key not in OPTIONAL]
    if lacking:
        listed = ", ".join(f'"{title}"' for title in lacking[:3])
        listed += f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
        raise ConfigError(
            f"Expected the columns of a REDCap data dictionary, found none called {listed}.",
            where=f"{path}:1",
            next_step="Give what `Download Data Dictionary` gives, not an export of records.",
        )
    return place


def _plain(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", " ", title.lower()).strip()


def _variable(cells: dict[str, str], line: int, path: Path) -> Variable:
    kind = SAME.get(cells["type"].lower(), cells["type"].lower())
    problem = _problem(cells, kind)
    choices: tuple[tuple[str, str], ...] = ()
    if problem is None and kind in CHOICE_TYPES:
        try:
            choices = _choices(cells["choices"])
        except ValueError as error:
            problem = ("choices", str(error), "Write `1, Label | 2, Label`.")
    if problem is not None:
        key, message, step = problem
        raise ConfigError(message, where=f'{path}:{line}, column "{TITLES[key][0]}"', next_step=step)
    return Variable(
        line=line,
        type=kind,
        choices=choices,
        text="" if choices else cells["choices"],
        identifier=cells["identifier"].lower() == "y",
        required=cells.get("required", "").lower() == "y",
        note=cells.get("note", ""),
        **{key: cells[key] for key in ("name", "form", "label", "validation", "minimum", "maximum", "logic")},
    )


def _problem(cells: dict[str, str], kind: str) -> tuple[str, str, str] | None:
    """Return the column that is not as REDCap writes it, what was expected, and what to do; or None."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", cells["name"]):
        step = "Correct the line; a cell before it may hold the delimiter without quotes."
        return "name", "Expected small letters, digits and underscores, got other text.", step
    if not cells["form"]:
        return "form", "Expected the name of a form, found none.", "Correct the line."
    if kind not in TYPES:
        return "type", "Expected a REDCap field type, got other text.", f"Types are {sorted(TYPES)}."
    for key in ("identifier", "required"):
        if cells.get(key, "").lower() not in ("", "y", "n"):
            return key, "Expected y or nothing, got other text.", "Correct the line."
    return None


def _choices(text: str) -> tuple[tuple[str, str], ...]:
    """Return code and label of each choice."""
    found: dict[str, str] = {}
    for number, part in enumerate((part for part in text.split("|") if part.strip()), 1):
        code, comma, label = part.partition(",")
        code = code.strip()
        if not comma or not code:
            raise ValueError(f"Expected a code, a comma and a label, got other text as choice {number}.")
        if code in found:
            raise ValueError(f"Expected each code once, got that of choice {number} twice.")
        found[code] = label.strip()
    if not found:
        raise ValueError("Expected choices, found none.")
    return tuple(found.items())


def _require_names_once(variables: Sequence[Variable], path: Path) -> None:
    first: dict[str, int] = {}
    for variable in variables:
        if variable.name in first:
            raise ConfigError(
                f"Expected each variable once, got {variable.name!r} in lines {first[variable.name]} and "
                f"{variable.line}.",
                where=f'{path}:{variable.line}, column "{TITLES["name"][0]}"',
                next_step="Remove one.",
            )
        first[variable.name] = variable.line
