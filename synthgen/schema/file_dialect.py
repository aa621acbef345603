"""How a table's file is written, so that what is drawn can replace it: dialect of text, types of Parquet.

The words are those of Frictionless Table Dialect where it has one. `synthgen.ingest.tables.file_form` reads
them off a file.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal

from pydantic import Field as Key

from synthgen.files import archives
from synthgen.settings import Settings

Formulas = Literal["keep", "escape"]
TEXT_ENDINGS = (".csv", ".tsv", ".txt")
PARQUET_ENDINGS = (".parquet", ".pq")
COMPRESSED_ENDINGS = (".gz", ".bz2", ".xz", ".zst", ".zip")


class Dialect(Settings):
    """How a table is written.

    Attributes:
        delimiter: one character between cells.
        line_terminator: what ends a line.
        quoting: which cells stand in quotes: ``minimal`` those that need it, ``text`` all but numbers, or
            ``all``.
        encoding: of text.
        bom: whether a UTF-8 file begins with a byte order mark.
        decimal_char: decimal sign of numbers.
        compression: ending of a compressed file, such as ``gz``.
        formulas: whether cells and headers of text that a spreadsheet would run as a formula are kept, or
            written with an apostrophe before them (`escaped`).
        storage: Parquet type of each column, as Arrow writes it; empty for text.
    """

    delimiter: str = Key(default=",", min_length=1, max_length=1)
    line_terminator: Literal["\n", "\r\n", "\r"] = Key(default="\n", alias="lineTerminator")
    quoting: Literal["minimal", "text", "all"] = "minimal"
    encoding: str = "utf-8"
    bom: bool = False
    decimal_char: Literal[".", ","] = Key(default=".", alias="decimalChar")
    compression: Literal["gz", "bz2", "xz", "zst", "zip"] | None = None
    formulas: Formulas = "keep"
    storage: Mapping[str, str] = {}


_FORMULA = re.compile(r"'*[\s\ufeff\u200b]*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that spreadsheets run: a sign (also of full width), blanks before it, apostrophes before
those, so that each escaped text is one of its own."""
ESCAPED = (
    "A header or cell that a spreadsheet would run as a formula (it begins with =, +, -, @, a tab or a line "
    "end, and is no number) has one apostrophe more at its start. To undo it, remove the first apostrophe of "
    "every header and cell in which apostrophes at the start are followed, after any blanks, by such a sign."
)
"""What a reader of a file with escaped formulas must know, see `unescaped`."""
_HARMLESS = re.compile(r"[-+]?\d*[.,]?\d+([eE][-+]?\d+)?|[-+=@]")
"""A number, or a sign alone, such as a missing token."""


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet that opens a text file may run a cell as a formula.

    Source: OWASP, CSV Injection (owasp.org/www-community/attacks/CSV_Injection).

    Example:
        >>> [is_formula(text) for text in ("=1+1", "@SUM(A1)", " -a", "-5.2", "-", "a=b")]
        [True, True, True, False, False, False]
    """
    return bool(_FORMULA.match(text)) and not _HARMLESS.fullmatch(text)


def escaped(text: str) -> str:
    """Return a cell that no spreadsheet runs: with an apostrophe before it, if it is a formula.

    `unescaped` gives every text back, since texts that begin with apostrophes and a sign get one more too.

    Example:
        >>> escaped("=1+1"), escaped("'=1+1"), escaped("a"), escaped("-5")
        ("'=1+1", "''=1+1", 'a', '-5')
    """
    return f"'{text}" if is_formula(text) else text


def unescaped(text: str) -> str:
    """Return the text of which `escaped` made a cell.

    Example:
        >>> unescaped("'=1+1"), unescaped("''=1+1"), unescaped("'a"), unescaped("-5")
        ('=1+1', "'=1+1", "'a", '-5')
    """
    return text[1:] if text.startswith("'") and is_formula(text) else text


def ending(path: Path) -> str:
    """Return the lower-case ending of a table's file, that of its compression included.

    Example:
        >>> ending(Path("cohort.v2.CSV.gz")), ending(Path("cohort.parquet"))
        ('.csv.gz', '.parquet')
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return "".join(suffixes[-2:] if suffixes[-1:] and suffixes[-1] in COMPRESSED_ENDINGS else suffixes[-1:])


