"""One ledger for each database: the same tests hold on both."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from synthgen.privacy.ledger.ledger import Ledger

SQLITE = "sqlite:///ledger.db"


@dataclass(frozen=True)
class Place:
    """Where a test's ledger lies.

    Attributes:
        folder: of the test; a relative URL starts here.
        url: of the ledger.
        server: the PostgreSQL server, or None.
    """

    folder: Path
    url: str
    server: Any = None

    def ledger(self, *, create: bool = True) -> Ledger:
        return Ledger.connect(self.url, base=self.folder, create=create)

    def store(self, **options: Any) -> Any:
        from synthgen.privacy.ledger.store import Store

        return Store(self.url, base=self.folder, create=False, **options)

    def edit(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Run a statement past the ledger, as somebody with the database in hands would."""
        if self.server is not None:
            found: list[tuple[object, ...]] = self.server.execute(statement, *values)
            return found
        connection = sqlite3.connect(self.folder / "ledger.db")
        with connection:
            rows = connection.execute(statement, values).fetchall()
        connection.close()
        return rows

    def found(self, head: str | None = None) -> list[str]:
        return [str(problem) for problem in self.ledger(create=False).verify(head=head)]


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return Place(tmp_path, SQLITE)
    server = request.getfixturevalue("postgresql")
    server.empty()
    return Place(tmp_path, server.url(), server)


@pytest.fixture
def ledger(place: Place) -> Ledger:
    return place.ledger()
