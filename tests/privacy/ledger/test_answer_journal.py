"""Stored answers are given again, not drawn again; what was lost is paid for; damage is never a discount."""

from __future__ import annotations

import itertools
import shutil
import signal

import numpy as np
import pytest
from dp_accounting import dp_event as e

from synthgen.errors import BudgetExceeded, ConfigError, DataError, OperationError, SynthgenError
from synthgen.privacy.ledger.answer_journal import Journal
from synthgen.privacy.ledger.ledger import Ledger, PaidFit, Position
from synthgen.privacy.ledger.reservation import JournaledNoise, Reservation
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from tests.support.ledgers import DELTA, RHO, opened

N = 5


class Counted(type(NoiseSource.for_tests(0))):
    """Seeded noise that counts its draws, and fails at one of them."""

    def __init__(self, seed, fail_at=None):
        super().__init__(seed)
        self.draws, self.fail_at = 0, fail_at

    def _gaussian(self, values, sigma):
        self.draws += 1
        if self.draws == self.fail_at:
            raise KeyboardInterrupt
        return super()._gaussian(values, sigma)


def ask(noise, queries=N, *, rho=RHO / 10, size=4):
    """Ask Gaussian queries, with a selection after the second, as a fit would."""
    answers = []
    for i in range(queries):
        with noise.query(rho, ["column", i]):
            answers.append(noise.discrete_gaussian(np.arange(size, dtype=np.int64), sigma=3.0).tolist())
        if i == 1:
            answers.append(noise.select(np.array([1, 5, 2]), epsilon=1.0, sensitivity=1))
    return answers


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.journal"


def kept(path, source):
    journal = Journal(path)
    journal.bind("plan", "data")
    return journal, JournaledNoise(source, journal)


def crashed(path, fail_at=4):
    """Leave a journal whose last query was announced and not stored. Returns the source that drew."""
    journal, noise = kept(path, source := Counted(1, fail_at))
    with pytest.raises(KeyboardInterrupt):
        ask(noise)
    journal.close()
    return source


# journal


def test_stored_answers_are_given_again_without_touching_the_noise(path):
    journal, noise = kept(path, source := Counted(1))
    answers = ask(noise)
    journal.close()
    assert source.draws == N
    again, noise = kept(path, source := Counted(2))
    assert ask(noise) == answers
    assert source.draws == 0
    assert again.lost is None
    again.close()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_during_a_draw_waits_until_its_answer_is_stored(path, number):
    class Interrupted(Counted):
        def _gaussian(self, values, sigma):
            if self.draws == 2:
                signal.raise_signal(number)
            return super()._gaussian(values, sigma)

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(number, stop)
    try:
        journal, noise = kept(path, source := Interrupted(1))
        with pytest.raises(KeyboardInterrupt):
            ask(noise)
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    journal.close()
    assert source.draws == 3
    again, noise = kept(path, source := Counted(2))
    assert again.lost is None
    ask(noise)
    assert source.draws == N - 3
    again.close()


def test_the_journal_holds_no_exact_count(path):
    journal, noise = kept(path, NoiseSource.for_tests(0))
    secret = 123_456_789
    with noise.query(0.1, ["sex"]):
        noise.discrete_gaussian(np.full(3, secret, dtype=np.int64), sigma=1e6)
    noise.select(np.array([secret, 1]), epsilon=1.0, sensitivity=1)
    journal.close()
    assert str(secret) not in path.read_text()


def test_a_lost_query_is_not_drawn_before_it_is_paid_for(path):
    crashed(path)
    journal, noise = kept(path, source := Counted(2))
    assert journal.lost is not None
    assert (journal.lost.seq, journal.lost.attempt, journal.lost.rho) == (5, 1, RHO / 10)
    with pytest.raises(SynthgenError, match="paid for"):
        ask(noise)
    assert source.draws == 0
    journal.close()
    journal, noise = kept(path, source)
    journal.pay(7)
    ask(noise)
    assert source.draws == N - 3
    journal.close()


