"""Structure of the ledger's database: its own plain tables and nothing else, so that what is written is read.

Whoever can write the database can add an object that changes what later statements do: a trigger or rule
that removes each new spend, a view in the place of a table, a constraint that ignores conflicts, a generated
column, a policy that hides rows. Such an object outlives its author and is no edit of a row, so the chain of
rows does not show it. It is looked for at every use, before anything else is read; and what was written is
read back after the commit (`synthgen.privacy.ledger.store`), since some objects act at the commit.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.schema import CreateTable

from synthgen.privacy.ledger.hash_chain import Problem

_OF_FILE = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema LIMIT 50"
_TOKENS = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Structure:
    """What a database holds.

    Attributes:
        tables: the ledger's tables that are there.
        problems: what is no part of a ledger, or may change what is read or written.
        empty: nothing is there at all, so that a ledger may be made.
    """

    tables: frozenset[str]
    problems: tuple[str, ...]
    empty: bool


def structure_of(connection: Connection, metadata: sa.MetaData) -> Structure:
    """Return the structure of a database, as the transaction of a connection sees it.

    Args:
        connection: in a transaction.
        metadata: the ledger's tables.
    """
    if connection.dialect.name == "sqlite":
        return _of_file(connection, metadata)
    return _of_server(connection, metadata)


def _of_file(connection: Connection, metadata: sa.MetaData) -> Structure:
    """Compare each object's whole statement: it holds checks, conflict clauses, collations and defaults."""
    objects = connection.exec_driver_sql(_OF_FILE).all()
    expected = {("table", name, name): sql for name, sql in _statements(metadata).items()}
    expected |= {("index", f"sqlite_autoindex_{name}_1", name): () for name in metadata.tables}
    found, present, pages = [], set(), []
    for kind, name, table, page, sql in objects:
        if (kind, name, table) not in expected:
            found.append(
                f"holds {_shown(kind)} {_shown(name)!r} of {_shown(table)!r}, which is not the ledger's"
            )
            continue
        pages.append(page)
        if kind == "table":
            present.add(name)
        if _tokens(sql) != expected[kind, name, table]:
            found.append(f"{kind} {name!r} was made by another statement than the ledger's")
    if len(set(pages)) != len(pages) or not all(isinstance(page, int) and page > 0 for page in pages):
        found.append("two tables or indexes share one place")
    for setting, value in (("encoding", "UTF-8"), ("journal_mode", "delete")):
        got = connection.exec_driver_sql(f"PRAGMA {setting}").scalar()
        if got != value:
            found.append(f"has the {setting} {_shown(got)!r}, expected {value!r}")
    return Structure(frozenset(present), tuple(found), empty=not objects)


@functools.cache
def _statements(metadata: sa.MetaData) -> dict[str, tuple[str, ...]]:
    dialect = sqlite.dialect()
    made = {name: str(CreateTable(table).compile(dialect=dialect)) for name, table in metadata.tables.items()}
    return {name: _tokens(sql) for name, sql in made.items()}


def _tokens(statement: object) -> tuple[str, ...]:
    """Return the words and signs of a statement, so that blanks and letters' case do not count."""
    return tuple(_TOKENS.findall(str(statement).lower())) if statement is not None else ()


def _shown(value: object) -> str:
    text = str(value).encode("ascii", "backslashreplace").decode()
    return text if len(text) <= 60 else text[:60] + "..."


_TYPES = {"BIGINT": 20, "INTEGER": 23, "TEXT": 25}
"""The server's own numbers of types: a domain, or a type of the same name in another schema, has another."""

_PLACES = """
SELECT name, CAST(pg_catalog.to_regclass(name) AS bigint) FROM pg_catalog.unnest(CAST(:names AS text[])) name
"""

