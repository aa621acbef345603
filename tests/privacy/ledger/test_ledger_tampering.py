"""Every edit of a ledger is found, and named, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from synthgen.errors import DataError
from tests.privacy.conftest import SQLITE, Place
from tests.support.ledgers import DELTA, book, opened


@pytest.fixture
def history(place: Place) -> Place:
    ledger = opened(place.ledger(), "icu", "ward")
    number = book(ledger)
    ledger.draw(number)
    ledger.commit(number)
    ledger.note("icu")
    ledger.write_off(book(ledger, "ward"), "crash")
    ledger.open_cohort("icu", epsilon=2.0, delta=DELTA, reason="board")
    assert ledger.verify() == []
    return place


ROWS = 9
COLUMNS = ("time", "cohort", "kind", "content", "previous", "hash")


def test_the_history_of_these_tests_has_as_many_rows_as_they_edit(history):
    assert len(history.ledger().entries()) == ROWS


@pytest.mark.parametrize("column", COLUMNS)
def test_one_changed_character_of_any_column_of_any_row_is_found_and_named(history, column):
    for seq in range(1, ROWS + 1):
        ((old,),) = history.edit(f"SELECT {column} FROM entries WHERE seq = ?", seq)  # noqa: S608
        for at in {0, len(old) // 2, len(old) - 1} if history.server is None else {len(old) // 2}:
            new = old[:at] + ("x" if old[at] != "x" else "y") + old[at + 1 :]
            history.edit(f"UPDATE entries SET {column} = ? WHERE seq = ?", new, seq)  # noqa: S608
            problems = history.found()
            assert any(f"row {seq}:" in text for text in problems), problems
        history.edit(f"UPDATE entries SET {column} = ? WHERE seq = ?", old, seq)  # noqa: S608
    assert history.found() == []


def test_an_edited_ledger_books_nothing(history):
    history.edit("UPDATE entries SET time = '' WHERE seq = 2")
    with pytest.raises(DataError, match="ledger verify"):
        book(history.ledger())


@pytest.mark.parametrize("seq", [1, 4, ROWS])
@pytest.mark.parametrize("value", [b"\xff\x00", None, 7])
def test_a_column_of_another_type_is_found(tmp_path, seq, value):
    place = Place(tmp_path, SQLITE)
    opened(place.ledger(), *"abcdefghi")
    with_statement(place, lambda sql: sql.replace("content TEXT NOT NULL", "content"))
    place.edit("UPDATE entries SET content = ? WHERE seq = ?", value, seq)
    with_statement(place, lambda sql: sql.replace("content,", "content TEXT NOT NULL,"))
    assert any(f"row {seq}:" in text for text in place.found())


@pytest.mark.parametrize("seq", [1, 4, ROWS - 1])
def test_a_deleted_row_is_found_and_named(history, seq):
    history.edit("DELETE FROM entries WHERE seq = ?", seq)
    assert any(f"row {seq}:" in text for text in history.found())


def with_statement(place, change):
    """Write another statement for the table of entries than the one that made it."""
    connection = sqlite3.connect(place.folder / "ledger.db", isolation_level=None)
    ((sql,),) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = 'entries'")
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = 'entries'", (change(sql),))
    connection.close()


def test_a_deleted_and_renumbered_row_is_found(history):
    history.edit("DELETE FROM entries WHERE seq = 3")
    for seq in range(4, ROWS + 1):
        history.edit("UPDATE entries SET seq = ? WHERE seq = ?", seq - 1, seq)
    assert history.found()


def test_swapped_rows_are_found(history):
    for old, new in ((3, 99), (4, 3), (99, 4)):
        history.edit("UPDATE entries SET seq = ? WHERE seq = ?", new, old)
    assert any("row 3:" in text for text in history.found())


def test_a_cut_off_tail_is_found_by_the_head_and_a_repaired_head_by_the_bundle(history):
    bundle = history.ledger().head()
    history.edit("DELETE FROM entries WHERE seq = ?", ROWS)
    assert any("last row" in text for text in history.found())
    ((hash_,),) = history.edit("SELECT hash FROM entries WHERE seq = ?", ROWS - 1)
    history.edit("UPDATE head SET value = ?", f"{ROWS - 1}:{hash_}")
    assert history.found() == []  # inside the database nothing is left to see
    assert any(f"row {ROWS}:" in text for text in history.found(bundle))


def test_a_chain_rebuilt_after_an_edit_is_found_by_the_bundle(history):
    from synthgen.privacy.ledger.hash_chain import canonical, digest

    bundle = history.ledger().head()
    rows = history.edit("SELECT * FROM entries ORDER BY seq")
    previous = rows[0][5]
    for seq, time_, cohort, kind, content, _, _ in rows:
        values = json.loads(content)
        if kind == "reserve":
            values["event"]["rho"] = 0.0
        text = canonical(values)
        new = digest(seq, time_, cohort, kind, text, previous)
        change = "UPDATE entries SET content = ?, previous = ?, hash = ? WHERE seq = ?"
        history.edit(change, text, previous, new, seq)
        previous = new
    history.edit("UPDATE head SET value = ?", f"{len(rows)}:{previous}")
    assert history.found() == []
    assert any(f"row {ROWS}:" in text for text in history.found(bundle))


def test_an_old_head_still_verifies_after_new_rows(history):
    ledger = history.ledger()
    bundle = ledger.head()
    ledger.note("icu")
    assert ledger.verify(head=bundle) == []


@pytest.mark.parametrize("statement", ["DELETE FROM head", "UPDATE head SET value = '1:0'"])
def test_an_edited_head_is_found(history, statement):
    history.edit(statement)
    assert any("last row" in text for text in history.found())


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE cohort_keys SET key = '00' || substr(key, 3) WHERE cohort = 'icu'",
        "DELETE FROM cohort_keys WHERE cohort = 'icu'",
        "INSERT INTO cohort_keys VALUES ('ghost', '00')",
    ],
)
def test_an_edited_missing_or_added_key_is_found(history, statement):
    history.edit(statement)
    assert any("key of cohort" in text for text in history.found())


def test_rows_well_chained_but_without_meaning_are_found(history):
    from synthgen.privacy.ledger.hash_chain import Row, next_row

    store = history.store()
    with store.transaction(write=True) as connection:
        last: Row = store.rows(connection)[-1]
        row = next_row(last, "icu", "reserve", {"event": {"class": "ZCDpEvent", "rho": -1.0, "xi": 0.0}})
        store.append(connection, row)
    assert any(f"row {ROWS + 1}" in text and "meaning" in text for text in history.found())


@pytest.mark.parametrize("statement", ["UPDATE layout SET version = 4", "DELETE FROM layout"])
def test_an_edited_record_of_the_layout_is_found(history, statement):
    history.edit(statement)
    assert any("layout record of version 3" in text for text in history.found())


def test_a_flipped_byte_of_the_file_is_found_unless_nothing_reads_it(tmp_path):
    place = Place(tmp_path, SQLITE)
    ledger = opened(place.ledger(), "icu", "ward")
    number = book(ledger)
    ledger.draw(number)
    ledger.commit(number)
    path = tmp_path / "ledger.db"
    good = path.read_bytes()
    content = meaning(path)
    rng = np.random.default_rng(0)
    offsets = {*range(100), *(int(i) for i in rng.choice(len(good), 300, replace=False))}
    offsets |= {i for i in range(100, len(good), 7) if good[i]}  # every seventh byte that is not empty
    unread = []
    for offset in sorted(offsets):
        damaged = bytearray(good)
        damaged[offset] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            problems = place.found()
        except DataError as error:
            problems = [str(error)]
        if not problems:
            unread.append(offset)
            path.write_bytes(damaged)
            assert meaning(path) == content, f"byte {offset} changes the ledger unseen"
    kept = [offset for offset in unread if good[offset]]
    print(
        f"{len(offsets)} bytes flipped, {len(unread)} not found: {len(kept)} hold anything, in no row: {kept}"
    )
    assert {o for o in unread if o < 100} <= {*range(24, 28), *range(40, 44), *range(48, 52), *range(92, 100)}
    assert all(offset < 4096 for offset in kept)  # the tables' statements: a letter's case, a blank


def meaning(path):
    """All that SQLite reads of a file: tables, rows, and the statements that made them."""
    connection = sqlite3.connect(path)
    connection.text_factory = bytes
    names = ("sqlite_schema", "entries", "head", "cohort_keys", "layout")
    found = [connection.execute(f"SELECT * FROM {name}").fetchall() for name in names]  # noqa: S608
    connection.close()
    return [[tuple(row[:3]) for row in found[0]], *found[1:]]


def test_the_cohorts_key_is_in_no_row(history):
    ledger = history.ledger()
    secret = ledger.cohort("icu").key.hex()
    assert all(secret not in json.dumps(dict(entry.content)) for entry in ledger.entries())


def test_every_cap_row_says_what_a_neighbour_is(history):
    rows = [entry for entry in history.ledger().entries() if entry.kind == "cap"]
    assert {row.content["adjacency"] for row in rows} == {"add-or-remove-one-patient"}