def test_a_query_without_a_cost_costs_the_whole_plan_when_it_is_lost(path):
    journal, noise = kept(path, Counted(1, fail_at=1))
    with pytest.raises(KeyboardInterrupt):
        noise.discrete_gaussian(np.zeros(2, np.int64), sigma=1.0)
    assert journal.lost is not None
    assert journal.lost.rho is None
    journal.close()


@pytest.mark.parametrize(
    "change", [{"size": 5}, {"rho": RHO / 9}, {"queries": 1}], ids=["size", "cost", "fewer queries"]
)
def test_another_query_at_the_place_of_a_stored_one_is_refused(path, change):
    journal, noise = kept(path, Counted(1))
    ask(noise)
    journal.close()
    journal, noise = kept(path, source := Counted(2))
    if "queries" in change:
        ask(noise, **change)
        change = {}
        with pytest.raises(ConfigError, match="query 2"):
            ask(noise, **change)
    else:
        with pytest.raises(ConfigError, match="query 1"):
            ask(noise, **change)
    assert source.draws == 0
    journal.close()


def test_answers_belong_to_their_plan_and_data(path):
    journal = Journal(path)
    journal.bind("plan", "data")
    journal.bind("plan", "data")
    for plan, data, word in (("other", "data", "plan"), ("plan", "other", "data")):
        with pytest.raises(ConfigError, match=f"changed {word}"):
            journal.bind(plan, data)
    journal.close()


def test_one_process_at_a_time(path):
    journal = Journal(path)
    with pytest.raises(OperationError, match="another one is at it"):
        Journal(path)
    journal.close()
    Journal(path).close()


def test_a_finished_fit_draws_neither_answers_nor_noise_that_is_not_kept(path):
    journal, noise = kept(path, source := Counted(1))
    ask(noise, 2)
    journal.freeze()
    for draw in (lambda: ask(noise, 3), lambda: noise._normal(3), lambda: noise._words(3)):
        with pytest.raises(ConfigError, match="finished fit"):
            draw()
    assert source.draws == 2
    journal.close()


def test_a_disk_that_is_full_stops_before_the_draw(path, monkeypatch):
    from synthgen.privacy.ledger import answer_journal as answers

    journal, noise = kept(path, source := Counted(1))
    ask(noise, 1)
    size = path.stat().st_size
    real = answers.os.write

    def short(file, line):
        real(file, line[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(answers.os, "write", short)
        with pytest.raises(OperationError, match="the disk is full"), noise.query(0.1, []):
            noise.discrete_gaussian(np.zeros(2, np.int64), sigma=1.0)
    assert (source.draws, path.stat().st_size) == (1, size)
    journal.close()
    again = Journal(path)
    assert again.lost is None
    again.close()


def announced(journal):
    """What the journal knows of: the cost of each query, and a whole plan for one that it cannot tell."""
    lost = journal.lost
    return len(journal.queries) + (N + 1 if lost is not None and lost.rho is None else 0)


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_a_file_that_ends_early_loses_no_query_that_it_does_not_pay_for(path, cut):
    crashed(path, fail_at=4)
    whole = Journal(path)
    n = len(whole.queries)
    whole.close()
    content = path.read_bytes()
    intent = len(content.split(b"\n")[-2]) + 1
    with path.open("r+b") as stream:
        stream.truncate(len(content) - min(cut, intent - 1))
    journal = Journal(path)
    assert announced(journal) >= n
    assert journal.lost is not None
    journal.close()


def test_a_flipped_byte_anywhere_is_refused_or_costs_at_least_as_much(path):
    crashed(path, fail_at=4)
    content = path.read_bytes()
    whole = Journal(path)
    n = len(whole.queries)
    whole.close()
    refused = paid = 0
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 1 << (at % 8)
        path.write_bytes(damaged)
        try:
            journal = Journal(path)
        except (DataError, ConfigError):
            refused += 1
            continue
        assert journal.lost is not None, at
        assert announced(journal) >= n, at
        paid += 1
        journal.close()
    print(f"{len(content)} bytes flipped one by one: {refused} refused, {paid} paid for")
    assert refused > paid > 0


# reservation


def plan():
    return PrivacyPlan("marginal", "patient", 1, 1.0, DELTA, 100, e.ZCDpEvent(RHO))


def make(ledger, path, cohort="icu"):
    return Reservation.make(ledger, cohort, e.ZCDpEvent(RHO), purpose="fit", run="r", answers=path)


@pytest.fixture
def roomy(tmp_path):
    ledger = Ledger.connect("sqlite:///ledger.db", base=tmp_path)
    ledger.open_cohort("icu", epsilon=5.0, delta=DELTA)
    return ledger


def attempt(ledger, path, source, *, data="data"):
    with make(ledger, path) as held:
        with held.unread():
            held.bind(plan(), data)
        answers = ask(held.noise(source))
        held.commit({})
    return answers


def test_a_crash_is_charged_for_the_lost_query_alone_each_time(roomy, path):
    for fail_at, spends in ((3, 1), (1, 2), (1, 3)):
        with pytest.raises(KeyboardInterrupt):
            attempt(roomy, path, Counted(1, fail_at))
        assert roomy.spent("icu").entries == spends
    attempt(roomy, path, source := Counted(1))
    assert source.draws == N - 2
    booked = [entry.content["event"]["rho"] for entry in roomy.entries() if entry.kind == "reserve"]
    assert booked == pytest.approx([RHO] + 3 * [RHO / 10])
    assert roomy.orphans() == []
    attempt(roomy, path, source := Counted(1))  # killed between the commit and the run's own note of it
    assert (source.draws, roomy.spent("icu").entries) == (0, 4)


def test_a_crash_after_paying_and_before_drawing_is_not_charged_twice(roomy, path):
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 3))
    for _ in range(3):
        make(roomy, path)._journal.close()
        assert roomy.spent("icu").entries == 2
    attempt(roomy, path, Counted(1))
    assert roomy.spent("icu").entries == 2


