"""What a file's bytes say before it is read as a table: that it is there, and what it is."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

from synthgen.errors import DataError, OperationError

AGAIN = "Export the table again."
MAGIC = {
    b"\x1f\x8b": ("a gzip file", "Name the file .csv.gz."),
    b"PAR1": ("Parquet", "Name the file .parquet."),
    b"PK\x03\x04": ("a spreadsheet or an archive", "Export the table as CSV."),
    b"\xff\xfe": ("UTF-16", "Save it as UTF-8, or name the encoding: utf-16."),
    b"\xfe\xff": ("UTF-16", "Save it as UTF-8, or name the encoding: utf-16."),
}
"""First bytes of what is no UTF-8 text, what it is, and what to do."""


def require_file(path: Path) -> None:
    """Refuse a path that is not a readable, non-empty file.

    Raises:
        DataError: there is no file, or it is empty.
        OperationError: the disk or its rights refuse.
    """
    try:
        if not path.is_file():
            got = "got a folder" if path.is_dir() else "found none"
            raise DataError(f"Expected a file, {got}.", where=str(path), next_step="Check the path.")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise DataError("Expected a table, got an empty file.", where=str(path), next_step=AGAIN)
    except OSError as error:
        raise OperationError(
            "Expected a readable file.", where=str(path), next_step="Check its rights."
        ) from error


def refuse_binary(path: Path) -> None:
    """Refuse a file whose first bytes say that it is no UTF-8 text; its rows would tell nothing."""
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        try:
            first = stream.read(4)
        except (OSError, EOFError, zlib.error):
            return  # said where the rows are read
    for magic, (kind, step) in MAGIC.items():
        if first.startswith(magic):
            raise DataError(f"Expected text in utf-8, got {kind}.", where=f"{path}:1", next_step=step)


def undecodable_line(path: Path, encoding: str) -> int:
    """Return the 1-based line of the first bytes that are not text in that encoding."""
    import codecs

    decoder = codecs.getincrementaldecoder(encoding)()
    with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
        number = 0
        for number, line in enumerate(stream, 1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError:
                return number
    return max(number, 1)
