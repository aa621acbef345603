"""Fairness: does training on synthetic records push errors onto some groups?

Equalised odds asks that among the truly ill, and among the truly well, each group is called ill as
often as everybody. The question here is what changes when a model learns from synthetic records.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.learners.by_group import MIN_PATIENTS, decisions, groups_of, named, patients, sums
from synthgen.evaluation.learners.refits import from_fifths, parts
from synthgen.evaluation.learners.tabular import ARMS, LEARNERS, Predictions, applicable, fifths, predictions
from synthgen.evaluation.statistics.intervals import insufficient, without_interval

RATES = {"true_positive": True, "false_positive": False}
DEFINITION = (
    "Rate at which a group's positives (negatives) are called positive, minus that of all patients, trained"
    " on synthetic minus trained on real records, mean over learners; as many records are called positive"
    " as are. Signed. Intervals are about the mean over new draws of training and synthetic records and of"
    " test patients, by refits on disjoint fifths; worst has none, since chance chose it too. Groups under 50"
    " patients of the kind are insufficient. Hardt, Price and Srebro (2016), arXiv:1610.02413."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each group's error rates with everybody's, before and after.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_tstr``.
        rng: draws the fifths of test patients.

    Returns:
        ``worst``: the group and rate farthest from 0; ``groups["true_positive"]`` and
        ``groups["false_positive"]``: every group and crossing of two, -1 to 1.
    """
    why = applicable(inputs) or ("" if inputs.groups else "No protected column was named.")
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    found = predictions(inputs)
    labels = found.classes(np.ones(len(found.truth), dtype=bool)) if found.n_rows >= 2 else []
    refits = fifths(inputs) if labels else ()
    held = parts(found.n_units, rng=rng)
    rates: dict[str, dict[str, Estimate]] = {key: {} for key in RATES}
    for label in labels:
        steps = {id(one): _called(one, label) for one in (found, *refits)}
        for key, positive in RATES.items():
            kind = (found.truth == label) == positive
            for group, mask in groups_of(inputs, found):
                n = patients(found, mask & kind)
                contrast = partial(_contrast, steps, mask & kind, kind)
                rates[key][named(found, inputs, label, group)] = (
                    from_fifths(contrast, found, refits, held, n=n) if n >= MIN_PATIENTS else insufficient(n)
                )
    known = [(key, g, e) for key, held in rates.items() for g, e in held.items() if e.status == "ok"]
    if not known:
        note = f"No group has {MIN_PATIENTS} positive or negative patients."
        return _result({"worst": insufficient(found.n_units)}, rates, status="insufficient", note=note)
    key, group, worst = max(known, key=lambda item: abs(item[2].value))
    return _result(
        {"worst": without_interval(worst.value, n=worst.n)},
        rates,
        details={"worst_group": group, "worst_rate": key},
    )


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    why = applicable(declared) or ("" if declared.groups else "No protected column was named.")
    return _result({}, {}, status="not-applicable", note=why) if why else None


def _called(found: Predictions, label: int) -> np.ndarray:
    """Return by record the share of learners that call it positive, synthetic minus real arm."""
    called = {(a, b): decisions(found, label, (a, b)).astype(float) for a in LEARNERS for b in ARMS}
    return np.asarray(np.mean([called[a, "synthetic"] - called[a, "real"] for a in LEARNERS], axis=0))


def _contrast(
    steps: Mapping[int, np.ndarray],
    inside: np.ndarray,
    everyone: np.ndarray,
    found: Predictions,
    draws: np.ndarray,
) -> np.ndarray:
    """Return a group's change of a rate minus everybody's, by draw of patients."""
    step = steps[id(found)]
    return np.asarray(_rate(found, step, inside, draws) - _rate(found, step, everyone, draws))


def _rate(found: Predictions, step: np.ndarray, mask: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean step among masked records, by draw of patients."""
    with np.errstate(invalid="ignore", divide="ignore"):
        total = sums(found, mask.astype(float), draws)
        return np.asarray(sums(found, np.where(mask, step, 0.0), draws) / total)


def _result(
    estimates: Mapping[str, Estimate], rates: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: groups for key, groups in rates.items() if groups}
    title = "Change of equalised odds"
    return result("fairness_equalised_odds", title, DEFINITION, estimates, better="zero", groups=held, **more)
