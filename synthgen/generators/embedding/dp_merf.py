"""DP-MERF, for reference: a generator network trained on a noisy mean embedding of random Fourier features.

Harder, Adamczewski and Park (2021), arXiv:2002.11603. Differences: the length scale is a public rule where
the published code takes a median over the data, and class sums are released instead of means, so that a rare
class needs no noise of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.data.images import RealImages, SyntheticImages, from_intensities, intensities
from synthgen.data.tables import SyntheticTable
from synthgen.generators import model_files
from synthgen.generators.attributes import load_attributes, save_attributes
from synthgen.generators.base import Progress, TableModel
from synthgen.generators.image_statistics import noisy_moments
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.model_files import write_settings, write_tensors
from synthgen.generators.optional_packages import require
from synthgen.privacy.marginal_queries import ZCDPFilter
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

WEIGHTS, META = "model.safetensors", "model.json"
FORMAT = 1
FEATURES, STEPS, BATCH, RATE, CODE = 1000, 500, 64, 4e-3, 16
PIXEL_SPREAD = 0.2
BOUND = 2.0
_CHUNK = 2048


def frequencies(numbers: Mapping[str, Any]) -> np.ndarray:
    """Return public random frequencies, ``(feature, pixel)``, of a Gaussian kernel of a public length."""
    n_pixels = numbers["channels"] * numbers["size"] ** 2
    length = PIXEL_SPREAD * math.sqrt(2.0 * n_pixels)
    return np.asarray(np.random.default_rng(0).standard_normal((numbers["features"], n_pixels)) / length)


def embed(
    data: RealImages, numbers: Mapping[str, Any], *, noise: NoiseSource
) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy counts and noisy mean features of each class.

    Guarantee:
        ``rho_pixels``-zCDP: a record's vector is 1 and features of length 1, of squared length `BOUND`, in
        its own class alone; a patient's weighted sum is at most `noisy_moments.UNIT` times the longest.

    Args:
        data: training images. Sensitive.
        numbers: the plan's parameters.
        noise: source of the noise.
    """
    conditioning = Conditioning.of(data.schema)
    waves = frequencies(numbers)
    weights = noisy_moments.record_weights(*data.unit_codes())
    classes = conditioning.class_of(data.frame)
    sums = np.zeros((conditioning.n_classes, 1 + 2 * len(waves)), dtype=np.int64)
    for start in range(0, len(data), _CHUNK):
        rows = slice(start, start + _CHUNK)
        flat = intensities(data.pixels[rows], data.schema).reshape(len(classes[rows]), -1)
        phase = flat @ waves.T
        features = np.concatenate([np.cos(phase), np.sin(phase)], axis=1) / math.sqrt(len(waves))
        whole = noisy_moments.to_lattice(np.concatenate([np.ones((len(flat), 1)), features], axis=1), BOUND)
        np.add.at(sums, classes[rows], whole * weights[rows, None])
    rho = numbers["rho_pixels"]
    ZCDPFilter(rho).spend(rho)
    sigma = noisy_moments.UNIT * math.sqrt(noisy_moments.lattice_bound(BOUND) / (2.0 * rho))
    with noise.query(rho, ["mean embedding", *sums.shape]):
        noisy = noise.discrete_gaussian(sums, sigma=sigma) / (noisy_moments.UNIT * noisy_moments.STEPS)
    counts = np.maximum(noisy[:, 0], 1.0)
    return counts, np.asarray(noisy[:, 1:] / counts[:, None])


