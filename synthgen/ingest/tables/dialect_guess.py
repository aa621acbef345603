"""Guess how a text file is written, for a message that says what to do; nothing is read by a guess.

A reader takes the dialect that a person declares. Where that fails, the file's first bytes usually show
the right one, and the message names the option. What is shown is a sign or an encoding's name, never a cell.
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Collection, Sequence
from pathlib import Path

from synthgen.ingest.tables.file_signature import DAMAGED, open_bytes

DELIMITERS = (",", ";", "\t", "|", ":", "^")
HEAD = 1 << 16
"""So many bytes are looked at for a delimiter; an encoding is looked for in the whole file."""
LINES = 200
REGULAR = 0.9
"""Share of the lines that must have as many cells as the first one."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNDEFINED_IN_CP1252 = frozenset(b"\x81\x8d\x8f\x90\x9d")


def encoding_of(path: Path) -> str | None:
    """Return the encoding that a file's bytes speak for, or None if they speak for none."""
    try:
        with open_bytes(path) as stream:
            head = stream.read(HEAD)
            for mark, name in _MARKS:
                if head.startswith(mark):
                    return name
            if b"\0" in head:
                return _utf16(head)
            decoder = codecs.getincrementaldecoder("utf-8")()
            high: set[int] = set()
            is_utf8 = True
            while head:
                try:
                    decoder.decode(head)
                except UnicodeDecodeError:
                    is_utf8 = False
                    decoder.reset()
                high.update(byte for byte in head if byte >= 0x80)
                head = stream.read(HEAD)
    except DAMAGED:
        return None
    if is_utf8:
        return "utf-8"
    if high & _UNDEFINED_IN_CP1252:
        return "cp850"
    return "cp1252" if any(byte < 0xA0 for byte in high) else "latin-1"


def _utf16(head: bytes) -> str | None:
    """Return the byte order of UTF-16 text without a mark: its letters leave every second byte empty."""
    half = max(1, len(head) // 2)
    if head[1::2].count(0) > 0.4 * half:
        return "utf-16-le"
    return "utf-16-be" if head[::2].count(0) > 0.4 * half else None


def delimiter_of(path: Path, encoding: str, *, known: Collection[str] = ()) -> str | None:
    """Return the sign that parts a file's lines into equally many cells, or None if none does.

    Args:
        path: the file.
        encoding: of its text.
        known: names of columns that are expected: the sign that shows most of them is taken.
    """
    try:
        with open_bytes(path) as stream:
            text = stream.read(HEAD).decode(
                "utf-8-sig" if encoding == "utf-8" else encoding, errors="replace"
            )
    except (*DAMAGED, LookupError):
        return None
    best: tuple[int, float, int] = (0, REGULAR, 1)
    found = None
    for sign in DELIMITERS:
        rows = _rows(text, sign)
        if len(rows) and len(rows[0]) > 1:
            same = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            shown = len(set(rows[0]) & set(known))
            score = (shown, same, len(rows[0]))
            if (shown or same >= REGULAR) and score > best:
                best, found = score, sign
    return found


def _rows(text: str, sign: str) -> list[Sequence[str]]:
    """Return the first rows of a text; the last line, which may be cut off, is left out of a long one."""
    lines = text.splitlines(keepends=True)
    lines = lines[:-1] if len(text) >= HEAD // 4 and len(lines) > 1 else lines
    try:
        return [row for row in csv.reader(io.StringIO("".join(lines[:LINES])), delimiter=sign) if row]
    except csv.Error:
        return []


def delimiter_advice(path: Path, delimiter: str, encoding: str, *, known: Collection[str] = ()) -> str:
    """Return what to do if another delimiter would fit better, else the empty text.

    Args:
        path: the file.
        delimiter: the one that it was read with.
        encoding: of its text.
        known: see `delimiter_of`.
    """
    sign = delimiter_of(path, encoding, known=known)
    if sign is None or sign == delimiter:
        return ""
    shown = "a tab" if sign == "\t" else f"{sign!r}"
    typed = "$'\\t'" if sign == "\t" else f"'{sign}'"
    written = '"\\t"' if sign == "\t" else f'"{sign}"'
    return (
        f"The file seems to be separated by {shown}: add --delimiter {typed} "
        f"(in a config: delimiter: {written} under data)."
    )


def encoding_advice(path: Path, encoding: str) -> str:
    """Return what to do if another encoding would fit better, else the empty text."""
    name = encoding_of(path)
    if name is None or codecs.lookup(name) == codecs.lookup(encoding.removesuffix("-sig")):
        return ""
    return f"The file seems to be {name}: add --encoding {name} (in a config: encoding: {name} under data)."
