"""Damage of a ledger's SQLite file that its rows do not show.

Rows, keys, head, version and counters of draws are read and bound by the chain. What else the file holds is
checked here: its header, its pages, and that there are these tables and nothing more (a trigger could change
what is written next). Not checked is what changes nothing that is read: free space in pages, the case of a
word in a table's statement, and SQLite's own counters (file change, schema cookie, version of the last
writer).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from synthgen.privacy._ledger_chain import Problem
from synthgen.privacy._ledger_store import TABLES

_HEADER = {
    (0, 16): b"SQLite format 3\0",
    (18, 24): bytes([1, 1, 0, 64, 32, 32]),  # no write-ahead log, no reserved space, fixed fractions
    (44, 48): bytes([0, 0, 0, 4]),  # schema format
    (52, 56): bytes(4),  # no auto-vacuum
    (56, 60): bytes([0, 0, 0, 1]),  # UTF-8
    (60, 72): bytes(12),  # user version, incremental vacuum, application
    (72, 92): bytes(20),  # reserved for expansion
}


def file_problems(connection: Connection, path: Path) -> list[Problem]:
    """Return what is wrong with the file of a connection; names the file."""
    with path.open("rb") as stream:
        header = stream.read(100)
    found = [
        f"its header was changed at byte {start + i}"
        for (start, stop), expected in _HEADER.items()
        for i, byte in enumerate(header[start:stop])
        if byte != expected[i]
    ]
    messages = connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
    found += [f"damaged: {message}" for message in messages if message != "ok"]
    found += _structure(connection)
    return [Problem(None, f"{path.name}: {message}") for message in found]


def _structure(connection: Connection) -> list[str]:
    objects = connection.exec_driver_sql("SELECT type, name, tbl_name FROM sqlite_schema").all()
    tables = {table.name: table for table in TABLES}
    own = {("table", name, name) for name in tables}
    own |= {("index", f"sqlite_autoindex_{name}_1", name) for name in tables}
    found = [
        f"holds {kind} {name!r} of {table!r}, which is not the ledger's"
        for kind, name, table in objects
        if (kind, name, table) not in own
    ]
    for kind, name, _ in objects:
        if kind == "table" and name in tables and _columns(connection, name) != _expected(tables[name]):
            found.append(f"table {name!r} has other columns than the ledger's")
    return found


def _columns(connection: Connection, table: str) -> list[tuple[str, str, bool, bool]]:
    rows = connection.exec_driver_sql(f"PRAGMA table_xinfo({table})").all()
    return [(str(row[1]), str(row[2]), bool(row[3]), bool(row[5])) for row in rows]


def _expected(table: sa.Table) -> list[tuple[str, str, bool, bool]]:
    return [(c.name, str(c.type), not c.nullable, c.primary_key) for c in table.columns]
