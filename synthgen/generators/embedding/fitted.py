"""A fitted embedding: draw images given attributes, save it, load it where the images never were."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.data.images import SyntheticImages, from_intensities
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError
from synthgen.generators import model_files
from synthgen.generators.attributes import load_attributes, save_attributes
from synthgen.generators.base import TableModel
from synthgen.generators.embedding import dp_merf
from synthgen.generators.embedding.dp_merf import FittedMerf
from synthgen.generators.embedding.mechanism import Learnt, basis_of
from synthgen.generators.image_statistics import intensity_histogram
from synthgen.generators.image_statistics.class_gaussians import Gaussians
from synthgen.generators.image_statistics.conditioning import Conditioning
from synthgen.generators.model_files import write_arrays, write_settings
from synthgen.schema.schema import Schema

FORMAT = 1
WEIGHTS, META = "model.safetensors", "model.json"
BATCH = 2048
TRIAL = 4000
LONGEST = 2.0
GAIN, LIFT = 0.05, 0.025
"""Public augmentation: part of the contrast, part of the range. Shifts cost coverage and gain no AUC."""


@dataclass(frozen=True)
class FittedEmbedding:
    """Gaussians of coefficients by class, and a model of the attributes. Publishable.

    Attributes:
        schema: the cohort's public description.
        attributes: draws the attributes.
        table: key of the attributes' generator.
        numbers: the plan's public numbers that drawing needs.
        learnt: what was paid for.
        curve: of brightness (`synthgen.generators.image_statistics.intensity_histogram`); None where drafts
        are wanted.
    """

    schema: Schema
    attributes: TableModel
    table: str
    numbers: Mapping[str, Any]
    learnt: Learnt
    curve: np.ndarray | None = None

    def toned(self, shares: np.ndarray) -> FittedEmbedding:
        """Return the model with the curve that brings its draws to paid shares of brightness."""
        rng = np.random.default_rng(0)
        trial = self.attributes.sample(intensity_histogram.trial(int(np.prod(self._spec.shape))), rng=rng)
        conditioning = Conditioning.of(self.schema)
        classes, guides = conditioning.class_of(trial.frame), conditioning.guides_of(trial.frame)
        return replace(self, curve=intensity_histogram.curve(self._images(classes, guides, rng), shares))

    def sample(
        self, n_records: int, *, rng: np.random.Generator, where: Mapping[str, Any] | None = None
    ) -> SyntheticImages:
        """Draw attributes, then images. See `synthgen.generators.base.ImageModel`."""
        return self.render(self.attributes.sample(n_records, rng=rng, where=where), rng=rng)

    def render(self, table: SyntheticTable, *, rng: np.random.Generator) -> SyntheticImages:
        """Draw an image for each record of a table. Post-processing: may be called for ever.

        Args:
            table: synthetic attributes.
            rng: open randomness; the same state gives the same pixels, byte for byte.
        """
        conditioning = Conditioning.of(self.schema)
        classes, guides = conditioning.class_of(table.frame), conditioning.guides_of(table.frame)
        parts = [np.zeros((0, *self._spec.shape), dtype=np.dtype(self._spec.dtype))]
        for start in range(0, len(table), BATCH):
            rows = slice(start, start + BATCH)
            images = self._images(classes[rows], guides[rows], rng)
            if self.curve is not None:
                images = intensity_histogram.toned(images, self.curve)
            parts.append(from_intensities(images, self.schema))
        return SyntheticImages(
            self.schema, table.frame, table.units, table.first_id, pixels=np.concatenate(parts)
        )

    def like_drafts(self, images: np.ndarray, classes: np.ndarray, *, rng: np.random.Generator) -> np.ndarray:
        """Return images as drafts would hold them: their lowest cosines, the rest refilled as in draws.

        Args:
            images: intensities from 0 to 1, ``(record, channel, row, column)``; no patient's.
            classes: class of each image.
            rng: open randomness.

        Returns:
            Intensities, which may lie outside 0 to 1.
        """
        basis, cells = basis_of(self.numbers), self._cells(classes, rng)
        kept = (basis.analyse(images) - self.learnt.centre) / self.learnt.radius
        lost = rng.standard_normal(kept.shape) * self.learnt.moments.rests[cells] * self.numbers["refill"]
        rest = self._beyond(cells, rng) if self.numbers["refill"] else None
        return basis.synthesise(self.learnt.centre + self.learnt.radius * (kept + lost), rest)

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into an existing folder."""
        moments = self.learnt.moments
        tensors = {name: np.ascontiguousarray(value) for name, value in vars(moments).items()}
        tensors |= {"centre": self.learnt.centre, "lengths": self.learnt.lengths}
        if self.curve is not None:
            tensors["curve"] = np.ascontiguousarray(self.curve)
        meta = {
            "format": FORMAT,
            "generator": "embedding",
            "schema": self.schema.public().digest(),
            "numbers": dict(self.numbers),
            "radius": self.learnt.radius,
        }
        write_arrays(folder / WEIGHTS, tensors)
        write_settings(folder / META, meta)
        save_attributes(self.attributes, self.table, folder)

    @property
    def _spec(self) -> Any:
        return self.schema.images

    def _images(self, classes: np.ndarray, guides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return intensities, ``(record, channel, row, column)``."""
        basis = basis_of(self.numbers)
        classes = self._cells(classes, rng)
        away = self._stretched(self._vectors(classes, guides, rng))
        coefficients = self.learnt.centre + self.learnt.radius * away
        rest = self._beyond(classes, rng) if self.numbers["refill"] else None
        images = basis.synthesise(coefficients, rest)
        return _augmented(images, rng) if self.numbers["augment"] else images

    def _cells(self, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return for each record the number of a Gaussian of its class, drawn by their counts."""
        n_cells = self.numbers["cells"]
        if n_cells == 1:
            return classes
        counts = self.learnt.moments.counts.reshape(-1, n_cells)
        upto = np.cumsum(counts / counts.sum(axis=1, keepdims=True), axis=1)[classes]
        drawn = (rng.random((len(classes), 1)) >= upto[:, :-1]).sum(axis=1)
        return np.asarray(classes * n_cells + drawn)

    def _beyond(self, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return cosines above the basis: noise whose amplitude goes on as the basis' own falls."""
        basis = basis_of(self.numbers)
        flat = basis.frequencies.ravel()
        drawn = rng.standard_normal((len(classes), basis.channels, flat.size))
        start = 0
        for i, places in enumerate(basis.places):
            stop = start + len(places)
            own = self.learnt.moments.rests[:, start:stop] * basis.spectrum[start:stop] * self.learnt.radius
            drawn[:, i] *= self.numbers["refill"] * _continued(own, flat[places], flat)[classes]
            start = stop
        return drawn

    def _vectors(self, classes: np.ndarray, guides: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        moments = self.learnt.moments
        drawn = rng.standard_normal((len(classes), moments.means.shape[1]))
        found = np.empty_like(drawn)
        for c in np.unique(classes):
            mine = classes == c
            moved = (guides[mine] - moments.guides[c]) @ moments.slopes.T
            found[mine] = moments.means[c] + moved + drawn[mine] @ moments.factors[c].T
        if self.numbers["refill"]:
            found += rng.standard_normal(found.shape) * moments.rests[classes] * self.numbers["refill"]
        return found

    def _stretched(self, vectors: np.ndarray) -> np.ndarray:
        """Lengthen what the cut shortened: lengths beyond it follow the noisy quantiles of the real ones."""
        lengths = np.linalg.norm(vectors, axis=1)
        ranks = np.interp(lengths, self._drawn_lengths, Learnt.levels())
        wanted = np.interp(ranks, Learnt.levels(), self.learnt.lengths) / self.learnt.radius
        return np.asarray(vectors * np.clip(wanted / np.maximum(lengths, 1e-9), 1.0, LONGEST)[:, None])

    @cached_property
    def _drawn_lengths(self) -> np.ndarray:
        """Quantiles of the lengths that the Gaussians draw, from draws of a fixed seed."""
        moments = self.learnt.moments
        rng = np.random.default_rng(0)
        classes = rng.choice(len(moments.counts), TRIAL, p=moments.counts / moments.counts.sum())
        drawn = self._vectors(classes, moments.guides[classes], rng)
        return np.maximum.accumulate(np.quantile(np.linalg.norm(drawn, axis=1), Learnt.levels()))


def _continued(amplitudes: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return amplitudes at other frequencies, by the power of frequency that fits the outer half.

    Args:
        amplitudes: ``(class, cosine)`` at the known frequencies.
        known: frequencies of the basis, the lowest first.
        wanted: frequencies asked for.
    """
    half = slice(len(known) // 2, None)
    x = np.log1p(known[half])
    y = np.log(np.maximum(np.sqrt((amplitudes[:, half] ** 2).mean(axis=0)), 1e-9))
    slope = float(np.clip(np.polyfit(x, y, 1)[0], -4.0, -1.0)) if len(x) > 2 and np.ptp(x) > 0 else -2.0
    level = np.sqrt((amplitudes[:, half] ** 2).mean(axis=1, keepdims=True))
    return np.asarray(level * np.exp(slope * (np.log1p(wanted) - x.mean()))[None])


def _augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stretch and lift each image's contrast a little, by public amounts."""
    gain = 1.0 + rng.uniform(-GAIN, GAIN, (len(images), 1, 1, 1))
    return np.asarray((images - 0.5) * gain + 0.5 + rng.uniform(-LIFT, LIFT, (len(images), 1, 1, 1)))


def load(folder: Path, schema: Schema) -> FittedEmbedding | FittedMerf:
    """Read a saved model.

    Raises:
        ConfigError: files are missing, of another format, or fitted with another schema.
    """
    meta = model_files.meta(folder, META)
    if meta.get("format") != FORMAT or not schema.has_digest(meta.get("schema")):
        raise ConfigError(
            "Expected a model of this format and schema.",
            where=str(folder),
            next_step="Use the schema of the fit.",
        )
    with model_files.reading(folder, "a saved embedding"):
        if meta["generator"] == "merf":
            return dp_merf.load(folder, schema, dict(meta["numbers"]))
        tensors = model_files.arrays(folder, WEIGHTS)
        numbers = _numbers(meta["numbers"], schema)
        moments = Gaussians(**{name: tensors[name] for name in Gaussians.__dataclass_fields__})
        learnt = Learnt(tensors["centre"], float(meta["radius"]), tensors["lengths"], moments)
        _require_shapes(learnt, numbers, Conditioning.of(schema))
        has_curve = "curve" in tensors or "curves" in tensors
        curve = intensity_histogram.stored(tensors, where=str(folder)) if has_curve else None
    model, name = load_attributes(folder, schema)
    return FittedEmbedding(schema, model, name, numbers, learnt, curve)


def _numbers(stored: Any, schema: Schema) -> dict[str, Any]:
    """Return the plan's numbers.

    Raises:
        ValueError: one is not as the plan has it, or they are of other images than the schema's.
    """
    numbers = {**stored, **model_files.form(stored, schema, keys=("cosines", "cells"))}
    pixels = numbers["size"] ** 2
    if numbers["cosines"] > pixels:
        raise ValueError("Expected at most as many cosines as pixels.")
    for key, most in (("power", 10.0), ("refill", 2.0)):
        if not 0 <= float(numbers[key]) <= most:
            raise ValueError("Expected a number within its range.")
    return numbers


def _require_shapes(learnt: Learnt, numbers: Mapping[str, Any], conditioning: Conditioning) -> None:
    """Refuse moments that are not of this basis and these classes.

    Raises:
        ValueError: one has another shape, or is no count or deviation.
    """
    moments, basis = learnt.moments, basis_of(numbers)
    n, k, guides = basis.dimension, conditioning.n_classes * numbers["cells"], conditioning.n_guides
    wanted = {
        "counts": (k,),
        "means": (k, n),
        "factors": (k, n, n),
        "rests": (k, n),
        "guides": (k, guides),
        "slopes": (n, guides),
    }
    if any(getattr(moments, name).shape != shape for name, shape in wanted.items()):
        raise ValueError("Expected moments of this basis and these classes.")
    if learnt.centre.shape != (n,) or learnt.lengths.shape != Learnt.levels().shape:
        raise ValueError("Expected a centre and lengths of this basis.")
    if not learnt.radius > 0 or (moments.counts <= 0).any() or (moments.rests < 0).any():
        raise ValueError("Expected counts and deviations above 0.")
