"""The fitted generator `gan` of images: base model and refiner, drawn from, saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.data.images import intensities
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError
from synthgen.generators import model_files
from synthgen.generators.embedding import fitted as embedding
from synthgen.generators.embedding.fitted import FittedEmbedding
from synthgen.generators.image_statistics import intensity_histogram, power_spectrum
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.model_files import write_settings, write_tensors
from synthgen.generators.two_stage.imaging import ImagingTwoStageModel
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.generators.imaging.gan.refiner import Critic, Refiner

__all__ = ["Fitted", "load"]
WEIGHTS, META = "refiner.safetensors", "refiner.json"
MOST_CANDIDATES = 64


@dataclass(frozen=True)
class FittedGan(ImagingTwoStageModel):
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
