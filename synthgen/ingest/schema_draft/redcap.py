"""A REDCap data dictionary made into the draft of a schema. No record is read.

What a dictionary states was declared when the study was designed, so nothing here was read off
patients, and fields carry no ``confirmed: false``; that it is public, a person says by using it. What
it leaves open (bounds, free text) is left open here too: `plan` refuses until it is decided. Codes and
column names are those of a raw export, not of one with labels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synthgen.errors import ConfigError
from synthgen.ingest.schema_draft import draft as _draft
from synthgen.ingest.schema_draft import redcap_dictionary as dictionary
from synthgen.ingest.schema_draft.redcap_fields import Drafted, fields_of, structural
from synthgen.ingest.schema_draft.redcap_logic import UntranslatableError, rule_of
from synthgen.ingest.tables import files
from synthgen.schema.fields import Field

HEAD = """Made from a REDCap data dictionary; no record was read. For a raw export: codes, not labels.
Decide what is marked TODO. REDCap only warns of a value outside a range: see `outside: clip`.
"""
ROWS = "a patient has several rows if there are events or repeats; say how many of them may be used"


@dataclass(frozen=True)
class Imported:
    """The draft and what is left to a person. Public: all of it comes from the dictionary.

    Attributes:
        text: the schema as YAML.
        columns: number of columns.
        decide: column and what is to be decided; a schema is not complete before.
        dropped: column and why it is not modelled.
        rules: hard rules from branching logic.
        untranslated: column and why its branching logic is no rule.
        left_out: variables that the table does not have.
    """

    text: str
    columns: int
    decide: tuple[tuple[str, str], ...]
    dropped: tuple[tuple[str, str], ...]
    rules: tuple[str, ...]
    untranslated: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def draft(
    path: Path, *, table: Path | None = None, delimiter: str = ",", encoding: str = "utf-8"
) -> Imported:
    """Return the draft of a schema for a project's export.

    Args:
        path: the dictionary, as the designer or the API gives it.
        table: an export of records: its first line alone is read, for which columns there are (events,
            repeats, groups, time stamps) and their order. Without it a project without these is taken.
        delimiter: of both files.
        encoding: of both files.

    Raises:
        ConfigError: the dictionary is none, with line and column; or the table's columns are not its own.
        DataError: the table cannot be read.
    """
    path = Path(path)
    variables = dictionary.read(path, delimiter=delimiter, encoding=encoding)
    drafted = fields_of(variables, path)
    left_out: tuple[str, ...] = ()
    if table is not None:
        header = _header(Path(table), delimiter=delimiter, encoding=encoding)
        drafted, left_out = _as_in(header, drafted, [v.form for v in variables], Path(table))
    several = table is None or any(one.name.startswith(("redcap_event", "redcap_repeat")) for one in drafted)
    rules, untranslated = _rules(drafted, several=several)
    unit = drafted[[one.name for one in drafted].index(variables[0].name)].name
    decide = [("unit", ROWS)] * several + [(one.name, one.todo) for one in drafted if one.todo]
    reasons = dict(untranslated)
    text = _draft.document(
        head=HEAD,
        unit={"column": unit, "max_records": 1},
        unit_hint=f"TODO: {ROWS}" if several else "",
        missing=[""],
        fields=[(one.name, one.content, _hint(one, reasons)) for one in drafted],
        rules=rules,
    )
    dropped = tuple((one.name, one.hint) for one in drafted if one.content.get("role") == "drop")
    return Imported(text, len(drafted), tuple(decide), dropped, tuple(rules), tuple(untranslated), left_out)


def _hint(one: Drafted, untranslated: dict[str, str]) -> str:
    parts = [f"TODO: {one.todo}" if one.todo else "", one.hint]
    if one.name in untranslated:
        parts.append(f"shown only if {one.logic} (no rule: {untranslated[one.name]})")
    return "; ".join(part for part in parts if part)


def _header(table: Path, *, delimiter: str, encoding: str) -> list[str]:
    if files.is_parquet(table):
        return files.named(files.parquet_header(table), table)
    return files.csv_header(table, delimiter=delimiter, encoding=encoding)


def _as_in(
    header: Sequence[str], drafted: Sequence[Drafted], forms: Sequence[str], table: Path
) -> tuple[list[Drafted], tuple[str, ...]]:
    """Return the fields of the columns that the table has, in its order, and the others' names."""
    known = {one.name: one for one in drafted} | structural(forms)
    strange = [str(at) for at, name in enumerate(header, 1) if name not in known]
    if strange or drafted[0].name not in header:
        shown = ", ".join(strange[:10]) + (" and more" if len(strange) > 10 else "")
        raise ConfigError(
            f"Expected columns of the dictionary, got others in place {shown}."
            if strange
            else f"Expected the record's column {drafted[0].name!r}, found none.",
            where=f"{table}:1",
            next_step="Export raw data under variable names, and take the dictionary of the same day.",
        )
    return [known[name] for name in header], tuple(one.name for one in drafted if one.name not in header)


def _rules(drafted: Sequence[Drafted], *, several: bool) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the rules of the modelled columns, and the columns whose logic is none, with the reason.

    Where a record has several rows, only the fields of one form are surely filled in the same row.
    """
    modelled = {one.name: one for one in drafted if "role" not in one.content}
    fields = {
        name: Field.model_validate_json(json.dumps({"name": name, **one.content}))
        for name, one in modelled.items()
    }
    rules: list[str] = []
    untranslated: list[tuple[str, str]] = []
    for name, one in modelled.items():
        if one.logic:
            beside = {key for key, other in modelled.items() if not several or other.form == one.form}
            try:
                rules.append(rule_of(name, one.logic, fields, box=one.box, beside=beside))
            except UntranslatableError as reason:
                untranslated.append((name, str(reason)))
    return rules, untranslated
