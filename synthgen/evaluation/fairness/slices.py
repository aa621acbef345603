"""Fairness: is there any subgroup, protected or not, in which the labels mislead?

A label that is right on the whole and upside down among the patients of one ward harms these. Nobody has to
name the subgroup: all cells of all columns and all crossings of two are searched, on one half of the records,
and what the search says is measured on the other half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.learners.expected_labels import labels_of, scores
from synthgen.evaluation.statistics.intervals import Z, insufficient
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS
from synthgen.evaluation.statistics.pooled_samples import pooled
from synthgen.evaluation.statistics.subgroup_search import LEAST, Worst, slices_of, worst

MIN_PATIENTS = 100
HARM = {"swapped": 0.5, "expected": 0.1}
"""Where harm begins: subgroups are searched for what exceeds it most surely."""
DEFINITION = (
    "Labels that look exchanged (in the score's standard deviations over all patients) and labels less their"
    " expectation, see `utility_labels`, within cells of every column but the labels (categories of 2 % or"
    " more, fifths of a number, missing) and crossings of two of them, of at least 50 records a side and"
    " half. Real and synthetic records are halved; the subgroup that exceeds the harm most surely in one"
    " half is measured on the other, both ways, and the mean of the two is given, without sign by the"
    " search. Given the search of expectation 0 for an independent sample. Interval: pooled variance, the"
    " halves' errors as if they were one; at least 95 %. Chung et al. (2019), Slice Finder,"
    " arXiv:1807.06068; Cox (1975), Biometrika 62:441."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Search for the subgroup in which labels mislead most.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: draws the halves.

    Returns:
        ``groups["swapped"]`` and ``groups["expected"]`` by label; ``details["slices"]``: the subgroups.
    """
    names = labels_of(inputs)
    if not names:
        return _result({}, {}, status="not-applicable", note="No column is a label.")
    both = pooled(inputs)
    known = scores(inputs) if both.fewest >= MIN_PATIENTS else {}
    columns = [column.name for column in inputs.schema.columns if column.name not in names]
    groups: dict[str, dict[str, Estimate]] = {
        key: {name: insufficient(both.fewest) for name in names} for key in HARM
    }
    shown: list[dict[str, Any]] = []
    if known and columns:
        slices = slices_of(both, columns, rng=rng)
        for name, one in known.items():
            scale = float(np.nanstd(one.real)) or 1.0
            outcomes = {"swapped": (one.real / scale, one.synthetic / scale), "expected": one.signed}
            for key, (real, synthetic) in outcomes.items():
                found = worst(
                    slices,
                    real[:, None],
                    synthetic[:, None],
                    margin=HARM[key],
                    signed=key == "swapped",
                    rng=rng,
                )
                groups[key][name] = _mean(found, both.fewest)
                shown += [
                    {"label": name, "what": key, "slice": half.name, "value": half.value, "records": half.n}
                    for half in found
                ]
    answers = [one for held in groups.values() for one in held.values() if one.status == "ok"]
    if not answers:
        note = f"No subgroup of {LEAST} records a side, or no label that can be told from the record."
        return _result({"worst": insufficient(both.fewest)}, groups, status="insufficient", note=note)
    top = max(groups["swapped"].values(), key=lambda one: one.value if one.status == "ok" else -np.inf)
    return _result({"worst": top}, groups, details={"slices": shown})


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    if labels_of(declared):
        return None
    return _result({}, {}, status="not-applicable", note="No column is a label.")


def _mean(found: Sequence[Worst], n: int) -> Estimate:
    """Return the mean of what the two halves measured.

    What one half measures also serves the other's search, so that the two errors may go together: the
    interval is that of errors which are one, the mean of both half widths, and holds the truth in at least 95
    %.
    """
    if len(found) < 2:
        return insufficient(n)
    value = float(np.mean([half.value for half in found]))
    spread = Z * float(np.mean([np.sqrt(half.variance) for half in found]))
    return Estimate(value, value - spread, value + spread, n=sum(half.n for half in found))


def _result(
    estimates: Mapping[str, Estimate], groups: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: found for key, found in groups.items() if found}
    title = "Subgroups in which labels mislead"
    return result("fairness_slices", title, DEFINITION, estimates, better="lower", groups=held, **more)
