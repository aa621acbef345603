"""Where a ledger can be, and what is told when it cannot be reached."""

from __future__ import annotations

import sqlite3
import sys

import pytest

from synthgen.errors import ConfigError, DataError, OperationError
from synthgen.privacy.ledger.ledger import Ledger
from tests.privacy.conftest import SQLITE as URL
from tests.support.ledgers import book, opened


def test_a_missing_file_is_made_readable_by_its_owner_only_and_reported(tmp_path):
    assert Ledger.connect(URL, base=tmp_path).created
    assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0
    assert not Ledger.connect(URL, base=tmp_path).created


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ledger.db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=ro&uri=true",
        "mysql://a:hunter2@h/d",
    ],
)
def test_a_url_that_is_no_ledger_is_refused_without_repeating_it(tmp_path, url):
    with pytest.raises(ConfigError, match="Expected a ledger URL") as caught:
        Ledger.connect(url, base=tmp_path)
    assert "hunter2" not in str(caught.value)


def test_an_unreachable_server_never_echoes_the_password():
    with pytest.raises((OperationError, ConfigError)) as caught:
        Ledger.connect("postgresql://user:hunter2@127.0.0.1:1/ledger")
    text = str(caught.value) + repr(caught.value.__cause__)
    assert "hunter2" not in text


def test_a_missing_ledger_or_folder_is_an_error_unless_it_is_to_be_made(tmp_path):
    with pytest.raises(ConfigError, match="found no file"):
        Ledger.connect(URL, base=tmp_path, create=False)
    assert not (tmp_path / "ledger.db").exists()
    with pytest.raises(OperationError, match="folder"):
        Ledger.connect("sqlite:///missing/ledger.db", base=tmp_path)


def test_a_file_that_is_no_ledger_is_an_error(tmp_path):
    (tmp_path / "ledger.db").write_bytes(b"not a database, but long enough to have a header" * 9)
    with pytest.raises(DataError, match="damaged or none"):
        Ledger.connect(URL, base=tmp_path)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(ConfigError, match="without one"):
        Ledger.connect("sqlite:///other.db", base=tmp_path, create=False)


# PostgreSQL


WRONG = "hunter2"


def told(url: str) -> tuple[Exception, str]:
    with pytest.raises((OperationError, ConfigError)) as caught:
        Ledger.connect(url)
    return caught.value, str(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__)


def test_a_server_that_is_down_a_wrong_password_and_a_wrong_name_are_told_apart(postgresql):
    postgresql.empty()
    for url, kind, words in [
        (postgresql.url(password=WRONG), ConfigError, "user and password"),
        (postgresql.url(user="nobody", password=WRONG), ConfigError, "user"),
        (postgresql.url("nowhere"), ConfigError, "database of that name"),
        ("postgresql://user:hunter2@127.0.0.1:1/ledger", OperationError, "server to answer"),
    ]:
        error, text = told(url)
        assert isinstance(error, kind)
        assert words in str(error)
        assert "127.0.0.1" in error.where
        assert "hunter2" not in text
        assert "correct" not in text


def test_a_missing_driver_says_what_to_install(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pg8000"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pg8000", None)
    error, text = told("postgresql://user:hunter2@127.0.0.1:1/ledger")
    assert (error.exit_code, error.next_step) == (2, "pip install synthgen-medical[postgresql].")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://127.0.0.1/ledger",
        "postgresql://user:hunter2@127.0.0.1",
        "postgresql://user:hunter2@127.0.0.1/ledger?sslmode=sometimes",
        "postgresql://user:hunter2@127.0.0.1/ledger?unix_sock=x",
    ],
)
def test_a_url_without_user_or_database_or_with_other_options_is_refused(url):
    error, text = told(url)
    assert error.exit_code == 2
    assert "hunter2" not in text


def test_the_password_comes_from_the_environment(postgresql, monkeypatch):
    postgresql.empty()
    assert Ledger.connect(postgresql.url()).verify() == []
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert "user and password" in told(postgresql.url())[1]
    monkeypatch.delenv("PGPASSWORD")
    assert "Set PGPASSWORD" in told(postgresql.url())[1]


def test_a_server_without_encryption_is_refused_where_encryption_is_asked_for(postgresql):
    postgresql.empty()
    for mode in ("require", "verify-full"):
        error, _ = told(f"{postgresql.url()}?sslmode={mode}")
        assert (error.exit_code, "encrypts the connection" in str(error)) == (2, True)
    assert Ledger.connect(f"{postgresql.url()}?sslmode=disable").verify() == []


def test_a_server_that_dies_in_a_transaction_is_an_operation_error_and_nothing_is_half_written(postgresql):
    from dp_accounting import dp_event

    postgresql.empty()
    ledger = opened(Ledger.connect(postgresql.url()), "icu")
    head = ledger.head()

    def write_while_it_dies() -> None:
        with ledger._writing() as (connection, rows, _state):
            ledger._append(connection, rows, "icu", "look", {})
            postgresql.stop()
            try:
                ledger._append(connection, rows, "icu", "look", {})
            finally:
                postgresql.start()

    with pytest.raises(OperationError) as caught:
        write_while_it_dies()
    assert "correct" not in str(caught.value)
    assert ledger.head() == head
    ledger.reserve("icu", dp_event.ZCDpEvent(1e-4), purpose="fit", run="r")
    assert ledger.verify() == []
    assert book(ledger, rho=1e-4)
