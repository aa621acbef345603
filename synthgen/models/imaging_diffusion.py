"""Diffusion over images: paid drafts, made sharp by a denoiser that knows anatomy and met patients by DP-SGD.

Attributes come from a table generator; pixels are drawn given them:

1. `imaging_embedding` buys the lowest cosines of each class with its share: the drafts;
2. patients vote for the phantoms that are most like their images (`_votes`), and a few noisy histograms say
   how sharp images are (`_spectrum`);
3. a denoiser (`_image_denoiser`) is trained, for free, on the voted phantoms, at high noise on drafts too;
4. the rest of the budget trains it on patients: Poisson-sampled patients, several noise levels a record
   averaged inside the patient, one clip, one noise a step, label dropout, an average of the weights;
5. a draft gets noise and loses it again (Meng et al. 2022, arXiv:2108.01073), so that what was paid for as
   statistics stays, and what statistics cannot hold, borders, ribs, texture, is drawn.

EDM: Karras et al. (2022), arXiv:2206.00364. Free pretraining: Li et al., DP-FETA, and arXiv:2412.09842.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from synthgen import phantoms
from synthgen.errors import ConfigError
from synthgen.image_records import RealImages, SyntheticImages, from_intensities, intensities
from synthgen.models import _embedding as embedding
from synthgen.models import _spectrum, _votes, imaging_embedding
from synthgen.models._base import Progress, TableModel
from synthgen.models._conditioning import Conditioning
from synthgen.models._device import Device, device_of
from synthgen.models._embedding import FittedEmbedding
from synthgen.models._extras import require
from synthgen.models._imaging import ImagingSettings, with_attributes
from synthgen.models._warm import steps_beside, steps_stage
from synthgen.privacy.accountant import calibrate_rho, epsilon_of, epsilon_of_rho
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.records import SyntheticTable
from synthgen.schema import Schema

if TYPE_CHECKING:
    from synthgen.models._image_denoiser import ImageDenoiser
    from synthgen.train.plan import TrainingPlan

__all__ = ["Config", "Fitted", "load"]
WEIGHTS, META = "denoiser.safetensors", "denoiser.json"
DRAFTS, TRIAL = 4000, 1000
PHANTOMS = 3  # parts of a pretraining batch that are phantoms, of four
SIGNAL_ALL = 60_000.0
LEAST_DRAFTS = 0.01
REFILL = 0.3
"""Half of what an embedding alone fills in; the denoiser draws the rest. On PneumoniaMNIST at epsilon
10: AUC .933 and coverage .51 beside .918 and .45 with all of it."""


class Config(ImagingSettings):
    """Settings of the mechanism. All are public; none looks at the data.

    Attributes:
        prior: families of phantoms (`synthgen.phantoms`), declared public; patients' votes choose among them.
        share_votes: part of the pixels' rho for the votes; at 0 nobody is asked and all phantoms count alike.
        share_spectrum: part for how sharp images are; at 0 nobody is asked and nothing is filtered.
        share_steps: part for the noised steps; the rest buys the drafts.
        steps: noised steps.
        batch: patients that a step draws on average, at most; a small cohort draws an eighth of itself.
        draws: noise levels of each record in a step, averaged inside the patient.
        trained: which weights the noised steps change: ``part`` is norms, biases, labels and the last layer,
            ``all`` is all. None follows a public rule: ``all`` where patients times the root of twice rho is
            beyond `SIGNAL_ALL`.
        learning_rate: of the noised steps.
        ema_decay: what the average of the weights keeps in a step.
        dropout: part of the rows whose class is not said.
        width: channels of the network's finest layer.
        pretraining: steps on phantoms and drafts; free.
        strength: noise that a draft gets, over intensities from -1 to 1; 5 and more leave nothing of it.
        calls: calls of the network to draw an image.
        guidance: how far beyond its class an image is drawn.
        seed: of initial weights, of pretraining, and of what sees no record.
        device: where it trains; asked for before anything is reserved.
    """

    name: Literal["diffusion"] = "diffusion"
    prior: list[str] = Field(default_factory=lambda: ["chest", "leaves"], min_length=1)
    share_votes: float = Field(default=0.2, ge=0, lt=1)
    share_spectrum: float = Field(default=0.03, ge=0, lt=1)
    share_steps: float = Field(default=0.2, gt=0, lt=1)
    steps: int = Field(default=40, ge=1, le=1_000_000)
    batch: int = Field(default=512, ge=1, le=2**20)
    draws: int = Field(default=2, ge=1, le=64)
    trained: Literal["part", "all"] | None = None
    learning_rate: float = Field(default=5e-4, gt=0, le=1)
    ema_decay: float = Field(default=0.9, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    width: int = Field(default=32, ge=8, le=1024, multiple_of=8)
    pretraining: int = Field(default=800, ge=0, le=10_000_000)
    strength: float = Field(default=0.2, ge=0.02, le=80)
    calls: int = Field(default=6, ge=2, le=1000)
    guidance: float = Field(default=0.0, ge=0, le=20)
    seed: int = 0
    device: Device = "auto"

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.share_votes + self.share_spectrum + self.share_steps > 1.0 - LEAST_DRAFTS:
            raise ValueError(
                f"share_votes + share_spectrum + share_steps must leave {LEAST_DRAFTS} for the drafts"
            )
        unknown = sorted(set(self.prior) - set(phantoms.names()))
        if unknown:
            raise ValueError(f"prior: expected some of {phantoms.names()}, got others")
        return self

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts.

        Guarantee:
            Attributes, drafts, votes and spectrum, each zCDP, composed with the noised steps'
            Poisson-sampled Gaussians, cost at most ``epsilon``.

        Args:
            schema: the cohort's public description, with its images' form and size.
            epsilon: target, at ``delta``.
            delta: probability of failure.
            patients: public number of patients that will train.

        Raises:
            ValueError: ``epsilon`` or ``delta`` is out of range.
            ConfigError: the schema declares no images, the packages that train are not installed, or the
                device is not there.
        """
        require(self.name, "torch", "pytorch_lightning", "diffusers")
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
        parts = {"votes": rho * self.share_votes, "spectrum": rho * self.share_spectrum}
        left = 1.0 - self.share_votes - self.share_spectrum - self.share_steps
        drafts = imaging_embedding.Config(attributes=self.attributes, refill=REFILL).pixels_plan(
            schema, epsilon=epsilon_of_rho(rho * left, delta), delta=delta, patients=patients
        )
        parts["drafts"] = float(drafts.parameters["rho_pixels"])
        paid = dp_event.ZCDpEvent(sum(parts.values()))
        steps = steps_beside(
            paid, schema, self, epsilon=epsilon, delta=delta, patients=patients, max_grad_norm=CLIP
        )
        votes = _votes.numbers_of(parts["votes"], patients, conditioning.n_classes, list(self.prior))
        signal = patients * (2.0 * rho) ** 0.5
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
                "training": steps.to_json(),
                "trained": self.trained or ("all" if signal > SIGNAL_ALL else "part"),
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
            spent = epsilon_of([dp_event.ZCDpEvent(parts[key])], delta)
            return Stage(name, spent, parts[key] / rho, (releases / (2.0 * parts[key])) ** 0.5, detail)

        share = parts["drafts"] / rho
        told = [replace(s, name=f"drafts: {s.name}", share=s.share * share) for s in drafts.stages]
        rings = _spectrum.Bands(int(drafts.parameters["size"])).number
        if votes["rho"]:
            shown = f"{votes['candidates']} phantoms a class, {votes['rounds']} rounds"
            told.append(stage("votes", "votes", votes["rounds"], shown))
        if parts["spectrum"]:
            told.append(stage("spectrum", "spectrum", max(rings, 1), "how sharp images are"))
        told.append(steps_stage(steps, share=self.share_steps, delta=delta))
        return tuple(told)

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedDiffusion:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit, of
            which ``data`` holds at most `PrivacyPlan.max_records`: drafts, votes and spectrum their rho, the
            weights their steps; all else follows from these.

        Args:
            data: the training images. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: told what is being done.
        """
        from synthgen.models._image_fit import fit

        return fit(self, data, plan, noise=noise, tell=progress or (lambda what, done: None))


CLIP = 0.01
"""Far below a gradient's length, so that every patient weighs alike; Adam takes its scale out again."""


