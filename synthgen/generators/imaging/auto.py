"""Chooses the generator of images, by public facts only: patients and the size of the budget.

The rule, and the measurements it came from (`scripts/bench_imaging.py`): noised votes and steps are worth
what they cost where patients times the root of twice rho, which is how far a count of all patients stands
above its noise, is at least `SIGNAL`, and `SIGNAL_CLASS` a class, and where the statistics of `embedding`
hold less than `HELD` of what an image of that size has (60,000 digits of 28 pixels: what they hold, no
network drew better). Else, and where torch is not installed, `embedding`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from synthgen import plugins
from synthgen.data.images import RealImages, SyntheticImages
from synthgen.generators.attributes import ImagingSettings
from synthgen.generators.base import (
    ImageConfig,
    ImageModel,
    Progress,
    TableModel,
    max_columns_for_audit,
    memory_of,
)
from synthgen.generators.chosen import read_choice, write_choice
from synthgen.generators.embedding import config
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.privacy.accountant import calibrate_rho
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.data.tables import SyntheticTable

__all__ = ["Config", "Fitted", "choose", "load"]
SIGNAL, SIGNAL_CLASS, HELD = 4000.0, 2000.0, 0.3
MEMORY_GIB = 8.0
"""Estimated memory of `diffusion` beyond which `embedding` is taken: a fixed number, since what a machine has
left at a moment must not change a plan."""
DEEP = ("torch", "pytorch_lightning", "diffusers")


def choose(schema: Schema, *, epsilon: float, delta: float, patients: int) -> str:
    """Return the key of the generator to use. Reads no record.

    Args:
        schema: the cohort's public description.
        epsilon: target, at ``delta``.
        delta: probability of failure.
        patients: public number of patients that will train.
    """
    signal = patients * (2.0 * calibrate_rho(epsilon, delta)) ** 0.5
    _, height, width = schema.images.shape if schema.images and schema.images.size else (1, 1, 1)
    held = config.cosines_of(signal) / (height * width)
    enough = signal >= SIGNAL and signal / Conditioning.of(schema).n_classes >= SIGNAL_CLASS
    there = all(importlib.util.find_spec(name) for name in DEEP)
    if not (there and enough and held < HELD):
        return "embedding"
    fits = _module("diffusion").Config().memory(schema, patients) <= MEMORY_GIB
    return "diffusion" if fits else "embedding"


def _module(name: str) -> Any:
    return plugins.load("synthgen.generators.imaging", name)


class Config(ImagingSettings):
    """No settings but those of the attributes: who wants more names the generator."""

    name: Literal["auto"] = "auto"

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Return the chosen generator's plan."""
        name = choose(schema, epsilon=epsilon, delta=delta, patients=patients)
        plan = self._chosen(name).plan(schema, epsilon=epsilon, delta=delta, patients=patients)
        return replace(plan, parameters={**plan.parameters, "chosen": name})

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedAuto:
        """Spend the plan, by the generator that it names: the guarantee is that generator's."""
        name = str(plan.parameters["chosen"])
        return FittedAuto(name, self._chosen(name).fit(data, plan, noise=noise, progress=progress))

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: by the largest that may be chosen."""
        names = ("diffusion", "embedding")
        deep, plain = (memory_of(self._chosen(name), schema, patients) or 0.0 for name in names)
        return deep if deep <= MEMORY_GIB else plain

    def max_audit_columns(self, plan: PrivacyPlan) -> int:
        """Return what the chosen generator says of itself: see `synthgen.pipeline.audit`."""
        return max_columns_for_audit(self._chosen(str(plan.parameters["chosen"])), plan)

    def _chosen(self, name: str) -> ImageConfig:
        return cast(ImageConfig, _module(name).Config(attributes=self.attributes))


@dataclass(frozen=True)
class FittedAuto:
    """The chosen generator, fitted. Publishable.

    Attributes:
        name: its key.
        model: what it fitted.
    """

    name: str
    model: ImageModel

    @property
    def schema(self) -> Schema:
        """The cohort's public description."""
        return self.model.schema

    @property
    def attributes(self) -> TableModel:
        """What draws the attributes."""
        return self.model.attributes

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then images, as the chosen generator does."""
        return self.model.sample(n_records, rng=rng, where=where)

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table, as the chosen generator does."""
        return self.model.render(table, rng=rng)

    def save(self, folder: Path) -> None:
        """Write the chosen generator's files, and which one it is."""
        self.model.save(folder)
        write_choice(folder, self.name)


Fitted = FittedAuto


def load(folder: Path, schema: Schema) -> FittedAuto:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    name = read_choice(folder)
    return FittedAuto(name, cast(ImageModel, _module(name).load(folder, schema)))
