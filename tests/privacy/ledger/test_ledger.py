"""The ledger refuses what exceeds a cap and keeps every spend, on SQLite and on PostgreSQL."""

from __future__ import annotations

import time

import pytest
from dp_accounting import dp_event as e

from synthgen.errors import BudgetExceeded, ConfigError
from synthgen.privacy.accountant import calibrate_rho, get_epsilon
from tests.support.ledgers import DELTA, RHO, book, opened

# caps and spends


def test_a_plan_for_the_whole_cap_fits_and_leaves_nothing(ledger):
    opened(ledger, "icu")
    assert ledger.remaining("icu") == pytest.approx(1.0)
    book(ledger, rho=RHO)
    spent = ledger.spent("icu")
    assert 0.999 < spent.epsilon < 1.0
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
    alone = get_epsilon([e.ZCDpEvent(RHO / 4)], DELTA)
    spent = ledger.spent("icu").epsilon
    print(f"4 spends of epsilon {alone:.3f} compose to {spent:.3f}, not {4 * alone:.3f}")
    assert 0.999 < spent < 1.0
    assert 4 * alone > 1.8


def test_a_mixture_of_mechanisms_is_answered(ledger):
    ledger.open_cohort("icu", epsilon=6.0, delta=1e-5)
    sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.02, e.GaussianDpEvent(1.0)), 500)
    for event in (sgd, e.ZCDpEvent(0.01), e.LaplaceDpEvent(5.0), e.DiscreteLaplaceDpEvent(0.1, 2)):
        ledger.reserve("icu", event, purpose="test", run="r")
    spent = ledger.spent("icu")
    assert 3 < spent.epsilon < 6
    assert 0 < spent.used < 1
    assert 0 < spent.left < 6
    assert get_epsilon([spent.event], 1e-5, adaptive=True) == pytest.approx(spent.epsilon)


def test_a_single_plan_may_use_the_tight_accountant(ledger):
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
        ledger.open_cohort(**arguments)
    assert len(ledger.entries()) == 1


def test_an_unknown_cohort_is_an_error_that_names_the_known_ones(ledger):
    opened(ledger, "icu")
    for call in (ledger.cohort, ledger.spent, ledger.remaining, ledger.looks, book_in(ledger)):
        with pytest.raises(ConfigError, match=r"\['icu'\].*'ward'"):
            call("ward")


def book_in(ledger):
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


def test_a_reservation_under_a_key_is_booked_once(ledger):
    opened(ledger, "icu")
    number = book(ledger, key="journal")
    assert book(ledger, key="journal") == number
    other = book(ledger, key="journal:7.2")
    assert ledger.keyed("journal") == {"journal": number, "journal:7.2": other}
    assert ledger.keyed("jour") == {}
    assert ledger.spent("icu").entries == 2
    with pytest.raises(ValueError, match="another under its key"):
        book(ledger, rho=RHO / 5, key="journal")


def test_a_void_reservation_spends_nothing_and_keeps_both_rows(ledger):
    opened(ledger, "icu")
    number = book(ledger, rho=RHO)
    with pytest.raises(BudgetExceeded):
        book(ledger)
    ledger.void(number, "the data were refused")
    assert (ledger.spent("icu").entries, ledger.orphans()) == (0, [])
    assert ledger.remaining("icu") == pytest.approx(1.0)
    assert [entry.kind for entry in ledger.entries()] == ["cap", "reserve", "void"]
    assert ledger.status(number) == "void"
    book(ledger, rho=RHO)
    for call in (ledger.draw, ledger.commit, lambda n: ledger.void(n, "again")):
        with pytest.raises(ConfigError, match="open reservation"):
            call(number)
    assert ledger.verify() == []


@pytest.mark.parametrize("close", ["nothing", "commit", "write_off"])
def test_what_may_have_been_drawn_can_never_be_voided(ledger, close):
    opened(ledger, "icu")
    number = book(ledger)
    ledger.draw(number)
    ledger.draw(number)
    assert [entry.kind for entry in ledger.entries()] == ["cap", "reserve", "draw"]
    if close != "nothing":
        getattr(ledger, close)(number, **({"reason": "crash"} if close == "write_off" else {}))
    with pytest.raises(ConfigError, match=r"no noise was drawn|open reservation"):
        ledger.void(number, "no")
    assert ledger.spent("icu").entries == 1


def test_a_forged_void_of_what_was_drawn_has_no_meaning(place):
    from synthgen.privacy.ledger.hash_chain import next_row

    ledger = opened(place.ledger(), "icu")
    number = book(ledger)
    ledger.draw(number)
    store = place.store()
    with store.transaction(write=True) as connection:
        store.append(connection, next_row(store.rows(connection)[-1], "icu", "void", {"entry": number}))
    assert any("row 4" in text and "voids a reservation" in text for text in place.found())


@pytest.mark.slow
def test_a_reservation_among_100_entries_takes_less_than_a_second(ledger):
    ledger.open_cohort("icu", epsilon=40.0, delta=1e-5)
    for i in range(100):
        sgd = e.SelfComposedDpEvent(e.PoissonSampledDpEvent(0.001, e.GaussianDpEvent(4.0 + i / 1000)), 100)
        ledger.reserve("icu", sgd if i % 2 else e.ZCDpEvent(1e-4 + i * 1e-7), purpose="fit", run=str(i))
    from synthgen.privacy import privacy_curve

    privacy_curve._rdp.cache_clear()
    start = time.perf_counter()
    book(ledger)
    cold = time.perf_counter() - start
    start = time.perf_counter()
    book(ledger)
    print(f"reserve among 100 entries: {cold:.3f} s cold, {time.perf_counter() - start:.3f} s warm")
    assert cold < 1
