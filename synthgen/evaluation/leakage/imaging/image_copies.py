"""Leakage: how many patients have a copy of an image among the synthetic ones?

A copy is a synthetic image nearer to the patient's than the nearest image of a foreign patient usually is. A
generator that knows nobody copies training and holdout patients alike, by chance.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.features.images import MIN_PATIENTS, NO_IMAGES, of_images, some
from synthgen.evaluation.leakage.imaging.image_nearest import MAX_SYNTHETIC, points
from synthgen.evaluation.leakage.nearest_neighbour import nearest
from synthgen.evaluation.statistics.intervals import insufficient, without_interval
from synthgen.evaluation.statistics.patients import maximum_by_patient, sample_patients
from synthgen.evaluation.statistics.shares import independent_shares

MAX_PATIENTS = 4_000
QUANTILE = 0.01
DEFINITION = (
    "Share of patients with an image that has a synthetic one nearer than the 1 % quantile of the"
    " holdout images' distances to the nearest reference image (same distance as the attack by the"
    " nearest image); training minus holdout, Mee's score interval. The two shares have no interval of"
    " their own: the threshold moves them together."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count copies of training and of held-out patients' images.

    Args:
        inputs: see `Inputs`.
        rng: draws patients and images where a cap is met.

    Returns:
        ``train``, ``holdout`` (0 to 1) and ``difference`` (-1 to 1).
    """
    if not of_images(inputs):
        return _answer({}, status="not-applicable", note=NO_IMAGES)
    parts = {"train": inputs.train, "holdout": inputs.holdout}
    parts = {name: sample_patients(part, MAX_PATIENTS, rng=rng) for name, part in parts.items()}
    sizes = {name: part.unit_codes()[1] for name, part in parts.items()}
    images: Any = inputs.synthetic
    if min(sizes.values()) < MIN_PATIENTS or not len(images) or not len(inputs.reference):
        keys = ("train", "holdout", "difference")
        few = {key: insufficient(min(sizes.values())) for key in keys}
        return _answer(few, status="insufficient", note=f"This needs {MIN_PATIENTS} patients a side.")
    synthetic = points(some(images, MAX_SYNTHETIC, rng=rng))
    found = {name: points(part) for name, part in parts.items()}
    usual = float(np.quantile(nearest(found["holdout"], points(inputs.reference)), QUANTILE))
    hits = {name: _hits(parts[name], nearest(found[name], synthetic) < usual) for name in parts}
    estimates = {name: without_interval(hits[name] / n, n=n) for name, n in sizes.items()}
    shares = independent_shares(hits["train"], sizes["train"], hits["holdout"], sizes["holdout"])
    estimates["difference"] = Estimate(*shares, n=sum(sizes.values()))
    return _answer(estimates, details={"threshold": usual, "synthetic": len(synthetic)})


def _hits(part: Any, close: np.ndarray) -> int:
    codes, n_units = part.unit_codes()
    return int((maximum_by_patient(close.astype(float), codes, n_units) > 0).sum())


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Copies of images"
    return result("leakage_image_copies", title, DEFINITION, estimates, better="lower", **more)
