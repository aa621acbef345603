"""Fidelity: how far do synthetic images lie from real ones, as a whole, in the features of fixed encoders?

The squared distance is hard to read alone. It stands beside that of training patients' images, which is 0 up
to chance, and it is divided by the distance between the real images of different labels: at 1, the synthetic
images are as far from the real ones as ill patients' images are from those of others.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluate._images import MIN_PATIENTS, NO_IMAGES, of_images, sides
from synthgen.evaluate._intervals import insufficient, not_applicable, quantile

MAX_ROWS = 2_000
GROUPS = 20
JACKKNIFE = 500
LEAST = 20
"""Images of a label below which it has no part in the distance between labels."""
CONSTANT = 1e-6
DEFINITION = (
    "Squared maximum mean discrepancy, unbiased, of the kernel (x.y/d + 1)^3 on the features of the"
    f" encoders {WORDS}, over the holdout's mean and standard deviation, one image of each patient. Relative:"
    " over the distance between the holdout's labels, weighed by their shares. Student's intervals for new"
    f" images, scale and divisor anew: variance of pairs, and jackknife over {GROUPS} groups of single"
    " images. Binkowski et al. (2018), arXiv:1801.01401."
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


def _labels(inputs: Inputs, holdout: Any) -> np.ndarray | None:
    """Return the label of each of the holdout's images, if there is one."""
    if inputs.target is None or inputs.schema.column(inputs.target).kind != "category":
        return None
    return np.asarray(holdout.frame[inputs.target].cat.codes, dtype=np.int64)


def _estimates(features: dict[str, np.ndarray], labels: np.ndarray | None) -> dict[str, Estimate]:
    """Return the figures with Student's intervals.

    The variance of pairs is measured on all images. That of single images, with the scale and the divisor,
    which they move, is the jackknife's over groups of at most `JACKKNIFE` images, less its share of pairs.
    """
    rows = len(features["holdout"])
    few = slice(0, min(rows, JACKKNIFE))
    some = {side: points[few] for side, points in features.items()}
    known = None if labels is None else labels[few]
    group = np.arange(len(some["holdout"])) % GROUPS
    values, pairs = _figures(features, labels)
    without = [
        _figures(
            {side: p[group != i] for side, p in some.items()}, None if known is None else known[group != i]
        )
        for i in range(GROUPS)
    ]
    spread = (GROUPS - 1) * np.var([one[0] for one in without], axis=0) - 2 * _figures(some, known)[1]
    variance = np.maximum(spread, 0.0) * len(group) / rows + pairs
    halves = quantile(GROUPS - 1) * np.sqrt(variance)
    found: dict[str, Estimate] = {}
    for key, value, half in zip(
        ("synthetic", "real", "relative"), values.tolist(), halves.tolist(), strict=True
    ):
        if key == "relative" and labels is None:
            found[key] = not_applicable()
        elif np.isfinite(value) and np.isfinite(half):
            found[key] = Estimate(value, value - half, value + half, n=rows, freedom=GROUPS - 1)
        else:
            found[key] = insufficient(rows)
    return found


def _figures(features: dict[str, np.ndarray], labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return both distances and the relative one, and the variances of their pairs."""
    scaled = _scaled(features)
    (synthetic, first), (real, second) = (
        discrepancy(scaled["holdout"], scaled[arm]) for arm in ("synthetic", "real")
    )
    unit = np.nan if labels is None else _between(scaled["holdout"], labels)
    return np.array([synthetic, real, synthetic / unit]), np.array([first, second, first / unit**2])


def _scaled(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return features over the holdout's mean and deviation, those left out that do not vary there."""
    mean, spread = features["holdout"].mean(axis=0), features["holdout"].std(axis=0)
    used = spread > CONSTANT
    return {side: (f[:, used] - mean[used]) / spread[used] for side, f in features.items()}


def discrepancy(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the unbiased squared discrepancy of two samples, and the variance that its pairs give it.

    The pairs' is all the variance there is where the samples agree (Serfling, 1980, section 5.2.1).
    """
    n, m = len(first), len(second)
    within, across, other = _kernel(first, first), _kernel(first, second), _kernel(second, second)
    own = (within.sum() - np.trace(within)) / (n * (n - 1))
    theirs = (other.sum() - np.trace(other)) / (m * (m - 1))
    pairs = (
        2 * _pairs(within) / (n * (n - 1)) + 4 * _pairs(across) / (n * m) + 2 * _pairs(other) / (m * (m - 1))
    )
    return float(own + theirs - 2 * across.mean()), float(pairs)


def _pairs(kernel: np.ndarray) -> float:
    """Return the variance of the kernel of two points less what each point adds alone."""
    rows, columns = kernel.mean(axis=1, keepdims=True), kernel.mean(axis=0, keepdims=True)
    alone = (kernel - rows - columns + kernel.mean()) ** 2
    if kernel.shape[0] != kernel.shape[1]:
        return float(alone.mean())
    return float((alone.sum() - np.trace(alone)) / (len(alone) * (len(alone) - 1)))


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray((first @ second.T / first.shape[1] + 1.0) ** 3)


def _between(points: np.ndarray, labels: np.ndarray) -> float:
    """Return the distance of each label's images to the others', mean by its share; NaN if there is none."""
    between, weight = 0.0, 0.0
    for label in np.unique(labels[labels >= 0]):
        mine, others = points[labels == label], points[(labels != label) & (labels >= 0)]
        if min(len(mine), len(others)) >= LEAST:
            between += len(mine) * discrepancy(mine, others)[0]
            weight += len(mine)
    return between / weight if between > 0 else float("nan")


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Kernel distance of images"
    return result("fidelity_image_kernel", title, DEFINITION, estimates, better="lower", **more)
