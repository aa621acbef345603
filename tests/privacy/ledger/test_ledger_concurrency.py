"""Crashes, races and locks, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3

import pytest

from synthgen.errors import BudgetExceeded, OperationError
from synthgen.privacy.ledger.ledger import Ledger
from tests.privacy.conftest import SQLITE, Place
from tests.support.ledgers import RHO, book, in_process, opened

CRASH = """
import os, sys
from pathlib import Path
from dp_accounting import dp_event
from synthgen.privacy.ledger.ledger import Ledger
ledger = Ledger.connect(sys.argv[4], base=Path(sys.argv[1]))
ledger.reserve("icu", dp_event.ZCDpEvent(float(sys.argv[2])), purpose="fit", run="crash")
os.kill(os.getpid(), 9)
"""


def test_crash_between_reserve_and_commit_keeps_the_spend(place):
    ledger = opened(place.ledger(), "icu")
    process = in_process(CRASH, place.folder, repr(RHO / 2), "", place.url)
    process.communicate(timeout=60)
    assert process.returncode == -9
    assert ledger.spent("icu").used == pytest.approx(0.5)
    assert [entry.content["run"] for entry in ledger.orphans()] == ["crash"]
    assert ledger.verify() == []


RACE = """
import os, sys, time
from pathlib import Path
from dp_accounting import dp_event
from synthgen.errors import BudgetExceeded
from synthgen.privacy.ledger.ledger import Ledger

def race(number):
    ledger, won = Ledger.connect(sys.argv[4], base=folder), 0
    (folder / f"ready{number}").touch()
    while not (folder / "go").exists():
        time.sleep(0.001)
    for _ in range(6):
        try:
            ledger.reserve("icu", dp_event.ZCDpEvent(float(sys.argv[2])), purpose="race", run=str(number))
            won += 1
        except BudgetExceeded:
            pass
    (folder / f"won{number}").write_text(str(won))

folder, children = Path(sys.argv[1]), []
for number in range(int(sys.argv[3])):
    child = os.fork()
    if not child:
        code = 1
        try:
            race(number)
            code = 0
        finally:
            os._exit(code)
    children.append(child)
while len(list(folder.glob("ready*"))) < len(children) and not any(os.waitpid(-1, os.WNOHANG)):
    time.sleep(0.01)
(folder / "go").touch()
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
N_RACERS = 8


def test_processes_that_race_for_one_cap_never_exceed_it_and_use_it_up(place):
    ledger = opened(place.ledger(), "icu")
    racers = in_process(RACE, place.folder, repr(RHO / 20.5), N_RACERS, place.url)
    output = racers.communicate(timeout=300)
    assert racers.returncode == 0, output
    won = [int((place.folder / f"won{number}").read_text()) for number in range(N_RACERS)]
    print(f"{6 * N_RACERS} attempts at 1/20.5 of the cap by {N_RACERS} processes, won: {won}")
    assert sum(won) == 20  # the most that fits
    assert ledger.spent("icu").used == pytest.approx(20 / 20.5)
    assert ledger.verify() == []
    with pytest.raises(BudgetExceeded):
        book(ledger, rho=RHO / 20.5)


OPEN = """
import os, sys
from pathlib import Path
from synthgen.privacy.ledger.ledger import Ledger

folder, children = Path(sys.argv[1]), []
for number in range(4):
    child = os.fork()
    if not child:
        code = 1
        try:
            cohort = Ledger.connect(sys.argv[2], base=folder).open_cohort("icu", epsilon=1.0, delta=1e-6)
            (folder / f"key{number}").write_text(cohort.key.hex())
            code = 0
        finally:
            os._exit(code)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_processes_that_open_the_same_new_ledger_at_once_agree(place):
    process = in_process(OPEN, place.folder, place.url)
    output = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert len({path.read_text() for path in place.folder.glob("key*")}) == 1
    assert place.found() == []


def test_a_writer_excludes_other_writers_from_its_start(place):
    opened(place.ledger(), "icu")
    first, second = place.store(), Ledger(place.store(busy_seconds=0.1))
    with first.transaction(write=True), pytest.raises(OperationError, match="locked"):
        book(second)
    book(second)
    assert second.spent("icu").entries == 1


def test_a_reader_sees_one_moment_while_another_writes(place):
    ledger = opened(place.ledger(), "icu")
    if place.server is None:
        pytest.skip("SQLite lets no writer commit while a transaction reads")
    store = place.store()
    with store.transaction() as connection:
        assert len(store.rows(connection)) == 1
        book(ledger)
        assert (store.problems(connection)[0], len(store.rows(connection))) == ([], 1)
    assert len(ledger.entries()) == 2


def test_a_database_locked_for_too_long_is_an_operation_error(tmp_path):
    place = Place(tmp_path, SQLITE)
    opened(place.ledger(), "icu")
    patient = Ledger(place.store(busy_seconds=0.1))
    blocker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OperationError, match="locked"):
            book(patient)
    finally:
        blocker.close()
    assert patient.spent("icu").entries == 0
