"""Leakage: is the nearest synthetic image closer to members than the nearest foreign image is?

In pixels and in the features of a fixed encoder at once. Distance to the nearest image may fail a release
and never passes one alone; here it is an attack with a holdout control and planted copies.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.base import Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features import radiomics_encoder
from synthgen.evaluation.features.images import NO_IMAGES, as_points, components, of_images, some
from synthgen.evaluation.features.radiomics_encoder import encode, thumbnails
from synthgen.evaluation.leakage.nearest_neighbour import nearest
from synthgen.evaluation.memo import remembered

NAME, TITLE = "leakage_image_nearest", "Attack by the nearest image"
SIDE = 16
MAX_SYNTHETIC = 20_000
FLOOR = 0.02
"""Distance below which two images are the same to this attack: 2 % of the range everywhere."""
DEFINITION = (
    "Score = log of the distance to the nearest reference image over that to the nearest synthetic"
    f" image, Euclidean on {SIDE}x{SIDE} pixels and the features {radiomics_encoder.NAME}; a patient's score"
    " is the largest of the images'. Advantage by cross-fitted threshold (Newcombe), AUROC by DeLong, TPR by"
    " Wilson."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Attack by nearest images.

    Args:
        inputs: see `Inputs`.
        rng: splits patients in halves. The suspects have a fixed seed, so that attacks compare.

    Returns:
        See `synthgen.evaluation.attacks.attack.run`.
    """
    if not of_images(inputs):
        return result(NAME, TITLE, DEFINITION, {}, better="lower", status="not-applicable", note=NO_IMAGES)
    limits = {"synthetic": MAX_SYNTHETIC}
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
    if not of_images(inputs):
        return None
    rng = np.random.default_rng(attack.SEED)
    images: Any = inputs.synthetic
    flat = as_points(inputs, points)
    synthetic, reference = points(some(images, MAX_SYNTHETIC, rng=rng)), components(flat.reference.frame)
    known: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def score(planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        found = components(suspects)
        if len(found) not in known:  # the suspects of the positive control are the same
            known[len(found)] = nearest(found, synthetic), nearest(found, reference)
        close, foreign = known[len(found)]
        if len(planted):
            close = np.minimum(close, nearest(found, components(planted)))
        return np.asarray(np.log(foreign + FLOOR) - np.log(close + FLOOR))

    return attack.score(flat, score, rng=np.random.default_rng(attack.SEED))


def points(images: Any) -> np.ndarray:
    """Return ``(image, component)`` float32: pixels over the number a side, then features."""
    pixels = thumbnails(images, SIDE).reshape(len(images), SIDE**2) / SIDE
    return np.concatenate([pixels, encode(images)], axis=1).astype(np.float32)
