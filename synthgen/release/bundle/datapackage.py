"""The machine-readable table of contents: a Frictionless Data Package v2 (datapackage.org).

It follows from the privacy record, the public schema and the data files, so a verifier builds it
again and compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synthgen.printable import json_text
from synthgen.schema.fields import Field, labels_of
from synthgen.schema.file_dialect import ESCAPED, TEXT_ENDINGS, Dialect, format_of
from synthgen.schema.schema import Schema

PROFILE = "https://datapackage.org/profiles/2.0/datapackage.json"
MEDIA_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "zip": "application/zip"}


def data_package(data: Mapping[str, Path], *, schema: Schema, record: Mapping[str, Any]) -> str:
    """Return ``datapackage.json`` as text.

    Args:
        data: data files by name under ``data/``.
        schema: the table's schema, of which the public part is printed.
        record: the privacy record.
    """
    basic = record["registry"]["basic"]
    package = {
        "$schema": PROFILE,
        "name": slug(basic["name"]),
        "title": basic["name"],
        "description": basic["description"],
        "created": f"{basic['publication_date']}T00:00:00Z",
        "resources": [_resource(name, path, schema) for name, path in sorted(data.items())],
    }
    return json_text(package, indent=2, ascii_only=False) + "\n"


def slug(text: str) -> str:
    """Return a name in the letters that a data package allows.

    Example:
        >>> slug("Diabetes, 130 hospitals")
        'diabetes-130-hospitals'
    """
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "._") else " " for c in text.lower())
    return "-".join(letters.split()) or "synthetic"


def _resource(name: str, path: Path, schema: Schema) -> dict[str, Any]:
    kind, dialect = format_of(path), schema.dialect or Dialect()
    found = {
        "name": slug(name),
        "path": f"data/{name}",
        "format": kind,
        "mediatype": MEDIA_TYPES[kind],
        **(_text_form(path, dialect) if kind == "csv" else {}),
        "bytes": path.stat().st_size,
        "hash": f"sha256:{_digest(path)}",
    }
    if kind == "zip":  # images, which Table Schema has no word for
        return found
    return {
        **found,
        "schema": {
            "fields": [
                *(_field(field, dialect) for field in schema.public().fields if field.role != "drop"),
                *({"name": name, "type": "string"} for name in schema.added_columns),
            ],
            "missingValues": list(schema.missing_values),
        },
    }


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _text_form(path: Path, dialect: Dialect) -> dict[str, Any]:
    """Return encoding, compression and Table Dialect of a text file; what is usual is not said."""
    usual = {"delimiter": ",", "lineTerminator": "\n"}
    words = {"delimiter": dialect.delimiter, "lineTerminator": dialect.line_terminator}
    other = {key: word for key, word in words.items() if word != usual[key]}
    compression = {} if path.suffix.lower() in TEXT_ENDINGS else {"compression": path.suffix[1:]}
    formulas = {} if dialect.formulas == "keep" else {"csvFormulas": ESCAPED}
    return {"encoding": dialect.encoding, **compression, **({"dialect": other} if other else {}), **formulas}


def _field(field: Field, dialect: Dialect) -> dict[str, Any]:
    """Return a column in Table Schema words; what only synthgen knows is in ``schema.yaml``."""
    found: dict[str, Any] = {"name": field.name, "type": field.type}
    texts = {"title": field.title, "description": field.description}
    found |= {key: text for key, text in texts.items() if text is not None}
    if field.role == "id":
        # Ids are fresh numbers, as text or not; nothing else about them is said.
        return found | {"constraints": {"required": True}}
    if field.type == "boolean":
        found |= {"trueValues": list(field.true_values), "falseValues": list(field.false_values)}
    if field.is_moment:
        found["format"] = field.format or (
            "default" if field.times.per_day <= 86_400 else field.times.pattern
        )
    if field.type == "number" and dialect.decimal_char != ".":
        found["decimalChar"] = dialect.decimal_char
    if field.missing_values is not None:
        found["missingValues"] = list(field.missing_values)
    limits = field.constraints.model_dump(mode="json", exclude_defaults=True)
    if field.since is not None:  # days since another date: Table Schema has no word for them
        limits = {key: value for key, value in limits.items() if key == "required"}
    if field.codes is not None:
        limits |= {"enum": [str(label) for label in labels_of(field) or ()]}
    if limits.get("enum") and field.outside == "other":
        found["type"], limits["enum"] = "string", [*map(str, limits["enum"]), "other"]
        limits["enum"] = list(dict.fromkeys(limits["enum"]))
    return found | ({"constraints": limits} if limits else {})