@dataclass(frozen=True)
class FittedDiffusion:
    """Paid drafts and the denoiser that makes them images. Publishable.

    Attributes:
        drafts: the embedding, attributes included.
        net: the denoiser.
        gains: of each ring of frequencies, for what is drawn.
        numbers: ``strength``, ``calls`` and ``guidance``.
    """

    drafts: FittedEmbedding
    net: ImageDenoiser
    gains: np.ndarray
    numbers: Mapping[str, float]

    @property
    def schema(self) -> Schema:
        """The cohort's public description."""
        return self.drafts.schema

    @property
    def attributes(self) -> TableModel:
        """What draws the attributes."""
        return self.drafts.attributes

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then images. See `synthgen.models._base.ImageModel`."""
        return self.render(self.attributes.sample(n_records, rng=rng, where=where), rng=rng)

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table. Post-processing: may be called for ever.

        Args:
            table: synthetic attributes.
            rng: open randomness; the same state gives the same pixels on the same machine.
        """
        draft = self.drafts.render(table, rng=rng)
        images = self.finished(intensities(draft.pixels, self.schema), table, rng=rng)
        filtered = _spectrum.Bands(images.shape[-1]).filtered(images, self.gains)
        return replace(draft, pixels=from_intensities(filtered, self.schema))

    def finished(self, drafts: np.ndarray, table: SyntheticTable, *, rng: np.random.Generator) -> np.ndarray:
        """Return drafts as the denoiser leaves them, unfiltered intensities."""
        from synthgen.models._image_denoiser import denoised

        conditioning = Conditioning.of(self.schema)
        return denoised(
            self.net,
            drafts,
            conditioning.class_of(table.frame),
            conditioning.guides_of(table.frame),
            strength=float(self.numbers["strength"]),
            steps=int(self.numbers["calls"]),
            guidance=float(self.numbers["guidance"]),
            rng=rng,
        )

    def save(self, folder: Path) -> None:
        """Write the drafts' files, ``denoiser.safetensors`` and ``denoiser.json``."""
        import torch
        from safetensors.torch import save_file

        self.drafts.save(folder)
        tensors = {f"net.{name}": tensor.contiguous() for name, tensor in self.net.state_dict().items()}
        tensors["gains"] = torch.from_numpy(np.ascontiguousarray(self.gains))
        save_file(tensors, folder / WEIGHTS)
        keys = ("channels", "size", "classes", "guides", "width")
        meta = {"net": {key: getattr(self.net, key) for key in keys}, "numbers": dict(self.numbers)}
        (folder / META).write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


Fitted = FittedDiffusion


def load(folder: Path, schema: Schema) -> FittedDiffusion:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from safetensors.torch import load_file

    from synthgen.models._image_denoiser import ImageDenoiser

    drafts = embedding.load(folder, schema)
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
        net = ImageDenoiser(**meta["net"])
        net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        gains, numbers = tensors["gains"].numpy(), meta["numbers"]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ConfigError("Expected a saved diffusion model of images.", where=str(folder)) from error
    if not isinstance(drafts, FittedEmbedding):
        raise ConfigError("Expected drafts of a Gaussian embedding.", where=str(folder))
    return FittedDiffusion(drafts, net.eval(), gains, numbers)
