"""Spends compose only where they protect the same unit, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dp_accounting import dp_event as e
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.cli import app as cli
from synthgen.errors import ConfigError
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit
from synthgen.privacy.ledger.units import same_unit
from tests.support.ledgers import DELTA, RHO, opened

ROW = LedgerUnit("row", None, 1)
PATIENT = LedgerUnit("patient", "pid", 1)
MANY = LedgerUnit("patient", "pid", 4)
ADMISSION = LedgerUnit("patient", "admission", 1)
UNITS = [None, ROW, PATIENT, MANY, ADMISSION]


def book(ledger, unit, cohort="icu", rho=RHO / 8):
    return ledger.reserve(cohort, e.ZCDpEvent(rho), purpose="fit marginal", run="r", unit=unit)


def composes(a, b):
    """By hand: patients of one column compose whatever max_records is, everything else with itself alone."""
    return a == b or {a, b} == {PATIENT, MANY}


@pytest.mark.parametrize("first", UNITS, ids=str)
@pytest.mark.parametrize("second", UNITS, ids=str)
def test_only_spends_of_one_unit_compose(tmp_path, first, second):
    ledger = opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    book(ledger, first)
    head = ledger.head()
    if composes(first, second):
        book(ledger, second)
        assert ledger.spent("icu").entries == 2
        return
    with pytest.raises(ConfigError, match="one privacy unit") as caught:
        book(ledger, second)
    assert (ledger.head(), caught.value.exit_code) == (head, 2)
    assert "ledger" in caught.value.next_step


def test_what_a_mix_would_have_claimed_is_far_below_what_a_patient_of_many_rows_gets():
    """Why a mix is refused: a patient's rows multiply the row-level loss."""
    rho, rows = 0.02, 10
    claimed = get_epsilon([e.ZCDpEvent(rho), e.ZCDpEvent(rho)], DELTA)
    attained = get_epsilon([e.ZCDpEvent(rho), e.ZCDpEvent(rows**2 * rho)], DELTA)
    assert attained > 4 * claimed


def test_the_refusal_holds_for_cohorts_that_may_share_patients_and_not_for_disjoint_ones(place):
    ledger = opened(place.ledger(), "icu", "ward")
    book(ledger, PATIENT)
    for unit in (ROW, ADMISSION, None):
        with pytest.raises(ConfigError, match="one privacy unit"):
            book(ledger, unit, "ward")
    ledger.open_cohort("ward", epsilon=1.0, delta=DELTA, disjoint_from=["icu"], reason="ids compared")
    book(ledger, ROW, "ward")
    assert (ledger.spent("icu").units, ledger.spent("ward").units) == ((PATIENT,), (ROW,))
    opened(ledger, "third")  # counts with both, which have different units
    for unit in (PATIENT, ROW):
        with pytest.raises(ConfigError, match="one privacy unit"):
            book(ledger, unit, "third")


def test_a_void_spend_decides_no_unit(place):
    ledger = opened(place.ledger(), "icu")
    ledger.void(book(ledger, ROW), "the data were refused")
    book(ledger, PATIENT)
    assert ledger.spent("icu").units == (PATIENT,)


def test_columns_that_name_the_same_patients_compose_once_that_is_recorded(place):
    ledger = opened(place.ledger(), "icu", "scans")
    book(ledger, PATIENT)
    imaged = LedgerUnit("patient", "subject", 2)
    with pytest.raises(ConfigError, match="one privacy unit") as caught:
        book(ledger, imaged, "scans")
    assert "same-unit" in caught.value.next_step
    for columns, reason in ((["pid"], "r"), (["pid", "pid"], "r"), (["pid", "subject"], " ")):
        with pytest.raises(ConfigError):
            ledger.declare_same_unit(columns, reason=reason)
    ledger.declare_same_unit(["subject", "pid"], reason="the same master patient index")
    book(ledger, imaged, "scans")
    with pytest.raises(ConfigError, match="one privacy unit"):
        book(ledger, ADMISSION, "scans")
    assert ledger.spent("icu").units == (PATIENT, imaged)
    assert place.found() == []


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdef"), min_size=2, max_size=3), max_size=4))
def test_declared_columns_are_joined_as_in_a_graph(joined):
    reach = np.eye(6, dtype=bool)
    for columns in joined:
        for a in columns:
            for b in columns:
                reach["abcdef".index(a), "abcdef".index(b)] = True
    for _ in range(6):
        reach = reach @ reach
    for i, a in enumerate("abcdef"):
        for j, b in enumerate("abcdef"):
            units = LedgerUnit("patient", a, 1), LedgerUnit("patient", b, 2)
            assert same_unit(*units, joined) == reach[i, j]


def test_older_entries_compose_with_new_ones_once_their_unit_is_declared(place):
    ledger = opened(place.ledger(), "icu")
    numbers = [book(ledger, None), book(ledger, None)]
    with pytest.raises(ConfigError, match="unit not recorded") as caught:
        book(ledger, PATIENT)
    assert "ledger unit" in caught.value.next_step
    with pytest.raises(ConfigError, match="reason"):
        ledger.declare_unit("icu", PATIENT, reason=" ")
    assert ledger.declare_unit("icu", PATIENT, reason="config of 2025") == numbers
    with pytest.raises(ConfigError, match="found none"):
        ledger.declare_unit("icu", ROW, reason="again")
    book(ledger, MANY)
    assert (ledger.spent("icu").entries, place.found()) == (3, [])


def test_entries_found_to_be_of_two_units_have_no_epsilon_and_are_shown_as_such(place, capsys, monkeypatch):
    monkeypatch.chdir(place.folder)
    ledger = opened(place.ledger(), "icu", "ward")
    book(ledger, None)
    book(ledger, None, "ward")

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main([*arguments, "--ledger", place.url, "--json"])
        return stop.value.code or 0, json.loads(capsys.readouterr().out)

    shown = run("ledger", "show")[1]
    assert [cohort["units"] for cohort in shown["cohorts"]] == [["unit not recorded"]] * 2
    declare = ["ledger", "unit", "icu", "--level", "row", "--reason", "config"]
    assert run(*declare, "--column", "pid")[0] == 2
    assert run(*declare)[1]["unit"] == "row"
    code, shown = run("ledger", "show")
    assert code == 0
    assert all("one privacy unit" in cohort["not_composed"] for cohort in shown["cohorts"])
    assert all("epsilon" not in cohort for cohort in shown["cohorts"])
    with pytest.raises(ConfigError, match="one privacy unit"):
        ledger.spent("icu")
    assert run("ledger", "verify")[0] == 0
    assert run("ledger", "same-unit", "pid", "subject", "--reason", "index")[1]["same_unit"] == [
        "pid",
        "subject",
    ]


@pytest.mark.parametrize(
    "content",
    [
        {"level": "patient", "column": None, "max_records": 1},
        {"level": "row", "column": "pid", "max_records": 1},
        {"level": "hospital", "column": "x", "max_records": 1},
        {"level": "patient", "column": "pid", "max_records": 0},
    ],
)
def test_a_unit_that_is_none_is_refused(content):
    with pytest.raises(ValueError, match="Expected"):
        LedgerUnit.from_json(content)


@pytest.mark.parametrize("kind", ["unit", "same-unit", "model", "draw"])
def test_no_note_can_pass_for_a_declaration(ledger, kind):
    opened(ledger, "icu")
    with pytest.raises(ValueError, match="kind"):
        ledger.note("icu", kind=kind, content={})