def test_a_damaged_announcement_costs_the_whole_plan_once(roomy, path):
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 3))
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 5)
    for _ in range(2):
        make(roomy, path)._journal.close()
    booked = [entry.content["event"]["rho"] for entry in roomy.entries() if entry.kind == "reserve"]
    assert booked == pytest.approx([RHO, RHO])
    attempt(roomy, path, Counted(1))
    assert (roomy.spent("icu").entries, roomy.orphans()) == (2, [])


def test_a_payment_that_was_written_off_is_not_asked_for_twice(roomy, path):
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 3))
    make(roomy, path)._journal.close()
    roomy.write_off(roomy.orphans()[1].seq, "taken for a crash")
    attempt(roomy, path, Counted(1))
    assert (roomy.spent("icu").entries, roomy.orphans()) == (2, [])


def test_a_fit_that_was_written_off_while_it_ran_draws_nothing(roomy, path):
    with make(roomy, path) as held:
        held.bind(plan(), "data")
        roomy.write_off(held.number, "taken for a crash")
        with pytest.raises(ConfigError, match="open reservation"):
            ask(held.noise(source := Counted(1)))
    assert source.draws == 0


def test_data_refused_after_a_draw_while_they_were_read_are_not_void(roomy, path):
    def refused_late(answers):
        with make(roomy, answers) as held, held.unread():
            held.bind(plan(), "data")
            ask(held.noise(Counted(1)), 1)
            raise DataError("no")

    for answers in (path, None):
        with pytest.raises(DataError):
            refused_late(answers)
    assert (roomy.spent("icu").entries, len(roomy.orphans())) == (2, 2)


def test_noise_that_is_not_kept_makes_a_resumed_run_a_new_fit(roomy, path):
    def train(source):
        with make(roomy, path) as held:
            held.bind(plan(), "data")
            noise = held.noise(source)
            ask(noise, 1)
            noise._normal(3)
            held.commit({})

    with pytest.raises(KeyboardInterrupt):
        train(Gradients(1, 0))
    train(source := Gradients(1))
    assert source.draws == 2
    booked = [entry.content["event"]["rho"] for entry in roomy.entries() if entry.kind == "reserve"]
    assert booked == pytest.approx([RHO, RHO])
    assert [entry.kind for entry in roomy.entries()].count("write-off") == 1


