"""Draft a schema for a table, and list all that a table does against its schema."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from synthgen.fields import Column
from synthgen.identifiers import kind_of, names_patient
from synthgen.ingest import _files, _suggest
from synthgen.ingest._canonical import Reading, read_column, settled, since
from synthgen.ingest.table import read_raw
from synthgen.records import require_columns, unit_texts
from synthgen.schema import Schema

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


@dataclass(frozen=True)
class Violation:
    """What a table does against its schema, without any value.

    Attributes:
        column: the column; of a hard rule, its columns.
        rule: what is not kept, in words.
        count: cells, records, patients or columns that do not keep it. Sensitive, like every exact count.
        severity: ``information`` if ingest takes it as it is: clipped, put under other, records not used.
    """

    column: str
    rule: str
    count: int
    severity: Literal["error", "information"] = "error"


def init(
    table: Path,
    *,
    suggest: bool = False,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
) -> str:
    """Return the draft of a schema as YAML text.

    Args:
        table: the table's file.
        suggest: read the values too, and guess types, ranges, categories and missing tokens. Each field is
            then written with ``confirmed: false``. Without it only names are read: the first line of a CSV
            file, the footer of Parquet.
        delimiter: see `read_raw`.
        encoding: see `read_raw`.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text.

    Raises:
        DataError: as `read_raw` says.
        ConfigError: as `read_raw` says.
    """
    table = Path(table)
    if suggest:
        frame = read_raw(table, delimiter=delimiter, encoding=encoding, decimal=decimal)
        drafts = [
            _suggest.field(frame[name], decimal=decimal, date_format=date_format) for name in frame.columns
        ]
        return _write(list(frame.columns), drafts, _suggest.missing_tokens(frame), confirmed=False)
    if _files.is_parquet(table):
        names = _files.named(_files.parquet_header(table), table)
    else:
        names = _files.csv_header(table, delimiter=delimiter, encoding=encoding)
    todo = "TODO: type and public constraints, or `role: drop`"
    return _write(names, [({"type": "string"}, todo) for _ in names], [""], confirmed=True)


def check(
    table: Path,
    schema: Schema,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
) -> list[Violation]:
    """Return every violation of a schema, by column.

    Args:
        table: the table's file.
        schema: its description; a domain that is not declared yet is not checked.
        delimiter: see `read_raw`.
        encoding: see `read_raw`.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text.

    Raises:
        DataError: the file cannot be read, or its first line holds none of the schema's columns.
        ConfigError: as `read_raw` says.
    """
    raw = read_raw(table, delimiter=delimiter, encoding=encoding, decimal=decimal)
    known = [field.name for field in schema.fields]
    if not set(known) & set(raw.columns):
        require_columns(raw.columns, schema, where=str(table))
    found = [Violation(name, "in the schema, not in the table", 1) for name in known if name not in raw]
    found += [
        Violation(name, "in the table, not in the schema", 1) for name in map(str, raw) if name not in known
    ]
    found += _units(raw, schema)
    content: dict[str, pd.Series] = {}
    for column in schema.columns:
        if column.name in raw:
            tokens = schema.tokens(column.field)
            reading = read_column(raw[column.name], column, tokens, decimal=decimal, date_format=date_format)
            start = None if column.field.since is None else schema.column(column.field.since)
            if start is not None and start.name in raw:
                words = schema.tokens(start.field)
                first = read_column(raw[start.name], start, words, decimal=decimal, date_format=date_format)
                reading = since(reading, first, column, start.field.origin)
            found += _cells(reading, column)
            content[column.name] = settled(reading, column)
    return found + _rules(content, schema)


def _units(raw: pd.DataFrame, schema: Schema) -> list[Violation]:
    unit = schema.unit.column
    if unit is None or unit not in raw:
        return []
    texts = unit_texts(raw[unit], schema)
    found = [Violation(unit, "blank: a record without a patient", int((texts == "").sum()))]
    records = pd.Series(texts[texts != ""]).value_counts()
    many = int((records > schema.unit.max_records).sum())
    text = f"patients with more than {schema.unit.max_records} records; the rest is not used"
    found.append(Violation(unit, text, many, "information"))
    return [violation for violation in found if violation.count]


def _cells(reading: Reading, column: Column) -> list[Violation]:
    """Return what the cells of a column do against its field."""
    policy = column.field.outside
    outside = "not among the categories" if column.kind == "category" else "outside the bounds"
    if policy != "error":
        outside += "; clipped" if policy == "clip" else "; put under other"
    counts = [
        Violation(column.name, f"no {column.field.type}", int(reading.wrong.sum())),
        Violation(
            column.name, outside, int(reading.outside.sum()), "error" if policy == "error" else "information"
        ),
    ]
    if not column.nullable:
        counts.append(Violation(column.name, "missing in a required column", int(reading.missing.sum())))
    return [violation for violation in counts if violation.count]


def _rules(content: dict[str, pd.Series], schema: Schema) -> list[Violation]:
    """Return how many records break each hard rule whose columns are there."""
    found = []
    for rule in schema.parsed_rules:
        if rule.columns <= content.keys():
            count = int(np.asarray(rule.violated(content)).sum())
            found.append(Violation(", ".join(sorted(rule.columns)), f"rule: {rule.text}", count))
    return [violation for violation in found if violation.count]


def _write(
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
        document["unit"] = _flow({"column": unit, "max_records": 1})
        hint = "by its name; check it, and set how many records of a patient may be used"
        document.yaml_add_eol_comment(hint, "unit")
    document["missingValues"] = _flow(missing)
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

    content = CommentedMap(name=_name(name))
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
                content[key] = _flow(draft[key])
    if not confirmed:
        content["confirmed"] = False
    if hint:
        content.yaml_add_eol_comment(hint, "name")
    return content


def _flow(value: Any) -> Any:
    """Return a value in YAML's one-line style if it fits, its texts quoted so that none reads as a number."""
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    if isinstance(value, str):
        return DoubleQuotedScalarString(value)
    if not isinstance(value, (dict, list)):
        return value
    content: Any = (
        CommentedMap({key: _flow(item) for key, item in value.items()})
        if isinstance(value, dict)
        else CommentedSeq([_flow(item) for item in value])
    )
    if len(str(value)) < WIDE:
        content.fa.set_flow_style()
    return content


def _name(text: str) -> str:
    """Return a column's name, quoted unless every YAML reader takes it for text."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return text if SAFE_NAME.fullmatch(text) else DoubleQuotedScalarString(text)
