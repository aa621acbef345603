"""The audit of tabular diffusion's steps with 1 and 3 rows a patient: whole trainings, the claimed curve.

The attacker knows all patients but one, and in which direction that one moves the mean of a step where label
masks are counted over the batch. The claim is violated if the lower bound of the true positive rate lies
above what the claimed curve allows at the upper bound of the false positive rate (Clopper and Pearson, 99.9 %
each; the threshold lies in the middle of both means as the old masks left them). With one row a patient the
old masks, which move the mean by 1.96 clipping norms, are caught by 300 trainings an arm. With three rows
they move it by 1.24, which would need about 5,000: `test_coupling` measures the mean itself and catches both.
False alarms of the right engine: below 1e-6, since both bounds must fail together.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from synthgen.dpsgd import module as module_file
from synthgen.dpsgd.patient_sampling import Patients
from synthgen.dpsgd.random_draws import KEYS
from synthgen.dpsgd.row_independence import company
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.two_stage.dpsgd_steps import CellRecords
from synthgen.privacy.accountant import tradeoff
from synthgen.privacy.noise import NoiseSource
from tests.support.coupling import CLIP, SIZES, clipped, mean_move, module_of, old_masks, rows_of
from tests.support.dpsgd import released

NAME, N_UNITS, EPSILON, CONFIDENCE = "DenoiserTraining", 3, 4.0, 0.999


def plan_of(rows: int) -> TrainingPlan:
    return TrainingPlan.calibrate(
        patients=5, expected_batch_size=5, steps=1, epsilon=EPSILON, delta=1e-5, max_grad_norm=CLIP,
        augmult=rows,
    )  # fmt: skip


def attack(rows: int) -> tuple[int, Tensor, float]:
    """Return the patient to look for, the direction in which it moves the old mean, and the middle."""
    module, batch = module_of(NAME, rows), rows_of(NAME, N_UNITS, rows)
    with old_masks():
        moves = [mean_move(module, batch, gone, times=60) for gone in range(N_UNITS)]
        gone = int(np.argmax([float(move.norm()) for move in moves]))
        direction = moves[gone] / moves[gone].norm()
        others = [unit for unit in range(N_UNITS) if unit != gone]
        base = 0.0
        for turn in range(60):
            keys = torch.from_numpy(NoiseSource.for_tests(turn).keys(N_UNITS - 1))
            without = {**company(batch, others, N_UNITS), KEYS: keys}
            base += float(clipped(module, without) @ direction) / 60
    return gone, direction, base + float(moves[gone].norm()) / 2


def violated(rows: int, n: int) -> bool:
    gone, direction, middle = attack(rows)
    plan, cells = plan_of(rows), rows_of(NAME, N_UNITS, 1)["cells"]
    guesses = []
    for member in (False, True):
        kept = [unit for unit in range(N_UNITS) if member or unit != gone]
        data = Patients(CellRecords(cells[kept], SIZES), [f"p{unit}" for unit in kept])
        found = 0
        for _ in range(n):
            module: Any = module_of(NAME, rows)
            module.plan = plan
            seen = released(plan, module, data, NoiseSource.system())
            found += float(seen[0] @ direction) * plan.expected_batch_size > middle
        guesses.append(found)
    false, true = guesses
    upper = 1.0 if false == n else stats.beta.ppf(CONFIDENCE, false + 1, n - false)
    lower = 0.0 if true == 0 else stats.beta.ppf(1 - CONFIDENCE, true, n - true + 1)
    return bool(lower > tradeoff([plan.event], float(upper)))


@contextlib.contextmanager
def unchecked(monkeypatch: pytest.MonkeyPatch):
    """Let a training begin that the probe refuses."""
    with monkeypatch.context() as patch:
        patch.setattr(module_file, "check_batches", lambda *args: None)
        yield


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 3])
def test_trainings_of_tabular_diffusion_do_not_violate_their_claim(rows: int) -> None:
    assert not violated(rows, 200)


@pytest.mark.slow
def test_masks_that_are_counted_over_the_batch_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    with old_masks(), unchecked(monkeypatch):
        assert violated(1, 300)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("times", [400])
def test_the_mean_of_a_step_moves_by_at_most_one_clip_over_fresh_keys(rows: int, times: int) -> None:
    """Sums with and without a patient are estimated apart, over keys of their own, as an outsider would.

    Each sum of at most three clipped gradients has a mean of ``times`` draws whose error is below
    ``6 C / sqrt(times)`` (its standard deviation is below ``3 C / sqrt(times)`` in the L2 norm; McDiarmid's
    bound puts what exceeds six of them below 1e-7).
    """
    module, batch = module_of(NAME, rows), rows_of(NAME, N_UNITS, rows)

    def mean(units: list[int], start: int) -> Tensor:
        total: Any = 0
        for turn in range(times):
            keys = torch.from_numpy(NoiseSource.for_tests(start + turn).keys(N_UNITS))
            total = total + clipped(module, company({**batch, KEYS: keys}, units, N_UNITS))
        return total / times

    moved = mean([0, 1, 2], 0) - mean([0, 2], times)
    assert float(moved.norm()) <= CLIP * (1 + 6 / times**0.5)
