"""Fairness: for which patients does training on synthetic records cost more than for the others?"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import partitions
from synthgen.evaluation.learners.expected_labels import labels_of
from synthgen.evaluation.learners.regressions import LEARNERS as NUMBER_LEARNERS
from synthgen.evaluation.learners.regressions import squared_errors
from synthgen.evaluation.learners.tabular import Predictions, applicable, predictions
from synthgen.evaluation.statistics.intervals import from_draws, insufficient, without_interval
from synthgen.evaluation.statistics.patients import multiplicities

DRAWS = 200
MIN_PATIENTS = 50
DEFINITION = (
    "AUROC within a group, trained on synthetic minus trained on real, mean over learners, minus the same"
    " for all patients; signed. Intervals are about these fitted models on new patients (patient bootstrap);"
    " worst has none, since chance chose it too. Groups under 50 positive or negative patients are"
    " insufficient; empty crossings are left out. Of a label that is a number: its R squared (squared error"
    " over the variance among all patients) in the AUROC's place, by regressions, in groups of 50 patients"
    " and more."
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
    numbers = _numbers(inputs)
    why = "" if inputs.groups else "No protected column was named."
    why = why or ("" if numbers else applicable(inputs))
    if why:
        return _result({}, {}, {}, status="not-applicable", note=why)
    ranked = None if applicable(inputs) else by_group(inputs, predictions(inputs), rng=rng)
    if ranked is not None and not numbers:
        return ranked
    gaps = {} if ranked is None else dict(ranked.groups.get("gap", {}))
    for name in numbers:
        gaps |= _of_number(inputs, name, rng=rng)
    return _with_worst(gaps, inputs.holdout.unit_codes()[1])


def _numbers(inputs: Inputs | Declared) -> list[str]:
    """Return the labels that are numbers, where there is another column to predict them from."""
    names = labels_of(inputs) if len(inputs.schema.columns) > 1 else []
    return [name for name in names if inputs.schema.column(name).kind != "category"]


def _of_number(inputs: Inputs, name: str, *, rng: np.random.Generator) -> dict[str, Estimate]:
    """Return by group the change of R squared, mean over learners, minus that of all patients.

    Squared errors are counted in the variance of all patients' number, so that groups are on one scale.
    """
    errors = squared_errors(inputs).get(name)
    holdout = inputs.holdout.select(np.asarray(inputs.holdout.frame[name].notna(), dtype=bool))
    units, n_units = holdout.unit_codes()
    gaps: dict[str, Estimate] = {}
    loss = None
    if errors is not None:
        loss = np.mean([errors[one, "real"] - errors[one, "synthetic"] for one in NUMBER_LEARNERS], axis=0)
        column = inputs.schema.column(name)
        values = holdout.frame[name].to_numpy(dtype=float) / (column.maximum - column.minimum)
        loss = loss / max(float(np.average((values - values.mean()) ** 2)), 1e-12)
    draws = multiplicities(max(n_units, 1), DRAWS, rng=rng)
    weights = holdout.unit_weights()

    def mean(mask: np.ndarray) -> np.ndarray:
        held = weights * mask
        sums = [np.bincount(units, weights=one, minlength=n_units) for one in (held * loss, held)]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((draws @ sums[0]) / (draws @ sums[1]))

    groups = [group for group in inputs.groups if group != name]
    for codes, names in partitions(inputs.schema, holdout.frame, groups):
        for i in np.unique(codes):
            n = len(np.unique(units[codes == i]))
            few = loss is None or n < MIN_PATIENTS
            one = insufficient(n) if few else from_draws(mean(codes == i) - mean(codes >= 0), n=n)
            gaps[f"{names[i]}: {name}"] = one
    return gaps


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    why = ("" if _numbers(declared) else applicable(declared)) or (
        "" if declared.groups else "No protected column was named."
    )
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
    return _with_worst(gaps, found.n_units)


def _with_worst(gaps: dict[str, Estimate], n_units: int) -> MetricResult:
    known = {group: gap for group, gap in gaps.items() if gap.status == "ok"}
    if not known:
        note = "No group has 50 positive and 50 negative patients."
        return _result({"worst": insufficient(n_units)}, gaps, {}, status="insufficient", note=note)
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
