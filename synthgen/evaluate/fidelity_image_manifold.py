"""Fidelity: do synthetic images lie where real ones do, and everywhere they do?"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluate._images import MIN_PATIENTS, NO_IMAGES, of_images, sides
from synthgen.evaluate._intervals import insufficient
from synthgen.evaluate._manifold import (
    NEIGHBOURS,
    Figure,
    compare,
    estimate,
    radii,
    ratio,
    squared_distances,
)

MAX_ROWS = 3_000
PARTS = ("precision", "recall", "density", "coverage")
ARMS = ("synthetic", "real")
DEFINITION = (
    f"On the features of the encoders {WORDS}, one image of each patient: precision, share of synthetic"
    " images within the ball of any holdout image, which reaches to its 5th nearest neighbour; recall, the"
    " reverse; coverage, share of holdout balls that hold a synthetic image; density, balls an image lies"
    " in, over 5. The ratio is to training patients' images in the synthetic ones' place. Conservative"
    " intervals by influences, radii held fixed. Kynkaanniemi et al. (2019), arXiv:1904.06991; Naeem"
    " et al. (2020), arXiv:2002.09797."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare synthetic images with the balls around the holdout's, and the reverse.

    Args:
        inputs: see `Inputs`.
        rng: draws the images.

    Returns:
        ``<part>.synthetic``, ``<part>.real`` and ``<part>.ratio`` for precision, recall, density and
        coverage, by encoder (`keyed`).
    """
    if not of_images(inputs):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    parts = sides(inputs, MAX_ROWS, rng=rng)
    rows = len(parts["holdout"])
    if rows < MIN_PATIENTS:
        few = {keyed(f"{part}.ratio", name): insufficient(rows) for name in ENCODERS for part in PARTS}
        return _answer(few, status="insufficient", note="Too few patients or images.")
    estimates: dict[str, Estimate] = {}
    for name, encode in ENCODERS.items():
        points = {side: encode(part) for side, part in parts.items()}
        around = radii(squared_distances(points["holdout"], points["holdout"]))
        figures = {arm: _figures(points["holdout"], points[arm], around) for arm in ARMS}
        for part in PARTS:
            synthetic, real = (figures[arm][part] for arm in ARMS)
            found = {
                "synthetic": estimate(synthetic),
                "real": estimate(real),
                "ratio": ratio(synthetic, real),
            }
            estimates |= {keyed(f"{part}.{key}", name): value for key, value in found.items()}
    return _answer(estimates, details={"rows": rows, "neighbours": NEIGHBOURS, "encoders": described()})


def _figures(holdout: np.ndarray, other: np.ndarray, around: np.ndarray) -> dict[str, Figure]:
    across = squared_distances(holdout, other)
    found = compare(across, around)
    back = compare(across.T, radii(squared_distances(other, other)))["precision"]
    return {**found, "recall": Figure(back.value, back.other, back.real)}


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Precision, recall and coverage of images"
    return result("fidelity_image_manifold", title, DEFINITION, estimates, **more)
