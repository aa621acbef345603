"""Fidelity: do synthetic images lie where real ones do, and everywhere they do?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, spread
from synthgen.evaluation.features.encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluation.features.images import MIN_PATIENTS, NO_IMAGES, of_images, sides
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.manifold import (
    NEIGHBOURS,
    Places,
    compare,
    in_halves,
    intervals,
    radii,
    squared_distances,
)

MAX_ROWS = 3_000
PARTS = ("precision", "recall", "density", "coverage")
ARMS = ("synthetic", "real")
DEFINITION = (
    f"On the features of the encoders {WORDS}, one image of each patient: precision, share of synthetic"
    " images within the ball of any holdout image, which reaches to its 5th nearest neighbour; recall, the"
    " reverse; coverage, share of holdout balls that hold a synthetic image; density, balls an image lies"
    " in, over 5. The ratio is to training patients' images in the synthetic ones' place. Intervals are about"
    " the mean over new draws of as many images, generator held fixed: split halves of all sides, radii anew,"
    " of shares for the design effect of Wilson's interval and, of a ratio, Koopman's."
    " Kynkaanniemi et al. (2019), arXiv:1904.06991; Naeem et al. (2020), arXiv:2002.09797."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare synthetic images with the balls around the holdout's, and the reverse.

    Args:
        inputs: see `Inputs`.
        rng: draws the images and the splits.

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
        draws = _draws({side: encode(part) for side, part in parts.items()}, rng)
        for part in PARTS:
            synthetic, real = (draws[f"{part}.{arm}"] for arm in ARMS)
            found = intervals(part, synthetic, real, rows)
            estimates |= {keyed(f"{part}.{key}", name): value for key, value in found.items()}
    return _answer(estimates, details={"rows": rows, "neighbours": NEIGHBOURS, "encoders": described()})


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    if not of_images(declared):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    rows = min(declared.compared, declared.holdout, MAX_ROWS)
    one = enough(around(1.0, spread(rows, NOISE["share"]), rows), rows, MIN_PATIENTS)
    keys = [keyed(f"{part}.ratio", name) for name in ENCODERS for part in PARTS]
    note = "" if rows >= MIN_PATIENTS else "Too few patients or images."
    return _answer(dict.fromkeys(keys, one), status=one.status, note=note)


def _draws(points: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return ``<part>.<arm>`` on all images and on halves of them."""
    matrices = {(first, second): squared_distances(points[first], points[second]) for first, second in _PAIRS}

    def figures(places: Places) -> dict[str, float]:
        near = {pair: matrix[np.ix_(*(places[side] for side in pair))] for pair, matrix in matrices.items()}
        return {f"{part}.{arm}": value for arm in ARMS for part, value in _parts(near, arm).items()}

    everyone = {side: np.arange(len(found)) for side, found in points.items()}
    return in_halves(figures, everyone, rng=rng)


_PAIRS = (("holdout", "holdout"), *(pair for arm in ARMS for pair in (("holdout", arm), (arm, arm))))


def _parts(near: Mapping[tuple[str, str], np.ndarray], arm: str) -> dict[str, float]:
    """Return the four figures of an arm from squared distances by pair of sides."""
    across = near["holdout", arm]
    found = compare(across, radii(near["holdout", "holdout"]))
    return {**found, "recall": compare(across.T, radii(near[arm, arm]))["precision"]}


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Precision, recall and coverage of images"
    return result("fidelity_image_manifold", title, DEFINITION, estimates, **more)