def test_over_the_cap_nothing_is_drawn_again(tmp_path, path):
    ledger = opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    with pytest.raises(KeyboardInterrupt):
        attempt(ledger, path, Counted(1, 3))
    with pytest.raises(BudgetExceeded, match="Query 4 of this fit was drawn and its answer lost"):
        attempt(ledger, path, source := Counted(1))
    assert (source.draws, ledger.spent("icu").entries) == (0, 1)


def test_refused_data_void_a_spend_only_before_the_first_draw(roomy, path):
    def refused():
        with make(roomy, path) as held, held.unread():
            raise DataError("no")

    for spends in (0, 0):
        with pytest.raises(DataError):
            refused()
        assert roomy.spent("icu").entries == spends
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 1))
    with pytest.raises(DataError, match="no"):
        refused()
    with pytest.raises(ConfigError, match="changed data"):
        attempt(roomy, path, Counted(1), data="other")
    kinds = [entry.kind for entry in roomy.entries()]
    assert kinds.count("void") == 2
    assert roomy.spent("icu").entries == 2
    path.unlink()  # even without the journal the ledger knows that noise may have been drawn
    with pytest.raises(ConfigError, match="no noise was drawn"):
        roomy.void(roomy.orphans()[0].seq, "no")


def test_a_ledger_that_was_rolled_back_is_noticed(roomy, path, tmp_path):
    roomy.backup(str(tmp_path / "old.db"))
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 3))
    (tmp_path / "old.db").replace(tmp_path / "ledger.db")
    with pytest.raises(DataError, match="found none, though noise was drawn"):
        attempt(roomy, path, Counted(1))


def test_a_written_off_fit_begins_anew_and_keeps_its_journal_for_the_record(roomy, path):
    with pytest.raises(KeyboardInterrupt):
        attempt(roomy, path, Counted(1, 3))
    roomy.write_off(roomy.orphans()[0].seq, "crashed")
    attempt(roomy, path, source := Counted(1))
    assert source.draws == N
    assert len(list(path.parent.glob("answers.journal.*.closed"))) == 1
    booked = [entry.content["event"]["rho"] for entry in roomy.entries() if entry.kind == "reserve"]
    assert booked == pytest.approx([RHO, RHO])


def test_another_plan_for_the_same_answers_is_refused(roomy, path):
    attempt(roomy, path, Counted(1))
    with pytest.raises(ConfigError, match="Expected the plan"):
        Reservation.make(roomy, "icu", e.ZCDpEvent(RHO / 2), purpose="fit", run="r", answers=path)


# copies of the journal


class Gradients(Counted):
    """A source whose noise for gradients can be drawn, and be cut off."""

    def _normal(self, size):
        if self.fail_at == 0:
            raise KeyboardInterrupt
        self.draws += 1
        return np.zeros(size)


def trained(ledger, path, source, *, saved="", model="m1"):
    """Fit as a deep generator does: answers that are kept, then noise that is not, then a model."""
    held = Reservation.make(
        ledger, "icu", e.ZCDpEvent(RHO), purpose="fit", run="r", answers=path, saved=saved
    )
    with held:
        held.bind(plan(), "data")
        if not held.fitted:
            noise = held.noise(source)
            ask(noise, 2)
            noise._normal(3)
            held.finish(model)
        held.commit({"model": model})
    return held


@pytest.fixture
def snapshots(path, monkeypatch):
    """Copies of the journal, one after each line."""
    found = []
    real = Journal._append

    def append(self, record):
        real(self, record)
        found.append(path.read_bytes())

    monkeypatch.setattr(Journal, "_append", append)
    return found


def restored(path, content, how):
    """Put a copy in the journal's place, as `cp`, `rm` and `cp`, or `mv` do."""
    if how == "in place":
        with path.open("r+b") as stream:  # keeps the inode
            stream.truncate(0)
            stream.write(content)
        return
    if how == "removed first":
        path.unlink()  # the inode's number may be used again
        path.write_bytes(content)
        return
    other = path.with_suffix(".restored")
    other.write_bytes(content)
    other.replace(path)


