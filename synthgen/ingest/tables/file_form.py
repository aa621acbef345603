"""How the input is written, so that what is drawn can replace it: read off the line of column names alone.

No record is read for it: of a text file the first line shows byte order mark, line end and quotes, of Parquet
the footer shows the types. Delimiter, encoding and decimal sign are declared.
"""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

from synthgen.files import parquet as parquet_files
from synthgen.ingest.tables.file_signature import DAMAGED, open_bytes
from synthgen.ingest.tables.files import is_parquet
from synthgen.schema.file_dialect import COMPRESSED_ENDINGS, Dialect
from synthgen.schema.schema import Schema

LONGEST_HEADER = 1 << 20


def written_as(schema: Schema, path: Path, *, delimiter: str, encoding: str, decimal: str) -> Schema:
    """Return a schema with the dialect of its table; what it declares of it stays.

    Args:
        schema: the table's public description.
        path: the table, or a folder, which shows nothing.
        delimiter: one character between cells.
        encoding: of text.
        decimal: decimal sign of numbers.
    """
    content: dict[str, Any] = {"delimiter": delimiter, "encoding": encoding, "decimalChar": decimal}
    if path.is_file() and is_parquet(path):
        kept = {field.name for field in schema.fields if field.role != "drop"}
        content["storage"] = {name: kind for name, kind in _storage(path).items() if name in kept}
    elif path.is_file():
        kind = path.suffix.lower()
        content |= _header(path, encoding)
        content |= {"compression": kind[1:]} if kind in COMPRESSED_ENDINGS else {}
    declared = schema.dialect or Dialect()
    content |= declared.model_dump(by_alias=True, exclude_unset=True)
    return schema.model_copy(update={"dialect": Dialect.model_validate(content)})


def _storage(path: Path) -> dict[str, str]:
    from pyarrow import parquet

    try:
        parquet_files.open_parquet(path)  # within the limits
        shape = parquet.read_schema(path)
    except (ValueError, OSError):  # said where the rows are read
        return {}
    return {field.name: str(field.type) for field in shape}


def _header(path: Path, encoding: str) -> dict[str, Any]:
    """Return what the line of column names shows: byte order mark, line end, quotes."""
    try:
        with open_bytes(path) as stream:
            start = stream.read(LONGEST_HEADER)
        text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(start)
    except (*DAMAGED, LookupError, UnicodeError):  # said where the rows are read
        return {}
    found: dict[str, Any] = {"bom": start.startswith(codecs.BOM_UTF8)}
    text = text.removeprefix("\ufeff")
    quoted = False
    for place, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif letter in "\r\n" and not quoted:
            found["lineTerminator"] = "\r\n" if text[place : place + 2] == "\r\n" else letter
            break
    return found | ({"quoting": "text"} if text.startswith('"') else {})
