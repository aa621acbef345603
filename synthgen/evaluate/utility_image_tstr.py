"""Utility: how much worse a model reads real images when it was trained on synthetic ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._image_learners import MAX_ROWS, applicable, learners, predictions
from synthgen.evaluate._intervals import insufficient
from synthgen.evaluate._learners import estimates_of
from synthgen.evaluate._patients import multiplicities

DRAWS = 200
DEFINITION = (
    "AUROC (macro one-vs-rest) on the untouched real holdout, trained on synthetic minus trained on"
    " as many real images (one of each of random patients): logistic regression on the features"
    " radiomics-1 and, where the extra `deep` is installed, a small convolutional network at 28x28;"
    " paired patient bootstrap. The interval covers the choice of test patients, not of training"
    " images. Esteban et al. (2017), arXiv:1706.02633."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare learners trained on synthetic and on real images, on the real holdout.

    Args:
        inputs: see `Inputs`; a holdout patient's k images weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``<learner>.real``, ``<learner>.synthetic`` (0 to 1), ``<learner>.gap`` and ``mean.gap`` (-1 to 1).
    """
    why = applicable(inputs)
    if why:
        return _answer({}, status="not-applicable", note=why)
    found = predictions(inputs)
    mask = np.ones(len(found.truth), dtype=bool)
    if found.n_rows < 2 or not found.classes(mask):
        keys = [f"{learner}.{part}" for learner in learners() for part in ("real", "synthetic", "gap")]
        few = {key: insufficient(found.n_units) for key in [*keys, "mean.gap"]}
        note = "Under 50 positive or negative patients in the holdout."
        return _answer(few, status="insufficient", note=note)
    auc = found.auc(multiplicities(found.n_units, DRAWS, rng=rng), mask)
    details = {"training_images": found.n_rows, "cap": MAX_ROWS, "target": inputs.target}
    return _answer(estimates_of(auc, found.n_units), details=details)


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Train on synthetic images, test on real"
    return result("utility_image_tstr", title, DEFINITION, estimates, **more)