@pytest.mark.parametrize("how", ["in place", "removed first", "moved there"])
@pytest.mark.parametrize("stop", [3, None], ids=["killed", "finished"])
def test_an_older_copy_of_the_answers_never_draws_a_query_twice_on_one_charge(
    roomy, path, snapshots, how, stop
):
    source = Counted(1, stop)
    if stop is None:
        attempt(roomy, path, source)
    else:
        with pytest.raises(KeyboardInterrupt):
            attempt(roomy, path, source)
    copies, last = list(snapshots), path.read_bytes()
    for copy in copies[:-1]:
        restored(path, copy, how)
        again, spends = Counted(2), roomy.spent("icu").entries
        with pytest.raises(SynthgenError, match=r"older copy|finished fit"):
            attempt(roomy, path, again)
        assert (again.draws, roomy.spent("icu").entries) == (0, spends)
        assert path.read_bytes() == copy
    restored(path, last, how)
    attempt(roomy, path, Counted(3))
    assert roomy.spent("icu").entries == (2 if stop else 1)


def test_an_older_copy_from_before_noise_that_is_not_kept_is_refused(roomy, path, snapshots):
    with pytest.raises(KeyboardInterrupt):
        trained(roomy, path, Gradients(1, 0))
    copies = list(snapshots)
    for copy in copies[2:-1]:
        restored(path, copy, "in place")
        with pytest.raises(DataError, match="older copy"):
            trained(roomy, path, source := Gradients(2))
        assert source.draws == 0
    assert roomy.spent("icu").entries == 1


def test_a_run_that_was_moved_goes_on_where_nothing_was_drawn_since(place, tmp_path):
    ledger = place.ledger()
    ledger.open_cohort("icu", epsilon=5.0, delta=DELTA)
    here, there = tmp_path / "a.journal", tmp_path / "b.journal"
    with pytest.raises(KeyboardInterrupt):
        attempt(ledger, here, Counted(1, 3))
    shutil.copyfile(here, there)
    attempt(ledger, there, source := Counted(1))
    assert (source.draws, ledger.spent("icu").entries) == (N - 2, 2)
    with pytest.raises(DataError, match="older copy"):
        attempt(ledger, here, source := Counted(2))
    assert (source.draws, ledger.spent("icu").entries, ledger.verify()) == (0, 2, [])


def test_of_two_copies_that_go_on_at_once_one_draws_and_the_other_is_refused(place, tmp_path):
    ledger = place.ledger()
    ledger.open_cohort("icu", epsilon=5.0, delta=DELTA)
    here, there = tmp_path / "a.journal", tmp_path / "b.journal"
    with make(ledger, here) as held:
        held.bind(plan(), "data")
        ask(held.noise(Counted(1)), 1)
    shutil.copyfile(here, there)
    with make(ledger, here) as first, make(place.ledger(), there) as second:
        winner, loser = first.noise(Counted(2)), second.noise(lost := Counted(3))
        ask(winner, 2)
        with pytest.raises(DataError, match="another copy of this run"):
            ask(loser, 2)
    assert lost.draws == 0


