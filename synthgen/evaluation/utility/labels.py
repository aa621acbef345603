"""Utility: do the labels say of a patient what they would say of a real one?

Models learn from wrong labels well enough for one label in ten to pass unseen where synthetic records train
and real ones test. Models of real records see every wrong label the other way round: this measures how many
labels, given the rest of the record, look exchanged, and how far the outcome is commoner than the record lets
expect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, around, enough
from synthgen.evaluation.learners.expected_labels import LEAST_CHANCE, MIN_PATIENTS, labels_of, scores
from synthgen.evaluation.statistics.intervals import Z, insufficient, without_interval
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS

KEYS = ("swapped", "visible", "expected")
DEFINITION = (
    "Of each label, by models (mean of a regression and of boosting) of four fifths of the real records, on"
    " the last fifth and on all synthetic records: swapped, the share of labels that look exchanged for"
    " another (of numbers: for another patient's), from the score of the mixture at 0, a model's chances"
    f" kept above {LEAST_CHANCE:g}; visible, the same in the score's standard deviations (Cohen's d);"
    " expected, the mean of the last label (of more than two: the commonest; of a number: its value in"
    " deviations) less its expectation. Synthetic minus real: given a model, of expectation 0 for an"
    " independent sample. Intervals (Welch) are about new records, models held fixed. worst has none, since"
    " chance chose it too. Rao (1948), Mathematical Proceedings of the Cambridge Philosophical Society"
    " 44:50; Cohen (1988), chapter 2."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each label with what models of real records expect.

    Args:
        inputs: see `Inputs`; one record of each patient. Labels are the target, and all columns
            of that role.
        rng: not used; folds and models have fixed seeds.

    Returns:
        ``worst``: the largest share that looks exchanged; ``groups["swapped"]``, ``groups["visible"]`` and
        ``groups["expected"]`` by label.
    """
    names = labels_of(inputs)
    if not names:
        return _result({}, {}, status="not-applicable", note="No column is a label.")
    known = scores(inputs)
    groups: dict[str, dict[str, Estimate]] = {key: {} for key in KEYS}
    for name in names:
        for key in KEYS:
            groups[key][name] = insufficient(0)
        if name in known:
            one = known[name]
            groups["swapped"][name] = difference(one.synthetic / one.information, one.real / one.information)
            scale = float(np.nanstd(one.real)) or 1.0
            groups["visible"][name] = difference(one.synthetic / scale, one.real / scale)
            groups["expected"][name] = difference(one.signed[1], one.signed[0])
    if not known:
        note = (
            f"Under {MIN_PATIENTS} patients or rows with either of two labels, or no column to predict from."
        )
        return _result({"worst": insufficient(0)}, groups, status="insufficient", note=note)
    worst = max(known, key=lambda name: groups["swapped"][name].value)
    chosen = groups["swapped"][worst]
    estimates = {"worst": without_interval(chosen.value, n=chosen.n)}
    return _result(estimates, groups, details={"worst_label": worst})


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures, of well told labels."""
    names = labels_of(declared)
    if not names:
        return _result({}, {}, status="not-applicable", note="No column is a label.")
    fewest = min(declared.train, declared.holdout, declared.synthetic)
    noise = np.sqrt(1 / max(declared.synthetic, 1) + 1 / max(declared.train + declared.holdout, 1))
    one = enough(around(0.0, float(noise), declared.synthetic), fewest, MIN_PATIENTS)
    few = enough(around(0.0, float(noise) / 4, declared.synthetic), fewest, MIN_PATIENTS)
    groups = {key: dict.fromkeys(names, one if key == "visible" else few) for key in KEYS}
    note = "" if one.status == "ok" else f"Under {MIN_PATIENTS} patients or rows."
    return _result({"worst": one}, groups, status=one.status, note=note)


def difference(synthetic: np.ndarray, real: np.ndarray) -> Estimate:
    """Return the difference of two means of what is known, with Welch's standard error."""
    first, other = (values[np.isfinite(values)] for values in (synthetic, real))
    if min(len(first), len(other)) < MIN_PATIENTS:
        return insufficient(min(len(first), len(other)))
    value = float(first.mean() - other.mean())
    half = Z * float(np.sqrt(first.var(ddof=1) / len(first) + other.var(ddof=1) / len(other)))
    return Estimate(value, value - half, value + half, n=len(first))


def _result(
    estimates: Mapping[str, Estimate], groups: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: found for key, found in groups.items() if found}
    title = "Labels, given the rest of the record"
    return result("utility_labels", title, DEFINITION, estimates, better="lower", groups=held, **more)
