"""Fidelity: how far do synthetic images lie from real ones, as a whole, in the features of fixed encoders?

The squared distance is hard to read alone. It stands beside that of training patients' images, which is 0 up
to chance, and it is divided by the distance between the real images of different labels: at 1, the synthetic
images are as far from the real ones as ill patients' images are from those of others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluation.features.images import MIN_PATIENTS, NO_IMAGES, of_images, sides
from synthgen.evaluation.statistics.intervals import exactly, insufficient, not_applicable, of_square
from synthgen.evaluation.statistics.kernel_discrepancy import (
    DEGREE,
    Square,
    coefficients,
    gram,
    pull,
    single,
    square,
    through_scale,
)

MAX_ROWS = 2_000
LEAST = 20
"""Images of a label below which it has no part in the distance between labels."""
CONSTANT = 1e-6
DEFINITION = (
    "Squared maximum mean discrepancy, unbiased, of the kernel (x.y/d + 1)^3 on the features of the"
    f" encoders {WORDS}, over the holdout's mean and standard deviation, one image of each patient. Relative:"
    " over the distance between the holdout's labels, weighed by their shares. Intervals are about the mean"
    " over new draws of as many images, generator held fixed, scale and divisor anew: all truths that are not"
    " rejected by the variance of single images and of pairs. Binkowski et al. (2018), arXiv:1801.01401."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare synthetic with held-out images.

    Args:
        inputs: see `Inputs`.
        rng: draws the images.

    Returns:
        ``synthetic`` and ``real`` (training images), squared distances to the holdout, which may be below 0;
        ``relative``, from 0, not applicable without a label; by encoder (`keyed`).
    """
    if not of_images(inputs):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    parts = sides(inputs, MAX_ROWS, rng=rng)
    rows = len(parts["holdout"])
    if rows < MIN_PATIENTS:
        keys = [keyed(key, name) for name in ENCODERS for key in ("synthetic", "real", "relative")]
        few = {key: insufficient(rows) for key in keys}
        return _answer(few, status="insufficient", note="Too few patients or images.")
    estimates: dict[str, Estimate] = {}
    used: dict[str, int] = {}
    for name, encode in ENCODERS.items():
        features = {side: encode(part).astype(float) for side, part in parts.items()}
        found = _estimates(features, _labels(inputs, parts["holdout"]))
        estimates |= {keyed(key, name): estimate for key, estimate in found.items()}
        used[name] = int((features["holdout"].std(axis=0) > CONSTANT).sum())
    return _answer(estimates, details={"rows": rows, "encoders": described(), "features": used})


def expect(declared: Declared) -> MetricResult:
    """Return whether there would be an answer; how far labels lie apart is not known before."""
    rows = min(declared.compared, declared.holdout)
    if not of_images(declared):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    labelled = declared.target is not None and declared.schema.column(declared.target).kind == "category"
    keys = [keyed("relative", name) for name in ENCODERS]
    if rows < MIN_PATIENTS or not labelled:
        note = (
            "Too few patients or images." if labelled else "There is no label to compare the distance with."
        )
        return _answer({key: insufficient(rows) for key in keys}, status="insufficient", note=note)
    return _answer({key: exactly(0.0, n=rows) for key in keys})


def _labels(inputs: Inputs, holdout: Any) -> np.ndarray | None:
    """Return the label of each of the holdout's images, if there is one."""
    if inputs.target is None or inputs.schema.column(inputs.target).kind != "category":
        return None
    return np.asarray(holdout.frame[inputs.target].cat.codes, dtype=np.int64)


def _estimates(features: dict[str, np.ndarray], labels: np.ndarray | None) -> dict[str, Estimate]:
    """Return the figures with their intervals."""
    scaled = _scaled(features)
    rows = len(scaled["holdout"])
    base = gram(scaled["holdout"], scaled["holdout"])
    found: dict[str, Estimate] = {}
    for arm in ("synthetic", "real"):
        distance = discrepancy(scaled["holdout"], scaled[arm], base)
        parts: dict[str, Any] = {
            "n": rows,
            "single": single(distance),
            "pairs": distance.pairs,
            "noise": distance.noise,
        }
        found[arm] = of_square(distance.value, **parts)
        if arm == "synthetic" and labels is not None:
            unit, adds = between(scaled["holdout"], labels, base)
            shared, variance = float(distance.first @ adds), float((adds**2).sum())
            found["relative"] = of_square(
                distance.value, **parts, divisor=unit, divisor_variance=variance, shared=shared
            )
    return {"relative": not_applicable()} | found


def _scaled(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return features over the holdout's mean and deviation, those left out that do not vary there."""
    mean, spread = features["holdout"].mean(axis=0), features["holdout"].std(axis=0)
    used = spread > CONSTANT
    return {side: (f[:, used] - mean[used]) / spread[used] for side, f in features.items()}


def discrepancy(first: np.ndarray, second: np.ndarray, base: np.ndarray | None = None) -> Square:
    """Return the squared distance of two samples of which the first scaled both.

    Args:
        first: the holdout's points over their own mean and deviation.
        second: other points over the same.
        base: `gram` of the first, where it is known.
    """
    n, m = len(first), len(second)
    grams = (gram(first, first) if base is None else base, gram(first, second), gram(second, second))
    found = square(*(part**DEGREE for part in grams))
    pulls = (
        pull(grams[0], first, first, (1 - np.eye(n)) / (n * (n - 1)))
        + pull(grams[2], second, second, (1 - np.eye(m)) / (m * (m - 1)))
        - 2 * pull(grams[1], first, second, 1 / (n * m))
    )
    return replace(found, first=found.first + through_scale(first, pulls))


def between(points: np.ndarray, labels: np.ndarray, base: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the distance of each label's images to the others', mean by its share; NaN if there is none.

    Beside it what each point adds; the sum of squares is the variance.
    """
    known = np.flatnonzero(labels >= 0)
    base = base[np.ix_(known, known)]
    kernel = base**DEGREE
    masks = [labels[known] == label for label in np.unique(labels[known])]
    masks = [mine for mine in masks if min(mine.sum(), (~mine).sum()) >= LEAST]
    total = sum(int(mine.sum()) for mine in masks)
    value, weights, adds = 0.0, np.zeros_like(kernel), np.zeros(len(points))
    for mine in masks:
        share, own, others = mine.sum() / total, kernel[mine], kernel[~mine]
        found = square(own[:, mine], own[:, ~mine], others[:, ~mine])
        value += share * found.value
        weights += share * coefficients(mine)
        adds[known[mine]] += share * found.first + found.value / total
        adds[known[~mine]] += share * found.second
    if not value > 0:
        return float("nan"), adds
    adds[known[np.any(masks, axis=0)]] -= value / total
    return value, adds + through_scale(points, pull(base, points[known], points[known], weights))


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Kernel distance of images"
    return result("fidelity_image_kernel", title, DEFINITION, estimates, better="lower", **more)
