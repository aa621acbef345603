"""Fidelity: how far is a normal fitted to synthetic images' features from one fitted to real ones'?

The plain distance of two samples is too large by about a constant over their size, so two good generators
of different sizes would differ. What is reported is extrapolated to samples without end: twice the distance
of the whole samples less that of their halves, which removes the constant over the size (Chong and Forsyth,
2020, arXiv:1911.07023, fit the same line). That of training images in the synthetic ones' place is 0 up to
chance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.features.encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluation.features.images import NO_IMAGES, of_images, sides
from synthgen.evaluation.statistics.frechet import Variance, extrapolated, variance
from synthgen.evaluation.statistics.intervals import WIDEST, Z, growth_of_variance, insufficient, of_square

MAX_ROWS = 4_000
ROWS_PER_FEATURE = 2.5
"""Images a side for each feature, from which on simulated normals were extrapolated to 5 % of the truth."""
KEYS = ("synthetic", "real", "ratio")
DEFINITION = (
    "Frechet distance |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of the features of the encoders"
    f" {WORDS}, one image of each patient, equal numbers. Synthetic and real (training images) to the"
    " holdout: extrapolated to samples without end from whole and half samples (after Chong and Forsyth,"
    " 2020, arXiv:1911.07023). Ratio: the plain distance over the plain real-real distance of equal size."
    " Intervals are about the mean over new draws of as many images, generator held fixed: all truths that"
    " are not rejected by the variance of single images and of pairs; of the ratio on the logarithm. Heusel"
    " et al. (2017), arXiv:1706.08500. Figures compare within an encoder only, never with published"
    " distances, which rest on networks trained on photographs."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the features' means and covariances of synthetic with held-out images.

    Args:
        inputs: see `Inputs`.
        rng: draws the images, and deals them to halves.

    Returns:
        ``synthetic`` and ``real``, squared distances to the holdout, which may be below 0; ``ratio``, about 1
        for a perfect generator; by encoder (`keyed`).
    """
    if not of_images(inputs):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    parts = sides(inputs, MAX_ROWS, rng=rng)
    rows = len(parts["holdout"])
    orders = {side: rng.permutation(rows) for side in parts}
    estimates: dict[str, Estimate] = {}
    features: dict[str, int] = {}
    for name, encode in ENCODERS.items():
        points = {side: encode(part)[orders[side]].astype(float) for side, part in parts.items()}
        features[name] = points["holdout"].shape[1]
        enough = rows >= ROWS_PER_FEATURE * features[name]
        found = _estimates(points, rng=rng) if enough else dict.fromkeys(KEYS, insufficient(rows))
        estimates |= {keyed(key, name): estimate for key, estimate in found.items()}
    details = {"rows": rows, "encoders": described(), "features": features}
    if all(estimate.status != "ok" for estimate in estimates.values()):
        return _answer(estimates, details=details, status="insufficient", note="Too few patients or images.")
    return _answer(estimates, details=details)


def _estimates(points: dict[str, np.ndarray], *, rng: np.random.Generator) -> dict[str, Estimate]:
    """Return the figures with their intervals."""
    holdout, rows = points["holdout"], len(points["holdout"])
    values = {arm: extrapolated(holdout, points[arm]) for arm in KEYS[:2]}
    parts = {arm: variance(holdout, points[arm], rng=rng) for arm in KEYS[:2]}
    found = {
        arm: of_square(
            value, n=rows, single=parts[arm].single, pairs=parts[arm].extrapolated, noise=parts[arm].noise
        )
        for arm, (value, _) in values.items()
    }
    (_, plain), (_, reference) = values["synthetic"], values["real"]
    if not min(plain, reference, parts["synthetic"].noise, parts["real"].noise) > 0:
        return found | {"ratio": insufficient(rows)}
    low, high = _ends(plain, reference, parts["synthetic"], parts["real"])
    return found | {"ratio": Estimate(plain / reference, low, high, n=rows)}


def _ends(plain: float, reference: float, mine: Variance, theirs: Variance) -> tuple[float, float]:
    """Return the least and the largest ratio that are not rejected on the logarithm.

    Each is judged by the variances that it implies, the reference's distance being that of noise alone.
    """
    from scipy.optimize import brentq

    growth, _ = growth_of_variance(plain - mine.noise, single=mine.single, pairs=mine.pairs, noise=mine.noise)

    def half(ratio: float) -> float:
        beyond = max(ratio * theirs.noise - mine.noise, 0.0)
        distance = beyond + mine.noise
        squares = (mine.pairs + growth * beyond) / distance**2 + theirs.pairs / theirs.noise**2
        return min(Z * math.sqrt(max(squares - 2 * mine.shared / distance / theirs.noise, 0.0)), WIDEST)

    centre = math.log(plain / reference)
    low = brentq(lambda x: centre - x - half(math.exp(x)), centre - WIDEST - 1, centre)
    high = brentq(lambda x: x - centre - half(math.exp(x)), centre, centre + WIDEST + 1)
    return math.exp(low), math.exp(high)


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Frechet distance of images"
    return result("fidelity_image_frechet", title, DEFINITION, estimates, better="lower", **more)
