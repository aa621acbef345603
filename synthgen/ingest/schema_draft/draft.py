"""Write the draft of a schema as YAML that a person goes on with: comments say what is left to decide."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from synthgen.deidentify.identifier_names import kind_of
from synthgen.printable import json_text, printable, seen
from synthgen.printable import yaml as escape

NAMES_ONLY = """Draft made from the column names alone; no value was read.
Give each field its type and its public domain (constraints), or `role: drop`.
"""
SUGGESTED = """Draft guessed from the data: ranges and categories below are patients' and NOT PUBLIC.
Replace each domain by a public one, then confirm it: synthgen schema confirm SCHEMA COLUMN... (or --all).
Until then nothing is planned.
"""
NO_UNIT = """THE PRIVACY UNIT IS NOT SET. `unit: row` protects a single row only. If a patient can have
several rows, name the patient's column, `unit: {column: NAME, max_records: K}`, and give it `role: id`."""
CANDIDATES = "Columns that may name the patient: {names} (draft anew with --unit NAME --force)."
UNIT_HINT = "check it, and set how many records of a patient may be used"
TODO = "TODO: type and public constraints, or `role: drop`"
NAMED = (
    "TODO: its name says {kind}; set `role: id` or `role: drop`, or, if it is none, `role: feature` and "
    "`identifier: false`"
)
HELD = """
# What follows held in every record of this table. A rule must come from medicine: to keep those that do, take
# the leading # off their lines and off the next one.
# rules:
"""
KEYS = (
    "type",
    "role",
    "constraints",
    "categories",
    "codes",
    "decimals",
    "format",
    "timezone",
    "since",
    "trueValues",
    "falseValues",
    "missingValues",
)
"""Keys of a guessed field, in the order in which they are written."""
NO_DIALECT: Mapping[str, str] = {}
SAFE_NAME = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_]\w*", re.IGNORECASE)
WIDE = 90
"""So many characters of a list stand on one line; a longer one has a line for each category."""


def names_only(
    names: Sequence[str],
    *,
    unit: str | None,
    roles: Mapping[str, str],
    dialect: Mapping[str, str] = NO_DIALECT,
) -> str:
    """Return a draft in which a person declares every type and domain.

    Args:
        names: the table's columns.
        unit: the patient's column, or None for a table without one.
        roles: roles that a person names.
        dialect: how the table is written, as far as it is not the usual one.
    """
    fields = []
    for name in names:
        kind = kind_of(name) if name not in roles else None
        role = "id" if name == unit else roles.get(name)
        keys = {"type": "string"} | ({} if role is None else {"role": role})
        hint = NAMED.format(kind=kind) if kind else TODO
        fields.append((name, keys, "the patient" if name == unit else hint))
    return document(
        head=NAMES_ONLY,
        unit="row" if unit is None else {"column": unit, "max_records": 1},
        unit_hint=NO_UNIT if unit is None else UNIT_HINT,
        missing=[""],
        fields=fields,
        dialect=dialect,
    )


def suggested(
    fields: Sequence[tuple[str, dict[str, Any], Sequence[str]]],
    *,
    unit: str | None,
    unit_hint: str = UNIT_HINT,
    rules: Sequence[str] = (),
    dialect: Mapping[str, str] = NO_DIALECT,
) -> str:
    """Return a draft whose fields were guessed from the data: each waits for a person.

    Args:
        fields: of each column its name, its keys, and the reasons for them.
        unit: the patient's column, or None for a table without one.
        unit_hint: comment on it.
        rules: what held in every record, which a person may make a rule.
        dialect: how the table is written, as far as it is not the usual one.
    """
    ids = [name for name, keys, _ in fields if keys.get("role") == "id"]
    without = NO_UNIT + (f"\n{CANDIDATES.format(names=', '.join(map(one_line, ids)))}" if ids else "")
    return document(
        head=SUGGESTED,
        unit="row" if unit is None else {"column": unit, "max_records": 1},
        unit_hint=without if unit is None else unit_hint,
        missing=[""],
        fields=[
            (name, {key: keys[key] for key in KEYS if key in keys} | {"confirmed": False}, "; ".join(reasons))
            for name, keys, reasons in fields
        ],
        held=rules,
        dialect=dialect,
    )


def document(
    *,
    head: str,
    unit: str | dict[str, Any],
    unit_hint: str,
    missing: list[str],
    fields: Sequence[tuple[str, dict[str, Any], str]],
    rules: Sequence[str] = (),
    held: Sequence[str] = (),
    dialect: Mapping[str, str] = NO_DIALECT,
) -> str:
    """Return the YAML text of a draft that `load_schema` reads with ``complete=False``.

    Args:
        head: comment at the top.
        unit: the privacy unit, as a schema writes it.
        unit_hint: comment on it.
        missing: texts that mean a missing value.
        fields: of each column its name, its other keys, and a comment.
        rules: hard rules.
        held: what held in every record: written as a comment at the end.
        dialect: how the table is written, in the schema's words, as far as it is not the usual one.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    content = CommentedMap()
    content.yaml_set_start_comment(head)
    content["unit"] = unit if isinstance(unit, str) else flow(unit)
    if isinstance(unit, str):
        before = "\n".join(map(one_line, unit_hint.split("\n")))
        content.yaml_set_comment_before_after_key("unit", before=before)
    elif unit_hint:
        content.yaml_add_eol_comment(one_line(unit_hint), "unit")
    content["missingValues"] = flow(missing)
    if dialect:
        content["dialect"] = flow(dict(dialect))
        content.yaml_add_eol_comment("of the table's file, and of what is drawn", "dialect")
    content["fields"] = CommentedSeq()
    content["fields"].extend(_item(*field) for field in fields)
    if rules:
        content["rules"] = CommentedSeq([flow(rule) for rule in rules])
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 100_000  # a folded line would break a label in two
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(content, stream)
    lines = [f"#   - {_dumped(rule)}\n" for rule in held]
    return escape(stream.getvalue()) + "".join([HELD, *lines] if lines else [])


def _dumped(rule: str) -> str:
    """Return a rule as a YAML text in double quotes."""
    return json_text(rule, ascii_only=False)


def _item(name: str, keys: dict[str, Any], hint: str) -> Any:
    """Return one field as YAML keys with a comment."""
    from ruamel.yaml.comments import CommentedMap

    item = CommentedMap(name=quoted(name))
    for key, value in keys.items():
        item[key] = value if key in ("type", "role") else flow(value)
    if hint:
        item.yaml_add_eol_comment(one_line(hint), "name")
    return item


def one_line(text: str) -> str:
    """Return a text as one line of a comment: a column's name or a cell may break it."""
    return printable(" ".join(text.split()))


def flow(value: Any) -> Any:
    """Return a value in YAML's one-line style if it fits, its texts quoted so that none reads as a number."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    if not isinstance(value, (dict, list)):
        return value
    content: Any = (
        CommentedMap({key: flow(item) for key, item in value.items()})
        if isinstance(value, dict)
        else CommentedSeq([flow(item) for item in value])
    )
    if len(str(value)) < WIDE:
        content.fa.set_flow_style()
    return content


def quoted(text: str) -> str:
    """Return a column's name, quoted unless every YAML reader takes it for text."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return text if SAFE_NAME.fullmatch(text) and seen(text) else DoubleQuotedScalarString(text)
