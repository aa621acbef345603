"""The ledger refuses what exceeds a cap, keeps every spend, and shows every edit."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from dp_accounting import dp_event as e

from synthgen import errors
from synthgen.errors import BudgetExceeded, ConfigError, DataError, OperationError
from synthgen.privacy.accountant import calibrate_rho, epsilon_of
from synthgen.privacy.ledger import Ledger

DELTA = 1e-6
RHO = calibrate_rho(1.0, DELTA)
URL = "sqlite:///ledger.db"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.connect(URL, base=tmp_path)


def opened(ledger: Ledger, *names: str) -> Ledger:
    for name in names:
        ledger.open_cohort(name, epsilon=1.0, delta=DELTA)
    return ledger


def book(ledger: Ledger, cohort: str = "icu", rho: float = RHO / 4) -> int:
    return ledger.reserve(cohort, e.ZCDpEvent(rho), purpose="fit marginal", run="run-1")


def in_process(code: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(errors.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(folder), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def edit(folder: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(folder / "ledger.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


# caps and spends


def test_a_missing_file_is_made_readable_by_its_owner_only_and_reported(tmp_path):
    assert Ledger.connect(URL, base=tmp_path).created
    assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0
    assert not Ledger.connect(URL, base=tmp_path).created


def test_a_plan_for_the_whole_cap_fits_and_leaves_nothing(ledger):
    opened(ledger, "icu")
    assert ledger.remaining("icu") == pytest.approx(1.0)
    book(ledger, rho=RHO)
    spent = ledger.spent("icu")
    assert spent.epsilon == pytest.approx(1.0)
    assert (spent.entries, spent.cohorts, spent.cap) == (1, ("icu",), 1.0)
    assert ledger.remaining("icu") == 0.0
    with pytest.raises(BudgetExceeded):
        book(ledger, rho=1e-6)


def test_a_refused_spend_leaves_no_entry_and_says_what_is_left_and_what_to_do(ledger):
    opened(ledger, "icu", "ward")
    book(ledger, rho=RHO / 2)
    before = ledger.head()
    with pytest.raises(
        BudgetExceeded, match=r"epsilon 1 at delta 1e-06: 0\.\d+ is left after 1 entries"
    ) as caught:
        book(ledger, rho=RHO)
    assert caught.value.exit_code == 4
    assert "--disjoint-from" in caught.value.next_step
    assert "ward" in caught.value.message
    assert ledger.head() == before


def test_what_is_left_can_be_spent_to_the_end(ledger):
    opened(ledger, "icu")
    book(ledger, rho=RHO / 3)
    book(ledger, rho=calibrate_rho(ledger.remaining("icu"), DELTA) * (1 - 1e-9))
    assert ledger.remaining("icu") < 0.01


def test_events_compose_jointly_and_not_as_a_sum_of_epsilons(ledger):
    opened(ledger, "icu")
    for _ in range(4):
        book(ledger)
    alone = epsilon_of([e.ZCDpEvent(RHO / 4)], DELTA)
    spent = ledger.spent("icu").epsilon
    print(f"4 spends of epsilon {alone:.3f} compose to {spent:.3f}, not {4 * alone:.3f}")
    assert spent == pytest.approx(1.0)
    assert 4 * alone > 1.8


def test_a_mixture_of_mechanisms_is_answered(tmp_path):
    ledger = Ledger.connect(URL, base=tmp_path)
    ledger.open_cohort("icu", epsilon=6.0, delta=1e-5)
    sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(1.0)), 500)
    for event in (sgd, e.ZCDpEvent(0.01), e.LaplaceDpEvent(5.0), e.DiscreteLaplaceDpEvent(0.1, 2)):
        ledger.reserve("icu", event, purpose="test", run="r")
    spent = ledger.spent("icu")
    assert 3 < spent.epsilon < 6
    assert 0 < spent.used < 1
    assert 0 < spent.left < 6
    assert epsilon_of([spent.event], 1e-5, adaptive=True) == pytest.approx(spent.epsilon)


def test_a_single_plan_may_use_the_tight_accountant(tmp_path):
    ledger = Ledger.connect(URL, base=tmp_path)
    ledger.open_cohort("icu", epsilon=3.9, delta=1e-5)  # RDP alone says 4.324
    sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(1.0)), 1000)
    ledger.reserve("icu", sgd, purpose="fit", run="r")
    assert ledger.spent("icu").epsilon == pytest.approx(3.899, abs=2e-3)
    assert ledger.remaining("icu") == 0.0
    with pytest.raises(BudgetExceeded):
        book(ledger, rho=1e-7)


@pytest.mark.parametrize(
    "event", [e.UnsupportedDpEvent(), e.ZCDpEvent(-0.1), e.RandomizedResponseDpEvent(0.5, 2)]
)
def test_an_event_that_cannot_be_booked_is_refused(ledger, event):
    opened(ledger, "icu")
    with pytest.raises(ValueError, match=r"Expected|expected"):
        ledger.reserve("icu", event, purpose="fit", run="r")
    assert len(ledger.entries()) == 1


def test_what_protects_nobody_is_refused(ledger):
    opened(ledger, "icu")
    with pytest.raises(BudgetExceeded, match="no protection at all"):
        ledger.reserve("icu", e.NonPrivateDpEvent(), purpose="fit", run="r")


# cohorts


def test_opening_again_with_the_same_cap_writes_nothing_and_keeps_the_key(ledger):
    first = ledger.open_cohort("icu", epsilon=1.0, delta=DELTA)
    assert ledger.open_cohort("icu", epsilon=1.0, delta=DELTA) == first == ledger.cohort("icu")
    assert len(ledger.entries()) == 1
    assert len(first.key) == 32
    assert first.key.hex() not in repr(first)
    assert ledger.cohorts() == ["icu"]


def test_another_cap_needs_a_reason_which_is_recorded(ledger):
    key = ledger.open_cohort("icu", epsilon=1.0, delta=DELTA).key
    with pytest.raises(ConfigError, match="epsilon 1 at delta 1e-06, got epsilon 2"):
        ledger.open_cohort("icu", epsilon=2.0, delta=DELTA)
    book(ledger, rho=RHO)
    raised = ledger.open_cohort("icu", epsilon=2.0, delta=DELTA, reason="board decision 7")
    assert (raised.epsilon, raised.key) == (2.0, key)
    assert ledger.entries("icu")[-1].content["reason"] == "board decision 7"
    assert ledger.remaining("icu") > 0.5
    book(ledger, rho=RHO)


def test_a_lowered_cap_below_the_spend_leaves_nothing(ledger):
    opened(ledger, "icu")
    book(ledger, rho=RHO)
    ledger.open_cohort("icu", epsilon=0.5, delta=DELTA, reason="law")
    assert ledger.remaining("icu") == 0.0
    with pytest.raises(BudgetExceeded):
        book(ledger, rho=1e-7)


def test_a_renamed_cohort_buys_no_new_cap(ledger):
    opened(ledger, "icu", "icu-renamed")
    book(ledger, rho=RHO)
    with pytest.raises(BudgetExceeded):
        book(ledger, "icu-renamed", rho=RHO / 100)
    assert ledger.remaining("icu-renamed") == 0.0
    assert ledger.spent("icu-renamed").cohorts == ("icu", "icu-renamed")


def test_a_wide_cap_does_not_let_a_cohort_spend_what_a_shared_patient_has_not_left(ledger):
    opened(ledger, "icu")
    ledger.open_cohort("hospital", epsilon=10.0, delta=DELTA)
    with pytest.raises(BudgetExceeded, match="cap of 'icu'"):
        book(ledger, "hospital", rho=2 * RHO)
    assert ledger.remaining("hospital") == pytest.approx(1.0)


def test_disjoint_cohorts_spend_apart_and_the_declaration_needs_a_reason(ledger):
    opened(ledger, "icu")
    with pytest.raises(ConfigError, match="reason"):
        ledger.open_cohort("maternity", epsilon=1.0, delta=DELTA, disjoint_from=["icu"])
    ledger.open_cohort(
        "maternity", epsilon=1.0, delta=DELTA, disjoint_from=["icu"], reason="ids compared, 0 shared"
    )
    book(ledger, rho=RHO)
    book(ledger, "maternity", rho=RHO)
    assert ledger.cohort("icu").disjoint_from == ("maternity",)
    opened(ledger, "third")
    assert ledger.remaining("third") == 0.0
    assert ledger.spent("third").entries == 2


def test_cohorts_can_be_declared_disjoint_later(ledger):
    opened(ledger, "icu", "ward")
    book(ledger, rho=RHO)
    ledger.open_cohort("ward", epsilon=1.0, delta=DELTA, disjoint_from=["icu"], reason="ids compared")
    book(ledger, "ward", rho=RHO)
    assert ledger.open_cohort("ward", epsilon=1.0, delta=DELTA, disjoint_from=["icu"]).disjoint_from == (
        "icu",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "a b", "epsilon": 1.0, "delta": DELTA},
        {"name": "", "epsilon": 1.0, "delta": DELTA},
        {"name": "a", "epsilon": 0.0, "delta": DELTA},
        {"name": "a", "epsilon": 1.0, "delta": 1.5},
        {"name": "a", "epsilon": 1.0, "delta": DELTA, "disjoint_from": ["unknown"], "reason": "r"},
        {"name": "icu", "epsilon": 1.0, "delta": DELTA, "disjoint_from": ["icu"], "reason": "r"},
    ],
)
def test_unusable_cohorts_are_refused(ledger, arguments):
    opened(ledger, "icu")
    with pytest.raises(ConfigError):
        ledger.open_cohort(arguments.pop("name"), **arguments)
    assert len(ledger.entries()) == 1


def test_an_unknown_cohort_is_an_error_that_names_the_known_ones(ledger):
    opened(ledger, "icu")
    for call in (ledger.cohort, ledger.spent, ledger.remaining, ledger.looks, book_in(ledger)):
        with pytest.raises(ConfigError, match=r"\['icu'\].*'ward'"):
            call("ward")


def book_in(ledger: Ledger):
    return lambda name: book(ledger, name)


# reservations


def test_commit_and_write_off_close_a_reservation_and_keep_the_spend(ledger):
    opened(ledger, "icu")
    first, second, third = book(ledger), book(ledger), book(ledger)
    ledger.commit(first, detail={"seconds": 3})
    ledger.write_off(second, "power cut")
    assert [entry.seq for entry in ledger.orphans()] == [third]
    assert ledger.spent("icu").entries == 3
    for number in (first, second, 99):
        with pytest.raises(ConfigError, match="open reservation"):
            ledger.commit(number)
    with pytest.raises(ConfigError, match="reason"):
        ledger.write_off(third, " ")


def test_looks_are_counted_and_cost_nothing(ledger):
    opened(ledger, "icu", "ward")
    for expected in (1, 2):
        ledger.note("icu", content={"run": "run-1"})
        assert ledger.looks("icu") == expected
    ledger.note("icu", kind="remark")
    assert (ledger.looks("icu"), ledger.looks("ward")) == (2, 0)
    assert ledger.remaining("icu") == pytest.approx(1.0)
    with pytest.raises(ValueError, match="kind"):
        ledger.note("icu", kind="reserve")


CRASH = """
import os, sys
from pathlib import Path
from dp_accounting import dp_event
from synthgen.privacy.ledger import Ledger
ledger = Ledger.connect("sqlite:///ledger.db", base=Path(sys.argv[1]))
ledger.reserve("icu", dp_event.ZCDpEvent(float(sys.argv[2])), purpose="fit", run="crash")
os.kill(os.getpid(), 9)
"""


def test_crash_between_reserve_and_commit_keeps_the_spend(tmp_path):
    ledger = opened(Ledger.connect(URL, base=tmp_path), "icu")
    process = in_process(CRASH, tmp_path, repr(RHO / 2))
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
ledger = Ledger.connect("sqlite:///ledger.db", base=Path(sys.argv[1]))
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


def test_processes_that_race_for_one_cap_never_exceed_it(tmp_path):
    ledger = opened(Ledger.connect(URL, base=tmp_path), "icu")
    racers = [in_process(RACE, tmp_path, repr(RHO / 10), str(i)) for i in range(4)]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("ready*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "go").touch()
    outputs = [racer.communicate(timeout=120) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4, outputs
    won = [int(out) for out, _ in outputs]
    print(f"24 attempts at a tenth of the cap by 4 processes, won: {won}")
    assert sum(won) == 10
    assert ledger.spent("icu").used == pytest.approx(1.0)
    assert ledger.verify() == []


def test_a_writer_excludes_other_writers_from_its_start(tmp_path):
    from synthgen.privacy._ledger_store import Store

    opened(Ledger.connect(URL, base=tmp_path), "icu")
    first = Store(URL, base=tmp_path, create=False)
    second = Ledger(Store(URL, base=tmp_path, create=False, busy_seconds=0.1))
    with first.transaction(write=True), pytest.raises(OperationError, match="locked"):
        book(second)
    book(second)
    assert second.spent("icu").entries == 1


def test_a_database_locked_for_too_long_is_an_operation_error(tmp_path):
    from synthgen.privacy._ledger_store import Store

    opened(Ledger.connect(URL, base=tmp_path), "icu")
    patient = Ledger(Store(URL, base=tmp_path, create=False, busy_seconds=0.1))
    blocker = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(OperationError, match="locked"):
            book(patient)
    finally:
        blocker.close()
    assert patient.spent("icu").entries == 0


def test_a_reservation_among_100_entries_takes_less_than_a_second(tmp_path):
    ledger = Ledger.connect(URL, base=tmp_path)
    ledger.open_cohort("icu", epsilon=40.0, delta=1e-5)
    for i in range(100):
        sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.001, e.GaussianDpEvent(4.0 + i / 1000)), 100)
        ledger.reserve("icu", sgd if i % 2 else e.ZCDpEvent(1e-4 + i * 1e-7), purpose="fit", run=str(i))
    from synthgen.privacy import _curves

    _curves._rdp.cache_clear()
    start = time.perf_counter()
    book(ledger)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    book(ledger)
    print(f"reserve among 100 entries: {cold:.3f} s cold, {time.perf_counter() - start:.3f} s warm")
    assert cold < 1


# connecting


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


# tampering


@pytest.fixture
def history(tmp_path: Path) -> Path:
    ledger = opened(Ledger.connect(URL, base=tmp_path), "icu", "ward")
    number = book(ledger)
    ledger.commit(number)
    ledger.note("icu")
    ledger.write_off(book(ledger, "ward"), "crash")
    ledger.open_cohort("icu", epsilon=2.0, delta=DELTA, reason="board")
    assert ledger.verify() == []
    return tmp_path


ROWS = 8


def found(folder: Path, head: str | None = None) -> list[str]:
    return [str(problem) for problem in Ledger.connect(URL, base=folder, create=False).verify(head=head)]


def test_the_history_of_these_tests_has_as_many_rows_as_they_edit(history):
    assert len(Ledger.connect(URL, base=history).entries()) == ROWS


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
@pytest.mark.parametrize("column", ["time", "cohort", "kind", "content", "previous", "hash"])
def test_one_changed_character_of_any_column_of_any_row_is_found_and_named(history, seq, column):
    edit(
        history,
        f"UPDATE entries SET {column} = substr({column}, 1, 1) || 'x' || substr({column}, 3) WHERE seq = ?",  # noqa: S608
        seq,
    )
    problems = found(history)
    assert any(f"row {seq}:" in text for text in problems), problems
    with pytest.raises(DataError, match="ledger verify"):
        book(Ledger.connect(URL, base=history))


@pytest.mark.parametrize("seq", range(1, ROWS + 1))
@pytest.mark.parametrize("value", [b"\xff\x00", None, 7])
def test_a_column_of_another_type_is_found(history, seq, value):
    edit(history, "CREATE TABLE copy AS SELECT * FROM entries")
    edit(history, "DROP TABLE entries")
    edit(history, "ALTER TABLE copy RENAME TO entries")
    edit(history, "UPDATE entries SET content = ? WHERE seq = ?", value, seq)
    assert any(f"row {seq}:" in text for text in found(history))


@pytest.mark.parametrize("seq", range(1, ROWS))
def test_a_deleted_row_is_found_and_named(history, seq):
    edit(history, "DELETE FROM entries WHERE seq = ?", seq)
    assert any(f"row {seq}:" in text for text in found(history))


def test_a_deleted_and_renumbered_row_is_found(history):
    edit(history, "DELETE FROM entries WHERE seq = 3")
    for seq in range(4, ROWS + 1):
        edit(history, "UPDATE entries SET seq = ? WHERE seq = ?", seq - 1, seq)
    assert found(history)


def test_swapped_rows_are_found(history):
    for old, new in ((3, 99), (4, 3), (99, 4)):
        edit(history, "UPDATE entries SET seq = ? WHERE seq = ?", new, old)
    assert any("row 3:" in text for text in found(history))


def test_a_cut_off_tail_is_found_by_the_head_and_a_repaired_head_by_the_bundle(history):
    bundle = Ledger.connect(URL, base=history).head()
    edit(history, "DELETE FROM entries WHERE seq = ?", ROWS)
    assert any("last row" in text for text in found(history))
    connection = sqlite3.connect(history / "ledger.db")
    (hash_,) = connection.execute("SELECT hash FROM entries WHERE seq = ?", (ROWS - 1,)).fetchone()
    connection.close()
    edit(history, "UPDATE head SET value = ?", f"{ROWS - 1}:{hash_}")
    assert found(history) == []  # inside the database nothing is left to see
    assert any(f"row {ROWS}:" in text for text in found(history, head=bundle))


def test_a_chain_rebuilt_after_an_edit_is_found_by_the_bundle(history):
    from synthgen.privacy._ledger_chain import canonical, digest

    bundle = Ledger.connect(URL, base=history).head()
    connection = sqlite3.connect(history / "ledger.db")
    rows = connection.execute("SELECT * FROM entries ORDER BY seq").fetchall()
    previous = rows[0][5]
    for seq, time_, cohort, kind, content, _, _ in rows:
        values = json.loads(content)
        if kind == "reserve":
            values["event"]["rho"] = 0.0
        text = canonical(values)
        new = digest(seq, time_, cohort, kind, text, previous)
        connection.execute(
            "UPDATE entries SET content = ?, previous = ?, hash = ? WHERE seq = ?", (text, previous, new, seq)
        )
        previous = new
    connection.execute("UPDATE head SET value = ?", (f"{len(rows)}:{previous}",))
    connection.commit()
    connection.close()
    assert found(history) == []
    assert any(f"row {ROWS}:" in text for text in found(history, head=bundle))


def test_an_old_head_still_verifies_after_new_rows(history):
    ledger = Ledger.connect(URL, base=history)
    bundle = ledger.head()
    ledger.note("icu")
    assert ledger.verify(head=bundle) == []


@pytest.mark.parametrize("statement", ["DELETE FROM head", "UPDATE head SET value = '1:0'"])
def test_an_edited_head_is_found(history, statement):
    edit(history, statement)
    assert any("last row" in text for text in found(history))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cohort_keys SET key = hex(randomblob(32)) WHERE cohort = 'icu'",
        "DELETE FROM cohort_keys WHERE cohort = 'icu'",
        "INSERT INTO cohort_keys VALUES ('ghost', '00')",
    ],
)
def test_an_edited_missing_or_added_key_is_found(history, statement):
    edit(history, statement)
    assert any("key of cohort" in text for text in found(history))


def test_rows_well_chained_but_without_meaning_are_found(history):
    from synthgen.privacy._ledger_chain import Row, next_row
    from synthgen.privacy._ledger_store import Store

    store = Store(URL, base=history, create=False)
    with store.transaction(write=True) as connection:
        last: Row = store.rows(connection)[-1]
        row = next_row(last, "icu", "reserve", {"event": {"class": "ZCDpEvent", "rho": -1.0, "xi": 0.0}})
        store.append(connection, row)
    assert any(f"row {ROWS + 1}" in text and "meaning" in text for text in found(history))


def test_the_cohorts_key_is_in_no_row(history):
    ledger = Ledger.connect(URL, base=history)
    secret = ledger.cohort("icu").key.hex()
    assert all(secret not in json.dumps(dict(entry.content)) for entry in ledger.entries())


def test_every_cap_row_says_what_a_neighbour_is(history):
    rows = [entry for entry in Ledger.connect(URL, base=history).entries() if entry.kind == "cap"]
    assert {row.content["adjacency"] for row in rows} == {"add-or-remove-one-patient"}
