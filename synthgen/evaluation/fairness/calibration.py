"""Fairness: for whom do predicted risks stop meaning what they say?

A model that learnt from synthetic records may rank a group's patients well and yet promise them too
little risk. The error of calibration is a sum of absolute values and grows with sampling error, alike
for both arms, so what is judged is its change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.learners.by_group import groups_of, named, patients, sums
from synthgen.evaluation.learners.refits import SPLITS, from_fifths_and_halves
from synthgen.evaluation.learners.tabular import LEARNERS, Predictions, applicable, fifths, predictions
from synthgen.evaluation.statistics.intervals import insufficient, without_interval
from synthgen.evaluation.statistics.patients import half_samples

BINS = 10
DEFINITION = (
    f"ece: expected calibration error over {BINS} equal widths of predicted risk within a group, trained on"
    " synthetic minus trained on real records, mean over learners. risk: mean predicted risk within the"
    " group, likewise; the observed risk is the same for both. Signed. Intervals are about the mean over new"
    " draws of training and synthetic records and of as many test patients, by refits on disjoint fifths and"
    " halves of the patients;"
    " worst has none, since chance chose it too. Groups under 50 positive or negative patients are"
    " insufficient. Naeini, Cooper and Hauskrecht (2015), AAAI 29:2901."
)

Figure = Callable[[Predictions, int, str, np.ndarray, np.ndarray], np.ndarray]


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare calibration within each group, before and after.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_tstr``.
        rng: draws halves of the test patients.

    Returns:
        ``overall`` and ``worst`` (the group whose calibration error grows most); ``groups["ece"]`` and
        ``groups["risk"]``: every group and crossing of two, -1 to 1.
    """
    why = applicable(inputs) or ("" if inputs.groups else "No protected column was named.")
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    found = predictions(inputs)
    everyone = np.ones(len(found.truth), dtype=bool)
    labels = found.classes(everyone) if found.n_rows >= 2 else []
    refits = fifths(inputs) if labels else ()
    held = half_samples(found.n_units, SPLITS, rng=rng)

    def measured(of: Figure, label: int, mask: np.ndarray, n: int) -> Estimate:
        return from_fifths_and_halves(
            lambda one, arm, draws: of(one, label, arm, mask, draws), found, refits, held, n=n
        )

    errors: dict[str, Estimate] = {}
    risks: dict[str, Estimate] = {}
    for label in labels:
        for group, mask in groups_of(inputs, found):
            name = named(found, inputs, label, group)
            n = patients(found, mask)
            if label not in found.classes(mask):
                errors[name] = risks[name] = insufficient(n)
                continue
            errors[name] = measured(_error, label, mask, n)
            risks[name] = measured(_risk, label, mask, n)
    known = {group: estimate for group, estimate in errors.items() if estimate.status == "ok"}
    groups = {"ece": errors, "risk": risks}
    if not known:
        note = "No group has 50 positive and 50 negative patients."
        return _result({"worst": insufficient(found.n_units)}, groups, status="insufficient", note=note)
    worst = max(known, key=lambda group: known[group].value)

    def overall(one: Predictions, arm: str, draws: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([_error(one, label, arm, everyone, draws) for label in labels], axis=0))

    estimates = {
        "overall": from_fifths_and_halves(overall, found, refits, held, n=found.n_units),
        "worst": without_interval(known[worst].value, n=known[worst].n),
    }
    return _result(estimates, groups, details={"worst_group": worst, "bins": BINS})


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    why = applicable(declared) or ("" if declared.groups else "No protected column was named.")
    return _result({}, {}, status="not-applicable", note=why) if why else None


def calibration_error(
    found: Predictions, label: int, key: tuple[str, str], mask: np.ndarray, draws: np.ndarray
) -> np.ndarray:
    """Return the expected calibration error of one learner and arm among masked records, by draw."""
    chance = found.probability[key][mask, label]
    off = (chance - (found.truth[mask] == label)) * found.weights[mask]
    cells = np.minimum((chance * BINS).astype(int), BINS - 1)
    units, places = np.unique(found.units[mask], return_inverse=True)
    by_cell = np.bincount(places * BINS + cells, weights=off, minlength=len(units) * BINS)
    gaps = np.abs(draws[:, units] @ by_cell.reshape(-1, BINS)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(gaps / sums(found, mask.astype(float), draws))


def _error(found: Predictions, label: int, arm: str, mask: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return an arm's error, mean over learners, by draw."""
    errors = [calibration_error(found, label, (learner, arm), mask, draws) for learner in LEARNERS]
    return np.asarray(np.mean(errors, axis=0))


def _risk(found: Predictions, label: int, arm: str, mask: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return an arm's mean predicted risk, mean over learners, by draw."""
    risk = np.mean([found.probability[learner, arm][:, label] for learner in LEARNERS], axis=0)
    total = sums(found, mask.astype(float), draws)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums(found, np.where(mask, risk, 0.0), draws) / total)


def _result(
    estimates: Mapping[str, Estimate], groups: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: found for key, found in groups.items() if found}
    title = "Change of calibration"
    return result("fairness_calibration", title, DEFINITION, estimates, better="lower", groups=held, **more)
