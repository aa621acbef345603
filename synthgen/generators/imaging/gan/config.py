"""A GAN that refines paid drafts of images; patients meet its critic alone, by DP-SGD.

Attributes come from a table generator; pixels are drawn given them:

1. `imaging` buys drafts, phantoms that patients voted for, how sharp images are and how bright;
2. generator and critic (`refiner`) are taught for free on the phantoms: the one to take noise off, the
   other to tell what it left;
3. the rest of the budget trains the critic on patients: one loss a patient (its image beside a made one of
   its class), one clip, one noise a step. Between steps the generator follows the critic, on drafts; what was
   paid for as statistics, a draft's means of blocks and the spectrum, it is held to;
4. of several candidates the released critic picks the image that is drawn.

Measured on PneumoniaMNIST at epsilon 10 (4,708 images, published test images), what moved it, one seed,
before `share_brightness` and today's shares: a generator that is not told the class, AUC .944 beside .925;
less noise in a draft (.05 beside .1), .955; less budget for the critic and shorter pretraining, which
leaves drafts as they are, .963, with squared kernel distance .122 beside .183, precision .49 beside .35,
coverage .41 beside .29. Worse: longer pretraining (800 steps: kernel distance .219), longer turns of the
generator.

Source: Bie et al. (2023), arXiv:2302.02936, for many critic steps a generator step and large batches;
Shrivastava et al. (2017), arXiv:1612.07828, for refining drafts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from synthgen.data.images import RealImages, intensities
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError
from synthgen.generators import model_files
from synthgen.generators.base import Progress
from synthgen.generators.embedding import fitted as embedding
from synthgen.generators.embedding.fitted import FittedEmbedding
from synthgen.generators.image_statistics import intensity_histogram, power_spectrum
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.model_files import write_settings, write_tensors
from synthgen.generators.two_stage.imaging import FittedWarmImages, WarmImaging
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.generators.imaging.gan.refiner import Critic, Refiner

__all__ = ["Config", "Fitted", "load"]
WEIGHTS, META = "refiner.safetensors", "refiner.json"
MOST_CANDIDATES = 64


class Config(WarmImaging):
    """Settings, beside those of `imaging.WarmImaging`. All are public; none looks at the data.

    Attributes:
        critic_width: channels of the critic's first layer.
        critic_rate: learning rate of the critic's noised steps.
        generator_rate: learning rate of the generator.
        critic_steps: noised steps before the generator's turn.
        generator_steps: steps of the generator in its turn; free.
        adversarial: weight of the critic's word beside the squared error, on phantoms.
        hold: weight of a draft's means of blocks in the generator's turns.
        hold_spectrum: weight of the paid spectrum there.
        candidates: drafts refined for each image, of which the critic picks one.
    """

    name: Literal["gan"] = "gan"
    steps: int = Field(default=120, ge=1, le=1_000_000)
    draws: int = Field(default=1, ge=1, le=64)
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    pretraining: int = Field(default=200, ge=0, le=10_000_000)
    strength: float = Field(default=0.05, ge=0.02, le=80)
    critic_width: int = Field(default=16, ge=4, le=1024)
    critic_rate: float = Field(default=5e-4, gt=0, le=1)
    generator_rate: float = Field(default=5e-5, gt=0, le=1)
    critic_steps: int = Field(default=40, ge=1, le=1000)
    generator_steps: int = Field(default=8, ge=1, le=1000)
    adversarial: float = Field(default=0.01, gt=0, le=1)
    hold: float = Field(default=50.0, ge=0)
    hold_spectrum: float = Field(default=1.0, ge=0)
    candidates: int = Field(default=4, ge=1, le=MOST_CANDIDATES)

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedGan:
        """Spend the plan.

        Guarantee:
            What is returned costs the plan's event, for neighbours that differ in all records of one unit, of
            which ``data`` holds at most `PrivacyPlan.max_records`: drafts, votes, spectrum and brightness
            their rho, the critic its steps; the generator follows from these.

        Args:
            data: the training images. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: told what is being done.
        """
        from synthgen.generators.imaging.gan.mechanism import fit

        return fit(self, data, plan, noise=noise, tell=progress or (lambda what, done: None))


@dataclass(frozen=True)
class FittedGan(FittedWarmImages):
    """Paid drafts and the generator that refines them. Publishable.

    Attributes:
        generator: refines drafts.
        critic: what patients trained; it picks among candidates.
        candidates: drafts refined for each image.
    """

    generator: Refiner
    critic: Critic
    candidates: int

    def finished(self, drafts: np.ndarray, table: SyntheticTable, *, rng: np.random.Generator) -> np.ndarray:
        """Return drafts as the generator refines them, unfiltered intensities.

        With several candidates, further drafts are drawn for each record, and one is picked by the critic.
        """
        from synthgen.generators.imaging.gan.refiner import finished, picked

        conditioning = Conditioning.of(self.schema)
        classes, guides = conditioning.class_of(table.frame), conditioning.guides_of(table.frame)
        made, scores = [], []
        for turn in range(self.candidates):
            if turn:
                drafts = intensities(self.drafts.render(table, rng=rng).pixels, self.schema)
            images, score = finished(self.generator, self.critic, drafts, classes, guides, rng=rng)
            made.append(images)
            scores.append(score)
        chosen = picked(np.stack(scores, axis=1), rng)
        return np.asarray(np.stack(made)[chosen, np.arange(len(chosen))])

    @property
    def _networks(self) -> tuple[tuple[str, Any], ...]:
        return ("generator", self.generator), ("critic", self.critic)

    def save(self, folder: Path) -> None:
        """Write the drafts' files, ``refiner.safetensors`` and ``refiner.json``."""
        import torch

        self.drafts.save(folder)
        tensors = {
            f"{part}.{name}": tensor
            for part, net in self._networks
            for name, tensor in net.state_dict().items()
        }
        tensors["gains"] = torch.from_numpy(np.ascontiguousarray(self.gains))
        tensors["curve"] = torch.from_numpy(np.ascontiguousarray(self.curve))
        write_tensors(folder / WEIGHTS, tensors)
        meta = {
            "generator": _form(self.generator, ()),
            "critic": _form(self.critic, ("classes", "guides")),
            "strength": self.generator.strength,
            "candidates": self.candidates,
        }
        write_settings(folder / META, meta)


