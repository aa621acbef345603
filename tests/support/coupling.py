"""Every deep generator's private module on a few patients; its step's mean with and without one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.module import PrivateModule
from synthgen.dpsgd.random_draws import KEYS, Draws, drawing_from, open_generator
from synthgen.dpsgd.row_independence import company
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.imaging.diffusion import denoiser as _image_denoiser
from synthgen.generators.imaging.gan import critic as _image_critic
from synthgen.generators.imaging.gan import refiner as image_refiner
from synthgen.generators.tabular.diffusion import denoiser as _denoiser
from synthgen.generators.tabular.gan import refiner as _refiner

CLIP = 0.01
SIZES = (5, 2, 3)


def plan_of(rows: int, **numbers: Any) -> TrainingPlan:
    given = {"sample_rate": 1.0, "steps": 1, "noise_multiplier": 1.0, "max_grad_norm": CLIP}
    return TrainingPlan(**{**given, "expected_batch_size": 5.0, "augmult": rows, **numbers})


def denoiser(plan: TrainingPlan) -> PrivateModule:
    net = _denoiser.Denoiser(SIZES, width=16, blocks=1)
    torch.nn.init.normal_(net.head.weight, std=1.0)
    return _denoiser.DenoiserTraining(net, [1], plan, learning_rate=0.1, ema_decay=0.0)


def refiner(plan: TrainingPlan) -> PrivateModule:
    drafts = torch.stack([torch.arange(40) % size for size in SIZES], dim=1)
    generator = _refiner.Generator(SIZES, width=8)
    judge = _refiner.Pairs(_refiner.critic(SIZES, width=8))
    return _refiner.RefinerTraining(
        generator, judge, drafts, plan, learning_rates=(0.1, 1e-3), ema_decay=0.0, critic_steps=1,
        generator_steps=1, seed=0,
    )  # fmt: skip


def image_denoiser(plan: TrainingPlan) -> PrivateModule:
    net = _image_denoiser.ImageDenoiser(channels=1, size=8, classes=2, guides=1, width=8)
    return _image_denoiser.ImageTraining(
        net, plan, learning_rate=1e-3, ema_decay=0.0, highest=2.0, dropout=0.3
    )


def image_critic(plan: TrainingPlan) -> PrivateModule:
    generator = image_refiner.Refiner(channels=1, size=8, width=8, strength=0.2)
    critic = image_refiner.Critic(channels=1, size=8, classes=2, guides=1, width=4)
    images = torch.randn(30, 1, 8, 8, generator=open_generator(5))
    shown = _image_critic.Shown(images, torch.arange(30) % 2, torch.zeros(30, 1))
    return _image_critic.CriticTraining(
        generator, critic, shown, plan, _image_critic.Kept(1.0, 0.0, np.zeros(4)), rates=(1e-3, 1e-3),
        ema_decay=0.0, critic_steps=1, generator_steps=1, batch=8, seed=0,
    )  # fmt: skip


MODULES: dict[str, Callable[[TrainingPlan], PrivateModule]] = {
    "DenoiserTraining": denoiser,
    "RefinerTraining": refiner,
    "ImageTraining": image_denoiser,
    "CriticTraining": image_critic,
}


def module_of(name: str, rows: int, *, seed: int = 0, **numbers: Any) -> PrivateModule:
    with drawing_from(open_generator(seed)):
        return MODULES[name](plan_of(rows, **numbers))


def rows_of(name: str, n_units: int, rows: int, *, seed: int = 0) -> dict[str, Tensor]:
    """Return one record of each patient in all of its rows, and keys."""
    source = open_generator(seed)
    if name in ("DenoiserTraining", "RefinerTraining"):
        cells = [torch.randint(size, (n_units,), generator=source) for size in SIZES]
        records = {"cells": torch.stack(cells, dim=1)}
    else:
        records = {
            "images": torch.randn(n_units, 1, 8, 8, generator=source),
            "classes": torch.randint(2, (n_units,), generator=source),
            "guides": torch.rand(n_units, 1, generator=source),
        }
    found = {key: t.repeat(rows, *[1] * (t.dim() - 1)) for key, t in records.items()}
    return {**found, KEYS: torch.randint(2**62, (n_units,), generator=source)}


def clipped(module: PrivateModule, batch: Any) -> Tensor:
    found = UnitGradients(module.private_model()).clipped_sum(
        lambda: module.losses(batch),
        n_units=len(batch[KEYS]),
        augmult=module.plan.augmult,
        max_grad_norm=CLIP,
    )
    return torch.cat([g.flatten() for g in found.sums.values()])


def mean_move(module: PrivateModule, batch: Any, gone: int, *, times: int) -> Tensor:
    """Return the mean over the step's own draws of the sum with all patients, less that without one."""
    n_units = len(batch[KEYS])
    others = [unit for unit in range(n_units) if unit != gone]
    total: Any = 0
    for turn in range(times):
        keys = torch.randint(2**62, (n_units,), generator=open_generator(turn))
        now = {**batch, KEYS: keys}
        total = total + clipped(module, now) - clipped(module, company(now, others, n_units))
    return total / times


def masks_by_halves_of_the_batch(draws: Draws, n_columns: int, labels: Sequence[int]) -> Tensor:
    """What `masks` was: the first half of the batch's rows gets label masks, whoever they belong to."""
    hidden = draws.uniform(n_columns) < draws.uniform(1)
    hidden |= functional.one_hot(draws.below(n_columns), n_columns).bool()
    half = draws.n_rows // 2
    which = torch.tensor(list(labels))[draws.below(len(labels))][:half]
    hidden[:half] = functional.one_hot(which, n_columns).bool()
    return hidden


@contextmanager
def old_masks() -> Iterator[None]:
    with mock.patch.object(_denoiser, "masks", masks_by_halves_of_the_batch):
        yield
