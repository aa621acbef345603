"""Keep the ledger's rows in SQLite (a file) or PostgreSQL (a server), one writer at a time."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from synthgen.errors import ConfigError, DataError
from synthgen.privacy._ledger_chain import (
    GENESIS,
    VERSION,
    Problem,
    Row,
    entry_of,
    head_of,
    problems_of,
    version_of,
)
from synthgen.privacy._ledger_draws import DrawsRow, Position
from synthgen.privacy._ledger_engine import BUSY_SECONDS, connect, engine_of, exclude_writers, failure, locate
from synthgen.privacy._ledger_state import problems_of_meaning

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


class Store:
    """The ledger's database. Opens a connection for each transaction and closes it after.

    Attributes:
        place: where it is. May hold a password.
        created: the SQLite file did not exist and was made.
    """

    def __init__(
        self, url: str, *, base: Path | None, create: bool, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self.place, self.created = locate(url, base=base, create=create)
        self._busy_seconds = busy_seconds
        self._engine = engine_of(self.place, busy_seconds)
        self._prepare(create=create)

    @property
    def path(self) -> Path | None:
        """The SQLite file, or None."""
        return Path(str(self.place.database)) if self._engine.dialect.name == "sqlite" else None

    def _prepare(self, *, create: bool) -> None:
        with self.transaction(write=create) as connection:
            found = {name for name in self.names(connection) if name in _METADATA.tables}
            if not found and create:
                _METADATA.create_all(connection)
                connection.execute(_HEAD.insert().values(id=1, value=f"0:{GENESIS[VERSION]}"))
                connection.execute(LAYOUT.insert().values(id=1, version=VERSION))
                return
            where = str(self.path or "")
            if not found:
                raise ConfigError(
                    "Expected a ledger, found a database without one.",
                    where=where,
                    next_step="Correct the URL.",
                )
            lacking = {_ENTRIES.name, _HEAD.name, _KEYS.name} - found
            if (self.layout(connection) or 0) >= 3:
                lacking |= {DRAWS.name} - found
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
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Yield a connection; all or nothing. Writers exclude each other from their first read on.

        Raises:
            OperationError: the database is locked, full, or unreachable.
            ConfigError: the server refuses user, password or database.
            DataError: the file is damaged.
        """
        try:
            with (
                connect(self._engine, write=write, busy_seconds=self._busy_seconds) as connection,
                connection.begin(),
            ):
                if write:
                    exclude_writers(connection, self._busy_seconds)
                yield connection
        except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError) as error:
            raise failure(error, self.place) from None

    def problems(self, connection: Connection) -> tuple[list[Problem], list[Row]]:
        """Return every sign of an edit in what a transaction reads, and all rows."""
        rows = self.rows(connection)
        found = problems_of(rows, head=self.head(connection))
        layout, shown = self.layout(connection), version_of(rows)
        if not found and rows and layout != shown:
            found = [Problem(None, f"expected a layout record of version {shown}, found {layout}")]
        if found:
            return found, rows
        draws = self.draws(connection) if (layout or 0) >= 3 else []
        return problems_of_meaning(list(map(entry_of, rows)), self.keys(connection), draws), rows

    def check(self) -> tuple[list[Problem], list[Row]]:
        """Return every sign of an edit or of damage, also where no row shows it, and all rows."""
        from synthgen.privacy._ledger_file import file_problems

        with self.transaction() as connection:
            found, rows = self.problems(connection)
            return found + (file_problems(connection, self.path) if self.path else []), rows

    @staticmethod
    def names(connection: Connection) -> set[str]:
        """Return the names of all tables."""
        return set(sa.inspect(connection).get_table_names())

    @classmethod
    def layout(cls, connection: Connection) -> int | None:
        """Return the version that the database says it has; None if the record is missing or no number."""
        if LAYOUT.name not in cls.names(connection):
            return 1  # version 1 had no record
        found = connection.execute(sa.select(LAYOUT.c.version).where(LAYOUT.c.id == 1)).scalar_one_or_none()
        return found if isinstance(found, int) else None

    @staticmethod
    def rows(connection: Connection) -> list[Row]:
        """Return all rows by number."""
        return [Row(*row) for row in connection.execute(sa.select(_ENTRIES).order_by(_ENTRIES.c.seq))]

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
        moved = connection.execute(DRAWS.update().where(place).values(**asdict(row)))
        return moved.rowcount == 1

    @staticmethod
    def remove_draws(connection: Connection, entry: int) -> None:
        """Remove the counter of a reservation that is closed."""
        connection.execute(DRAWS.delete().where(DRAWS.c.entry == entry))

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

    @staticmethod
    def set_head(connection: Connection, rows: Sequence[Row]) -> None:
        """Move the head to the last of these rows."""
        connection.execute(_HEAD.update().where(_HEAD.c.id == 1).values(value=head_of(rows)))

    @staticmethod
    def add_key(connection: Connection, cohort: str, key: str) -> None:
        """Store a new cohort's key."""
        connection.execute(_KEYS.insert().values(cohort=cohort, key=key))

    @staticmethod
    def remove_key(connection: Connection, cohort: str) -> None:
        """Remove the key of a cohort that was closed: nothing was drawn of its patients."""
        connection.execute(_KEYS.delete().where(_KEYS.c.cohort == cohort))
