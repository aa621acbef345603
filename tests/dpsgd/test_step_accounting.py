"""Tests 10, 13 and 14 of the engine: booked before drawn, resumed anywhere, and what the plan costs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from synthgen.dpsgd import module as module_file
from synthgen.dpsgd.module import Checkpoints, fit
from synthgen.dpsgd.step_accounting import LedgerBook
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.errors import BudgetExceeded, DataError
from synthgen.privacy.accountant import from_json, get_epsilon
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.noise import NoiseSource
from tests.support.dpsgd import C, Linear, patients

PLAN = TrainingPlan(0.5, 20, 2.0, C, 5.0)


def ledger(folder: Path, epsilon: float = 50.0) -> Ledger:
    made = Ledger.connect("sqlite:///ledger.db", base=folder)
    made.open_cohort("icu", epsilon=epsilon, delta=1e-5)
    return made


def epsilon(book: LedgerBook) -> float:
    return get_epsilon(book.spent(), 1e-5)


class Dies(Linear):
    """Dies after the noise of a step was drawn, before anything of it was kept."""

    def __init__(self, plan, at):
        super().__init__(plan)
        self.at = at

    def after_step(self):
        if self.steps_done == self.at:
            raise KeyError("power cut")


def run(module, book, folder, checkpoint=None, every=4):
    folder.mkdir(exist_ok=True)
    options = {"callbacks": [Checkpoints(folder, every=every)]}
    path = None if checkpoint is None else str(checkpoint)
    fit(module, patients(5), book=book, noise=NoiseSource.system(), options=options, checkpoint=path)


@pytest.mark.parametrize("dies_at", [1, 5, 11, 20])
def test_10_a_crash_anywhere_keeps_the_charge_and_redone_steps_are_charged_again(tmp_path, dies_at):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r", stretch=3)
    before = epsilon(book)
    with pytest.raises(KeyError):
        run(Dies(PLAN, dies_at), book, tmp_path / "ckpt")
    found = next(iter((tmp_path / "ckpt").glob("*.ckpt")), None)
    at = torch.load(found, weights_only=True)["synthgen"]["step"] if found else 0
    assert at == (dies_at - 1) // 4 * 4
    other = LedgerBook(ledger(tmp_path), "icu", PLAN, run="r", entry=book.entry, stretch=3)
    module = Linear(PLAN)
    run(module, other, tmp_path / "again", found)
    again = sum(event.count for event in other.spent()) - PLAN.steps
    drawn_twice = dies_at - at
    assert drawn_twice <= again <= drawn_twice + 2  # a stretch is booked at once
    assert epsilon(other) > before
    assert module.steps_done == 20
    assert ledger(tmp_path).verify() == []


def test_10_a_clean_end_charges_nothing_again(tmp_path):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r", stretch=20)
    module = Linear(PLAN)
    fit(module, patients(5), book=book, noise=NoiseSource.system(), options={"limit_train_batches": 7})
    other = LedgerBook(ledger(tmp_path), "icu", PLAN, run="r", entry=book.entry)
    other.resume(7)
    assert len(other.spent()) == 1


def test_10_a_rollback_to_an_older_checkpoint_charges_both_branches(tmp_path):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r", stretch=1)
    for _ in range(3):
        book.resume(8)
        for step in range(8, 20):
            book.before(step)
    assert [event.count for event in book.spent()] == [20, 12, 12]


def test_10_the_step_is_booked_before_its_noise_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(module_file, "check_batches", lambda *args: None)  # it runs the loss on made-up rows
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r", stretch=1)
    booked: list[int] = []

    class Watched(Linear):
        def losses(self, batch):
            booked.append(int(book._last().get("to", 0)) - self.steps_done)
            return super().losses(batch)

    fit(Watched(PLAN), patients(50), book=book, noise=NoiseSource.system())
    assert set(booked) == {1}


def test_10_a_second_process_of_the_same_run_is_refused_and_paid_for(tmp_path):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r", stretch=2)
    book.resume(0)
    book.before(0)
    other = LedgerBook(ledger(tmp_path), "icu", PLAN, run="r", entry=book.entry)
    other.resume(0)
    with pytest.raises(DataError, match="another"):
        book.before(2)
    assert [event.count for event in other.spent()] == [20, 2]


def test_10_checkpoints_hold_the_spent_events_and_nothing_secret(tmp_path):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r")
    run(Linear(PLAN), book, tmp_path)
    path = next(tmp_path.glob("*.ckpt"))
    checkpoint = torch.load(path, weights_only=True)  # nothing in it needs unpickling
    assert from_json(checkpoint["synthgen"]["spent"]).events == [PLAN.event]
    assert set(checkpoint["synthgen"]) == {"step", "plan", "spent", "average"}
    assert not any("rng" in key or "sampler" in key for key in checkpoint)
    with pytest.raises(DataError, match="another plan"):
        run(Linear(TrainingPlan(0.5, 20, 1.0, C, 5.0)), book, tmp_path, path)


def test_14_over_the_cap_nothing_is_reserved_and_nothing_drawn_again(tmp_path):
    small = ledger(tmp_path, epsilon=1.0)
    with pytest.raises(BudgetExceeded):
        LedgerBook.reserve(small, "icu", PLAN, run="r")
    assert small.spent("icu").entries == 0
    plan = TrainingPlan.calibrate(patients=10, expected_batch_size=5, steps=20, epsilon=0.99, delta=1e-5)
    book = LedgerBook.reserve(small, "icu", plan, run="r")
    book.resume(0)
    book.before(0)
    with pytest.raises(BudgetExceeded):
        book.resume(0)


def test_14_no_step_beyond_the_plan(tmp_path):
    book = LedgerBook.reserve(ledger(tmp_path), "icu", PLAN, run="r")
    with pytest.raises(ValueError, match="after `resume`"):
        book.before(0)
    book.resume(0)
    with pytest.raises(ValueError, match="below 20"):
        book.before(20)


def test_13_the_plans_epsilon_is_opacus_prv_and_never_below_by_more_than_its_error():
    from opacus.accountants import PRVAccountant

    plan = TrainingPlan(0.02, 1000, 1.0, 1.0, 20.0)
    theirs = PRVAccountant()
    theirs.history = [(1.0, 0.02, 1000)]
    assert plan.epsilon(1e-5) == pytest.approx(3.90, abs=0.01)
    assert plan.epsilon(1e-5) == pytest.approx(theirs.get_epsilon(1e-5), abs=0.02)
    assert plan.epsilon(1e-5) < get_epsilon([plan.event], 1e-5, adaptive=True)  # PLD <= RDP


def test_13_calibration_meets_its_target_from_below():
    for target in (1.0, 4.0):
        plan = TrainingPlan.calibrate(
            patients=4708, expected_batch_size=512, steps=552, epsilon=target, delta=1e-5
        )
        assert 0.99 * target < plan.epsilon(1e-5) <= target


@pytest.mark.parametrize(
    "change",
    [{"sample_rate": 0.0}, {"sample_rate": 1.5}, {"sample_rate": [0.1, 0.9]}, {"noise_multiplier": 0.0},
     {"steps": 0}, {"max_grad_norm": float("inf")}, {"expected_batch_size": 0.0},
     {"augmult": 3, "records_per_unit": 2}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ValueError, match="Expected"):
        TrainingPlan(**{**PLAN.to_json(), **change})


def test_what_has_no_proof_here_cannot_be_asked_for():
    for unknown in ("target_quantile", "accountant", "weights"):  # adaptive clipping, gdp, weighted sampling
        with pytest.raises(ValueError, match="a plan's numbers"):
            TrainingPlan.from_json({**PLAN.to_json(), unknown: 1})
