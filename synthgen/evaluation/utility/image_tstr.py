"""Utility: how much worse a model reads real images when it was trained on synthetic ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, n_labels, spread
from synthgen.evaluation.learners.imaging import MAX_ROWS, applicable, learners, predictions
from synthgen.evaluation.learners.tabular import MIN_PATIENTS, Predictions, estimates_of, gaps_of
from synthgen.evaluation.statistics.intervals import from_draws, insufficient
from synthgen.evaluation.statistics.patients import multiplicities

DRAWS = 200
DEFINITION = (
    "AUROC (macro one-vs-rest) on the untouched real holdout, trained on synthetic minus trained on"
    " as many real images (one of each of random patients): logistic regression on the features"
    " radiomics-1 and, where the extra `deep` is installed, a small convolutional network at 28x28;"
    " paired patient bootstrap. Beside it the accuracy of the likeliest label; and by label, mean over"
    " learners, the change of its own AUROC and of the share of its images that are read right. The"
    " interval covers the choice of test patients, not of training images. Esteban et al. (2017),"
    " arXiv:1706.02633."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare learners trained on synthetic and on real images, on the real holdout.

    Args:
        inputs: see `Inputs`; a holdout patient's k images weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``<learner>.real``, ``<learner>.synthetic`` (0 to 1), ``<learner>.gap`` and ``mean.gap`` (-1 to 1) of
        the AUROC, and with the suffix ``.accuracy`` of accuracy; ``groups["auc_gap"]`` and
        ``groups["recall_gap"]`` by label. By protected group see ``fairness_image_gap``.
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
    draws = multiplicities(found.n_units, DRAWS, rng=rng)
    estimates = estimates_of(found.auc(draws, mask), found.n_units)
    accuracy = estimates_of(found.accuracy(draws, mask), found.n_units)
    estimates |= {f"{key}.accuracy": estimate for key, estimate in accuracy.items()}
    details = {"training_images": found.n_rows, "cap": MAX_ROWS, "target": inputs.target}
    return _answer(estimates, groups=_by_label(inputs, found, draws), details=details)


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures; labels equally common."""
    why = applicable(declared)
    if why:
        return _answer({}, status="not-applicable", note=why)
    each = declared.holdout // 2 if n_labels(declared) > 1 else 0
    gap = enough(around(0.0, spread(each, NOISE["auc"]), declared.holdout), each, MIN_PATIENTS)
    note = "" if each >= MIN_PATIENTS else "Under 50 positive or negative patients in the holdout."
    return _answer({"mean.gap": gap}, status=gap.status, note=note)


def _by_label(inputs: Inputs, found: Predictions, draws: np.ndarray) -> dict[str, dict[str, Estimate]]:
    """Return the mean gaps of each label: of its AUROC against the others, and of its recall."""
    groups: dict[str, dict[str, Estimate]] = {"auc_gap": {}, "recall_gap": {}}
    everyone = np.ones(len(found.truth), dtype=bool)
    for label, word in enumerate(inputs.schema.column(str(inputs.target)).labels):
        n = found.cell(everyone, label)
        name, figures = f"{inputs.target}={word}", {}
        if n >= MIN_PATIENTS:
            figures["auc_gap"] = found.auc(draws, everyone, labels=[label])
            figures["recall_gap"] = found.accuracy(draws, found.truth == label)
        for key, held in groups.items():
            mean = np.mean(list(gaps_of(figures[key]).values()), axis=0) if figures else None
            held[name] = insufficient(n) if mean is None else from_draws(mean, n=n)
    return groups


def _answer(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Train on synthetic images, test on real"
    return result("utility_image_tstr", title, DEFINITION, estimates, **more)
