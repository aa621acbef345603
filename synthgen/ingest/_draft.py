"""Write the draft of a schema as YAML that a person goes on with: comments say what is left to decide."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from synthgen.identifiers import kind_of, names_patient

NAMES_ONLY = """Draft made from the column names alone; no value was read.
Give each field its type and its public domain (constraints), or `role: drop`.
"""
SUGGESTED = """Draft guessed from the data: ranges and categories below are patients' and NOT PUBLIC.
Replace each domain by a public one, then remove its `confirmed: false`; until then nothing is planned.
"""
NO_UNIT = """THE PRIVACY UNIT IS NOT SET. `unit: row` protects a single row only. If a patient can have
several rows, name the patient's column, `unit: {column: NAME, max_records: K}`, and give it `role: id`."""
SAFE_NAME = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)$)[a-z_]\w*", re.IGNORECASE)
WIDE = 90
"""So many characters of a list stand on one line; a longer one has a line for each category."""


def write(
    names: Sequence[str], drafts: Sequence[tuple[dict[str, Any], str]], missing: list[str], *, confirmed: bool
) -> str:
    """Return the YAML text of a draft that `load_schema` reads with ``complete=False``."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    document = CommentedMap()
    document.yaml_set_start_comment(NAMES_ONLY if confirmed else SUGGESTED)
    unit = next((name for name in names if names_patient(name)), None)
    if unit is None:
        document["unit"] = "row"
        document.yaml_set_comment_before_after_key("unit", before=NO_UNIT)
    else:
        document["unit"] = flow({"column": unit, "max_records": 1})
        hint = "by its name; check it, and set how many records of a patient may be used"
        document.yaml_add_eol_comment(hint, "unit")
    document["missingValues"] = flow(missing)
    document["fields"] = CommentedSeq()
    for name, (draft, hint) in zip(names, drafts, strict=True):
        document["fields"].append(_draft(name, draft, hint, is_unit=name == unit, confirmed=confirmed))
    stream = io.StringIO()
    yaml = YAML(typ="rt")
    yaml.width = 100_000  # a folded line would break a label in two
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(document, stream)
    return stream.getvalue()


def _draft(name: str, draft: dict[str, Any], hint: str, *, is_unit: bool, confirmed: bool) -> Any:
    """Return one field as YAML keys with a comment."""
    from ruamel.yaml.comments import CommentedMap

    content = CommentedMap(name=quoted(name))
    role = "id" if is_unit else draft.get("role")
    kind = kind_of(name)
    if role is None and kind:
        hint = f"TODO: its name says {kind}; set `role: id`, `role: drop`, or `role: feature` if it is none"
    content["type"] = draft["type"]
    if role:
        content["role"] = role
        hint = "the patient" if is_unit else hint
    else:
        for key in ("constraints", "format", "trueValues", "falseValues"):
            if key in draft:
                content[key] = flow(draft[key])
    if not confirmed:
        content["confirmed"] = False
    if hint:
        content.yaml_add_eol_comment(hint, "name")
    return content


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
