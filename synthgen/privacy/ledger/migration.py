"""Bring a ledger of an older version to this one, after a backup; and copy a whole ledger."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from synthgen.errors import ConfigError, OperationError
from synthgen.files.safe_files import create_private, open_without_links, replacing, temporary_folder
from synthgen.privacy.ledger.draw_counter import DrawsRow
from synthgen.privacy.ledger.hash_chain import VERSION, Row, next_row, version_of
from synthgen.privacy.ledger.store import DRAWS, LAYOUT, TABLES, Store


def migrate(store: Store) -> str:
    """Bring an older ledger to this version, all or nothing; the chain goes on and old heads stay valid.

    Version 2 adds the layout record, and one row that says where the chain changed hands; version 3 adds the
    table of draws. What older reservations protected was not recorded: they compose among themselves, and
    with newer ones once a steward has declared their unit. An edited ledger is left as it is, for `verify`
    to report.

    Returns:
        What was done and where the backup is; empty if nothing was to be done.

    Raises:
        OperationError: backup or migration failed; the ledger is as it was.
    """
    with store.transaction(checked=False) as connection:
        if store.structure(connection).problems or store.layout(connection) in (None, VERSION):
            return ""
    with store.transaction(write=True) as connection:
        layout = store.layout(connection)
        found, rows = store.problems(connection)
        if layout in (None, VERSION) or found:
            return ""  # another process was first, or somebody must look
        backup = _back_up(connection, store, rows)
        if layout == 1:
            LAYOUT.create(connection)
            connection.execute(LAYOUT.insert().values(id=1, version=VERSION))
        else:
            connection.execute(LAYOUT.update().where(LAYOUT.c.id == 1).values(version=VERSION))
        DRAWS.create(connection)
        if rows:
            store.append(connection, next_row(rows[-1], "", "version", {"from": layout, "version": VERSION}))
        else:
            store.set_head(connection, [])
        return f"The ledger was brought from version {layout} to {VERSION}; backup: {backup}."


def _back_up(connection: Connection, store: Store, rows: Sequence[Row]) -> str:
    """Keep the older version: a file beside the ledger's, or tables beside the server's."""
    version, path = version_of(rows) or store.layout(connection) or 1, store.path
    if path is None:
        present = store.names(connection)
        for table in (table for table in TABLES if table.name in present):
            name = f"v{version}_{table.name}"
            connection.execute(sa.text(f"CREATE TABLE IF NOT EXISTS {name} AS TABLE {table.name}"))
        return f"tables v{version}_* of the same database"
    target = path.with_name(f"{path.name}.v{version}-{len(rows)}.backup")
    if not os.path.lexists(target):
        _copy_file(path, target)
    return str(target)


def _copy_file(path: Path, target: Path) -> None:
    try:
        with temporary_folder(target) as folder:
            copy_of_it = folder / target.name
            create_private(copy_of_it)
            source, copied = (
                sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True),
                sqlite3.connect(copy_of_it),
            )
            try:
                source.backup(copied)
            finally:
                source.close()
                copied.close()
            with (
                open_without_links(copy_of_it) as whole,
                replacing(target, "back the ledger up", private=True, overwrite=False) as stream,
            ):
                shutil.copyfileobj(whole, stream)
    except (OSError, sqlite3.Error) as error:
        message = f"Expected to back the ledger up before its migration, got {type(error).__name__}."
        raise OperationError(message, where=str(target), next_step="Check space and permissions.") from None


def copy(rows: Sequence[Row], keys: Mapping[str, str], draws: Sequence[DrawsRow], target: str) -> None:
    """Write rows, keys and counters into a new ledger, in one transaction, and check it.

    Args:
        rows: of a checked chain.
        draws: counters of the open reservations.
        keys: of the cohorts, in hexadecimal. Secret: a new file is readable by its owner only.
        target: path or URL, see `synthgen.privacy.ledger.ledger.Ledger.backup`.

    Raises:
        ConfigError: there is something at the target.
        OperationError: the database cannot be used, or the copy does not verify.
    """
    path = None if "://" in target else Path(target)
    if path is not None and path.exists():
        raise ConfigError(
            "Expected a new file for the copy, found one.", where=target, next_step="Name another."
        )
    try:
        store = Store(f"sqlite:///{path.absolute()}" if path else target, base=None, create=True)
        _fill(store, rows, keys, draws)
    except BaseException:
        if path is not None:  # it was not there before
            path.unlink(missing_ok=True)
        raise


def _fill(store: Store, rows: Sequence[Row], keys: Mapping[str, str], draws: Sequence[DrawsRow]) -> None:
    with store.transaction(write=True) as connection:
        if store.rows(connection) or store.keys(connection):
            raise ConfigError(
                "Expected a database without a ledger for the copy, found one.", next_step="Name another."
            )
        for name, key in keys.items():
            store.add_key(connection, name, key)
        store.extend(connection, rows)
        store.add_draws(connection, draws)
    found, copied = store.check()
    if found or copied != list(rows):
        raise OperationError("Expected the copy to be the ledger, it is not.", next_step="Check the disk.")
