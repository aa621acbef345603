"""Leakage: is the nearest synthetic image closer to members than the nearest foreign image is?

In pixels and in the features of a fixed encoder at once. Distance to the nearest image may fail a release
and never passes one alone; here it is an attack with a holdout control and planted copies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluate import _attack
from synthgen.evaluate._base import Inputs, MetricResult, result
from synthgen.evaluate._encoder import NAME, encode, thumbnails
from synthgen.evaluate._images import NO_IMAGES, of_images, some
from synthgen.evaluate.leakage_nearest_neighbour import nearest
from synthgen.records import RealTable

SIDE = 16
MAX_SYNTHETIC = 20_000
FLOOR = 0.02
"""Distance below which two images are the same to this attack: 2 % of the range everywhere."""
DEFINITION = (
    "Score = log of the distance to the nearest reference image over that to the nearest synthetic"
    f" image, Euclidean on {SIDE}x{SIDE} pixels and the features {NAME}; a patient's score is the"
    " largest of the images'. Advantage by cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by"
    " Clopper-Pearson."
)
NAMED = ("leakage_image_nearest", "Attack by the nearest image", DEFINITION)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by nearest images.

    Args:
        inputs: see `Inputs`.
        rng: draws suspects and splits, and samples where a cap is met.

    Returns:
        See `synthgen.evaluate._attack.run`.
    """
    if not of_images(inputs):
        return result(*NAMED, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    images: Any = inputs.synthetic
    synthetic, reference = points(some(images, MAX_SYNTHETIC, rng=rng)), points(inputs.reference)
    flat = replace(
        inputs,
        train=_flat(inputs.train, inputs.groups),
        holdout=_flat(inputs.holdout, inputs.groups),
        reference=_flat(inputs.reference, inputs.groups),
    )

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        found = _matrix(suspects)
        base = np.concatenate([synthetic, _matrix(planted)]) if len(planted) else synthetic
        close, foreign = nearest(found, base), nearest(found, reference)
        return np.asarray(np.log(foreign + FLOOR) - np.log(close + FLOOR))

    limits = {"synthetic": len(synthetic), "reference": len(reference)}
    name, title, definition = NAMED
    return _attack.run(flat, score, name=name, title=title, definition=definition, limits=limits, rng=rng)


def points(images: Any) -> np.ndarray:
    """Return ``(image, component)`` float32: pixels over the number a side, then features."""
    pixels = thumbnails(images, SIDE).reshape(len(images), SIDE**2) / SIDE
    return np.concatenate([pixels, encode(images)], axis=1).astype(np.float32)


def _flat(images: Any, groups: tuple[str, ...]) -> RealTable:
    """Return images as a table of numbered components, with the columns that groups are told by."""
    frame = pd.DataFrame(points(images))
    return RealTable(
        images.schema, frame.assign(**{name: images.frame[name] for name in groups}), images.units
    )


def _matrix(frame: pd.DataFrame) -> np.ndarray:
    numbered = [name for name in frame.columns if not isinstance(name, str)]
    return np.ascontiguousarray(frame[numbered].to_numpy(np.float32))
