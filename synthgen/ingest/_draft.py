"""Write the draft of a schema as YAML that a person goes on with: comments say what is left to decide."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from synthgen.errors import ConfigError
from synthgen.identifiers import kind_of, names_patient

NAMES_ONLY = """Draft made from the column names alone; no value was read.
Give each field its type and its public domain (constraints), or `role: drop`.
"""
SUGGESTED = """Draft guessed from the data: ranges and categories below are patients' and NOT PUBLIC.
Replace each domain by a public one, then confirm it: synthgen schema confirm SCHEMA COLUMN... (or --all).
Until then nothing is planned.
"""
NO_UNIT = """THE PRIVACY UNIT IS NOT SET. `unit: row` protects a single row only. If a patient can have
several rows, name the patient's column, `unit: {column: NAME, max_records: K}`, and give it `role: id`."""
UNIT_BY_NAME = "by its name; check it, and set how many records of a patient may be used"
SAFE_NAME = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_]\w*", re.IGNORECASE)
WIDE = 90
"""So many characters of a list stand on one line; a longer one has a line for each category."""


def write(
    names: Sequence[str],
    drafts: Sequence[tuple[dict[str, Any], str]],
    missing: list[str],
    *,
    confirmed: bool,
    unit: str | None = None,
) -> str:
    """Return the draft of a table's schema.

    Args:
        names: the table's columns.
        drafts: of each column its keys, and what a person should look at.
        missing: texts that mean a missing value.
        confirmed: False writes ``confirmed: false`` into each field: its domain was read from the data.
        unit: the patient's column, if a person names it; else one that its name shows.

    Raises:
        ConfigError: there is no column of the name that the person gave.
    """
    if unit is not None and unit not in names:
        raise ConfigError(
            "Expected the patient's column, found none of that name.",
            where="--unit",
            next_step="Name one of the table's columns.",
        )
    hint = UNIT_BY_NAME if unit is None else "as named; set how many records of a patient may be used"
    unit = unit or next((name for name in names if names_patient(name)), None)
    return document(
        head=NAMES_ONLY if confirmed else SUGGESTED,
        unit="row" if unit is None else {"column": unit, "max_records": 1},
        unit_hint=NO_UNIT if unit is None else hint,
        missing=missing,
        fields=[
            (name, *_content(name, *draft, is_unit=name == unit, confirmed=confirmed))
            for name, draft in zip(names, drafts, strict=True)
        ],
    )


def _content(
    name: str, draft: dict[str, Any], hint: str, *, is_unit: bool, confirmed: bool
) -> tuple[dict[str, Any], str]:
    """Return a field's keys without its name, and its comment."""
    content = {"type": draft["type"]}
    role = "id" if is_unit else draft.get("role")
    kind = kind_of(name)
    if role:
        content["role"] = role
        hint = "the patient" if is_unit else hint
    else:
        if kind:
            hint = (
                f"TODO: its name says {kind}; set `role: id` or `role: drop`, or, if it is none, "
                "`role: feature` and `identifier: false`"
            )
        keys = ("constraints", "format", "trueValues", "falseValues")
        content |= {key: draft[key] for key in keys if key in draft}
    return content | ({} if confirmed else {"confirmed": False}), hint


def document(
    *,
    head: str,
    unit: str | dict[str, Any],
    unit_hint: str,
    missing: list[str],
    fields: Sequence[tuple[str, dict[str, Any], str]],
    rules: Sequence[str] = (),
) -> str:
    """Return the YAML text of a draft that `load_schema` reads with ``complete=False``.

    Args:
        head: comment at the top.
        unit: the privacy unit, as a schema writes it.
        unit_hint: comment on it.
        missing: texts that mean a missing value.
        fields: of each column its name, its other keys, and a comment.
        rules: hard rules.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    content = CommentedMap()
    content.yaml_set_start_comment(head)
    content["unit"] = unit if isinstance(unit, str) else flow(unit)
    if isinstance(unit, str):
        content.yaml_set_comment_before_after_key("unit", before=unit_hint)
    elif unit_hint:
        content.yaml_add_eol_comment(unit_hint, "unit")
    content["missingValues"] = flow(missing)
    content["fields"] = CommentedSeq()
    content["fields"].extend(_item(*field) for field in fields)
    if rules:
        content["rules"] = CommentedSeq([flow(rule) for rule in rules])
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 100_000  # a folded line would break a label in two
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(content, stream)
    return stream.getvalue()


def _item(name: str, keys: dict[str, Any], hint: str) -> Any:
    """Return one field as YAML keys with a comment."""
    from ruamel.yaml.comments import CommentedMap

    item = CommentedMap(name=quoted(name))
    for key, value in keys.items():
        item[key] = value if key in ("type", "role") else flow(value)
    if hint:
        item.yaml_add_eol_comment(hint, "name")
    return item


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

    return text if SAFE_NAME.fullmatch(text) else DoubleQuotedScalarString(text)
