"""Read CSV and Parquet as they are: cells stay text, Parquet keeps its types, nothing is guessed.

CSV is read by Python's own reader, in chunks: pandas fills short rows silently, and only a reader
that knows physical lines can say which one is wrong.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import pandas as pd

from synthgen.config.data_section import PARQUET
from synthgen.errors import ConfigError, DataError
from synthgen.files import limits, parquet
from synthgen.ingest.tables.dialect_guess import delimiter_advice, encoding_advice
from synthgen.ingest.tables.file_signature import (
    AGAIN,
    COMPRESSED,
    DAMAGED,
    open_bytes,
    refuse_binary,
    require_file,
    undecodable_line,
)

CHUNK, CHUNK_CELLS = 20_000, 4_000_000
LINE = "line"


def is_parquet(path: Path) -> bool:
    """Return whether the file's name says Parquet."""
    return path.suffix.lower() in PARQUET


def csv_header(path: Path, *, delimiter: str, encoding: str) -> list[str]:
    """Return the column names of a CSV file; no further line is parsed."""
    with closing(_Rows(path, delimiter=delimiter, encoding=encoding)) as rows:
        _refuse_other_delimiter(path, rows.header, delimiter, encoding)
        return rows.header


def read_csv(
    path: Path,
    *,
    delimiter: str,
    encoding: str,
    columns: Sequence[str] | None,
    known: Collection[str] = (),
) -> pd.DataFrame:
    """Read a CSV file with every cell as text; the index, named ``line``, is the record's first line.

    Raises:
        DataError: see `synthgen.ingest.tables.table.read_raw`; none of ``known`` is in the first line.
    """
    parts: list[pd.DataFrame] = []
    lines: list[int] = []
    with closing(_Rows(path, delimiter=delimiter, encoding=encoding)) as rows:
        if not known:
            _refuse_other_delimiter(path, rows.header, delimiter, encoding)
        keep = [i for i, name in enumerate(rows.header) if columns is None or name in columns]
        parts.append(pd.DataFrame({rows.header[i]: pd.array([], dtype="str") for i in keep}))
        for chunk, starts in rows.chunks():
            cells = list(zip(*chunk, strict=True))
            parts.append(pd.DataFrame({rows.header[i]: pd.array(cells[i], dtype="str") for i in keep}))
            lines.extend(starts)
        if known and not set(known) & set(rows.header):
            raise _unknown_header(path, len(rows.header), delimiter, encoding, known)
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    frame.index = pd.Index(np.asarray(lines, dtype=np.int64), name=LINE)
    return frame


def _unknown_header(
    path: Path, n_columns: int, delimiter: str, encoding: str, known: Collection[str]
) -> DataError:
    """Return the error of a file whose first line has none of the expected columns; it shows no cell."""
    advice = delimiter_advice(path, delimiter, encoding, known=known) or encoding_advice(path, encoding)
    many = "1 column" if n_columns == 1 else f"{n_columns} columns"
    return DataError(
        f"Expected the schema's columns in the first line, got none of them in {many}.",
        where=str(path),
        next_step=advice or "Check the delimiter, and that the first line holds the column names.",
    )


def _refuse_other_delimiter(path: Path, header: Sequence[str], delimiter: str, encoding: str) -> None:
    """Refuse a file of one column whose lines another sign parts into equally many cells.

    Raises:
        DataError: says which sign.
    """
    advice = delimiter_advice(path, delimiter, encoding) if len(header) == 1 else ""
    if advice:
        raise DataError(
            f"Expected columns separated by {delimiter!r}, found 1 column.", where=str(path), next_step=advice
        )


