"""Crashes, races and locks, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
import time

import pytest

from synthgen.errors import BudgetExceeded, OperationError
from synthgen.privacy.ledger import Ledger
from tests.privacy.conftest import SQLITE, Place
from tests.privacy.ledgers import RHO, book, in_process, opened

CRASH = """
import os, sys
from pathlib import Path
from dp_accounting import dp_event
from synthgen.privacy.ledger import Ledger
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
import sys, time
from pathlib import Path
from dp_accounting import dp_event
from synthgen.errors import BudgetExceeded
from synthgen.privacy.ledger import Ledger
ledger = Ledger.connect(sys.argv[4], base=Path(sys.argv[1]))
won = 0
Path(sys.argv[1], "ready" + sys.argv[3]).touch()
while not Path(sys.argv[1], "go").exists():
    time.sleep(0.001)
for _ in range(6):
    try:
        ledger.reserve("icu", dp_event.ZCDpEvent(float(sys.argv[2])), purpose="race", run=sys.argv[3])
        won += 1
    except BudgetExceeded:
        pass
print(won)
"""
N_RACERS = 8


def test_processes_that_race_for_one_cap_never_exceed_it_and_use_it_up(place):
    ledger = opened(place.ledger(), "icu")
    racers = [in_process(RACE, place.folder, repr(RHO / 20.5), i, place.url) for i in range(N_RACERS)]
    while len(list(place.folder.glob("ready*"))) < N_RACERS and all(racer.poll() is None for racer in racers):
        time.sleep(0.01)
    (place.folder / "go").touch()
    outputs = [racer.communicate(timeout=300) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * N_RACERS, outputs
    won = [int(out) for out, _ in outputs]
    print(f"{6 * N_RACERS} attempts at 1/20.5 of the cap by {N_RACERS} processes, won: {won}")
    assert sum(won) == 20  # the most that fits
    assert ledger.spent("icu").used == pytest.approx(20 / 20.5)
    assert ledger.verify() == []
    with pytest.raises(BudgetExceeded):
        book(ledger, rho=RHO / 20.5)


def test_processes_that_open_the_same_new_ledger_at_once_agree(place):
    code = """
import sys
from pathlib import Path
from synthgen.privacy.ledger import Ledger
ledger = Ledger.connect(sys.argv[2], base=Path(sys.argv[1]))
print(ledger.open_cohort("icu", epsilon=1.0, delta=1e-6).key.hex())
"""
    processes = [in_process(code, place.folder, place.url) for _ in range(4)]
    outputs = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert len({out for out, _ in outputs}) == 1
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
