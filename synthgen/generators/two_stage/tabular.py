"""What the deep table generators share: the budget split between a marginal model and DP-SGD.

A part of the budget buys a marginal model, whose samples are free to train on for ever. The rest buys
noised steps on patients, for what marginals cannot see.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pydantic import Field

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.generators.base import Progress, table_memory
from synthgen.generators.marginal import config
from synthgen.generators.marginal import mechanism as fitting
from synthgen.generators.marginal.fitted import FittedMarginal
from synthgen.generators.marginal.small_groups import Groups
from synthgen.generators.optional_packages import require
from synthgen.privacy.accountant import calibrate_rho, get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

if TYPE_CHECKING:
    import pandas as pd
    from dp_accounting.dp_event import DpEvent

    from synthgen.dpsgd.training_plan import TrainingPlan

LARGEST_RATE, MOST_RECORDS = 0.125, 2
N_DRAFTS = 200_000
SHARE_LARGE, SHARE_SMALL = 0.3, 0.7
"""Measured with `diffusion` on adult at epsilon 10, tvd2 and AUC (logistic / boosting): .1 gives .0265 and
.902 / .913 (two fits), .3 gives .0252 and .901 / .913 (three); `marginal`, with the whole budget, .0240 and
.902 / .913."""


class TwoStageSettings(Settings):
    """Settings of a generator that starts from a marginal model. All are public; none looks at the data.

    Attributes:
        share: part of the budget's rho for the marginal model. None follows a public rule: `SHARE_LARGE`
            where the whole rho is at least `tabular_marginal.LARGE_RHO`, else `SHARE_SMALL`.
        groups: a part of the marginal model's rho for small groups, as for `marginal`.
        steps: noised steps.
        batch: patients that a step draws on average, at most; a small cohort draws an eighth of itself.
        draws: noise draws of each record in a step, averaged inside the patient.
        ema_decay: what the average of the weights keeps in a step.
        width: width of the networks.
        pretraining: steps on the marginal model's samples; free.
        seed: of initial weights, of pretraining, and of what sees no record.
    """

    name: str
    share: float | None = Field(default=None, gt=0, lt=1)
    groups: Groups | None = None
    steps: int = Field(default=150, ge=1, le=100_000)
    batch: int = Field(default=2048, ge=1, le=2**20)
    draws: int = Field(default=2, ge=1, le=64)
    ema_decay: float = Field(default=0.95, ge=0, lt=1)
    width: int = Field(default=128, ge=8, le=4096)
    pretraining: int = Field(default=1000, ge=0, le=1_000_000)
    seed: int = 0

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: the table twice, torch and a network."""
        return 2.0 * table_memory(schema, patients) + 0.9

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts.

        Guarantee:
            A marginal model and noised steps that together cost at most ``epsilon``: the event is the
            composition of one zCDP event and the steps' Poisson-sampled Gaussians.

        Args:
            schema: the table's public description.
            epsilon: target, at ``delta``.
            delta: probability of failure.
            patients: public number of patients that will train.

        Raises:
            ValueError: a number is out of range.
            ConfigError: the packages that train are not installed.
        """
        from dp_accounting import dp_event

        require(self.name, "torch", "pytorch_lightning")
        whole = calibrate_rho(epsilon, delta)
        share = self.share or (SHARE_LARGE if whole >= config.LARGE_RHO else SHARE_SMALL)
        paid = dp_event.ZCDpEvent(whole * share)
        steps = calibrate_dpsgd(
            paid, schema, self, epsilon=epsilon, delta=delta, patients=patients, max_grad_norm=1.0
        )
        numbers = config.Config(groups=self.groups).numbers(schema, paid.rho, patients)
        return PrivacyPlan(
            generator=self.name,
            unit=schema.unit.level,
            max_records=schema.unit.max_records,
            epsilon=epsilon,
            delta=delta,
            patients=patients,
            event=dp_event.ComposedDpEvent([paid, steps.event]),
            parameters={"marginal": numbers, "training": steps.to_json()},
            stages=(
                *(replace(s, share=s.share * share) for s in config.stages_of(numbers, delta)),
                steps_stage(steps, share=1.0 - share, delta=delta),
            ),
        )


class StepSettings(Protocol):
    """What a generator with noised steps lets its user choose."""

    @property
    def steps(self) -> int:
        """Noised steps."""
        ...

    @property
    def batch(self) -> int:
        """Patients that a step draws on average, at most."""
        ...

    @property
    def draws(self) -> int:
        """Noise draws of each record in a step."""
        ...


def calibrate_dpsgd(
    paid: DpEvent,
    schema: Schema,
    settings: StepSettings,
    *,
    epsilon: float,
    delta: float,
    patients: int,
    max_grad_norm: float,
) -> TrainingPlan:
    """Return the noised steps that, with what stands beside them, cost at most ``epsilon``.

    Args:
        paid: what else the same epsilon pays for.
        schema: the cohort's public description.
        settings: steps, patients a step at most, and noise draws a record.
        epsilon: of both together, at ``delta``.
        delta: probability of failure.
        patients: public number of patients that will train.
        max_grad_norm: L2 norm that a patient's gradient is clipped to.

    Raises:
        ValueError: a number is out of range.
    """
    from synthgen.dpsgd.training_plan import TrainingPlan

    records = min(schema.unit.max_records, MOST_RECORDS)
    return TrainingPlan.calibrate(
        patients=patients,
        expected_batch_size=max(1.0, min(float(settings.batch), LARGEST_RATE * patients)),
        steps=settings.steps,
        epsilon=epsilon,
        delta=delta,
        max_grad_norm=max_grad_norm,
        augmult=records * settings.draws,
        records_per_unit=records,
        beside=[paid],
    )


def steps_stage(steps: TrainingPlan, *, share: float, delta: float) -> Stage:
    """Return the noised steps for the reader; their noise is a gradient's, not a count's."""
    detail = (
        f"{steps.steps} steps of {steps.expected_batch_size:.0f} patients on average, "
        f"noise multiplier {steps.noise_multiplier:.3f}"
    )
    return Stage("noised steps", get_epsilon([steps.event], delta), share, None, detail)


def start(data: RealTable, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress) -> FittedMarginal:
    """Spend the plan's first part: the marginal model."""
    numbers: Mapping[str, Any] = plan.parameters["marginal"]
    iterations = config.Config().iterations
    return fitting.fit(
        data,
        numbers,
        noise=noise,
        iterations=iterations,
        progress=lambda what, done: progress(f"marginal model: {what}", 0.3 * done),
    )