def csv_records(
    path: Path, *, delimiter: str, encoding: str
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the column names of a short CSV file, and each record with its first line."""
    with closing(_Rows(path, delimiter=delimiter, encoding=encoding)) as rows:
        _refuse_other_delimiter(path, rows.header, delimiter, encoding)
        return rows.header, [
            (start, row) for chunk, starts in rows.chunks() for start, row in zip(starts, chunk, strict=True)
        ]


def parquet_header(path: Path) -> list[str]:
    """Return the column names in a Parquet file's footer."""
    return list(_parquet(path).schema_arrow.names)


def read_parquet(path: Path, *, columns: Sequence[str] | None) -> pd.DataFrame:
    """Read a Parquet file, native types kept; integers and booleans with gaps stay what they are."""
    import pyarrow as pa

    file = _parquet(path)
    names = named(file.schema_arrow.names, path)
    keep = [name for name in names if columns is None or name in columns]
    integers = {
        getattr(pa, f"{u}int{b}")(): f"{'U' if u else ''}Int{b}" for u in ("", "u") for b in (8, 16, 32, 64)
    }
    types: dict[Any, Any] = {kind: pd.api.types.pandas_dtype(name) for kind, name in integers.items()}
    types |= {
        pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(),
        pa.large_string(): pd.StringDtype(),
    }
    try:
        table = parquet.read(path, columns=keep).select(keep)
        return table.to_pandas(ignore_metadata=True, types_mapper=types.get, date_as_object=False)  # type: ignore[no-any-return]
    except (pa.ArrowException, ValueError, OverflowError):
        raise DataError(
            "Expected Parquet, but the file is damaged.", where=str(path), next_step=AGAIN
        ) from None


def named(header: Sequence[str], path: Path) -> list[str]:
    """Return column names: a blank one by its position; two alike are refused.

    The message gives positions only: a file without a header has a patient's record in its first line.
    """
    names = [name if name.strip() else f"column_{i}" for i, name in enumerate(header, 1)]
    first: dict[str, int] = {}
    for i, name in enumerate(names, 1):
        if name in first:
            raise DataError(
                f"Expected each column name once, but columns {first[name]} and {i} are named alike.",
                where=f"{path}:1",
                next_step="Rename one, and check that the first line holds the column names.",
            )
        first[name] = i
    return names


def _parquet(path: Path) -> Any:
    require_file(path)
    try:
        return parquet.open_parquet(path)
    except ValueError:
        raise DataError(
            "Expected Parquet, got other content.",
            where=str(path),
            next_step="Name the file .csv if it is text, else write it anew.",
        ) from None


class _Rows:
    """The rows of a CSV file with their physical lines; the first is read at once, the rest on demand."""

    def __init__(self, path: Path, *, delimiter: str, encoding: str) -> None:
        require_file(path)
        if len(delimiter) != 1 or delimiter in '"\r\n':
            step = "Correct the delimiter."
            got = f"got {len(delimiter)} characters" if len(delimiter) != 1 else "got a quote or a line end"
            raise ConfigError(f"Expected one character as delimiter, {got}.", where=str(path), next_step=step)
        self.path = path
        self.encoding = "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
        refuse_binary(path, self.encoding.removesuffix("-sig"))
        try:
            self.stream = _open(path, self.encoding)
        except LookupError:
            step = encoding_advice(path, "utf-8") or "Try utf-8, latin-1 or cp1252."
            raise ConfigError(
                "Expected a known encoding, got another name.", where=str(path), next_step=step
            ) from None
        except DAMAGED:
            raise _damaged(path) from None
        self.delimiter = delimiter
        self._characters = 0
        self.reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        try:
            first = self._first()
            limits.require("table_columns", len(first), where=f"{path}:1")
            self.header = named(first, path)
        except BaseException:  # text of another encoding too
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.stream.close()

    def _first(self) -> list[str]:
        for _, row in self._records():
            return row
        raise DataError("Expected a table, got empty lines alone.", where=str(self.path), next_step=AGAIN)

    def chunks(self) -> Iterator[tuple[list[list[str]], list[int]]]:
        """Yield rows of equal length and the first line of each."""
        rows: list[list[str]] = []
        starts: list[int] = []
        width, n_rows = len(self.header), 0
        for start, row in self._records():
            if len(row) != width:
                raise DataError(
                    f"Expected {width} fields as in the first line, got {len(row)}.",
                    where=f"{self.path}:{start}",
                    next_step=delimiter_advice(self.path, self.delimiter, self.encoding)
                    or "Correct the line, or put cells that hold the delimiter in quotes.",
                )
            rows.append(row)
            starts.append(start)
            if len(rows) * width >= CHUNK_CELLS or len(rows) == CHUNK:
                n_rows += len(rows)
                limits.require("table_rows", n_rows, where=str(self.path))
                limits.require("table_cells", n_rows * width, where=str(self.path))
                yield rows, starts
                rows, starts = [], []
        if rows:
            yield rows, starts

    def _lines(self) -> Iterator[str]:
        most = limits.current().record_characters
        for number, line in enumerate(iter(partial(self.stream.readline, most + 1), ""), 1):
            self._characters += len(line)
            if self._characters > most:
                limits.refuse("record_characters", where=f"{self.path}:{number}")
            if "\0" in line:
                self._refuse(
                    "Expected text, got a NUL character.",
                    number,
                    encoding_advice(self.path, self.encoding)
                    or "It may be UTF-16 or binary: save it as UTF-8, or name its encoding.",
                )
            yield line

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield each record with its first line; blank lines are skipped."""
        while True:
            start = self.reader.line_num + 1
            self._characters = 0
            try:
                row = next(self.reader)
            except StopIteration:
                return
            except UnicodeError:
                line = undecodable_line(self.path, self.encoding)
                name = self.encoding.removesuffix("-sig")
                step = "Name its encoding, such as latin-1 or cp1252, or save it as UTF-8."
                step = encoding_advice(self.path, self.encoding) or step
                self._refuse(f"Expected text in {name}, got bytes that are none.", line, step)
            except DAMAGED:
                raise _damaged(self.path) from None
            except csv.Error as error:
                self._refuse(*_quoting(str(error), start, self.reader.line_num))
            if row:
                yield start, row

    def _refuse(self, message: str, line: int, step: str) -> NoReturn:
        raise DataError(message, where=f"{self.path}:{line}", next_step=step) from None


def _open(path: Path, encoding: str) -> IO[str]:
    """Open as text without touching line ends, which belong to the CSV reader."""
    if path.suffix.lower() in COMPRESSED:
        return io.TextIOWrapper(open_bytes(path), encoding=encoding, newline="")
    return path.open("r", encoding=encoding, newline="")


def _damaged(path: Path) -> DataError:
    """Return the error of a file whose content is not what its ending says, or is cut off."""
    kind = COMPRESSED.get(path.suffix.lower())
    if kind is None:
        return DataError("Expected a readable file, got a damaged one.", where=str(path), next_step=AGAIN)
    step = f"Copy the file anew, or take {path.suffix} off the name of a file that is text."
    return DataError(f"Expected {kind}, got other or damaged content.", where=str(path), next_step=step)


def _quoting(problem: str, start: int, line: int) -> tuple[str, int, str]:
    """Return message, line and next step for a record that the CSV reader cannot read."""
    if "field limit" in problem:
        limit = csv.field_size_limit()
        return (
            f"Expected cells of at most {limit} characters, got a longer one.",
            start,
            "Close a quote that is left open, or leave the long text out.",
        )
    if "unexpected end" in problem:
        return "Expected a closing quote, got the end of the file.", start, "Close the quote."
    return (
        "Expected the delimiter after a closing quote, got other text.",
        max(start, line),
        "Double the quotes inside a cell.",
    )
