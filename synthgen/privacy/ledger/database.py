"""Reach the ledger's database: a SQLite file, or a PostgreSQL server through pg8000.

Where it is, and which servers may be spoken to: `synthgen.privacy.ledger.location`. How:
`synthgen.privacy.ledger.server`. Nothing here holds or repeats a password.
"""

from __future__ import annotations

import errno
import itertools
import sqlite3
import stat
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from synthgen.errors import ConfigError, DataError, OperationError, SynthgenError
from synthgen.files import limits
from synthgen.privacy.ledger.location import Place, Server, require_own_files

BUSY_SECONDS = 30.0
_LOCK = 0x5E_ED_1E_D6_E5  # any number, the same for every synthgen: the server's name for the writers' lock
_STEPS, _MOST_STEPS = 1_000_000, 2_000
"""Of SQLite's machine in one transaction: a ledger at its limits takes a tenth of it; minutes at most."""
_NOT_YET = ("57P03", "53300")  # the server starts up, or has no connection left: nothing was asked yet
_REFUSED = {
    "28P01": "Expected a user and password that the ledger's server accepts, it refused them.",
    "28000": "Expected a user that the ledger's server lets in, it refused.",
    "3D000": "Expected a database of that name on the ledger's server, it has none.",
    "42501": "Expected a user who may read and write the ledger's tables, the server refused.",
}


def require_file(path: Path) -> None:
    """Refuse, before it is opened, what is no file of a size that a ledger may have.

    Raises:
        ConfigError: there is nothing, or a folder, device or pipe.
        TooLarge: it is larger.
    """
    try:
        found = path.stat()
    except (OSError, ValueError):
        raise _no_file(path, "none") from None
    if not stat.S_ISREG(found.st_mode):
        raise _no_file(path, "a folder, device or pipe")
    limits.require("ledger_bytes", found.st_size, where=str(path))


def _no_file(path: Path, got: str) -> ConfigError:
    return ConfigError(
        f"Expected the file of a ledger, found {got}.",
        where=str(path),
        next_step="Correct the ledger's URL, or restore the ledger from its backup.",
    )


def engine_of(place: Place, busy_seconds: float) -> Engine:
    """Return an engine that opens a connection for each transaction. It knows no password.

    Raises:
        ConfigError: the driver is not installed.
    """
    if place.server is not None:
        return _postgresql(place.server, busy_seconds)
    engine = sa.create_engine(
        URL.create("sqlite", database=str(place.file)),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={"timeout": busy_seconds},
    )
    sa.event.listen(engine, "do_connect", lambda *_: require_own_files(Path(str(place.file))))
    sa.event.listen(engine, "connect", _leave_transactions_to_us)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _postgresql(server: Server, busy_seconds: float) -> Engine:
    try:
        from synthgen.privacy.ledger import server as ledger_server

        return sa.create_engine(
            "postgresql+pg8000://",
            poolclass=sa.NullPool,
            hide_parameters=True,
            creator=lambda: ledger_server.connect(server, seconds=busy_seconds + 30),
        )
    except (ImportError, NoSuchModuleError):
        raise ConfigError(
            "Expected the PostgreSQL driver pg8000, which is not installed.",
            next_step="pip install synthgen-medical[postgresql].",
        ) from None


def connect(engine: Engine, *, write: bool, busy_seconds: float) -> Connection:
    """Return a connection whose transaction reads one state, or excludes all other writers.

    A server that is starting up or full is asked again for ``busy_seconds``. Nothing else is repeated: nobody
    knows whether a transaction took place whose answer was lost, and a spend may be booked once too often,
    never once too little.
    """
    options: dict[str, Any] = {"synthgen_write": write}
    if engine.dialect.name != "sqlite":
        # A reader sees rows and head of one moment. A writer's rows are read after the lock was got.
        options["isolation_level"] = "READ COMMITTED" if write else "REPEATABLE READ"
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            return engine.connect().execution_options(**options)
        except DBAPIError as error:
            if _code(error) not in _NOT_YET or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        except (SQLAlchemyError, sqlite3.Error, UnicodeDecodeError, SynthgenError):
            raise
        except Exception:  # what a server says of itself can stop SQLAlchemy anyhow
            message = "Expected a PostgreSQL server, got other answers."
            raise OperationError(message, next_step="Check the ledger's host and port.") from None


