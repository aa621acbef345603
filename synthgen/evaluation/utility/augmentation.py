"""Utility: does adding synthetic to real records help a model, or harm it?

Who holds the real records does not need synthetic ones to replace them. The question is whether models
trained on both predict new patients better than models trained on the real ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.learners.tabular import (
    LEARNERS,
    MAX_ROWS,
    TREE_ROWS,
    Predictions,
    applicable,
    predicted,
    predictions,
    training,
)
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.intervals import from_draws, insufficient
from synthgen.evaluation.statistics.patients import multiplicities

DRAWS = 200
DEFINITION = (
    "AUROC (macro one-vs-rest) on the untouched real holdout, trained on real and as many synthetic records"
    " together, minus trained on the same real records alone; paired patient bootstrap. The interval covers"
    " the choice of test patients, not of training records."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare learners trained on real records with and without synthetic ones beside them.

    Args:
        inputs: see `Inputs`; a holdout patient's k records weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``<learner>.gain`` and ``mean.gain``, -1 to 1; above 0 the synthetic records help.
    """
    why = applicable(inputs)
    if why:
        return _result({}, status="not-applicable", note=why)
    alone = predictions(inputs)
    mask = np.ones(len(alone.truth), dtype=bool)
    if alone.n_rows < 2 or not alone.classes(mask):
        few = {
            key: insufficient(alone.n_units) for key in (*(f"{name}.gain" for name in LEARNERS), "mean.gain")
        }
        note = "Under 50 positive or negative patients in the holdout."
        return _result(few, status="insufficient", note=note)
    draws = multiplicities(alone.n_units, DRAWS, rng=rng)
    with_both, real = _both(inputs).auc(draws, mask), alone.auc(draws, mask)
    gains = {name: with_both[name, "both"] - real[name, "real"] for name in LEARNERS}
    estimates = {f"{name}.gain": from_draws(gain, n=alone.n_units) for name, gain in gains.items()}
    estimates["mean.gain"] = from_draws(np.mean(list(gains.values()), axis=0), n=alone.n_units)
    caps = {"rows": MAX_ROWS, "rows_a_tree": TREE_ROWS}
    return _result(estimates, details={"real": alone.n_rows, "synthetic": alone.n_rows, "caps": caps})


@remembered
def _both(inputs: Inputs) -> Predictions:
    arms = training(inputs)
    both = pd.concat([arms["real"], arms["synthetic"]], ignore_index=True)
    return predicted(inputs, {"both": both}, n_rows=len(both))


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result("utility_augmentation", "Real and synthetic together", DEFINITION, estimates, **more)
