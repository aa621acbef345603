"""Confirm columns of a schema file as public, and change nothing else in it.

A file that people comment and lay out is not written anew: ruamel.yaml says where each
``confirmed: false`` stands, that one word becomes ``true``, and every other byte stays.
"""

from __future__ import annotations

import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import ConfigError, OperationError
from synthgen.files import yaml_file
from synthgen.files.safe_files import replacing, temporary_folder, write_bytes
from synthgen.schema.completeness import Gap, gaps
from synthgen.schema.schema import Schema, load_schema

BY_HAND = "Write `confirmed: false` into the column's own entry, without anchors, or change it by hand."


@dataclass(frozen=True)
class Confirmed:
    """What a confirmation has changed.

    Attributes:
        columns: columns that are confirmed now and were not before, in the file's order.
        waiting: columns that are still not confirmed.
        open: what else keeps a column from a complete domain.
    """

    columns: tuple[str, ...]
    waiting: tuple[str, ...]
    open: tuple[Gap, ...]


def confirm(path: Path, columns: Collection[str] | None) -> Confirmed:
    """Mark columns of a schema file as confirmed by a person.

    Args:
        path: the schema's file, changed in place; a crash leaves the old one or the new one, whole.
        columns: names of the columns; None takes every column that waits.

    Raises:
        ConfigError: the file is no schema, has no column of that name, or hides ``confirmed: false`` behind
            an anchor or alias.
        OperationError: the disk refuses.
    """
    before = load_schema(path, complete=False)
    known = [field.name for field in before.fields]
    unknown = sorted(set(columns or ()) - set(known))
    if unknown:
        raise ConfigError(
            f"Expected columns of the schema, found none of the name {unknown}.",
            where=str(path),
            next_step=f"Its columns are {known}.",
        )
    asked = set(known if columns is None else columns)
    changed = tuple(field.name for field in before.fields if field.name in asked and not field.confirmed)
    if changed:
        content = path.read_bytes()
        mark = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
        places = [place for place, field in enumerate(before.fields) if field.name in changed]
        text = with_confirmed(content[len(mark) :].decode("utf-8"), places, where=str(path))
        _replace(path, mark + text.encode("utf-8"), before, changed)
    after = load_schema(path, complete=False)
    found = gaps(after.fields, unpaid=True)
    waiting = tuple(gap.column for gap in found if gap.kind == "unconfirmed")
    return Confirmed(changed, waiting, tuple(gap for gap in found if gap.kind != "unconfirmed"))


def with_confirmed(text: str, fields: Collection[int], *, where: str) -> str:
    """Return a schema's text in which the entries of columns say ``confirmed: true``.

    Args:
        text: the file's text without a byte order mark.
        fields: positions of the columns whose entries say ``confirmed: false``.
        where: the file, for messages.

    Raises:
        ConfigError: an entry does not hold the word itself.
    """
    nodes = _confirmed_nodes(text)
    if any(nodes[place] is None for place in fields):
        raise ConfigError(
            "Expected `confirmed: false` in the entries of these columns, found it elsewhere.",
            where=where,
            next_step=BY_HAND,
        )
    starts = _line_starts(text)
    marks = [(nodes[place].start_mark, nodes[place].end_mark) for place in fields]
    spans = sorted((_offset(start, starts), _offset(end, starts)) for start, end in marks)
    for first, last in reversed(spans):
        text = text[:first] + "true" + text[last:]
    return text


def _confirmed_nodes(text: str) -> list[Any]:
    """Return the YAML node of each column's ``confirmed``, None where its entry has none."""
    from ruamel.yaml import YAML

    root = YAML(typ="rt").compose(text)
    return [_value(item, "confirmed") for item in _value(root, "fields").value]


def _value(node: Any, key: str) -> Any:
    """Return the value's node of a key of a mapping node, or None."""
    pairs = node.value if isinstance(getattr(node, "value", None), list) else []
    return next(
        (value for name, value in (p for p in pairs if isinstance(p, tuple)) if name.value == key), None
    )


def _line_starts(text: str) -> list[int]:
    """Return the offset of each line as YAML counts lines."""
    starts, position = [0], 0
    while position < len(text):
        if text[position] == "\r" and text[position + 1 : position + 2] == "\n":
            position += 1
        if text[position] in "\r\n\x85\u2028\u2029":
            starts.append(position + 1)
        position += 1
    return starts


def _offset(mark: Any, starts: Sequence[int]) -> int:
    return int(starts[mark.line] + mark.column)


def _replace(path: Path, content: bytes, before: Schema, changed: Collection[str]) -> None:
    """Put the new text in the file's place if it says what it should and nothing else."""
    try:
        with temporary_folder(path) as folder:
            write_bytes(folder / path.name, content, private=True, durable=False)
            after = yaml_file.parse(Schema, yaml_file.read(folder / path.name), path=path)
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise OperationError.of(error, "write the schema", where=str(path)) from error
    fields = [f.model_copy(update={"confirmed": f.confirmed or f.name in changed}) for f in before.fields]
    if after != before.model_copy(update={"fields": tuple(fields)}):
        raise ConfigError("Expected to confirm these columns alone.", where=str(path), next_step=BY_HAND)
    with replacing(path, "write the schema", private=True, make_folder=False, mode=mode) as stream:
        stream.write(content)