def test_the_ledger_counts_each_draw_before_it_happens_and_never_back(place):
    ledger = opened(place.ledger(), "icu")
    number = ledger.reserve("icu", e.ZCDpEvent(RHO / 4), purpose="fit", run="r", key="j")
    ledger.draw(number, counted=True)
    at = [Position(), Position(1, "a"), Position(2, "b")]
    assert ledger.position(number) == at[0]
    ledger.count(number, at[0], at[1])
    for before, after in ((at[0], at[1]), (Position(1, "x"), Position(2, "y"))):
        with pytest.raises(DataError, match="another copy"):
            ledger.count(number, before, after)
    with pytest.raises(ValueError, match="position after"):
        ledger.count(number, at[1], Position(3, "c"))
    ledger.count(number, at[1], at[2])
    ledger.commit(number)
    assert ledger.position(number) == at[2]
    with pytest.raises(ConfigError, match="open reservation"):
        ledger.count(number, at[2], Position(3, "c"))
    assert (place.found(), ledger.entries()[-1].content["draws"]) == ([], {"counter": 2, "digest": "b"})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE draws SET counter = 0",
        "UPDATE draws SET journal = ''",
        "UPDATE draws SET hash = ''",
        "DELETE FROM draws",
        "UPDATE draws SET entry = 1",
    ],
)
def test_an_edited_or_missing_count_of_draws_is_found(place, statement):
    ledger = opened(place.ledger(), "icu")
    number = ledger.reserve("icu", e.ZCDpEvent(RHO / 4), purpose="fit", run="r", key="j")
    ledger.draw(number, counted=True)
    ledger.count(number, Position(), Position(1, "a"))
    assert place.found() == []
    place.edit(statement)
    assert any("count of" in text for text in place.found())
    with pytest.raises(DataError, match="ledger verify"):
        ledger.commit(number)


# models


def test_a_committed_fit_is_never_trained_again_for_free(roomy, path):
    trained(roomy, path, source := Gradients(1))
    assert (source.draws, roomy.spent("icu").entries) == (3, 1)
    held = trained(roomy, path, source := Gradients(2), saved="m1")
    assert (held.fitted, source.draws, roomy.spent("icu").entries) == (True, 0, 1)
    for times, saved in enumerate(("", "altered", "m1"), start=2):  # the first model is the closed journal's
        held = trained(roomy, path, source := Gradients(2), saved=saved, model=f"m{times}")
        assert (held.fitted, source.draws, roomy.spent("icu").entries) == (False, 3, times)
    purposes = [entry.content["purpose"] for entry in roomy.entries() if entry.kind == "reserve"]
    assert purposes[0] == "fit"
    assert all("model of entry" in purpose for purpose in purposes[1:])
    assert (roomy.orphans(), roomy.verify()) == ([], [])


def test_over_the_cap_a_lost_model_is_not_trained_again(tmp_path, path):
    ledger = opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    trained(ledger, path, Gradients(1))
    with pytest.raises(BudgetExceeded):
        trained(ledger, path, source := Gradients(2))
    assert (source.draws, ledger.spent("icu").entries) == (0, 1)


def test_a_fit_killed_between_its_model_and_its_commit_uses_the_model(roomy, path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "commit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trained(roomy, path, Gradients(1))
    held = trained(roomy, path, source := Gradients(2), saved="m1")
    assert (held.fitted, source.draws, roomy.spent("icu").entries) == (True, 0, 1)
    assert roomy.models(held.number) == {"m1"}
    assert roomy.orphans() == []


def test_stored_answers_give_a_lost_model_again_and_the_ledger_knows_it(roomy, path):
    def fitted(model, saved=""):
        source = Counted(1)
        with Reservation.make(
            roomy, "icu", e.ZCDpEvent(RHO), purpose="fit", run="r", answers=path, saved=saved
        ) as held:
            held.bind(plan(), "data")
            if not held.fitted:
                ask(held.noise(source))
            held.finish(model)
            held.commit({"model": model})
        return held, source.draws

    assert fitted("m1")[1] == N
    held, draws = fitted("m2")  # such as of another processor's rounding
    assert (held.fitted, draws, roomy.spent("icu").entries) == (False, 0, 1)
    assert roomy.fits("r") == {held.number: PaidFit(held.number, frozenset({"m1", "m2"}), None)}
    for model, saved in itertools.product(("m1", "m2"), ("m1", "m2")):
        assert fitted(model, saved)[0].fitted


def test_nothing_is_drawn_after_a_commit_without_a_journal_either(roomy):
    held = Reservation.make(roomy, "icu", e.ZCDpEvent(RHO), purpose="fit", run="r")
    noise = held.noise(source := Gradients(1))
    ask(noise, 1)
    held.commit({})
    for draw in (lambda: ask(noise, 1), lambda: noise._normal(2)):
        with pytest.raises(SynthgenError, match="after the commit"):
            draw()
    assert source.draws == 1