_OBJECTS = """
WITH own AS (SELECT c.* FROM pg_catalog.pg_class c WHERE c.oid = ANY(CAST(:oids AS oid[])))
SELECT relname, 'is no plain, permanent table' FROM own
 WHERE relkind <> 'r' OR relpersistence <> 'p' OR relispartition OR reloftype <> 0
UNION ALL SELECT relname, 'has row-level security' FROM own WHERE relrowsecurity OR relforcerowsecurity
UNION ALL SELECT relname, 'has policy ' || p.polname FROM own
 JOIN pg_catalog.pg_policy p ON p.polrelid = own.oid
UNION ALL SELECT relname, 'has trigger ' || t.tgname FROM own
 JOIN pg_catalog.pg_trigger t ON t.tgrelid = own.oid
UNION ALL SELECT relname, 'has rule ' || r.rulename FROM own
 JOIN pg_catalog.pg_rewrite r ON r.ev_class = own.oid
UNION ALL SELECT relname, 'inherits, or is inherited from' FROM own
 JOIN pg_catalog.pg_inherits i ON i.inhparent = own.oid OR i.inhrelid = own.oid
UNION ALL SELECT relname, 'has constraint ' || k.conname FROM own
 JOIN pg_catalog.pg_constraint k ON k.conrelid = own.oid OR k.confrelid = own.oid
 WHERE k.contype NOT IN ('p', 'n') OR k.condeferrable
UNION ALL SELECT own.relname, 'has index ' || ic.relname FROM own
 JOIN pg_catalog.pg_index x ON x.indrelid = own.oid
 JOIN pg_catalog.pg_class ic ON ic.oid = x.indexrelid
 JOIN pg_catalog.pg_am am ON am.oid = ic.relam
 LEFT JOIN pg_catalog.pg_opclass oc ON oc.oid = x.indclass[0]
 WHERE NOT (x.indisprimary AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indisready
  AND x.indislive AND x.indnatts = 1 AND x.indpred IS NULL AND x.indexprs IS NULL AND am.amname = 'btree'
  AND oc.opcdefault AND oc.opcnamespace = 11 AND x.indcollation[0] IN (0, 100))
UNION ALL SELECT 'database', 'has event trigger ' || e.evtname FROM pg_catalog.pg_event_trigger e
 WHERE e.evtenabled <> 'D'
"""

_COLUMNS = """
SELECT c.relname, a.attname, CAST(a.atttypid AS bigint), a.attnotnull,
 a.atthasdef OR a.attgenerated <> '' OR a.attidentity <> '' OR a.attcollation NOT IN (0, 100),
 COALESCE((SELECT k.conkey[1] = a.attnum AND pg_catalog.array_length(k.conkey, 1) = 1
  FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p'), false)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = ANY(CAST(:oids AS oid[])) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


def _of_server(connection: Connection, metadata: sa.MetaData) -> Structure:
    names = "{" + ",".join(metadata.tables) + "}"
    sought = connection.execute(sa.text(_PLACES), {"names": names})
    places: dict[str, int | None] = {name: oid for name, oid in sought}
    oids = {"oids": "{" + ",".join(str(oid) for oid in places.values() if oid is not None) + "}"}
    found = [f"{name!r} {_shown(what)}" for name, what in connection.execute(sa.text(_OBJECTS), oids)]
    columns: dict[str, list[tuple[object, ...]]] = {}
    for name, *column in connection.execute(sa.text(_COLUMNS), oids):
        columns.setdefault(name, []).append(tuple(column))
    present = frozenset(name for name, oid in places.items() if oid is not None)
    found += [
        f"table {name!r} has other columns than the ledger's"
        for name in sorted(present)
        if columns.get(name) != _expected(metadata.tables[name])
    ]
    return Structure(present, tuple(found), empty=not present)


def _expected(table: sa.Table) -> list[tuple[object, ...]]:
    return [(c.name, _TYPES[str(c.type)], not c.nullable, False, c.primary_key) for c in table.columns]


_HEADER = {
    (0, 16): b"SQLite format 3\0",
    (18, 24): bytes([1, 1, 0, 64, 32, 32]),  # no write-ahead log, no reserved space, fixed fractions
    (44, 48): bytes([0, 0, 0, 4]),  # schema format
    (52, 56): bytes(4),  # no auto-vacuum
    (56, 60): bytes([0, 0, 0, 1]),  # UTF-8
    (60, 72): bytes(12),  # user version, incremental vacuum, application
    (72, 92): bytes(20),  # reserved for expansion
}
"""Bytes of a ledger file's header that never change. Not checked is what changes nothing that is read: free
space in pages, the case of a word in a table's statement, and SQLite's own counters (file change, schema
cookie, version of the last writer)."""


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