Fitted = FittedGan


def _form(net: Any, further: tuple[str, ...]) -> dict[str, int]:
    return {key: getattr(net, key) for key in ("channels", "size", "width", *further)}


def load(folder: Path, schema: Schema) -> FittedGan:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from synthgen.generators.imaging.gan.refiner import Critic, Refiner

    drafts = embedding.load(folder, schema)
    if not isinstance(drafts, FittedEmbedding):
        raise ConfigError("Expected drafts of a Gaussian embedding.", where=str(folder))
    with model_files.reading(folder, "a saved GAN of images"):
        meta, tensors = model_files.meta(folder, META), model_files.tensors(folder, WEIGHTS)
        parts = {
            part: {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            for part in ("generator.", "critic.")
        }
        refiner = model_files.form(meta["generator"], schema, keys=("width",))
        form = model_files.form(meta["critic"], schema, keys=("classes", "guides", "width"))
        strength = float(meta["strength"])
        generator = model_files.network(lambda: Refiner(**refiner, strength=strength), parts["generator."])
        critic = model_files.network(lambda: Critic(**form), parts["critic."])
        gains = model_files.gains(tensors, power_spectrum.Bands(drafts.numbers["size"]).number)
        curve = intensity_histogram.stored(tensors, where=str(folder))
        candidates = model_files.whole(meta["candidates"], most=MOST_CANDIDATES)
    return FittedGan(drafts, gains, curve, generator.eval(), critic.eval(), candidates)
