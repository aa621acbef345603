"""What the deep image generators share: what is bought before patients are met by noised steps.

The lowest cosines of each class (`imaging_embedding`) are the drafts; patients vote for the phantoms most
like their images (`private_evolution`), and a few noisy histograms say how sharp images are
(`power_spectrum`) and how often each brightness occurs (`intensity_histogram`). All of it may be trained on
for ever; the rest of the budget buys noised steps, for what it cannot hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import Field, model_validator

from synthgen import phantoms
from synthgen.data.images import RealImages, SyntheticImages, from_intensities, intensities
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError
from synthgen.generators.attributes import ImagingSettings, fit_attributes, with_attributes
from synthgen.generators.base import Progress, TableModel, image_memory
from synthgen.generators.device import Device, device_of
from synthgen.generators.embedding import config as imaging_embedding
from synthgen.generators.embedding import mechanism as embedding_fit
from synthgen.generators.embedding.fitted import FittedEmbedding
from synthgen.generators.image_statistics import intensity_histogram, power_spectrum, private_evolution
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.image_statistics.private_evolution import RENDERED_PIXELS, SelectedPhantoms
from synthgen.generators.optional_packages import require
from synthgen.generators.two_stage.tabular import calibrate_dpsgd, steps_stage
from synthgen.privacy.accountant import calibrate_rho, epsilon_of_rho, get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.dpsgd.training_plan import TrainingPlan

CLIP = 0.01
"""Far below a gradient's length, so that every patient weighs alike; Adam takes its scale out again."""
LEAST_DRAFTS = 0.01
REFILL = 0.3
"""Half of what an embedding alone fills in; the network draws the rest. With `diffusion` on PneumoniaMNIST at
epsilon 10: AUC .933 and coverage .51 beside .918 and .45 with all of it."""
TRIAL = 1000
MEMORY = {"phantom": 420.0, "pool": 7000 * 20.0, "network": 0.6 * 2**30}
"""Bytes of a rendered pixel of a phantom while it is drawn, of a pixel of the images of pretraining in all
copies, and of the network in training at 32 channels. Estimates: the first from the sizes of the arrays, the
others rounded up from a whole run at 28 pixels (1.26 GiB) and the network alone at 128 (0.94 GiB)."""


