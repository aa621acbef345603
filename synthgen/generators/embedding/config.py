"""Class-wise noisy moments of an image's lowest cosines: seconds on one core, and the floor for all others.

Attributes come from a table generator; pixels are drawn given them:

1. a noisy mean of all images, and noisy quantiles of the distance from it, which say where to cut;
2. one joint release, for every class, of count, mean and second moment of the coefficients and the other
   attributes (see `synthgen.generators.image_statistics.noisy_moments` for the sensitivity, rare classes
   included);
3. Gaussians, in which classes are pulled together as far as noise explains their difference;
4. how often each brightness occurs (`synthgen.generators.image_statistics.intensity_histogram`);
5. draws, lengthened to the noisy distances, with a mild public augmentation, as bright as real images.

All but 1, 2 and 4 is post-processing. The images are smooth: what lies above the lowest cosines is left out.
"""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, model_validator

from synthgen.data.images import AT_ONCE, RealImages
from synthgen.errors import ConfigError
from synthgen.generators.attributes import ImagingSettings, fit_attributes, with_attributes
from synthgen.generators.base import Progress, image_memory, max_columns_for_audit
from synthgen.generators.embedding import dp_merf
from synthgen.generators.embedding import mechanism as fitting
from synthgen.generators.embedding.dp_merf import FittedMerf
from synthgen.generators.embedding.fitted import FittedEmbedding, load
from synthgen.generators.image_statistics import intensity_histogram, noisy_moments
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.optional_packages import require
from synthgen.privacy.accountant import calibrate_rho, get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.plan import PrivacyPlan, Stage
from synthgen.schema.schema import Schema

__all__ = ["Config", "Fitted", "load"]
Fitted = FittedEmbedding
COSINES, SIGNAL, GROWTH = 64, 1150.0, 0.4
FEWEST, MOST = 16, 256
STEEP, FLAT, CLEAR = 1.0, 0.5, 3000.0
CELLS, MANY, SHARE_CELLS = 4, 8000.0, 0.25


