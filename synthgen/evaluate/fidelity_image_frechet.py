"""Fidelity: how far is a normal fitted to synthetic images' features from one fitted to real ones'?

The plain distance of two samples is too large by about a constant over their size, so two good generators
of different sizes would differ. What is reported is extrapolated to samples without end: twice the distance
of the whole samples less that of their halves, which removes the constant over the size (Chong and Forsyth,
2020, arXiv:1911.07023, fit the same line). That of training images in the synthetic ones' place is 0 up to
chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._encoders import ENCODERS, WORDS, described, keyed
from synthgen.evaluate._images import NO_IMAGES, of_images, sides
from synthgen.evaluate._intervals import insufficient, quantile

MAX_ROWS = 4_000
ROWS_PER_FEATURE = 2.5
"""Images a side for each feature, from which on simulated normals were extrapolated to 5 % of the truth."""
GROUPS = 20
KEYS = ("synthetic", "real", "ratio")
DEFINITION = (
    "Frechet distance |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^1/2) of the features of the encoders"
    f" {WORDS}, one image of each patient, equal numbers. Synthetic and real (training images) to the"
    " holdout: extrapolated to samples without end from whole and half samples (after Chong and Forsyth,"
    " 2020, arXiv:1911.07023). Ratio: the plain distance over the plain real-real distance of equal size."
    f" Student's intervals by a jackknife over {GROUPS} groups of patients. Heusel et al. (2017),"
    " arXiv:1706.08500. Figures compare within an encoder only, never with published distances, which rest"
    " on networks trained on photographs."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the features' means and covariances of synthetic with held-out images.

    Args:
        inputs: see `Inputs`.
        rng: draws the images, and deals them to halves and groups.

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
        found = _estimates(points) if enough else dict.fromkeys(KEYS, insufficient(rows))
        estimates |= {keyed(key, name): estimate for key, estimate in found.items()}
    details = {"rows": rows, "encoders": described(), "features": features, "groups": GROUPS}
    if all(estimate.status != "ok" for estimate in estimates.values()):
        return _answer(estimates, details=details, status="insufficient", note="Too few patients or images.")
    return _answer(estimates, details=details)


def frechet(first: np.ndarray, second: np.ndarray) -> float:
    """Return the squared Frechet distance of normals fitted to two samples, ``(point, feature)``.

    The root of the product has the trace of the root of ``S1^1/2 S2 S1^1/2``, which is symmetric.
    """
    shift = first.mean(axis=0) - second.mean(axis=0)
    own, other = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    values, vectors = np.linalg.eigh(own)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0.0)).sum()
    return float(shift @ shift + np.trace(own) + np.trace(other) - 2 * shared)


def extrapolated(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """Return the distance at endless samples, and the plain one, of two samples in random order."""
    middle = min(len(first), len(second)) // 2
    halves = [
        frechet(a, b)
        for a in (first[:middle], first[middle : 2 * middle])
        for b in (second[:middle], second[middle : 2 * middle])
    ]
    plain = frechet(first, second)
    return 2 * plain - float(np.mean(halves)), plain


def _figures(points: dict[str, np.ndarray]) -> np.ndarray:
    synthetic, plain = extrapolated(points["holdout"], points["synthetic"])
    real, reference = extrapolated(points["holdout"], points["real"])
    return np.array([synthetic, real, plain / reference if reference > 0 else np.nan])


def _estimates(points: dict[str, np.ndarray]) -> dict[str, Estimate]:
    """Return the figures with the intervals of a jackknife that leaves out a group of each side at once.

    Source: Kott (2001), Journal of Official Statistics 17:521.
    """
    rows = len(points["holdout"])
    group = np.arange(rows) % GROUPS
    whole = _figures(points)
    without = np.array([_figures({side: p[group != i] for side, p in points.items()}) for i in range(GROUPS)])
    halves = quantile(GROUPS - 1) * np.sqrt((GROUPS - 1) * without.var(axis=0))
    return {
        key: _about(value, half, rows) if np.isfinite(half) else insufficient(rows)
        for key, value, half in zip(KEYS, whole.tolist(), halves.tolist(), strict=True)
    }


def _about(value: float, half: float, rows: int) -> Estimate:
    return Estimate(value, value - half, value + half, n=rows, freedom=GROUPS - 1)


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Frechet distance of images"
    return result("fidelity_image_frechet", title, DEFINITION, estimates, better="lower", **more)
