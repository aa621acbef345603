"""Fairness: for which patients does training on synthetic images cost more than for the others?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from synthgen.evaluation.base import Inputs, MetricResult, result
from synthgen.evaluation.fairness import utility_gap
from synthgen.evaluation.learners.imaging import applicable, predictions

NAME, TITLE = "fairness_image_gap", "Utility gap of images by group"
DEFINITION = f"As the utility gap by group of tables, of learners on images. {utility_gap.DEFINITION}"


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each group's utility gap with the overall gap.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_image_tstr``.
        rng: draws the patient bootstrap.

    Returns:
        ``worst`` and ``groups["gap"]`` as `synthgen.evaluation.fairness.utility_gap` has them.
    """
    others = [name for name in inputs.groups if name != inputs.target]
    why = applicable(inputs) or ("" if others else "No protected column but the target was named.")
    if why:
        return result(NAME, TITLE, DEFINITION, {}, status="not-applicable", note=why)
    found = utility_gap.by_group(inputs, predictions(inputs), rng=rng)
    return replace(found, name=NAME, title=TITLE, definition=DEFINITION)