def is_text(path: Path) -> bool:
    """Return whether a file's name says text in cells, compressed or not."""
    first, _, rest = ending(path)[1:].partition(".")
    return f".{first}" in TEXT_ENDINGS and (not rest or f".{rest}" in COMPRESSED_ENDINGS)


def is_parquet(path: Path) -> bool:
    """Return whether a file's name says Parquet."""
    return ending(path) in PARQUET_ENDINGS


@contextmanager
def writing(raw: IO[bytes], *, compression: str | None, name: str) -> Iterator[IO[bytes]]:
    """Yield a stream into a stream, compressed without times and paths: equal content has equal bytes.

    Args:
        raw: what receives the compressed bytes.
        compression: see `Dialect`.
        name: name of the only member of a zip archive.
    """
    if compression == "gz":
        with gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0) as stream:
            yield stream  # type: ignore[misc]
    elif compression == "bz2":
        with bz2.BZ2File(raw, "wb") as packed:
            yield packed
    elif compression == "xz":
        with lzma.LZMAFile(raw, "wb") as packed_xz:
            yield packed_xz
    elif compression == "zst":
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.PythonFile(raw, mode="w"), "zstd") as packed_zst:
            yield packed_zst
    elif compression == "zip":
        info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type = zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(raw, "w") as archive, archive.open(info, "w", force_zip64=True) as member:
            yield member
    else:
        yield raw


@contextmanager
def reading(path: Path) -> Iterator[IO[bytes]]:
    """Yield the content of a file that `writing` wrote.

    Raises:
        TooLarge: it is more than the limits allow, here or when it is read.
    """
    if path.suffix.lower() == ".zip":
        with archives.open_zip(path) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise ValueError("Expected an archive of one table.")
            with archives.bounded(archive.open(names[0]), path) as member:
                yield member
        return
    with archives.open_compressed(path) as stream:
        yield stream


def arrow_type(text: str) -> Any:
    """Return the Arrow type of its text, or None for one that tables of records do not have.

    Example:
        >>> str(arrow_type("timestamp[us, tz=Europe/Berlin]")), arrow_type("list<item: int64>")
        ('timestamp[us, tz=Europe/Berlin]', None)
    """
    import pyarrow as pa

    plain = {
        "float": pa.float32(),
        "double": pa.float64(),
        "halffloat": pa.float16(),
        "bool": pa.bool_(),
        "string": pa.string(),
        "large_string": pa.large_string(),
        "date32[day]": pa.date32(),
        "date64[ms]": pa.date64(),
    }
    if text in plain:
        return plain[text]
    if text.startswith("dictionary<values=string"):
        return pa.dictionary(pa.int32(), pa.string())
    name, _, rest = text.partition("[")
    unit, _, zone = rest.rstrip("]").partition(", tz=")
    if name == "timestamp" and unit:
        return pa.timestamp(unit, tz=zone or None)
    if name in ("time32", "time64") and unit:
        return getattr(pa, name)(unit)
    if text.startswith("decimal128("):
        precision, scale = text[len("decimal128(") : -1].split(",")
        return pa.decimal128(int(precision), int(scale))
    signed = text.removeprefix("u")
    if signed.startswith("int") and signed[3:].isdigit():
        return getattr(pa, text)()
    return None


def format_of(path: Path) -> str:
    """Return the format of a data file: ``csv`` for text, compressed or not, ``parquet``, or its ending."""
    return "csv" if is_text(path) else "parquet" if is_parquet(path) else path.suffix.removeprefix(".")
