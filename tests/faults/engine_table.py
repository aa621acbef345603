"""The ways in which training voids the guarantee in silence: each planted here, or refused by the engine.

A row says what the defect is, how it is planted, and which check catches it. `scripts/list_faults.py` prints
the table; `test_engine_faults.py` plants each defect and lets the check fail.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch

from synthgen.dpsgd import clipped_gradients, module, patient_sampling, step_accounting, training_plan
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.kernels import convolution, gradient_factors
from synthgen.privacy.noise import NoiseSource
from tests.support import dpsgd as support

Plant = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class Fault:
    """One defect.

    Attributes:
        number: its row in the list of known defects, or 0.
        defect: what goes wrong.
        how: ``planted`` (here), ``two processes`` (planted in `tests.support.distributed_worker`) or
        ``refused``.
        test: the test that catches it.
        check: the check that must fail where it is planted, and hold where it is refused.
        plant: plants it.
    """

    number: int
    defect: str
    how: str
    test: str
    check: Callable[[], None] | None = None
    plant: Plant | None = None


def swap(owner: Any, name: str, value: Any) -> Plant:
    return lambda: mock.patch.object(owner, name, value)


def several(*plants: Plant) -> Plant:
    @contextlib.contextmanager
    def plant() -> Iterator[None]:
        with ExitStack() as stack:
            for one in plants:
                stack.enter_context(one())
            yield

    return plant


def nothing(*args: Any, **kwargs: Any) -> None:
    """In place of a check."""


def square_norm_in_bf16(rows: torch.Tensor) -> torch.Tensor:
    return rows.reshape(len(rows), -1).bfloat16().norm(dim=1).double().square()


def inner_products_in_bf16(tokens: torch.Tensor) -> torch.Tensor:
    narrow = tokens.bfloat16()
    return torch.bmm(narrow, narrow.mT).double()


@contextlib.contextmanager
def nothing_around(*args: Any, **kwargs: Any) -> Iterator[None]:
    yield


_clipped_sum = UnitGradients.clipped_sum
_release = support.module_file.NoisySum.release
_add = support.module_file.NoisySum.add


def rows_as_units(self: UnitGradients, losses: Any, *, n_units: int, augmult: int = 1, max_grad_norm: float):
    return _clipped_sum(self, losses, n_units=n_units * augmult, max_grad_norm=max_grad_norm)


def any_batch(self: module.PrivateModule, batch: Any) -> None:
    self.losses(batch).mean().backward()
    self._optimizers()[0].step()
    self.steps_done += 1


def four(self: patient_sampling.PatientSampler) -> int:
    return 4


def some_twice(self: patient_sampling.LogicalBatch, n_units: int) -> Iterator[Any]:
    for start in range(0, len(self.units), n_units):
        yield self.units[max(0, start - 1) : start + n_units]


_left: list[Any] = []


def stale_queue(self: patient_sampling.LogicalBatch, n_units: int) -> Iterator[Any]:
    queue = [*_left, *(self.units[i : i + n_units] for i in range(0, len(self.units), n_units))]
    _left[:] = queue[-1:]
    yield from queue[:-1]


def counting_add(self: Any, clipped: Any) -> None:
    self._seen = getattr(self, "_seen", 0) + clipped.n_units
    _add(self, clipped)


def by_its_own_size(self: Any) -> None:
    self._denominator, self._seen = max(1, getattr(self, "_seen", 0)), 0
    _release(self)


def never_empty(self: patient_sampling.PatientSampler) -> Any:
    chosen = np.flatnonzero(self._noise.poisson_mask(self._n_units, rate=self._rate))
    return chosen if len(chosen) else np.zeros(1, dtype=np.int64)


def as_if_contiguous(self: Any, g: Any, x: Any, saved: Any, layout: Any) -> Any:
    strides = torch.empty(x.shape, device="meta").stride()
    return _conv_records(self, g, torch.as_strided(x, x.shape, strides), saved, layout)


_conv_records = convolution.ConvolutionLayer.records
_gaussian = NoiseSource.gaussian


def noise_times(factor: float) -> Any:
    return lambda self, size, sigma: factor * _gaussian(self, size, sigma=sigma)


FAULTS = [
    Fault(1, "a loss that is not one a row: nothing is clipped", "planted",
          "test_gradients::test_1_any_patient_moves_the_sum_by_at_most_the_clipping_norm",
          support.check_1_sensitivity,
          swap(clipped_gradients, "clip_weights", lambda n, c: torch.ones_like(n))),
    Fault(2, "noise draws and records of a patient are clipped apart", "planted",
          "test_gradients::test_3_many_draws_and_records_of_a_patient_move_the_sum_by_one_clipping_norm",
          support.check_3_multiplicity, swap(UnitGradients, "clipped_sum", rows_as_units)),
    Fault(3, "the Trainer iterates the records' own loader", "planted",
          "test_module::test_3_a_loader_of_the_trainers_own_is_refused", support.check_3_loader,
          several(swap(module, "check_loader", nothing),
                  swap(module.PrivateModule, "training_step", any_batch))),
    Fault(4, "Lightning stops at the approximate length of the loader", "planted",
          "test_module::test_8_each_logical_batch_is_one_noised_and_booked_step", support.check_8_steps,
          lambda: mock.patch.object(patient_sampling.PatientSampler, "__len__", four, create=True)),
    Fault(4, "a step holds a patient twice", "planted",
          "test_module::test_8_each_logical_batch_is_one_noised_and_booked_step", support.check_8_steps,
          swap(patient_sampling.LogicalBatch, "physical", some_twice)),
    Fault(5, "processes do not add up their sums: their weights diverge", "two processes",
          "test_distributed::test_9_the_sum_is_that_of_one_process_and_the_weights_have_the_same_bits"),
    Fault(6, "processes share patients", "two processes",
          "test_distributed::test_9_the_sum_is_that_of_one_process_and_the_weights_have_the_same_bits"),
    Fault(7, "equal seeds: the same mask in every process", "two processes",
          "test_distributed::test_9_one_mask_is_shared_out_and_shares_are_independent"),
    Fault(8, "a process drops its empty batches", "two processes",
          "test_distributed::test_9_an_empty_process_joins_every_step"),
    Fault(9, "physical batches are left over for the next step", "planted",
          "test_module::test_8_each_logical_batch_is_one_noised_and_booked_step", support.check_8_steps,
          swap(patient_sampling.LogicalBatch, "physical", stale_queue)),
    Fault(10, "a clipping norm that follows the data, one a process", "refused",
          "test_step_accounting::test_what_has_no_proof_here_cannot_be_asked_for",
          support.check_10_adaptive_clipping_is_refused),
    Fault(10, "noise of every process is added", "two processes",
          "test_distributed::test_9_noise_is_counted_once"),
    Fault(11, "batch statistics and buffers that data write pass the validator", "planted",
          "test_validator::test_layers_that_void_the_guarantee_are_refused_by_name_and_place",
          support.check_11_refused,
          several(swap(clipped_gradients, "check_module", nothing), swap(module, "check_batches", nothing),
                  swap(clipped_gradients, "buffers_stay", nothing_around))),
    Fault(12, "a patient that is not finite makes the model not finite", "planted",
          "test_gradients::test_units_that_are_not_finite_are_counted_and_leave_the_others_alone",
          support.check_1_sensitivity,
          several(swap(gradient_factors, "without", lambda t, drop: t),
                  swap(convolution, "without", lambda t, drop: t),
                  swap(clipped_gradients, "clip_weights", lambda n, c: c / n.clamp(min=c)))),
    Fault(13, "norms in bf16 under autocast", "planted",
          "test_gradients::test_1_norms_are_rounded_to_the_private_side_also_under_bf16",
          lambda: support.check_1_one_alone(autocast=True),
          several(swap(gradient_factors, "square_norm", square_norm_in_bf16),
                  swap(gradient_factors, "inner_products", inner_products_in_bf16))),
    Fault(14, "the sum is divided by the batch's own size", "planted",
          "test_module::test_11_one_patient_more_changes_no_public_number", support.check_11_public,
          several(swap(support.module_file.NoisySum, "add", counting_add),
                  swap(support.module_file.NoisySum, "release", by_its_own_size))),
    Fault(15, "a random patient replaces an empty batch", "planted",
          "test_module::test_8_steps_without_patients_are_steps", support.check_8_empty,
          swap(patient_sampling.PatientSampler, "draw", never_empty)),
    Fault(16, "a restart replays the noise", "planted",
          "test_module::test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts",
          support.check_7_noise,
          swap(NoiseSource, "system", staticmethod(lambda: NoiseSource.for_tests(0)))),
    Fault(16, "a restart forgets what was spent", "planted",
          "test_step_accounting::test_10_a_rollback_to_an_older_checkpoint_charges_both_branches",
          support.check_10_rollback,
          swap(step_accounting.LedgerBook, "resume", lambda self, step: self._note(step))),
    Fault(17, "a second optimizer trains parameters on data", "planted",
          "test_module::test_5_every_trainable_parameter_has_exactly_one_optimizer",
          support.check_5_optimizers,
          swap(module, "check_optimizers", nothing)),
    Fault(18, "channels_last inputs are read as if contiguous", "planted",
          "test_gradients::test_2_clipped_sum_equals_one_patient_at_a_time", support.check_2_oracle,
          several(swap(convolution.ConvolutionLayer, "prepare", lambda self, x: x),
                  swap(convolution.ConvolutionLayer, "records", as_if_contiguous))),
    Fault(19, "the gdp accountant: an epsilon below the true one", "planted",
          "test_step_accounting::test_13_the_plans_epsilon_is_opacus_prv_and_never_below_by_more_than_its_error",
          support.check_13_epsilon, swap(training_plan, "get_epsilon", lambda events, delta: 3.528)),
    Fault(20, "weighted sampling", "refused", "test_step_accounting::test_numbers_out_of_range_are_refused",
          support.check_20_weights_are_refused),
    Fault(0, "half the noise", "planted",
          "test_module::test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts",
          support.check_7_noise, swap(NoiseSource, "gaussian", noise_times(0.5))),
    Fault(0, "no noise", "planted",
          "test_module::test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts",
          support.check_7_noise, swap(NoiseSource, "gaussian", noise_times(0.0))),
]  # fmt: skip
