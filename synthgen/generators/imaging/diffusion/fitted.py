"""The fitted generator `diffusion` of images: base model and refiner, drawn from, saved and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
    from synthgen.generators.imaging.diffusion.denoiser import ImageDenoiser

__all__ = ["Fitted", "load"]
WEIGHTS, META = "denoiser.safetensors", "denoiser.json"
MOST_CALLS = 1000


@dataclass(frozen=True)
class FittedDiffusion(ImagingTwoStageModel):
    """Paid drafts and the denoiser that makes them images. Publishable.

    Attributes:
        net: the denoiser.
        numbers: ``strength``, ``calls`` and ``guidance``.
    """

    net: ImageDenoiser
    numbers: Mapping[str, float]

    def finished(self, drafts: np.ndarray, table: SyntheticTable, *, rng: np.random.Generator) -> np.ndarray:
        """Return drafts as the denoiser leaves them, unfiltered intensities."""
        from synthgen.generators.imaging.diffusion.denoiser import denoised

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

        self.drafts.save(folder)
        tensors = {f"net.{name}": tensor for name, tensor in self.net.state_dict().items()}
        tensors["gains"] = torch.from_numpy(np.ascontiguousarray(self.gains))
        tensors["curve"] = torch.from_numpy(np.ascontiguousarray(self.curve))
        write_tensors(folder / WEIGHTS, tensors)
        keys = ("channels", "size", "classes", "guides", "width")
        meta = {"net": {key: getattr(self.net, key) for key in keys}, "numbers": dict(self.numbers)}
        write_settings(folder / META, meta)


Fitted = FittedDiffusion


def load(folder: Path, schema: Schema) -> FittedDiffusion:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    from synthgen.generators.imaging.diffusion.denoiser import ImageDenoiser

    drafts = embedding.load(folder, schema)
    if not isinstance(drafts, FittedEmbedding):
        raise ConfigError("Expected drafts of a Gaussian embedding.", where=str(folder))
    with model_files.reading(folder, "a saved diffusion model of images"):
        meta, tensors = model_files.meta(folder, META), model_files.tensors(folder, WEIGHTS)
        form = model_files.form(meta["net"], schema, keys=("classes", "guides", "width"))
        weights = {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        net = model_files.network(lambda: ImageDenoiser(**form), weights)
        curve = intensity_histogram.stored(tensors, where=str(folder))
        gains = model_files.gains(tensors, power_spectrum.Bands(drafts.numbers["size"]).number)
        numbers = dict(meta["numbers"])
        numbers["calls"] = model_files.whole(numbers["calls"], most=MOST_CALLS)
        numbers |= {key: float(numbers[key]) for key in ("strength", "guidance")}
    return FittedDiffusion(drafts, gains, curve, net.eval(), numbers)
