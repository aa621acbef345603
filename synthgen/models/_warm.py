"""What the deep table generators share: the budget split between a marginal model and DP-SGD.

A part of the budget buys a marginal model, whose samples are free to train on for ever. The rest buys
noised steps on patients, for what marginals cannot see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.models import _marginal_fit as fitting
from synthgen.models import tabular_marginal
from synthgen.models._base import Progress
from synthgen.models._extras import require
from synthgen.models._fitted import FittedMarginal
from synthgen.privacy.accountant import calibrate_noise, calibrate_rho, epsilon_of
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.records import RealTable
from synthgen.schema import Schema

if TYPE_CHECKING:
    from synthgen.train.module import PrivateModule
    from synthgen.train.plan import TrainingPlan
    from synthgen.train.units import Records

LARGEST_RATE = 0.125
SHARE_LARGE, SHARE_SMALL = 0.3, 0.7
"""Measured with `diffusion` on adult at epsilon 10, tvd2 and AUC (logistic / boosting): .1 gives .0265 and
.902 / .913, .3 gives .0252 and .901 / .913; `marginal`, with the whole budget, .0239 and .901 / .912."""


@dataclass(frozen=True)
class Split:
    """How a deep generator's budget is split.

    Attributes:
        share: part of the whole budget's rho that the marginal model gets.
        steps: noised steps.
        batch: patients that a step draws on average, at most; a small cohort draws an eighth of itself.
        draws: noise draws of each record in a step, averaged inside the patient.
        records: records of a patient in a step, at most.
    """

    share: float
    steps: int
    batch: int
    draws: int
    records: int = 2


def plan_of(
    generator: str, schema: Schema, split: Split, *, epsilon: float, delta: float, patients: int
) -> PrivacyPlan:
    """Return the plan of a marginal model and DP-SGD steps that together cost at most ``epsilon``.

    Guarantee:
        The event is the composition of one zCDP event and the steps' Poisson-sampled Gaussians.

    Args:
        generator: key of the generator.
        schema: the table's public description.
        split: the public split.
        epsilon: target, at ``delta``.
        delta: probability of failure.
        patients: public number of patients that will train.

    Raises:
        ValueError: a number is out of range.
        ConfigError: the packages that train are not installed; said before anything is reserved.
    """
    from dp_accounting import dp_event

    from synthgen.train.plan import TrainingPlan

    require(generator, "torch", "pytorch_lightning")
    rho = calibrate_rho(epsilon, delta) * split.share
    paid = dp_event.ZCDpEvent(rho)
    records = min(schema.unit.max_records, split.records)
    units = max(1.0, min(float(split.batch), LARGEST_RATE * patients))

    def training(noise: float) -> TrainingPlan:
        rate = min(1.0, units / patients)
        return TrainingPlan(rate, split.steps, noise, 1.0, units, records * split.draws, records)

    def event(noise: float) -> dp_event.DpEvent:
        return dp_event.ComposedDpEvent([paid, training(noise).event])

    noise = calibrate_noise(event, epsilon=epsilon, delta=delta)
    steps = training(noise)
    numbers = tabular_marginal.Config().numbers(schema, rho, patients)
    return PrivacyPlan(
        generator=generator,
        unit=schema.unit.level,
        max_records=schema.unit.max_records,
        epsilon=epsilon,
        delta=delta,
        patients=patients,
        event=event(noise),
        parameters={"marginal": numbers, "training": steps.to_json()},
        stages=(
            *(replace(s, share=s.share * split.share) for s in tabular_marginal.stages_of(numbers, delta)),
            Stage(
                "noised steps",
                epsilon_of([steps.event], delta),
                1.0 - split.share,
                None,  # of a gradient, not of a count of patients
                f"{split.steps} steps of {units:.0f} patients on average, noise multiplier {noise:.3f}",
            ),
        ),
    )


def start(data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, tell: Progress) -> FittedMarginal:
    """Spend the plan's first part: the marginal model."""
    numbers: Mapping[str, Any] = plan.parameters["marginal"]
    iterations = tabular_marginal.Config().iterations
    return fitting.fit(
        data,
        numbers,
        noise=noise,
        iterations=iterations,
        progress=lambda what, done: tell(f"marginal model: {what}", 0.3 * done),
    )


def stacked(warm: FittedMarginal, coarse: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return coarse cells as "record column"."""
    return np.stack([np.asarray(coarse[name], dtype=np.int64) for name in warm.merging], axis=1)


def training_of(plan: PrivacyPlan) -> TrainingPlan:
    """Return the plan's noised steps."""
    from synthgen.train.plan import TrainingPlan

    return TrainingPlan.from_json(plan.parameters["training"])


def share_of(share: float | None, epsilon: float, delta: float) -> float:
    """Return the marginal model's share: the one asked for, or by the public rule."""
    if share is not None:
        return share
    return SHARE_LARGE if calibrate_rho(epsilon, delta) >= tabular_marginal.LARGE_RHO else SHARE_SMALL


def train(
    module: PrivateModule, records: Records, data: RealTable, *, noise: NoiseSource, tell: Progress
) -> None:
    """Spend the plan's steps; the module's weights become their running average, if it keeps one.

    The whole plan is reserved before any record is read, and a crash keeps it, so steps are counted in
    memory: a training that stops is charged in full.
    """
    import torch

    from synthgen.train.module import fit
    from synthgen.train.steps import MemoryBook
    from synthgen.train.units import Patients

    book = MemoryBook(module.plan)
    fit(module, Patients(records, data.units), book=book, noise=noise, options={"accelerator": "cpu"})
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(module.average.get(name, parameter))
    module.eval()
