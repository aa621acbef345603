"""What a file's bytes say before it is read as a table: that it is there, and what it is."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO

from synthgen.errors import DataError, OperationError
from synthgen.files import archives

AGAIN = "Export the table again."
UTF16 = "Save it as UTF-8, or add --encoding utf-16 (in a config: encoding: utf-16 under data)."
MAGIC = {
    b"\x1f\x8b": ("a gzip file", "Name the file .csv.gz."),
    b"PAR1": ("Parquet", "Name the file .parquet."),
    b"PK\x03\x04": ("a spreadsheet or an archive", "Export the table as CSV, or name a zip file .csv.zip."),
    b"BZh": ("a bzip2 file", "Name the file .csv.bz2."),
    b"\xfd7zXZ\x00": ("an xz file", "Name the file .csv.xz."),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "Name the file .csv.zst."),
    b"\xff\xfe": ("UTF-16", UTF16),
    b"\xfe\xff": ("UTF-16", UTF16),
}
"""First bytes of what is no UTF-8 text, what it is, and what to do."""
COMPRESSED = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "Zstandard", ".zip": "zip"}
"""Endings of compressed text, and what the content then is."""
DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError, ValueError)
"""What readers of compressed content raise where it is another or cut off."""


def open_bytes(path: Path) -> IO[bytes]:
    """Open a file's content, decompressed where its ending says that it is compressed.

    Raises:
        DataError: a zip archive that does not hold one file.
        TooLarge: content beyond the limits, here or when it is read (`synthgen.files.archives`).
        DAMAGED: the content is not what the ending says, here or when it is read.
    """
    if path.suffix.lower() == ".zip":
        return _member(path)
    return archives.open_compressed(path)


def _member(path: Path) -> IO[bytes]:
    archive = archives.open_zip(path)
    names = [
        name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")
    ]
    if len(names) != 1:
        archive.close()
        raise DataError(
            f"Expected a zip archive of one table, got {len(names)} files.",
            where=str(path),
            next_step="Take the table out of the archive, and name it.",
        )
    try:
        return archives.bounded(archive.open(names[0]), path)
    except RuntimeError:  # a password
        raise DataError(
            "Expected a zip archive that can be opened, got an encrypted one.",
            where=str(path),
            next_step="Take the table out of the archive, and name it.",
        ) from None


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
        raise OperationError.of(error, "read the file", where=str(path)) from error


def refuse_binary(path: Path, encoding: str) -> None:
    """Refuse a file whose first bytes say that it is no text of that encoding; rows would tell nothing."""
    try:
        with open_bytes(path) as stream:
            first = stream.read(6)
    except DAMAGED:
        return  # said where the rows are read
    for magic, (kind, step) in MAGIC.items():
        if first.startswith(magic) and (step != UTF16 or encoding == "utf-8"):
            raise DataError(f"Expected text in {encoding}, got {kind}.", where=f"{path}:1", next_step=step)


def undecodable_line(path: Path, encoding: str) -> int:
    """Return the 1-based line of the first bytes that are not text in that encoding."""
    import codecs

    decoder = codecs.getincrementaldecoder(encoding)()
    with open_bytes(path) as stream:
        number = 0
        for number, line in enumerate(stream, 1):
            try:
                decoder.decode(line)
            except UnicodeDecodeError:
                return number
    return max(number, 1)
