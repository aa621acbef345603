"""Fairness: does training on synthetic records push errors onto some groups?

Equalised odds asks that among the truly ill, and among the truly well, each group is called ill as
often as everybody. The question here is what changes when a model learns from synthetic records.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._by_group import MIN_PATIENTS, decisions, groups_of, named, patients, sums
from synthgen.evaluate._intervals import from_draws, insufficient
from synthgen.evaluate._learners import ARMS, LEARNERS, Predictions, applicable, predictions
from synthgen.evaluate._patients import multiplicities

DRAWS = 200
RATES = {"true_positive": True, "false_positive": False}
DEFINITION = (
    "Rate at which a group's positives (negatives) are called positive, minus that of all patients, trained"
    " on synthetic minus trained on real records, mean over learners; as many records are called positive"
    " as are. Signed, patient bootstrap with thresholds and training records held fixed. Groups under 50"
    " patients of the kind are insufficient. Hardt, Price and Srebro (2016), arXiv:1610.02413."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each group's error rates with everybody's, before and after.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_tstr``.
        rng: draws the patient bootstrap.

    Returns:
        ``worst``: the group and rate farthest from 0; ``groups["true_positive"]`` and
        ``groups["false_positive"]``: every group and crossing of two, -1 to 1.
    """
    why = applicable(inputs) or ("" if inputs.groups else "No protected column was named.")
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    found = predictions(inputs)
    labels = found.classes(np.ones(len(found.truth), dtype=bool)) if found.n_rows >= 2 else []
    draws = multiplicities(found.n_units, DRAWS, rng=rng)
    rates: dict[str, dict[str, Estimate]] = {key: {} for key in RATES}
    for label in labels:
        called = {(a, b): decisions(found, label, (a, b)) for a in LEARNERS for b in ARMS}
        for key, positive in RATES.items():
            kind = (found.truth == label) == positive
            overall = _change(found, called, kind, draws)
            for group, mask in groups_of(inputs, found):
                n = patients(found, mask & kind)
                contrast = _change(found, called, mask & kind, draws) - overall if n >= MIN_PATIENTS else None
                rates[key][named(found, inputs, label, group)] = (
                    insufficient(n) if contrast is None else from_draws(contrast, n=n)
                )
    known = [(key, g, e) for key, held in rates.items() for g, e in held.items() if e.status == "ok"]
    if not known:
        note = f"No group has {MIN_PATIENTS} positive or negative patients."
        return _result({"worst": insufficient(found.n_units)}, rates, status="insufficient", note=note)
    key, group, worst = max(known, key=lambda item: abs(item[2].value))
    return _result({"worst": worst}, rates, details={"worst_group": group, "worst_rate": key})


def _change(
    found: Predictions, called: Mapping[tuple[str, str], np.ndarray], mask: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return the rate of being called positive, synthetic minus real arm, mean over learners, by draw."""
    total = sums(found, mask.astype(float), draws)
    step = np.zeros(len(mask))
    for learner in LEARNERS:
        step += called[learner, "synthetic"].astype(float) - called[learner, "real"]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums(found, np.where(mask, step / len(LEARNERS), 0.0), draws) / total)


def _result(
    estimates: Mapping[str, Estimate], rates: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: groups for key, groups in rates.items() if groups}
    title = "Change of equalised odds"
    return result("fairness_equalised_odds", title, DEFINITION, estimates, better="zero", groups=held, **more)