def begin(connection: Connection, *, write: bool, busy_seconds: float) -> None:
    """Wait until no other writer is at work, and let names mean what they mean on any server.

    On SQLite ``BEGIN IMMEDIATE`` has waited. On PostgreSQL a role or database may have a search path of its
    own, with functions, operators or tables of other names in it: the server's own come first, temporary
    tables last.
    """
    if connection.dialect.name == "sqlite":
        return
    schemas = connection.execute(sa.text("SELECT pg_catalog.current_schemas(false)")).scalar() or []
    own = [name for name in schemas if not name.startswith("pg_")] or ["public"]
    path = ", ".join('"' + name.replace('"', '""') + '"' for name in own)
    connection.execute(
        sa.text("SELECT pg_catalog.set_config('search_path', :path, true)"), {"path": f"{path}, pg_temp"}
    )
    if not write:
        return
    connection.execute(sa.text(f"SET LOCAL lock_timeout = {round(1000 * busy_seconds)}"))
    durable = "SELECT set_config('synchronous_commit', 'on', true)"
    connection.execute(sa.text(f"{durable} WHERE current_setting('synchronous_commit') = 'off'"))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    # Left alone, sqlite3 begins at the first write: two processes could both read before either writes.
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
        connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")  # damaged text, too
        connection.execute("PRAGMA synchronous = FULL")
        _distrust(connection)


def _distrust(connection: sqlite3.Connection) -> None:
    """Read a file as one that a stranger may have written: its objects run nothing, and cost is bounded."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(limits.current().ledger_bytes, 2**30))
    connection.setlimit(sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH, 0)
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    calls = itertools.count()
    connection.set_progress_handler(lambda: int(next(calls) > _MOST_STEPS), _STEPS)


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("synthgen_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _code(error: Exception) -> str:
    """Return the server's five-letter code of an error, or nothing."""
    arguments = getattr(getattr(error, "orig", None), "args", ())
    fields = arguments[0] if arguments else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""


def failure(error: SQLAlchemyError | sqlite3.Error | UnicodeDecodeError, place: Place) -> SynthgenError:
    """Return what to say of a failed transaction, without a password or a statement's values."""
    cause, code = getattr(error, "orig", error), _code(error)
    where = str(place)
    if code in _REFUSED:
        return ConfigError(_REFUSED[code], where=where, next_step="Correct the ledger's URL or the server.")
    if "locked" in str(cause) or code == "55P03":
        return OperationError(
            "The ledger is locked by another process.", next_step="Try again when the other run has finished."
        )
    if isinstance(cause, sqlite3.Error | UnicodeDecodeError):  # SQLite's message may quote damaged text
        return _file_failure(cause, where)
    if type(cause).__name__ == "InterfaceError":
        message = "Expected the ledger's server to answer, it did not."
        return OperationError(message, where=where, next_step="Check that it runs and can be reached.")
    kind = f"{type(cause or error).__name__} {code}".strip()
    return OperationError(
        f"The ledger's database failed ({kind}).", where=where, next_step="The server's log says more."
    )


def _file_failure(cause: sqlite3.Error | UnicodeDecodeError, where: str) -> SynthgenError:
    name = getattr(cause, "sqlite_errorname", "SQLITE_CORRUPT")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or name == "SQLITE_ERROR":
        return DataError(
            f"Expected a ledger, found a file that is damaged or none ({name}).",
            where=where,
            next_step="Restore the ledger from its backup, and verify it with a bundle's head.",
        )
    number = next((n for start, n in _CAUSES.items() if name.startswith(start)), 0)
    if number:
        return OperationError.of(OSError(number, name), "use the ledger", where=where)
    return OperationError(
        f"The ledger's database failed ({type(cause).__name__}: {cause}).",
        where=where,
        next_step="Check the disk and the URL.",
    )


_CAUSES = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_READONLY": errno.EACCES,
    "SQLITE_CANTOPEN": errno.EACCES,
    "SQLITE_PERM": errno.EACCES,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_NOMEM": errno.ENOMEM,
}
"""What SQLite's refusals are to the operating system."""
