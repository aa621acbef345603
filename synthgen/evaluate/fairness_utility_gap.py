"""Fairness: for which patients does training on synthetic records cost more than for the others?"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluate._declared import Declared
from synthgen.evaluate._design import partitions
from synthgen.evaluate._intervals import from_draws, insufficient, without_interval
from synthgen.evaluate._learners import Predictions, applicable, predictions
from synthgen.evaluate._patients import multiplicities

DRAWS = 200
DEFINITION = (
    "AUROC within a group, trained on synthetic minus trained on real, mean over learners, minus the same"
    " for all patients; signed. Intervals are about these fitted models on new patients (patient bootstrap);"
    " worst has none, since chance chose it too. Groups under 50 positive or negative patients are"
    " insufficient; empty crossings are left out."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each group's utility gap with the overall gap.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_tstr``.
        rng: draws the patient bootstrap.

    Returns:
        ``worst``: the group with the lowest lower bound; ``groups["gap"]``: every group of a protected
        column and every crossing of two, -1 to 1.
    """
    why = applicable(inputs) or ("" if inputs.groups else "No protected column was named.")
    if why:
        return _result({}, {}, {}, status="not-applicable", note=why)
    return by_group(inputs, predictions(inputs), rng=rng)


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    why = applicable(declared) or ("" if declared.groups else "No protected column was named.")
    return _result({}, {}, {}, status="not-applicable", note=why) if why else None


def by_group(inputs: Inputs, found: Predictions, *, rng: np.random.Generator) -> MetricResult:
    """Return the contrasts of any learners' predictions; see `evaluate`."""
    everyone = np.ones(len(found.truth), dtype=bool)
    if found.n_rows < 2 or not found.classes(everyone):
        note = "Under 50 positive or negative patients in the holdout."
        return _result({"worst": insufficient(found.n_units)}, {}, {}, status="insufficient", note=note)
    draws = multiplicities(found.n_units, DRAWS, rng=rng)
    overall = _mean_gap(found, draws, everyone)
    gaps: dict[str, Estimate] = {}
    groups = [name for name in inputs.groups if name != inputs.target]
    for codes, names in partitions(inputs.schema, found.frame, groups):
        for i in np.unique(codes):
            gaps[names[i]] = _contrast(found, draws, codes == i, overall)
    known = {group: gap for group, gap in gaps.items() if gap.status == "ok"}
    if not known:
        note = "No group has 50 positive and 50 negative patients."
        return _result({"worst": insufficient(found.n_units)}, gaps, {}, status="insufficient", note=note)
    worst = min(known, key=lambda group: known[group].low)
    return _result(
        {"worst": without_interval(known[worst].value, n=known[worst].n)}, gaps, {"worst_group": worst}
    )


def _mean_gap(found: Predictions, draws: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the gap, mean over learners, for each bootstrap draw."""
    auc = found.auc(draws, mask)
    learners = dict.fromkeys(learner for learner, _ in auc)
    gaps = [auc[learner, "synthetic"] - auc[learner, "real"] for learner in learners]
    return np.asarray(np.mean(gaps, axis=0))


def _contrast(found: Predictions, draws: np.ndarray, mask: np.ndarray, overall: np.ndarray) -> Estimate:
    n = len(np.unique(found.units[mask]))
    if not found.classes(mask):
        return insufficient(n)
    return from_draws(_mean_gap(found, draws, mask) - overall, n=n)


def _result(
    estimates: dict[str, Estimate],
    gaps: dict[str, Estimate],
    details: dict[str, Any],
    *,
    status: Status = "ok",
    note: str = "",
) -> MetricResult:
    return MetricResult(
        name="fairness_utility_gap",
        head="fairness",
        title="Utility gap by group",
        estimates=estimates,
        better="higher",
        reads_real=True,
        definition=DEFINITION,
        groups={"gap": gaps} if gaps else {},
        details=details,
        status=status,
        note=note,
    )
