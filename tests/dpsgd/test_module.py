"""Tests 3, 5 to 8, 11 and 12 of the engine, on what Lightning's Trainer really does."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

from synthgen.dpsgd.module import fit
from synthgen.dpsgd.patient_sampling import Patients, PatientSampler, TensorRecords
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.privacy.noise import NoiseSource
from tests.support import dpsgd as support
from tests.support.dpsgd import C, Gan, Linear, gan_plan, patients, released

PLAN = TrainingPlan(1.0, 4, 1.0, C, 5.0)


def train(module, data=None, **options):
    return fit(module, data or patients(5), book=MemoryBook(module.plan), noise=NoiseSource.none(), **options)


def test_3_a_loader_of_the_trainers_own_is_refused():
    support.check_3_loader()


def test_5_nothing_but_the_noised_step_writes_the_state():
    support.check_5_state()


def test_5_every_trainable_parameter_has_exactly_one_optimizer():
    support.check_5_optimizers()


def test_6_masks_of_a_real_training_are_poisson_and_independent():
    support.check_6_sampler()


def test_6_the_sampler_check_rejects_fixed_sizes():
    class Shuffled(PatientSampler):
        def draw(self):
            return np.random.default_rng().permutation(40)[:2].astype(np.int64)

    keep = support.module_file.PatientSampler
    support.module_file.PatientSampler = Shuffled
    try:
        with pytest.raises(AssertionError):
            support.check_6_sampler()
    finally:
        support.module_file.PatientSampler = keep


def test_6_nothing_secret_can_be_written_or_shown(tmp_path):
    sampler = PatientSampler(3, rate=0.5, steps=2, noise=NoiseSource.system())
    with pytest.raises(TypeError, match="stay in its process"):
        pickle.dumps(sampler)
    batch = next(iter(sampler))
    assert repr(batch) == "LogicalBatch(step=0)"


def test_7_noise_has_the_stated_scale_and_is_white_over_steps_and_restarts():
    support.check_7_noise()


@pytest.mark.parametrize("max_physical_batch_size", [1, 3, 100])
def test_8_each_logical_batch_is_one_noised_and_booked_step(max_physical_batch_size):
    support.check_8_steps(max_physical_batch_size)


def test_8_steps_without_patients_are_steps():
    support.check_8_empty()


def test_8_fewer_batches_are_fewer_steps_and_never_more():
    module = Linear(PLAN)
    train(module, options={"limit_train_batches": 2})
    assert module.steps_done == 2
    module = Linear(PLAN)
    train(module, options={"max_epochs": 3})
    assert module.steps_done == 4


def test_8_an_exception_inside_a_step_leaves_it_booked_and_not_made():
    class Breaks(Linear):
        def losses(self, batch):
            if self.steps_done == 2:
                raise RuntimeError("broken")
            return super().losses(batch)

    module, book = Breaks(PLAN), MemoryBook(PLAN)
    with pytest.raises(RuntimeError, match="broken"):
        fit(module, patients(5), book=book, noise=NoiseSource.none())
    assert (module.steps_done, book.drawn) == (2, 3)
    assert module._training is None


def test_11_one_patient_more_changes_no_public_number():
    support.check_11_public()


def test_12_generator_and_average_see_no_record():
    support.check_12_gan()


def test_12_the_check_finds_a_generator_that_sees_records():
    class Leaks(Gan):
        def losses(self, batch):
            self.last = batch["x"]
            return super().losses(batch)

        def after_step(self):
            super().after_step()
            self.generator[2].bias.data += self.last.mean()

    keep = support.Gan
    support.Gan = Leaks
    try:
        with pytest.raises(AssertionError):
            support.check_12_gan()
    finally:
        support.Gan = keep


def test_12_a_pair_of_real_and_fake_moves_the_critic_by_one_clipping_norm():
    plan = gan_plan(steps=1, bound=1e-3)
    seen = released(plan, Gan(plan), patients(1, value=100.0))
    assert float(seen[0].norm()) <= 1e-3 / 5.0 * (1 + 1e-6)


def test_a_record_reaches_no_data_free_step():
    class Looks(Gan):
        def after_step(self):
            self._held()

    with pytest.raises(ValueError, match="begun by `fit`"):
        train(Looks(gan_plan()))


def test_a_physical_batch_is_a_matter_of_speed():
    weights = []
    for max_physical_batch_size in (1, 4, 50):
        module = Linear(PLAN, max_physical_batch_size=max_physical_batch_size)
        train(module, patients(9, value=3.0))
        weights.append(module.net.weight.detach().clone())
    for other in weights[1:]:
        assert torch.allclose(weights[0], other, rtol=1e-6)


def test_rows_of_a_patient_are_its_own_records_drawn_with_replacement():
    x = torch.arange(12.0)[:, None]
    data = Patients(TensorRecords({"x": x}), ["a"] * 3 + ["b"] + ["c"] * 8)
    index = data.draw(np.array([2, 0]), n_records=200, noise=NoiseSource.system())
    assert set(index[:, 0]) == set(range(4, 12))  # each missed with chance below 1e-10
    assert set(index[:, 1]) == {0, 1, 2}
    assert index.shape == (200, 2)


def test_the_average_follows_the_noised_weights():
    module = Linear(PLAN, ema_decay=0.5)
    train(module)
    weight = module.net.weight.detach()
    assert 0 < float((module.average["net.weight"] / weight)[0, 0]) < 1


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"precision": "16-mixed"}, "precision"),
        ({"precision": "bf16-true"}, "precision"),
        ({"callbacks": "early"}, "early stopping"),
        ({"callbacks": "best", "enable_checkpointing": True}, "monitored"),
    ],
)
def test_options_that_void_the_guarantee_are_refused(options, match):
    from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint

    made = {"early": [EarlyStopping("loss")], "best": [ModelCheckpoint(monitor="loss")]}
    if "callbacks" in options:
        options = {**options, "callbacks": made[options["callbacks"]]}
    with pytest.raises(ValueError, match=match):
        train(Linear(PLAN), options=options)


def test_bf16_trains_within_the_clipping_norm():
    plan = TrainingPlan(1.0, 1, 1.0, C, 1.0)
    seen = released(plan, Linear(plan), patients(1, value=77.7), options={"precision": "bf16-mixed"})
    assert C * 0.99 < float(seen[0].norm()) <= C


def test_minibatch_statistics_in_the_loss_are_refused_before_any_record_is_read():
    class Coupled(Linear):
        def losses(self, batch):
            scores = super().losses(batch)
            return scores - scores.mean()

    class Untouched(TensorRecords):
        def fetch(self, index):
            raise AssertionError("a record was read")

    with pytest.raises(ValueError, match="the loss"):
        train(Coupled(PLAN), Patients(Untouched({"x": torch.ones(5, 4)}), list("abcde")))


def test_batch_norm_is_refused_before_the_trainer_starts():
    class Normed(Linear):
        def private_model(self):
            return nn.Sequential(nn.BatchNorm1d(4, affine=False), self.net)

    with pytest.raises(ValueError, match="BatchNorm1d"):
        train(Normed(PLAN))
