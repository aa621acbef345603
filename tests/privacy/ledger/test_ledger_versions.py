"""Older ledgers are brought to this version, newer ones are refused, and a copy is a ledger."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from dp_accounting import dp_event

from synthgen.cli import app as cli
from synthgen.errors import ConfigError, DataError, OperationError
from synthgen.privacy.accountant import calibrate_rho
from synthgen.privacy.ledger.hash_chain import GENESIS, VERSION
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit, Position
from tests.privacy.conftest import Place
from tests.support.ledgers import DELTA, book, opened

V1 = (Path(__file__).parent / "data" / "ledger_v1.sql").read_text()
V1_HEAD = "9:f58e1d5f78ec68080518f981062b2c38804a07822a447278d2070b9a0e91b1f8"
V1_LEFT = 1.3528841693976699  # of cohort icu, as version 1 said


V2 = (Path(__file__).parent / "data" / "ledger_v2.sql").read_text()
V2_HEAD = "12:f6528d2674f2cc19e1db29c1a7285cf810b0e592e0f11822a463ccf87190a190"
V2_LEFT = 1.403800416599668  # of cohort icu, as version 2 said
PATIENT = LedgerUnit("patient", "pid", 4)


def written_by_version_1(place: Place) -> Place:
    return written(place, V1)


def written(place: Place, text: str) -> Place:
    if place.server is None:
        connection = sqlite3.connect(place.folder / "ledger.db")
        connection.executescript(text)
        connection.close()
    else:
        for statement in text.split(";\n")[:-1]:
            if "TRANSACTION" not in statement and "COMMIT" not in statement:
                place.server.execute(statement)
    return place


def files(place: Place) -> list[Path]:
    return sorted(place.folder.glob("*.backup*"))


def test_a_ledger_of_version_1_is_brought_to_this_one_and_its_chain_goes_on(place):
    ledger = written_by_version_1(place).ledger()
    assert f"from version 1 to {VERSION}" in ledger.migrated
    assert ledger.verify(head=V1_HEAD) == []
    assert [(e.kind, dict(e.content)) for e in ledger.entries()[9:]] == [
        ("version", {"from": 1, "version": VERSION})
    ]
    assert ledger.remaining("icu") == pytest.approx(
        V1_LEFT, rel=1e-3
    )  # the accountant may round up more by now
    assert ledger.cohort("icu").disjoint_from == ("maternity",)
    assert [entry.seq for entry in ledger.orphans()] == [8]
    book(ledger, rho=calibrate_rho(V1_LEFT, DELTA) / 2)
    again = place.ledger(create=False)
    assert (again.migrated, again.verify(head=V1_HEAD)) == ("", [])


def test_a_ledger_of_version_2_is_brought_to_this_one_with_its_units_to_be_declared(place):
    ledger = written(place, V2).ledger()
    assert f"from version 2 to {VERSION}" in ledger.migrated
    assert ledger.verify(head=V2_HEAD) == []
    assert [(e.kind, dict(e.content)) for e in ledger.entries()[12:]] == [
        ("version", {"from": 2, "version": VERSION})
    ]
    assert ledger.remaining("icu") == pytest.approx(V2_LEFT, rel=1e-3)
    assert ledger.spent("icu").units == (None,)
    assert [entry.seq for entry in ledger.orphans()] == [9, 11]
    with pytest.raises(ConfigError, match="no noise was drawn"):
        ledger.void(9, "version 2 recorded its draw")
    ledger.void(11, "version 2 recorded that nothing was drawn")
    ledger.commit(9)
    assert (ledger.position(9), ledger.models(9)) == (None, set())
    with pytest.raises(ConfigError, match="unit not recorded"):
        book_patient(ledger)
    assert ledger.declare_unit("icu", PATIENT, reason="config of 2025") == [3, 7]
    number = book_patient(ledger)
    ledger.draw(number, counted=True)
    again = place.ledger(create=False)
    assert (again.migrated, again.verify(head=V2_HEAD)) == ("", [])
    assert again.spent("icu").units == (PATIENT,)


def book_patient(ledger):
    event = dp_event.ZCDpEvent(calibrate_rho(V2_LEFT, DELTA) / 4)
    return ledger.reserve("icu", event, purpose="fit marginal", run="run-9", unit=PATIENT)


def test_what_version_1_may_have_drawn_cannot_be_voided(place):
    ledger = written_by_version_1(place).ledger()
    with pytest.raises(ConfigError, match="no noise was drawn"):
        ledger.void(8, "it left no row in version 1")
    ledger.commit(8)


@pytest.mark.parametrize(("version", "text"), [(1, V1), (2, V2)])
def test_a_migration_is_backed_up_first(place, version, text):
    written(place, text).ledger()
    if place.server is not None:
        counts = {"entries": 9 if version == 1 else 12, "head": 1, "cohort_keys": 2}
        for table, n in (counts | ({"layout": 1} if version == 2 else {})).items():
            assert place.edit(f"SELECT count(*) FROM v{version}_{table}") == [(n,)]  # noqa: S608
        return
    (backup,) = files(place)
    assert backup.stat().st_mode & 0o077 == 0
    connection = sqlite3.connect(backup)
    assert "\n".join(connection.iterdump()) in text
    connection.close()


def test_an_edited_ledger_of_version_1_is_not_touched(place):
    written_by_version_1(place).edit("UPDATE entries SET time = 'x' WHERE seq = 4")
    ledger = place.ledger()
    assert ledger.migrated == ""
    assert any("row 4:" in text for text in place.found())
    assert files(place) == []
    with pytest.raises(DataError):
        book(ledger)
    place.edit("UPDATE entries SET time = '2026-11-24T08:32:53+00:00' WHERE seq = 4")
    assert place.ledger().migrated


def test_a_migration_without_a_backup_changes_nothing(tmp_path, monkeypatch):
    from synthgen.privacy.ledger import migration

    def full(*_: object) -> None:
        raise OSError("no space")

    place = written_by_version_1(Place(tmp_path, "sqlite:///ledger.db"))
    before = (tmp_path / "ledger.db").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(migration.os, "close", full)
        with pytest.raises(OperationError, match="back the ledger up"):
            place.ledger()
    assert (tmp_path / "ledger.db").read_bytes() == before
    assert place.ledger().verify(head=V1_HEAD) == []


def test_an_empty_ledger_of_version_1_is_brought_to_this_one(place):
    written_by_version_1(place)
    place.edit("DELETE FROM entries")
    place.edit("DELETE FROM cohort_keys")
    place.edit("UPDATE head SET value = ?", f"0:{GENESIS[1]}")
    ledger = place.ledger()
    assert ledger.migrated
    opened(ledger, "icu")
    assert ledger.verify(head=f"0:{GENESIS[1]}") == []
    assert ledger.entries()[0].previous == GENESIS[VERSION]


def test_a_ledger_of_a_newer_version_is_refused(place):
    from synthgen.privacy.ledger.hash_chain import next_row

    ledger = opened(place.ledger(), "icu")
    head = ledger.head()
    store = place.store()
    with store.transaction(write=True) as connection:
        row = next_row(store.rows(connection)[-1], "", "version", {"from": VERSION, "version": VERSION + 1})
        store.append(connection, row)
    place.edit("UPDATE layout SET version = ?", VERSION + 1)
    for create in (True, False):
        with pytest.raises(
            ConfigError, match=f"version {VERSION} or older, found version {VERSION + 1}"
        ) as caught:
            place.ledger(create=create)
        assert "newer synthgen" in caught.value.next_step
    place.edit("DELETE FROM entries WHERE seq = 2")  # the layout's record alone is an edit, not a version
    place.edit("UPDATE head SET value = ?", head)
    assert any("layout record" in text for text in place.found())


def test_a_copy_verifies_and_restores_on_either_database(place, tmp_path):
    ledger = opened(place.ledger(), "icu", "ward")
    number = book(ledger)
    ledger.draw(number, counted=True)
    ledger.count(number, Position(), Position(1, "a"))
    copy = tmp_path / "copy.db"
    ledger.backup(str(copy))
    assert copy.stat().st_mode & 0o077 == 0
    copied = Ledger.connect(f"sqlite:///{copy}")
    assert copied.verify(head=ledger.head()) == []
    assert copied.entries() == ledger.entries()
    assert copied.cohort("icu") == ledger.cohort("icu")
    assert copied.position(number) == Position(1, "a")
    with pytest.raises(ConfigError, match="new file"):
        ledger.backup(str(copy))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthgen.privacy.ledger.store.Store.check", lambda _: ([], []))
        with pytest.raises(OperationError, match="the copy"):
            ledger.backup(str(tmp_path / "broken.db"))
    assert not (tmp_path / "broken.db").exists()
    with pytest.raises(ConfigError, match="without a ledger"):
        copied.backup(place.url if place.server else f"sqlite:///{tmp_path / 'ledger.db'}")
    if place.server is not None:
        place.server.empty()
        copied.backup(place.url)
        restored = place.ledger(create=False)
        assert (restored.head(), restored.verify()) == (copied.head(), [])
        restored.commit(number)


def test_a_restored_old_copy_is_found_by_a_bundles_head(place, tmp_path):
    ledger = opened(place.ledger(), "icu")
    ledger.backup(str(tmp_path / "old.db"))
    book(ledger)
    bundle = ledger.head()
    old = Ledger.connect(f"sqlite:///{tmp_path / 'old.db'}")
    assert old.verify() == []
    assert any("row 2:" in str(problem) for problem in old.verify(head=bundle))


def test_the_command_line_backs_up_what_verifies_and_nothing_else(place, capsys, monkeypatch):
    monkeypatch.chdir(place.folder)
    opened(place.ledger(), "icu")
    for damage, code in ((False, 0), (True, 3)):
        if damage:
            place.edit("UPDATE entries SET time = 'x'")
        target = place.folder / f"copy{code}.db"
        with pytest.raises(SystemExit) as stop:
            cli.main(["ledger", "verify", "--ledger", place.url, "--backup", str(target), "--json"])
        shown = json.loads(capsys.readouterr().out)
        assert (stop.value.code or 0, shown["verified"], target.exists()) == (code, not damage, not damage)