class ImagingTwoStageSettings(ImagingSettings):
    """Settings of an image generator that starts from paid drafts. All are public; none looks at the data.

    Attributes:
        prior: families of phantoms (`synthgen.phantoms`), declared public; patients' votes choose among them.
        share_votes: part of the pixels' rho for the votes; at 0 nobody is asked and all phantoms count alike.
        share_spectrum: part for how sharp images are; at 0 nobody is asked and nothing is filtered.
        share_brightness: part for how often each brightness occurs; at 0, or where noise would hide it,
            nobody is asked and brightness stays as drawn.
        share_steps: part for the noised steps; the rest buys the drafts. With votes and steps at .1 each, .2
            each and .05 each on PneumoniaMNIST at epsilon 10: `diffusion` (three fits) AUC .954, .951, .948
            and coverage .499, .464, .473; `gan` (five fits) at .1 and .2 each AUC .961, .959 and kernel
            distance .151, .179.
        steps: noised steps.
        batch: patients that a step draws on average, at most; a small cohort draws an eighth of itself.
        draws: noise draws of each record in a step, averaged inside the patient.
        ema_decay: what the average of the weights keeps in a step.
        width: channels of the network's finest layer.
        pretraining: steps on phantoms and drafts; free.
        strength: noise that a draft gets, over intensities from -1 to 1; 5 and more leave nothing of it.
        device: where the networks train; ``auto`` is a CUDA device where there is one. Images are drawn on
            such a device wherever there is one.
        seed: of initial weights, of pretraining, and of what sees no record.
    """

    name: str
    prior: list[str] = Field(default_factory=lambda: ["chest", "leaves"], min_length=1)
    share_votes: float = Field(default=0.1, ge=0, lt=1)
    share_spectrum: float = Field(default=0.03, ge=0, lt=1)
    share_brightness: float = Field(default=0.03, ge=0, lt=1)
    share_steps: float = Field(default=0.1, gt=0, lt=1)
    steps: int = Field(default=40, ge=1, le=1_000_000)
    batch: int = Field(default=512, ge=1, le=2**20)
    draws: int = Field(default=2, ge=1, le=64)
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    width: int = Field(default=32, ge=8, le=1024, multiple_of=8)
    pretraining: int = Field(default=400, ge=0, le=10_000_000)
    strength: float = Field(default=0.06, ge=0.02, le=80)
    device: Device = "auto"
    seed: int = 0

    @model_validator(mode="after")
    def _agree(self) -> ImagingTwoStageSettings:
        shares = (self.share_votes, self.share_spectrum, self.share_brightness, self.share_steps)
        if sum(shares) > 1.0 - LEAST_DRAFTS:
            raise ValueError(
                "share_votes + share_spectrum + share_brightness + share_steps must leave"
                f" {LEAST_DRAFTS} for the drafts"
            )
        unknown = sorted(set(self.prior) - set(phantoms.names()))
        if unknown:
            raise ValueError(f"prior: expected some of {phantoms.names()}, got others")
        return self

    def packages(self) -> tuple[str, ...]:
        """Return the packages that training needs."""
        return ("torch", "pytorch_lightning")

    def further(self, *, rho: float, patients: int) -> dict[str, Any]:
        """Return the plan's parameters that only this generator has: public, JSON values."""
        return {}

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: `MEMORY` says what for."""
        if schema.images is None or schema.images.size is None:
            return 0.0
        channels, size, _ = schema.images.shape
        phantoms_at_once = min(4000 * size**2, RENDERED_PIXELS)
        drawn, pool = phantoms_at_once * MEMORY["phantom"], MEMORY["pool"] * channels * size**2
        network = MEMORY["network"] * (self.width / 32) * (1.0 + channels * (size / 16) ** 2 / 64)
        return image_memory(schema, patients, fit=max(drawn, pool + network) / 2**30)

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts.

        Guarantee:
            Attributes, drafts, votes, spectrum and brightness, each zCDP, composed with the noised steps'
            Poisson-sampled Gaussians, cost at most ``epsilon``.

        Args:
            schema: the cohort's public description, with its images' form and size.
            epsilon: target, at ``delta``.
            delta: probability of failure.
            patients: public number of patients that will train.

        Raises:
            ValueError: ``epsilon`` or ``delta`` is out of range.
            ConfigError: the schema declares no images, or packages or the device are not there.
        """
        require(self.name, *self.packages())
        if self.device == "cuda":
            device_of(self.device)
        if schema.images is None or schema.images.size is None:
            raise ConfigError(
                "Expected a schema that declares images and their size, got none.", where="schema"
            )

        def pixels(left: float) -> PrivacyPlan:
            return self._pixels(schema, epsilon=left, delta=delta, patients=patients)

        return with_attributes(self, schema, pixels, epsilon=epsilon, delta=delta, patients=patients)

    def _pixels(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        from dp_accounting import dp_event

        rho = calibrate_rho(epsilon, delta)
        conditioning = Conditioning.of(schema)
        cells = intensity_histogram.n_cells(rho * self.share_brightness, patients)
        bright = self.share_brightness if cells else 0.0
        parts = {"votes": rho * self.share_votes, "spectrum": rho * self.share_spectrum}
        parts["brightness"] = rho * bright
        left = 1.0 - self.share_votes - self.share_spectrum - bright - self.share_steps
        drafts = imaging_embedding.Config(
            attributes=self.attributes, refill=REFILL, share_brightness=0.0
        ).pixels_plan(schema, epsilon=epsilon_of_rho(rho * left, delta), delta=delta, patients=patients)
        parts["drafts"] = float(drafts.parameters["rho_pixels"])
        paid = dp_event.ZCDpEvent(sum(parts.values()))
        steps = calibrate_dpsgd(
            paid, schema, self, epsilon=epsilon, delta=delta, patients=patients, max_grad_norm=CLIP
        )
        votes = private_evolution.numbers_of(
            parts["votes"], patients, conditioning.n_classes, list(self.prior)
        )
        return PrivacyPlan(
            generator=self.name,
            unit=schema.unit.level,
            max_records=schema.unit.max_records,
            epsilon=epsilon,
            delta=delta,
            patients=patients,
            event=dp_event.ComposedDpEvent([paid, steps.event]),
            parameters={
                "drafts": dict(drafts.parameters),
                "votes": votes,
                "spectrum": {"rho": parts["spectrum"]},
                "brightness": {"rho": parts["brightness"], "cells": cells},
                "training": steps.to_json(),
                **self.further(rho=rho, patients=patients),
            },
            stages=self._stages(drafts, parts, votes, steps, rho, delta),
        )

    def _stages(
        self,
        drafts: PrivacyPlan,
        parts: Mapping[str, float],
        votes: Mapping[str, Any],
        steps: TrainingPlan,
        rho: float,
        delta: float,
    ) -> tuple[Stage, ...]:
        from dp_accounting import dp_event

        def stage(name: str, key: str, releases: int, detail: str) -> Stage:
            spent = get_epsilon([dp_event.ZCDpEvent(parts[key])], delta)
            return Stage(name, spent, parts[key] / rho, (releases / (2.0 * parts[key])) ** 0.5, detail)

        share = parts["drafts"] / rho
        told = [replace(s, name=f"drafts: {s.name}", share=s.share * share) for s in drafts.stages]
        rings = power_spectrum.Bands(int(drafts.parameters["size"])).number
        if votes["rho"]:
            shown = f"{votes['candidates']} phantoms a class, {votes['rounds']} rounds"
            told.append(stage("votes", "votes", votes["rounds"], shown))
        if parts["spectrum"]:
            told.append(stage("spectrum", "spectrum", max(rings, 1), "how sharp images are"))
        if parts["brightness"]:
            told.append(stage("brightness", "brightness", 1, "how often each brightness occurs"))
        told.append(steps_stage(steps, share=self.share_steps, delta=delta))
        return tuple(told)


def counted(progress: Progress, stage: str, steps: int) -> Callable[[int], None]:
    """Return what reports how many steps of a stage are done, from which rate and time left follow."""

    def report(done: int) -> None:
        progress(f"{stage}: {done:,} of {steps:,} steps", done / max(steps, 1))

    return report


@dataclass(frozen=True)
class ImageStatistics:
    """What stands before the noised steps. Publishable.

    Attributes:
        drafts: the embedding, attributes included.
        voted: phantoms, by class.
        sharp: mean logarithm of each ring's power, NaN where noise hides it.
        bright: how often each brightness occurs, " cell".
    """

    drafts: FittedEmbedding
    voted: SelectedPhantoms
    sharp: np.ndarray
    bright: np.ndarray

    @property
    def unadjusted(self) -> tuple[np.ndarray, np.ndarray]:
        """Gains and a curve that leave images as they are."""
        return np.ones(len(self.sharp)), intensity_histogram.IDENTITY


def buy(
    config: ImagingTwoStageSettings,
    data: RealImages,
    plan: PrivacyPlan,
    *,
    noise: NoiseSource,
    progress: Progress,
) -> ImageStatistics:
    """Spend all of the plan but the noised steps.

    Guarantee:
        The attributes' event, and the rho of drafts, votes, spectrum and brightness.

    Args:
        config: the generator's settings.
        data: the training images. Sensitive.
        plan: what `ImagingTwoStageSettings.plan` returned for the same schema.
        noise: source of the noise.
        progress: called with what is being done and the part done, from 0 to 1.
    """
    numbers: Mapping[str, Any] = plan.parameters
    table = fit_attributes(
        config, data, plan, noise=noise, progress=lambda what, done: progress(f"attributes: {what}", done)
    )
    progress("drafts", 0.0)
    learnt = embedding_fit.learn(data, numbers["drafts"], noise=noise)
    kept = ("channels", "size", "cosines", "power", "cells", "refill", "augment")
    drawn = {key: numbers["drafts"][key] for key in kept}
    drafts = FittedEmbedding(data.schema, table, str(config.attributes["name"]), drawn, learnt)
    rounds = counted(progress, "votes", int(numbers["votes"]["rounds"]))
    voted = private_evolution.vote(data, numbers["votes"], noise=noise, seed=config.seed, progress=rounds)
    progress("sharpness and brightness", 0.0)
    sharp = power_spectrum.measure(data, rho=numbers["spectrum"]["rho"], noise=noise)
    asked = numbers["brightness"]
    bright = intensity_histogram.measure(data, rho=asked["rho"], cells=asked["cells"], noise=noise)
    return ImageStatistics(drafts, voted, sharp, bright)


@dataclass(frozen=True)
class ImagingTwoStageModel(ABC):
    """Paid drafts and what makes them images. Publishable.

    Attributes:
        drafts: the embedding, attributes included.
        gains: of each ring of frequencies, for what is drawn.
        curve: of brightness, thereafter.
    """

    drafts: FittedEmbedding
    gains: np.ndarray
    curve: np.ndarray

    @property
    def schema(self) -> Schema:
        """The cohort's public description."""
        return self.drafts.schema

    @property
    def attributes(self) -> TableModel:
        """What draws the attributes."""
        return self.drafts.attributes

    @abstractmethod
    def finished(self, drafts: np.ndarray, table: SyntheticTable, *, rng: np.random.Generator) -> np.ndarray:
        """Return drafts as the network leaves them, unfiltered intensities."""

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then images. See `synthgen.generators.base.ImageModel`."""
        return self.render(self.attributes.sample(n_records, rng=rng, where=where), rng=rng)

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table. Post-processing: may be called for ever.

        Args:
            table: synthetic attributes.
            rng: open randomness; the same state gives the same pixels on the same machine.
        """
        draft = self.drafts.render(table, rng=rng)
        images = self.finished(intensities(draft.pixels, self.schema), table, rng=rng)
        filtered = power_spectrum.Bands(images.shape[-1]).filtered(images, self.gains)
        toned = intensity_histogram.toned(filtered, self.curve)
        return replace(draft, pixels=from_intensities(toned, self.schema))

    def adjusted(self, bought: ImageStatistics, *, power: float, rng: np.random.Generator) -> Self:
        """Return the model with the gains and the curve that bring its draws to what was paid for.

        Args:
            bought: the paid spectrum and brightness.
            power: how far the spectrum is gone to, on a logarithmic scale.
            rng: draws trial images.
        """
        trial = self.attributes.sample(TRIAL, rng=rng)
        draft = self.drafts.render(trial, rng=rng)
        images = self.finished(intensities(draft.pixels, self.schema), trial, rng=rng)
        bands = power_spectrum.Bands(images.shape[-1])
        gains = bands.gains(np.clip(images, 0, 1), bought.sharp) ** power
        curve = intensity_histogram.curve(bands.filtered(images, gains), bought.bright)
        return replace(self, gains=gains, curve=curve)
