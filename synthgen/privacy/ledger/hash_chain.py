"""The ledger's rows and the hash chain that ties each to all before it."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthgen.files import json_file, limits

VERSION = 3
"""Of rows and tables. Version 2 added ``draw``, ``void`` and ``version`` rows, and the layout record.
Version 3 added the unit of each reservation, ``unit`` and ``same-unit`` rows, and the counters of draws."""

GENESIS = {v: hashlib.sha256(f"synthgen ledger, version {v}".encode()).hexdigest() for v in (1, 2, 3)}
"""What the first row of a ledger of each version follows."""

_EMPTY = {f"0:{genesis}" for genesis in GENESIS.values()}


@dataclass(frozen=True)
class Entry:
    """One row of the ledger. Rows are added, never changed.

    Attributes:
        seq: number of the row, from 1 without gaps.
        time: UTC, ISO 8601.
        cohort: name of the cohort.
        kind: ``cap``, ``reserve``, ``draw`` (from now on the reservation's noise is drawn), ``commit``,
            ``write-off``, ``void``, ``version`` (of a migration), ``unit`` (what older reservations
            protected), ``same-unit`` (columns that name the same patients), ``model`` (stored answers gave a
            model again), ``release`` (digest of its record), ``access`` (an evaluation of files, of no
            cohort), or a note such as ``look``.
        content: JSON values.
        previous: hash of the row before.
        hash: SHA-256 of all of the above.
    """

    seq: int
    time: str
    cohort: str
    kind: str
    content: Mapping[str, Any]
    previous: str
    hash: str


@dataclass(frozen=True)
class Problem:
    """Something that `verify` found.

    Attributes:
        seq: number of the row, or None where no row can be named.
        message: what is wrong with it.
    """

    seq: int | None
    message: str

    def __str__(self) -> str:
        return self.message if self.seq is None else f"row {self.seq}: {self.message}"


@dataclass(frozen=True)
class Row:
    """A row as the database gives it: any column may hold anything if somebody edited it."""

    seq: Any
    time: Any
    cohort: Any
    kind: Any
    content: Any
    previous: Any
    hash: Any


def canonical(content: Mapping[str, Any]) -> str:
    """Return JSON values as text, the same text for the same values."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(seq: Any, time: Any, cohort: Any, kind: Any, content: Any, previous: Any) -> str:
    """Return the hash of a row: SHA-256 of its columns as one JSON list.

    Raises:
        TypeError: a column holds what JSON cannot hold, such as bytes.
    """
    text = json.dumps([seq, time, cohort, kind, content, previous], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def next_row(last: Row | None, cohort: str, kind: str, content: Mapping[str, Any]) -> Row:
    """Return the row that follows ``last`` (None for the first)."""
    seq = 1 if last is None else last.seq + 1
    previous = GENESIS[VERSION] if last is None else last.hash
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    text = canonical(content)
    return Row(seq, time, cohort, kind, text, previous, digest(seq, time, cohort, kind, text, previous))


def entry_of(row: Row) -> Entry:
    """Return a row whose chain was checked, its content parsed."""
    return Entry(row.seq, row.time, row.cohort, row.kind, _content(row), row.previous, row.hash)


def _content(row: Row) -> dict[str, Any]:
    """Return a row's JSON object.

    Raises:
        ValueError: it holds something else, or JSON that two readers would understand differently.
    """
    try:
        content = json_file.parse(row.content)
    except limits.TooLarge as error:
        raise ValueError(error.message) from None
    if not isinstance(content, dict):
        raise ValueError("expected a JSON object, found another value")
    return content


def head_of(rows: Sequence[Row]) -> str:
    """Return number and hash of the last row, as a bundle carries them."""
    return f"{rows[-1].seq}:{rows[-1].hash}" if rows else f"0:{GENESIS[VERSION]}"


def version_of(rows: Sequence[Row]) -> int | None:
    """Return the version that the rows themselves show: of the first, raised by each migration's row.

    The chain binds it, unlike the layout record. None if there is no row, or it follows no known version.
    """
    first = rows[0].previous if rows else None
    version = next((v for v, genesis in GENESIS.items() if first == genesis), None)
    for row in rows:
        if row.kind == "version" and _intact(row):
            version = _content(row).get("version")
    return version if isinstance(version, int) else None


def problems_of(rows: Sequence[Row], *, head: str | None) -> list[Problem]:
    """Return what breaks the chain: edits, gaps, moved rows, and a tail cut off.

    Args:
        rows: all rows, by number.
        head: the database's own record of its last row; None if it is missing.
    """
    found: list[Problem] = []
    expected_seq = 1
    previous = rows[0].previous if rows and rows[0].previous in GENESIS.values() else GENESIS[VERSION]
    for row in rows:
        if row.seq != expected_seq:
            found.append(
                Problem(expected_seq, f"expected row {expected_seq}, found {_shown(row.seq)} in its place")
            )
        if row.previous != previous:
            found.append(
                Problem(_known(row.seq), "does not follow the row before: one of the two was edited or moved")
            )
        if not _intact(row):
            found.append(Problem(_known(row.seq), "was edited: its content does not match its hash"))
        expected_seq = row.seq + 1 if isinstance(row.seq, int) else expected_seq + 1
        previous = row.hash
    if head is None:
        found.append(Problem(None, "the record of the last row is missing"))
    elif not found and head != head_of(rows) and (rows or head not in _EMPTY):
        found.append(
            Problem(None, f"expected the last row to be {_shown(head)}, found {_shown(head_of(rows))}")
        )
    return found


def missing_head(rows: Sequence[Row], head: str) -> list[Problem]:
    """Return a problem if the row that a bundle names as its head is not in the chain."""
    number, _, value = head.partition(":")
    if head in _EMPTY or any(str(row.seq) == number and row.hash == value for row in rows):
        return []
    known = number.isascii() and number.isdecimal() and len(number) < 19
    return [Problem(int(number) if known else None, "is not the row that the bundle's head names")]


def _intact(row: Row) -> bool:
    texts = (row.time, row.cohort, row.kind, row.content, row.previous, row.hash)
    if not isinstance(row.seq, int) or not all(isinstance(text, str) for text in texts):
        return False
    try:
        _content(row)
        return bool(row.hash == digest(row.seq, row.time, row.cohort, row.kind, row.content, row.previous))
    except (TypeError, ValueError):
        return False


def _known(seq: Any) -> int | None:
    return seq if isinstance(seq, int) else None


def _shown(value: Any) -> str:
    text = str(value).encode("ascii", "backslashreplace").decode()  # damaged text, too
    return text if len(text) <= 24 else text[:24] + "..."
