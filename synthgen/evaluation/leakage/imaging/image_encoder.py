"""Leakage: are members where synthetic images lie denser than foreign ones, in encoders' features?

Pixels see a copy only while it lies still. This attacker looks in the features of both named encoders, and
at each suspect as it is and moved by a little in each of eight directions, so that a generator which moves or
blurs what it copies is seen too. Nearest neighbours stand for density: a ratio of distances is a ratio of
local densities to the power of one over the features' dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks import attack
from synthgen.evaluation.base import Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.encoders import ENCODERS
from synthgen.evaluation.features.images import NO_IMAGES, of_images, some
from synthgen.evaluation.leakage.nearest_neighbour import nearest
from synthgen.evaluation.memo import remembered
from synthgen.schema.schema import Schema

NAME, TITLE = "leakage_image_encoder", "Attack in the encoders' features"
MAX_SYNTHETIC = 20_000
MAX_REFERENCE = 10_000
PIXELS_A_STEP = 28
"""Pixels a side for each pixel that a suspect is moved by."""
FLOOR = 0.02
"""Share of the usual distance to a foreign image below which two images are the same to this attack."""
DEFINITION = (
    "Score = log of the distance to the nearest reference image over that to the nearest synthetic one, least"
    " over the suspect and its eight neighbours by a shift of a pixel (of more, above 28 pixels a side), sum"
    f" over the encoders {' and '.join(ENCODERS)}; a patient's score is the largest of the images'. After van"
    " Breugel et al. (2023), arXiv:2302.12580. Advantage by cross-fitted threshold (Newcombe), AUROC by"
    " DeLong, TPR by Wilson."
)
Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Bare:
    """Pixels without attributes, ``(image, channel, row, column)``. Sensitive."""

    schema: Schema
    pixels: np.ndarray = field(repr=False)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by nearest images in the encoders' features.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. The suspects have a fixed seed, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`.
    """
    if not of_images(inputs):
        return result(NAME, TITLE, DEFINITION, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    limits = {"synthetic": MAX_SYNTHETIC, "reference": MAX_REFERENCE}
    return attack.report(
        inputs, scores(inputs), name=NAME, title=TITLE, definition=DEFINITION, limits=limits, rng=rng
    )


def expect(declared: Declared) -> MetricResult:
    """Return what the attack would find at a perfect generator."""
    if not of_images(declared):
        return result(NAME, TITLE, DEFINITION, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    return attack.expect(declared, name=NAME, title=TITLE, definition=DEFINITION)


@remembered
def scores(inputs: Inputs) -> attack.Scores | None:
    """Return what the attack says of each patient, once while the inputs live; None for tables."""
    if not of_images(inputs) or not len(inputs.synthetic) or not len(inputs.reference):
        return None
    rng, schema = np.random.default_rng(attack.SEED), inputs.schema
    real: Any = (inputs.train, inputs.holdout, inputs.reference)
    pixels = [part.pixels for part in real]
    foreign = np.sort(rng.permutation(len(real[2]))[:MAX_REFERENCE])
    drawn: Any = inputs.synthetic
    bases = [_encoded(some(drawn, MAX_SYNTHETIC, rng=rng)), _encoded(Bare(schema, pixels[2][foreign]))]
    known: dict[int, tuple[list[Features], list[Features]]] = {}

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        if len(suspects) not in known:  # the suspects of the positive control are the same
            seen = [_encoded(look) for look in looks(Bare(schema, _chosen(pixels, suspects)))]
            known[len(suspects)] = seen, [_least(seen, base) for base in bases]
        seen, (close, far) = known[len(suspects)]
        if len(planted):
            more = _least(seen, _encoded(Bare(schema, _chosen(pixels, planted))))
            close = {name: np.minimum(close[name], more[name]) for name in close}
        return np.asarray(sum(_log_ratio(far[name], close[name]) for name in ENCODERS))

    return attack.score(_numbered(inputs), score, rng=np.random.default_rng(attack.SEED))


def looks(images: Bare) -> Iterator[Bare]:
    """Yield images as they are and moved by a step in each of eight directions, the rim repeated."""
    step = max(1, round(images.pixels.shape[2] / PIXELS_A_STEP))
    rows, columns = images.pixels.shape[2:]
    wide = np.pad(images.pixels, ((0, 0), (0, 0), (step, step), (step, step)), mode="edge")
    for down in (step, 0, 2 * step):
        for right in (step, 0, 2 * step):
            yield replace(images, pixels=wide[:, :, down : down + rows, right : right + columns])


def _encoded(images: Any) -> Features:
    return {name: encode(images) for name, encode in ENCODERS.items()}


def _least(seen: list[Features], base: Features) -> Features:
    """Return each suspect's distance to the nearest row of the base, least over its looks, by encoder."""
    return {name: np.min([nearest(look[name], base[name]) for look in seen], axis=0) for name in base}


def _log_ratio(far: np.ndarray, close: np.ndarray) -> np.ndarray:
    floor = FLOOR * float(np.median(far)) + np.finfo(float).tiny
    return np.asarray(np.log(far + floor) - np.log(close + floor))


def _numbered(inputs: Inputs) -> Inputs:
    """Return the real parts as tables of part and row number, with the columns that groups are told by."""
    parts: dict[str, Any] = {}
    for i, name in enumerate(("train", "holdout", "reference")):
        images = getattr(inputs, name)
        told = {column: images.frame[column] for column in inputs.groups}
        frame = pd.DataFrame({0: i, 1: np.arange(len(images))}).assign(**told)
        parts[name] = RealTable(images.schema, frame, images.units)
    return replace(inputs, **parts)


def _chosen(pixels: list[np.ndarray], frame: pd.DataFrame) -> np.ndarray:
    """Return the pixels of a numbered frame's images, whose parts stand one after the other."""
    part, row = frame[0].to_numpy(), frame[1].to_numpy()
    return np.concatenate([held[row[part == i]] for i, held in enumerate(pixels)])
