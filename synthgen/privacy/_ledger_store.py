"""Keep the ledger's rows in SQLite (a file) or PostgreSQL (a server), one writer at a time."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from synthgen.errors import ConfigError, OperationError
from synthgen.privacy._ledger_chain import GENESIS, Row

BUSY_SECONDS = 30.0

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


class Store:
    """The ledger's database. Opens a connection for each transaction and closes it after.

    Attributes:
        created: the SQLite file did not exist and was made.
    """

    def __init__(
        self, url: str, *, base: Path | None, create: bool, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        place, self.created = _locate(url, base=base, create=create)
        self._engine = _engine(place, busy_seconds)
        self._prepare(create=create)

    def _prepare(self, *, create: bool) -> None:
        with self.transaction(write=create) as connection:
            if create:
                _METADATA.create_all(connection)
                if connection.execute(sa.select(_HEAD.c.id)).first() is None and not self.rows(connection):
                    connection.execute(_HEAD.insert().values(id=1, value=f"0:{GENESIS}"))
            elif not sa.inspect(connection).has_table(_ENTRIES.name):
                raise ConfigError(
                    "Expected a ledger, found a database without one.", next_step="Correct the URL."
                )

    @contextlib.contextmanager
    def transaction(self, *, write: bool = False) -> Iterator[Connection]:
        """Yield a connection; all or nothing. Writers exclude each other from their first read on.

        Raises:
            OperationError: the database is locked, full, unreachable or not a database.
        """
        try:
            with (
                self._engine.connect().execution_options(synthgen_write=write) as connection,
                connection.begin(),
            ):
                if write and connection.dialect.name != "sqlite":
                    connection.execute(sa.select(_HEAD).with_for_update())
                yield connection
        except SQLAlchemyError as error:
            raise _operation_error(error) from None

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
    def append(connection: Connection, row: Row) -> None:
        """Add a row and move the head."""
        names = [column.name for column in _ENTRIES.columns]
        connection.execute(_ENTRIES.insert().values(dict(zip(names, astuple(row), strict=True))))
        connection.execute(_HEAD.update().where(_HEAD.c.id == 1).values(value=f"{row.seq}:{row.hash}"))

    @staticmethod
    def add_key(connection: Connection, cohort: str, key: str) -> None:
        """Store a new cohort's key."""
        connection.execute(_KEYS.insert().values(cohort=cohort, key=key))


def _locate(url: str, *, base: Path | None, create: bool) -> tuple[URL, bool]:
    """Return the database's place, and whether its file was made now. Never repeats the URL: see STYLE."""
    try:
        place = sa.make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "Expected a ledger URL of a SQLite file or of PostgreSQL, got other text.",
            next_step="Write sqlite:///ledger.db or postgresql://user@host/name.",
        ) from None
    backend = place.get_backend_name()
    if backend == "postgresql":
        return place.set(drivername="postgresql+pg8000"), False
    if backend != "sqlite" or not place.database or place.database.startswith((":memory:", "file:")):
        raise ConfigError(
            "Expected a ledger URL of a SQLite file or of PostgreSQL, got another kind.",
            next_step="Write sqlite:///ledger.db or postgresql://user@host/name.",
        )
    path = (base or Path()) / place.database
    return place.set(database=str(path)), _made(path, create=create)


def _made(path: Path, *, create: bool) -> bool:
    """Make the file if it is missing, readable by its owner only: it holds the cohorts' keys."""
    if path.exists():
        return False
    if not create:
        raise ConfigError(
            "Expected a ledger, found no file.",
            where=str(path),
            next_step="Make it with `synthgen ledger open`.",
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise OperationError(
            f"Expected a folder to write the ledger into ({error.strerror}).",
            where=str(path),
            next_step="Make the folder, or correct budget.ledger.",
        ) from None
    return True


def _engine(place: URL, busy_seconds: float) -> Engine:
    if place.get_backend_name() != "sqlite":
        try:
            return sa.create_engine(place, poolclass=sa.NullPool)
        except (ImportError, NoSuchModuleError):
            raise ConfigError(
                "Expected the PostgreSQL driver, which is not installed.",
                next_step="Install synthgen-medical[postgresql].",
            ) from None
    engine = sa.create_engine(place, poolclass=sa.NullPool, connect_args={"timeout": busy_seconds})
    sa.event.listen(engine, "connect", _leave_transactions_to_us)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    # Left alone, sqlite3 begins at the first write: two processes could both read before either writes.
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("synthgen_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _operation_error(error: SQLAlchemyError) -> OperationError:
    """Return an error without the URL or the statement's values."""
    cause = getattr(error, "orig", None)
    if "locked" in str(cause):
        return OperationError(
            "The ledger is locked by another process.", next_step="Try again when the other run has finished."
        )
    kind = type(cause or error).__name__
    detail = str(cause) if isinstance(cause, sqlite3.Error) else "the database's log says more"
    return OperationError(
        f"Expected a ledger's database, but it failed ({kind}: {detail}).",
        next_step="Check that the URL names a ledger, and the disk.",
    )