def stacked(warm: FittedMarginal, coarse: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return coarse cells as "record column"."""
    return np.stack([np.asarray(coarse[name], dtype=np.int64) for name in warm.merging], axis=1)


def drafts_of(warm: FittedMarginal, seed: int) -> np.ndarray:
    """Return records of the marginal model to train on, "record column"."""
    return stacked(warm, warm.draw(N_DRAFTS, rng=np.random.default_rng(seed), held={}))


def training_of(plan: PrivacyPlan) -> TrainingPlan:
    """Return the plan's noised steps."""
    from synthgen.dpsgd.training_plan import TrainingPlan

    return TrainingPlan.from_json(plan.parameters["training"])


@dataclass(frozen=True)
class TwoStageModel(ABC):
    """A marginal model whose records a network changes. Publishable.

    Attributes:
        warm: the marginal model, where draws start.
    """

    warm: FittedMarginal

    @abstractmethod
    def change(self, cells: np.ndarray, free: list[int], *, rng: np.random.Generator) -> None:
        """Change drafts in place, in the free columns alone.

        Args:
            cells: coarse cells, "record column".
            free: numbers of the columns that no condition and no evidence holds.
            rng: open randomness.
        """

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticTable:
        """Draw records. Post-processing: may be called for ever.

        Args:
            n_records: records to draw, 0 or more.
            rng: open randomness; the same state gives the same records on the same machine.
            where: conditions, as `FittedMarginal.sample` takes them; each record keeps to them exactly, and
                no held column is changed.

        Raises:
            ConfigError: a condition names an unknown column or value, or one without any chance.
        """
        held = self.warm.held(where or {})
        drafts = self.warm.draw(n_records, rng=rng, held=held)
        return self.warm.decode(self._changed(drafts, held, rng), rng=rng, held=held)

    def sample_given(self, evidence: pd.DataFrame, *, rng: np.random.Generator) -> SyntheticTable:
        """Draw one record for each row of ``evidence``, whose columns it keeps exactly. Post-processing.

        Args:
            evidence: canonical values of some columns; the draft of the others follows them.
            rng: open randomness; the same state gives the same records on the same machine.
        """
        drafts = self.warm.draw_given(evidence, rng=rng)
        return self.warm.decode_given(self._changed(drafts, evidence, rng), evidence, rng=rng)

    def _changed(
        self, drafts: Mapping[str, np.ndarray], held: Container[str], rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        cells, names = stacked(self.warm, drafts), list(self.warm.merging)
        self.change(cells, [i for i, name in enumerate(names) if name not in held], rng=rng)
        return {name: cells[:, i] for i, name in enumerate(names)}