class Config(ImagingSettings):
    """Settings of the mechanism. All are public; none looks at the data.

    Attributes:
        method: ``gaussian`` is ours; ``merf`` is DP-MERF, for reference, and heeds ``attributes`` alone.
        cosines: coefficients of brightness. None follows a public rule: `COSINES` where patients over the
            noise of a count is `SIGNAL`, and more as that grows, since noise drowns high frequencies first.
        power: amplitude of the public spectrum over frequency; None is `FLAT` where the signal is beyond
            `CLEAR`, else `STEEP`.
        share_centre: part of the pixels' rho for the mean of all images.
        share_lengths: part for the distances from it.
        share_brightness: part for how often each brightness occurs; at 0, or where noise would hide it,
            nobody is asked and brightness stays as drawn.
        cells: Gaussians a class. None is `CELLS` where the signal of a class is beyond `MANY`, else 1; they
            lie where a first release, of `SHARE_CELLS` of the moments' rho, puts them.
        cut: quantile of the distance at which a record is cut.
        refill: part of the variance that the Gaussians leave out to be drawn as noise of each cosine, and of
            those above, which follow the measured fall of amplitude.
        augment: stretch and lift the contrast of what is drawn, by public amounts.
    """

    name: Literal["embedding"] = "embedding"
    method: Literal["gaussian", "merf"] = "gaussian"
    cosines: int | None = Field(default=None, ge=1, le=4096)
    power: float | None = Field(default=None, ge=0, le=3)
    share_centre: float = Field(default=0.04, gt=0, lt=1)
    share_lengths: float = Field(default=0.02, gt=0, lt=1)
    share_brightness: float = Field(default=0.03, ge=0, lt=1)
    cells: int | None = Field(default=None, ge=1, le=64)
    cut: float = Field(default=0.5, gt=0, lt=1)
    refill: float = Field(default=0.6, ge=0, le=2)
    augment: bool = True

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.share_centre + self.share_lengths + self.share_brightness >= 0.95:
            raise ValueError(
                "share_centre + share_lengths + share_brightness must leave at least 0.05 for the moments"
            )
        return self

    def memory(self, schema: Schema, patients: int) -> float:
        """Return the GiB that a run is estimated to need: images, and a part of them in cosines at once."""
        return image_memory(schema, patients, fit=AT_ONCE * 24.0 / 2**30)

    def plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Fix every number of the guarantee from public facts.

        Args:
            schema: the cohort's public description, with its images' form and size.
            epsilon: target, at ``delta``.
            delta: probability of failure.
            patients: public number of patients that will train.

        Returns:
            A plan whose event is the attributes' and one zCDP event for the pixels.

        Raises:
            ValueError: ``epsilon`` or ``delta`` is out of range.
            ConfigError: the schema declares no images.
        """
        if schema.images is None or schema.images.size is None:
            raise ConfigError(
                "Expected a schema that declares images and their size, got none.", where="schema"
            )

        if self.method == "merf":
            require("merf", "torch")

        def pixels(left: float) -> PrivacyPlan:
            return self.pixels_plan(schema, epsilon=left, delta=delta, patients=patients)

        return with_attributes(self, schema, pixels, epsilon=epsilon, delta=delta, patients=patients)

    def fit(
        self, data: RealImages, plan: PrivacyPlan, *, noise: NoiseSource, progress: Progress | None = None
    ) -> FittedEmbedding | FittedMerf:
        """Spend the plan.

        Guarantee:
            The composition of the attributes' event with ``rho``-zCDP for the pixels, for neighbours that
            differ in all records of one unit, of which ``data`` holds at most `PrivacyPlan.max_records`.

        Args:
            data: the training images. Sensitive.
            plan: what `plan` returned for the same schema.
            noise: the operating system's source, or a test's.
            progress: called with what is being done and the part done, from 0 to 1.
        """
        progress = progress or (lambda what, done: None)
        model = fit_attributes(self, data, plan, noise=noise, progress=progress)
        if self.method == "merf":
            counts, means = dp_merf.embed(data, plan.parameters, noise=noise)
            drawn = {
                key: plan.parameters[key] for key in ("channels", "size", "classes", "features", "steps")
            }
            net = dp_merf.train(counts, means, drawn, progress)
            return FittedMerf(data.schema, model, str(self.attributes["name"]), drawn, net)
        progress("moments of the images", 0.5)
        learnt = fitting.learn(data, plan.parameters, noise=noise)
        asked = plan.parameters
        bright = intensity_histogram.measure(
            data, rho=asked["rho_brightness"], cells=asked["brightness_cells"], noise=noise
        )
        progress("done", 1.0)
        drawn = {
            key: plan.parameters[key]
            for key in ("channels", "size", "cosines", "power", "cells", "refill", "augment")
        }
        fitted = FittedEmbedding(data.schema, model, str(self.attributes["name"]), drawn, learnt)
        return fitted.toned(bright) if bright.size else fitted

    def max_audit_columns(self, plan: PrivacyPlan) -> int:
        """Return what the attributes' generator says of itself: see `synthgen.pipeline.audit`."""
        return max_columns_for_audit(self.table_config(), plan) if self.method == "gaussian" else 0

    def pixels_plan(self, schema: Schema, *, epsilon: float, delta: float, patients: int) -> PrivacyPlan:
        """Return the plan of the pixels alone; see `plan`."""
        from dp_accounting import dp_event

        rho = calibrate_rho(epsilon, delta)
        ours = self.method == "gaussian"
        numbers = self._numbers(schema, rho, patients) if ours else _merf_numbers(schema, rho)
        stages = tuple(
            Stage(name, get_epsilon([dp_event.ZCDpEvent(rho * share)], delta), share, noise, detail)
            for name, share, noise, detail in _stages(numbers)
        )
        return PrivacyPlan(
            generator=self.name,
            unit=schema.unit.level,
            max_records=schema.unit.max_records,
            epsilon=epsilon,
            delta=delta,
            patients=patients,
            event=dp_event.ZCDpEvent(rho),
            parameters=numbers,
            stages=stages,
        )

    def _numbers(self, schema: Schema, rho: float, patients: int) -> dict[str, Any]:
        """Return the plan's parameters: all public, JSON values."""
        channels, size, _ = schema.images.shape if schema.images else (1, 1, 1)
        signal = patients * math.sqrt(2.0 * rho)
        wished = self.cosines or cosines_of(signal)
        conditioning = Conditioning.of(schema)
        bright_cells = intensity_histogram.n_cells(rho * self.share_brightness, patients)
        bright = self.share_brightness if bright_cells else 0.0
        share = 1.0 - self.share_centre - self.share_lengths - bright
        n_cells = self.cells or (CELLS if signal / conditioning.n_classes > MANY else 1)
        first = SHARE_CELLS if n_cells > 1 else 0.0
        return {
            "rho_pixels": rho,
            "rho_centre": rho * self.share_centre,
            "rho_lengths": rho * self.share_lengths,
            "rho_cells": rho * share * first,
            "rho_moments": rho * share * (1.0 - first),
            "rho_brightness": rho * bright,
            "brightness_cells": bright_cells,
            "cells": n_cells,
            "channels": channels,
            "size": size,
            "cosines": min(wished, size**2),
            "power": self.power if self.power is not None else (FLAT if signal > CLEAR else STEEP),
            "cut": self.cut,
            "refill": self.refill,
            "augment": self.augment,
            "classes": conditioning.n_classes,
            "guides": conditioning.n_guides,
            "patients": patients,
        }