def train(counts: np.ndarray, means: np.ndarray, numbers: Mapping[str, Any], progress: Progress) -> Any:
    """Return a network whose images have these mean features, class by class. Post-processing."""
    import torch

    from synthgen.dpsgd.random_draws import drawing_from, open_generator

    waves = torch.from_numpy(frequencies(numbers).astype(np.float32))
    wanted = torch.from_numpy(means.astype(np.float32))
    share = counts / counts.sum()
    generator = open_generator(0)
    with drawing_from(generator):
        net = network(numbers)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    for step in range(numbers["steps"]):
        if step % 100 == 0:
            progress(f"generator: {step:,} of {numbers['steps']:,} steps", step / numbers["steps"])
        loss = torch.zeros(())
        for c in range(len(counts)):
            code = torch.randn(BATCH, CODE, generator=generator)
            flat = net(torch.cat([code, _hot(c, BATCH, numbers)], 1)).flatten(1)
            phase = flat @ waves.T
            drawn = torch.cat([phase.cos(), phase.sin()], 1).mean(0) / math.sqrt(len(waves))
            loss = loss + float(share[c]) * ((drawn - wanted[c]) ** 2).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return net


def network(numbers: Mapping[str, Any]) -> Any:
    """Return an untrained generator of images from a code and a class."""
    from torch import nn

    side, channels = math.ceil(numbers["size"] / 4), numbers["channels"]
    return nn.Sequential(
        nn.Linear(CODE + numbers["classes"], 32 * side**2),
        nn.ReLU(),
        nn.Unflatten(1, (32, side, side)),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.Conv2d(32, 16, 5, padding=2),
        nn.ReLU(),
        nn.Upsample(size=(numbers["size"], numbers["size"]), mode="bilinear"),
        nn.Conv2d(16, channels, 5, padding=2),
        nn.Sigmoid(),
    )


def _hot(c: int, n: int, numbers: Mapping[str, Any]) -> Any:
    import torch

    found = torch.zeros(n, numbers["classes"])
    found[:, c] = 1.0
    return found


@dataclass(frozen=True)
class FittedMerf:
    """A generator network and a model of the attributes. Publishable.

    Attributes:
        schema: the cohort's public description.
        attributes: draws the attributes.
        table: key of the attributes' generator.
        numbers: the plan's public numbers that drawing needs.
        net: the network.
    """

    schema: Schema
    attributes: TableModel
    table: str
    numbers: Mapping[str, Any]
    net: Any

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then images. See `synthgen.generators.base.ImageModel`."""
        return self.render(self.attributes.sample(n_records, rng=rng, where=where), rng=rng)

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table; the same state of ``rng`` gives the same pixels."""
        import torch

        classes = Conditioning.of(self.schema).class_of(table.frame)
        spec = self.schema.images
        shape = spec.shape if spec else (1, 1, 1)
        parts = [np.zeros((0, *shape))]
        with torch.no_grad():
            for start in range(0, len(table), _CHUNK):
                mine = classes[start : start + _CHUNK]
                hot = np.eye(self.numbers["classes"])[mine]
                code = np.concatenate([rng.standard_normal((len(mine), CODE)), hot], axis=1)
                parts.append(self.net(torch.from_numpy(code.astype(np.float32))).numpy())
        pixels = from_intensities(np.concatenate(parts), self.schema)
        return SyntheticImages(self.schema, table.frame, table.units, table.first_id, pixels=pixels)

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        meta = {
            "format": FORMAT,
            "generator": "merf",
            "schema": self.schema.public().digest(),
            "numbers": dict(self.numbers),
        }
        write_tensors(folder / WEIGHTS, self.net.state_dict())
        write_settings(folder / META, meta)
        save_attributes(self.attributes, self.table, folder)


def load(folder: Path, schema: Schema, numbers: Mapping[str, Any]) -> FittedMerf:
    """Read a saved model, whose meta file has been checked.

    Raises:
        ConfigError: torch is not installed.
    """
    require("merf", "torch")

    with model_files.reading(folder, "a saved embedding"):
        form = {**numbers, **model_files.form(numbers, schema, keys=("classes",))}
        net = model_files.network(lambda: network(form), model_files.tensors(folder, WEIGHTS))
    model, name = load_attributes(folder, schema)
    return FittedMerf(schema, model, name, form, net)
