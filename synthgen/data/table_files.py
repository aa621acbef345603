"""Write synthetic records into text or Parquet in the form of the input: dialect, types, missing tokens.

Equal records give equal bytes: no time, no name and no random order is written.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from synthgen.data.tables import SyntheticTable, id_is_number
from synthgen.errors import DataError
from synthgen.schema.file_dialect import Dialect, arrow_type, ending, escaped, writing
from synthgen.schema.schema import Field, Schema

if TYPE_CHECKING:
    import pyarrow as pa

BOTH = "\r\n"


def write_text(table: SyntheticTable, target: IO[bytes], *, name: str) -> None:
    """Write delimited text in the table's dialect, compressed if the ending of ``name`` says so.

    Args:
        table: synthetic records.
        target: stream of the file.
        name: name that the file will have.

    Raises:
        DataError: the dialect's encoding has no sign for a label.
        OSError: the disk refused.
    """
    dialect, schema = table.dialect, table.schema
    texts = table.texts()
    tokens = {field.name: next(iter(schema.tokens(field)), "") for field in schema.fields}
    cells = pd.DataFrame({str(name): texts[name].fillna(tokens.get(str(name), "")) for name in texts})
    kind, _, compression = ending(Path(name))[1:].partition(".")
    delimiter = "\t" if kind == "tsv" and schema.dialect is None else dialect.delimiter
    encoding = "utf-8" if dialect.encoding.lower() == "utf-8-sig" else dialect.encoding
    with writing(target, compression=compression or None, name=name.removesuffix(f".{compression}")) as raw:
        if dialect.bom and codecs.lookup(encoding).name == "utf-8":
            raw.write(codecs.BOM_UTF8)
        stream = io.TextIOWrapper(raw, encoding=encoding, newline="")
        try:
            _rows(cells, schema, stream, dialect, delimiter)
            stream.flush()
        except UnicodeEncodeError:
            raise DataError(
                f"Expected labels that {encoding} can write, got one that it cannot.",
                where=name,
                next_step="Name an encoding that has the labels' letters, such as utf-8.",
            ) from None
        finally:
            stream.detach()


def _rows(cells: pd.DataFrame, schema: Schema, stream: Any, dialect: Dialect, delimiter: str) -> None:
    """Write header and rows."""
    change = escaped if dialect.formulas == "escape" else str
    columns: list[list[Any]] = [_mapped(cells[name], change) for name in cells]
    quoting: Any = {"minimal": csv.QUOTE_MINIMAL, "text": csv.QUOTE_NONNUMERIC, "all": csv.QUOTE_ALL}
    if dialect.quoting == "text":
        numeric = {f.name for f in schema.fields if _is_plain_number(f, schema)}
        columns = [
            [_Unquoted(text) for text in column] if name in numeric else column
            for name, column in zip(cells, columns, strict=True)
        ]
    lines: Any = _Lines(stream, dialect.line_terminator)
    writer = csv.writer(lines, delimiter=delimiter, lineterminator=BOTH, quoting=quoting[dialect.quoting])
    writer.writerow([change(str(name)) for name in cells])
    writer.writerows(zip(*columns, strict=True))


def _mapped(cells: pd.Series, change: Callable[[str], str]) -> list[str]:
    """Return cells of text, each distinct one changed once."""
    if change is str:
        return list(cells)
    codes, distinct = pd.factorize(cells)
    changed = [change(text) for text in distinct]
    return [changed[code] for code in codes.tolist()]


class _Lines:
    """A stream that ends lines as the dialect does; `BOTH` lets the writer quote cells with either sign."""

    def __init__(self, stream: Any, end: str) -> None:
        self.stream = stream
        self.end = end

    def write(self, line: str) -> None:
        """Write one line, which the CSV writer ends with `BOTH`."""
        self.stream.write(line.removesuffix(BOTH) + self.end)


class _Unquoted(float):
    """A number that the CSV writer leaves unquoted, with the text that it had."""

    text: str

    def __new__(cls, text: str) -> _Unquoted:
        made = super().__new__(cls, 0.0)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__


def _is_plain_number(field: Field, schema: Schema) -> bool:
    """Whether writers that quote text leave a column's cells alone."""
    if field.role == "id":
        return id_is_number(field, schema)
    return field.type in ("integer", "number")


def write_parquet(table: SyntheticTable, target: IO[bytes]) -> None:
    """Write Parquet with the types that the input had, where they are known.

    Args:
        table: synthetic records.
        target: stream of the file.

    Raises:
        OSError: the disk refused.
    """
    import pyarrow as pa
    from pyarrow import parquet

    frame, texts = table.to_pandas(), table.texts()
    storage = table.dialect.storage
    natural = pa.Table.from_pandas(frame, preserve_index=False)
    for field in table.schema.fields if storage else ():
        if field.is_moment and not field.is_unseen and field.format is not None:
            moments = field.times.native(table.settled(field).to_numpy(float))
            place = natural.column_names.index(field.name)
            natural = natural.set_column(place, field.name, pa.array(moments, from_pandas=True))
    if storage:
        columns = [
            _stored(natural[name], texts[name], storage.get(name, "")) for name in natural.column_names
        ]
        natural = pa.table(dict(zip(natural.column_names, columns, strict=True)))
    parquet.write_table(natural, target, compression="zstd")


def _stored(column: pa.ChunkedArray, texts: pd.Series, kind: str) -> pa.ChunkedArray:
    """Return a column in the type of its text; as it is where the type is unknown or cannot hold it."""
    import pyarrow as pa

    wanted = arrow_type(kind)
    if wanted is None or column.type == wanted:
        return column
    written = pa.chunked_array([pa.array(texts.where(texts.notna(), None).tolist(), pa.string())])
    is_text = pa.types.is_string(wanted) or pa.types.is_large_string(wanted) or pa.types.is_dictionary(wanted)
    for source in (written,) if is_text else (column, written):
        try:
            if pa.types.is_dictionary(wanted):
                return source.dictionary_encode()
            return source.cast(wanted, safe=not pa.types.is_floating(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    return column


def file_name(stem: str, kind: str, table: SyntheticTable) -> str:
    """Return the name of a table's file: text is compressed as the input was, but for archives.

    Args:
        stem: name without an ending.
        kind: ``csv`` or ``parquet``.
        table: synthetic records, with the input's dialect.
    """
    compression = table.dialect.compression if kind == "csv" else None
    return f"{stem}.{kind}" if compression in (None, "zip") else f"{stem}.{kind}.{compression}"
