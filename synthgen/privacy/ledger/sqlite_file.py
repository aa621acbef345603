"""Damage of a ledger's SQLite file that its rows do not show.

Rows, keys, head, version and counters of draws are read and bound by the chain; that there are these tables
and nothing more is checked at every use (`synthgen.privacy.ledger.structure`). What else the file holds is
checked here: its pages, and its header. Not checked is what changes nothing that is read: free space in
pages, the case of a word in a table's statement, and SQLite's own counters (file change, schema cookie,
version of the last writer).
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from synthgen.privacy.ledger.hash_chain import Problem

_HEADER = {
    (0, 16): b"SQLite format 3\0",
    (18, 24): bytes([1, 1, 0, 64, 32, 32]),  # no write-ahead log, no reserved space, fixed fractions
    (44, 48): bytes([0, 0, 0, 4]),  # schema format
    (52, 56): bytes(4),  # no auto-vacuum
    (56, 60): bytes([0, 0, 0, 1]),  # UTF-8
    (60, 72): bytes(12),  # user version, incremental vacuum, application
    (72, 92): bytes(20),  # reserved for expansion
}


def pages_problems(connection: Connection, name: str) -> list[Problem]:
    """Return what is damaged in the pages of a file whose structure is a ledger's; names the file."""
    messages = connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
    return [Problem(None, f"{name}: damaged: {message}") for message in messages if message != "ok"]


def header_problems(connection: Connection, name: str) -> list[Problem]:
    """Return the bytes of a file's header that were changed; names the file.

    The bytes are read through SQLite: to close the file once more would give up this process's locks on it.
    """
    header = connection.connection.driver_connection.serialize()[:100]  # type: ignore[union-attr]
    return [
        Problem(None, f"{name}: its header was changed at byte {start + i}")
        for (start, stop), expected in _HEADER.items()
        for i, byte in enumerate(header[start:stop])
        if byte != expected[i]
    ]
