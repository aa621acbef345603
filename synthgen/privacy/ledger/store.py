"""Keep the ledger's rows in SQLite (a file) or PostgreSQL (a server), one writer at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from synthgen.errors import ConfigError, DataError
from synthgen.files import limits
from synthgen.privacy.ledger.database import BUSY_SECONDS, begin, connect, engine_of, failure, require_file
from synthgen.privacy.ledger.draw_counter import DrawsRow, Position
from synthgen.privacy.ledger.hash_chain import (
    GENESIS,
    VERSION,
    Problem,
    Row,
    entry_of,
    head_of,
    problems_of,
    version_of,
)
from synthgen.privacy.ledger.location import locate
from synthgen.privacy.ledger.state import problems_of_meaning
from synthgen.privacy.ledger.structure import Structure, structure_of

_METADATA = sa.MetaData()
_ENTRIES = sa.Table(
    "entries",
    _METADATA,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("cohort", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
_HEAD = sa.Table(
    "head",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Text, nullable=False),
)
_KEYS = sa.Table(
    "cohort_keys",
    _METADATA,
    sa.Column("cohort", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, nullable=False),
)
LAYOUT = sa.Table(
    "layout",
    _METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, nullable=False),
)
DRAWS = sa.Table(
    "draws",
    _METADATA,
    sa.Column("entry", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("counter", sa.BigInteger, nullable=False),
    sa.Column("journal", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)
TABLES = (_ENTRIES, _HEAD, _KEYS, LAYOUT, DRAWS)
WRITTEN = "synthgen_written"
"""Where a connection keeps what has to be there after its commit."""


class Store:
    """The ledger's database. Opens a connection for each transaction and closes it after.

    Attributes:
        place: where it is.
        created: the SQLite file did not exist and was made.
    """

    def __init__(
        self,
        url: str,
        *,
        base: Path | None,
        create: bool,
        named: bool = True,
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self.place, self.created = locate(url, base=base, create=create, named=named)
        self._busy_seconds = busy_seconds
        self._engine = engine_of(self.place, busy_seconds)
        self._prepare(create=create)

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None."""
        return self.place.file

    def _prepare(self, *, create: bool) -> None:
        with self.transaction(write=create, checked=False) as connection:
            found = self.structure(connection)
            where = str(self.path or "")
            if found.empty and create:
                _METADATA.create_all(connection, checkfirst=False)
                connection.execute(_HEAD.insert().values(id=1, value=f"0:{GENESIS[VERSION]}"))
                connection.execute(LAYOUT.insert().values(id=1, version=VERSION))
                return
            if not found.tables:
                raise ConfigError(
                    "Expected a ledger, found a database without one.",
                    where=where,
                    next_step="Correct the URL.",
                )
            if found.problems:
                return  # nothing more is read: every use refuses it, and `verify` names them
            lacking = {_ENTRIES.name, _HEAD.name, _KEYS.name} - found.tables
            if (self.layout(connection) or 0) >= 3:
                lacking |= {DRAWS.name} - found.tables
            if lacking:
                raise DataError(
                    f"Expected the ledger's tables, found none named {sorted(lacking)}.",
                    where=where,
                    next_step="Restore the ledger from its backup.",
                )
            self._refuse_newer(connection)

    def _refuse_newer(self, connection: Connection) -> None:
        layout = self.layout(connection) or 0
        if layout <= VERSION:
            return
        shown = version_of(self.rows(connection))
        if (
            shown is None or shown > VERSION
        ):  # otherwise the rows are ours: the record of the layout was edited
            raise ConfigError(
                f"Expected a ledger of version {VERSION} or older, found version {layout}.",
                where=str(self.path or ""),
                next_step="Use the newer synthgen that wrote it.",
            )

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False, checked: bool = True) -> Iterator[Connection]:
        """Yield a connection; all or nothing. Writers exclude each other from their first read on.

        Guarantee:
            Nothing in the database but the ledger's own tables takes part in what is read and written, and
            after the commit another transaction has found there what was written.

        Args:
            write: exclude other writers.
            checked: refuse a database whose structure is not a ledger's; False only for who checks it.

        Raises:
            OperationError: the database is locked, full, or unreachable.
            ConfigError: the server refuses user, password or database.
            DataError: the file is damaged, the structure is not a ledger's, or what was written is not there.
        """
        with self._transaction(write=write) as connection:
            if checked:
                self._require_structure(connection)
            yield connection
            written = _written(connection)
        if written:
            self._read_back(written)

    @contextlib.contextmanager
    def _transaction(self, *, write: bool) -> Iterator[Connection]:
        if self.path is not None:
            require_file(self.path)
        try:
            with (
                connect(self._engine, write=write, busy_seconds=self._busy_seconds) as connection,
                connection.begin(),
            ):
                begin(connection, write=write, busy_seconds=self._busy_seconds)
                yield connection
        except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError) as error:
            raise failure(error, self.place) from None

    def _require_structure(self, connection: Connection) -> None:
        found = self.structure(connection)
        lacking = {_ENTRIES.name, _HEAD.name, _KEYS.name} - found.tables
        problems = (*found.problems, *(f"lacks table {name!r}" for name in sorted(lacking)))
        if problems:
            raise DataError(
                f"Expected nothing but the ledger's own tables in its database, but it {problems[0]}.",
                where=str(self.path or "ledger"),
                next_step="It could remove or change spends: run `synthgen ledger verify`, ask who made "
                "it, and restore the ledger from its backup.",
            )

    def _read_back(self, written: Sequence[Callable[[Connection], bool]]) -> None:
        with self._transaction(write=False) as connection:
            self._require_structure(connection)
            lost = not all(check(connection) for check in written)
        if lost:
            raise DataError(
                "Expected the ledger to hold what was written to it just now, it does not.",
                where=str(self.path or "ledger"),
                next_step="Something in the database changes what is written. Nothing was drawn for it: run "
                "`synthgen ledger verify`, and restore the ledger from its backup.",
            )

    @staticmethod
    def structure(connection: Connection) -> Structure:
        """Return what the database holds."""
        return structure_of(connection, _METADATA)

    def problems(self, connection: Connection, *, whole: bool = False) -> tuple[list[Problem], list[Row]]:
        """Return every sign of an edit in what a transaction reads, and all rows.

        Args:
            connection: in a transaction.
            whole: read the rows of a damaged file too, to name them.
        """
        from synthgen.privacy.ledger.structure import pages_problems

        name = self.path.name if self.path else "database"
        found = [Problem(None, f"{name}: {text}") for text in self.structure(connection).problems]
        if found:
            return found, []  # what would be read is what somebody else wants to be read
        damage = pages_problems(connection, name) if self.path else []
        if damage and not whole:
            return damage, []
        rows = self.rows(connection)
        found = problems_of(rows, head=self.head(connection))
        layout, shown = self.layout(connection), version_of(rows)
        if not found and rows and layout != shown:
            found = [Problem(None, f"expected a layout record of version {shown}, found {layout}")]
        if found:
            return damage + found, rows
        draws = self.draws(connection) if (layout or 0) >= 3 else []
        return damage + problems_of_meaning(list(map(entry_of, rows)), self.keys(connection), draws), rows

    def check(self) -> tuple[list[Problem], list[Row]]:
        """Return every sign of an edit or of damage, also where no row shows it, and all rows."""
        from synthgen.privacy.ledger.structure import header_problems

        with self.transaction(checked=False) as connection:
            found, rows = self.problems(connection, whole=True)
            return found + (header_problems(connection, self.path.name) if self.path else []), rows

    @staticmethod
    def names(connection: Connection) -> set[str]:
        """Return the names of the ledger's tables that are there."""
        return set(structure_of(connection, _METADATA).tables)

    @classmethod
    def layout(cls, connection: Connection) -> int | None:
        """Return the version that the database says it has; None if the record is missing or no number."""
        if LAYOUT.name not in cls.names(connection):
            return 1  # version 1 had no record
        found = connection.execute(sa.select(LAYOUT.c.version).where(LAYOUT.c.id == 1)).scalar_one_or_none()
        return found if isinstance(found, int) else None

    @staticmethod
    def rows(connection: Connection) -> list[Row]:
        """Return all rows by number.

        Raises:
            TooLarge: there are more, or longer ones, than a ledger may have.
        """
        rows: list[Row] = []
        size = 0
        for values in connection.execute(sa.select(_ENTRIES).order_by(_ENTRIES.c.seq)):
            rows.append(Row(*values))
            size += sum(len(value) for value in values if isinstance(value, str | bytes))
            limits.require("ledger_rows", len(rows), where="ledger")
            limits.require("ledger_bytes", size, where="ledger")
        return rows

    @staticmethod
    def head(connection: Connection) -> str | None:
        """Return the database's own record of its last row."""
        return connection.execute(sa.select(_HEAD.c.value).where(_HEAD.c.id == 1)).scalar_one_or_none()

    @staticmethod
    def keys(connection: Connection) -> dict[str, str]:
        """Return the cohorts' keys in hexadecimal. Secret."""
        return {cohort: key for cohort, key in connection.execute(sa.select(_KEYS.c.cohort, _KEYS.c.key))}

    @staticmethod
    def draws(connection: Connection) -> list[DrawsRow]:
        """Return the counters of draws, by reservation."""
        return [DrawsRow(*row) for row in connection.execute(sa.select(DRAWS).order_by(DRAWS.c.entry))]

    @staticmethod
    def add_draws(connection: Connection, rows: Sequence[DrawsRow]) -> None:
        """Add counters of draws."""
        if rows:
            connection.execute(DRAWS.insert(), [asdict(row) for row in rows])
        for row in rows:
            _expect(connection, sa.select(DRAWS.c.hash).where(DRAWS.c.entry == row.entry), row.hash)

    @staticmethod
    def move_draws(connection: Connection, entry: int, *, before: Position, after: Position) -> bool:
        """Move a counter, if it is where it is expected to be. Returns whether it was."""
        reservation = connection.execute(
            sa.select(_ENTRIES.c.hash).where(_ENTRIES.c.seq == entry)
        ).scalar_one_or_none()
        row = DrawsRow.make(entry, after, reservation=str(reservation))
        place = (
            (DRAWS.c.entry == entry)
            & (DRAWS.c.counter == before.counter)
            & (DRAWS.c.journal == before.digest)
        )
        moved = connection.execute(DRAWS.update().where(place).values(**asdict(row))).rowcount == 1
        if moved:
            _expect(connection, sa.select(DRAWS.c.hash).where(DRAWS.c.entry == entry), row.hash)
        return moved

    @staticmethod
    def remove_draws(connection: Connection, entry: int) -> None:
        """Remove the counter of a reservation that is closed."""
        connection.execute(DRAWS.delete().where(DRAWS.c.entry == entry))
        _expect(connection, sa.select(DRAWS.c.hash).where(DRAWS.c.entry == entry), None)

    @classmethod
    def append(cls, connection: Connection, row: Row) -> None:
        """Add a row and move the head."""
        cls.extend(connection, [row])

    @classmethod
    def extend(cls, connection: Connection, rows: Sequence[Row]) -> None:
        """Add rows and move the head."""
        names = [column.name for column in _ENTRIES.columns]
        if rows:
            values = [dict(zip(names, astuple(row), strict=True)) for row in rows]
            connection.execute(_ENTRIES.insert(), values)
            cls.set_head(connection, rows)
        for row in rows:
            _expect(connection, sa.select(_ENTRIES.c.hash).where(_ENTRIES.c.seq == row.seq), row.hash)

    @staticmethod
    def set_head(connection: Connection, rows: Sequence[Row]) -> None:
        """Move the head to the last of these rows."""
        connection.execute(_HEAD.update().where(_HEAD.c.id == 1).values(value=head_of(rows)))
        last = rows[-1].seq if rows else 0

        def reached(connection: Connection) -> bool:  # another process may have moved it further by now
            number = str(Store.head(connection)).partition(":")[0]
            return number.isdecimal() and int(number) >= last

        connection.info.setdefault(WRITTEN, []).append(reached)

    @staticmethod
    def add_key(connection: Connection, cohort: str, key: str) -> None:
        """Store a new cohort's key."""
        connection.execute(_KEYS.insert().values(cohort=cohort, key=key))
        _expect(connection, sa.select(_KEYS.c.key).where(_KEYS.c.cohort == cohort), key)

    @staticmethod
    def remove_key(connection: Connection, cohort: str) -> None:
        """Remove the key of a cohort that was closed: nothing was drawn of its patients."""
        connection.execute(_KEYS.delete().where(_KEYS.c.cohort == cohort))
        _expect(connection, sa.select(_KEYS.c.key).where(_KEYS.c.cohort == cohort), None)


def _expect(connection: Connection, query: sa.Select[Any], value: object) -> None:
    """Keep a query whose answer must be ``value`` once the transaction is committed."""
    checks = connection.info.setdefault(WRITTEN, [])
    checks.append(lambda later: later.execute(query).scalar_one_or_none() == value)


def _written(connection: Connection) -> list[Callable[[Connection], bool]]:
    return list(connection.info.pop(WRITTEN, []))