def cosines_of(signal: float) -> int:
    """Return how many cosines of brightness are held, for patients over the noise of a count."""
    return int(min(max(round(COSINES * (signal / SIGNAL) ** GROWTH), FEWEST), MOST))


def _merf_numbers(schema: Schema, rho: float) -> dict[str, Any]:
    channels, size, _ = schema.images.shape if schema.images else (1, 1, 1)
    return {
        "rho_pixels": rho,
        "method": "merf",
        "channels": channels,
        "size": size,
        "classes": Conditioning.of(schema).n_classes,
        "features": dp_merf.FEATURES,
        "steps": dp_merf.STEPS,
    }


def _stages(numbers: dict[str, Any]) -> list[tuple[str, float, float, str]]:
    """Return the parts of the spend; the noise is that of a count of patients."""
    if numbers.get("method") == "merf":
        noise_of_count = math.sqrt(dp_merf.BOUND / (2.0 * numbers["rho_pixels"]))
        return [("mean embedding", 1.0, noise_of_count, f"{numbers['features']} random frequencies")]
    bound = fitting.vector_bound(numbers["guides"])
    counts = {
        "rho_centre": math.sqrt(noisy_moments.lattice_bound(2.0)) / noisy_moments.STEPS,
        "rho_lengths": 1.0,
        "rho_moments": noisy_moments.lattice_bound(bound) / noisy_moments.STEPS**2 / fitting.ONE**2,
    }
    if numbers["rho_cells"]:
        counts["rho_cells"] = counts["rho_moments"]
    if numbers["rho_brightness"]:
        counts["rho_brightness"] = 1.0
    noise = {key: reach / math.sqrt(2.0 * numbers[key]) for key, reach in counts.items()}
    detail = f"{numbers['classes']} classes, {numbers['cosines']} cosines, {numbers['guides']} guides"
    detail += f", {numbers['cells']} cells a class" if numbers["cells"] > 1 else ""
    told = {
        "rho_brightness": ("brightness", f"{numbers['brightness_cells']} cells of grey"),
        "rho_cells": ("moments of whole classes", "where to part them"),
        "rho_centre": ("mean image", "of all classes"),
        "rho_lengths": ("distances from it", "where to cut"),
        "rho_moments": ("count, mean and second moment", detail),
    }
    return [(told[key][0], numbers[key] / numbers["rho_pixels"], noise[key], told[key][1]) for key in counts]
