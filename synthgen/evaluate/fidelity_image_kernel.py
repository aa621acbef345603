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
from synthgen.evaluate._intervals import Z, insufficient, not_applicable

MAX_ROWS = 2_000
DEFINITION = (
    "Squared maximum mean discrepancy, unbiased, of the kernel (x.y/d + 1)^3 on the features of the"
    f" encoders {WORDS}, over the holdout's mean and standard deviation, one image of each patient; normal"
    " intervals by influences. Relative: over the distance between the holdout's labels, weighed by their"
    " shares. Binkowski et al. (2018), arXiv:1801.01401."
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
        scaled = _scaled({side: encode(part).astype(float) for side, part in parts.items()})
        found = {arm: discrepancy(scaled["holdout"], scaled[arm]) for arm in ("synthetic", "real")}
        found["relative"] = _relative(inputs, parts["holdout"], scaled["holdout"], found["synthetic"])
        estimates |= {keyed(key, name): estimate for key, estimate in found.items()}
        used[name] = scaled["holdout"].shape[1]
    return _answer(estimates, details={"rows": rows, "encoders": described(), "features": used})


def _scaled(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return features over the holdout's mean and deviation, those left out that do not vary there."""
    mean, spread = features["holdout"].mean(axis=0), features["holdout"].std(axis=0)
    used = spread > 1e-6
    return {side: (f[:, used] - mean[used]) / spread[used] for side, f in features.items()}


def discrepancy(first: np.ndarray, second: np.ndarray) -> Estimate:
    """Return the unbiased squared discrepancy of two samples with a normal interval.

    Its variance is that of each point's influence, twice its mean kernel to its own sample less that to the
    other, and of the pairs, which is all that is left where the samples agree (Serfling, 1980, section
    5.2.1). Measured influences hold the pairs' twice.
    """
    n, m = len(first), len(second)
    if min(n, m) < 2:
        return insufficient(n)
    within, across, other = _kernel(first, first), _kernel(first, second), _kernel(second, second)
    own = (within.sum(axis=1) - np.diag(within)) / (n - 1)
    theirs = (other.sum(axis=1) - np.diag(other)) / (m - 1)
    value = float(own.mean() + theirs.mean() - 2 * across.mean())
    left, right = own - across.mean(axis=1), theirs - across.mean(axis=0)
    pairs = (
        _pairs(within) / (n * (n - 1) / 2) + 4 * _pairs(across) / (n * m) + _pairs(other) / (m * (m - 1) / 2)
    )
    points = 4 * (left.var(ddof=1) / n + right.var(ddof=1) / m) - pairs
    half = Z * float(np.sqrt(max(points, pairs)))
    return Estimate(value, value - half, value + half, n=n)


def _pairs(kernel: np.ndarray) -> float:
    """Return the variance of the kernel of two points less what each point adds alone."""
    off = (
        ~np.eye(len(kernel), dtype=bool)
        if kernel.shape[0] == kernel.shape[1]
        else np.ones(kernel.shape, bool)
    )
    count = off.sum(axis=1, keepdims=True), off.sum(axis=0, keepdims=True)
    rows = (kernel * off).sum(axis=1, keepdims=True) / count[0]
    columns = (kernel * off).sum(axis=0, keepdims=True) / count[1]
    return float(((kernel - rows - columns + kernel[off].mean())[off] ** 2).mean())


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.asarray((first @ second.T / first.shape[1] + 1.0) ** 3)


def _relative(inputs: Inputs, holdout: Any, points: np.ndarray, synthetic: Estimate) -> Estimate:
    """Return the distance over that between labels; the divisor is taken as it is."""
    if inputs.target is None or inputs.schema.column(inputs.target).kind != "category":
        return not_applicable()
    codes = holdout.frame[inputs.target].cat.codes.to_numpy()
    between, weight = 0.0, 0.0
    for label in np.unique(codes[codes >= 0]):
        mine, others = points[codes == label], points[(codes != label) & (codes >= 0)]
        if min(len(mine), len(others)) >= MIN_PATIENTS:
            between += len(mine) * discrepancy(mine, others).value
            weight += len(mine)
    if not weight or not between > 0:
        return insufficient(len(points))
    unit = between / weight
    return Estimate(synthetic.value / unit, synthetic.low / unit, synthetic.high / unit, n=synthetic.n)


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Kernel distance of images"
    return result("fidelity_image_kernel", title, DEFINITION, estimates, better="lower", **more)
