"""Utility: how much worse a model predicts real patients when it was trained on synthetic ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, n_labels, spread
from synthgen.evaluation.learners.expected_labels import labels_of
from synthgen.evaluation.learners.tabular import (
    LEARNERS,
    MAX_ROWS,
    MIN_PATIENTS,
    TREE_ROWS,
    applicable,
    estimates_of,
    fifths,
    predictions,
)
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.patients import multiplicities

DRAWS = 200
DEFINITION = (
    "AUROC (macro one-vs-rest) on the untouched real holdout, trained on synthetic minus trained on as"
    " many real records (one of each of random patients). Intervals are about these fitted models on new"
    " patients (paired patient bootstrap); how far the choice of training records moves the gap is told by"
    " five seeds, learners of disjoint fifths of both arms' records. Esteban et al. (2017), arXiv:1706.02633."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare learners trained on synthetic and on real records, on the real holdout.

    Args:
        inputs: see `Inputs`; a holdout patient's k records weigh 1/k each.
        rng: draws the patient bootstrap. The learners' seed is fixed.

    Returns:
        ``<learner>.real``, ``<learner>.synthetic`` (0 to 1), ``<learner>.gap`` and ``mean.gap`` (-1 to 1);
        ``groups["gap"]``: the mean gap of every other label of categories; ``details["seeds"]``: that of
        learners of each fifth of the records.
    """
    why = applicable(inputs)
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    found = predictions(inputs)
    mask = np.ones(len(found.truth), dtype=bool)
    if found.n_rows < 2 or not found.classes(mask):
        keys = [f"{learner}.{part}" for learner in LEARNERS for part in ("real", "synthetic", "gap")]
        empty = {key: insufficient(found.n_units) for key in [*keys, "mean.gap"]}
        return _result(
            empty, {}, status="insufficient", note="Under 50 positive or negative patients in the holdout."
        )
    draws = multiplicities(found.n_units, DRAWS, rng=rng)
    auc = found.auc(draws, mask)
    flat = found.auc(draws[:1], mask, weighted=False)
    details = {
        "training_rows": found.n_rows,
        "cap": MAX_ROWS,
        "rows_a_tree": TREE_ROWS,
        "target": inputs.target,
        "seeds": [_mean_gap(seed.auc(draws[:1], mask)) for seed in fifths(inputs)],
        "unweighted": {f"{learner}.{arm}": float(value[0]) for (learner, arm), value in flat.items()},
    }
    return _result(estimates_of(auc, found.n_units), details, groups=_other_labels(inputs, rng))


def _other_labels(inputs: Inputs, rng: np.random.Generator) -> dict[str, dict[str, Estimate]]:
    """Return the mean gap of every other label of categories, by label; empty if there is none."""
    gaps: dict[str, Estimate] = {}
    for name in labels_of(inputs):
        if name == inputs.target or inputs.schema.column(name).kind != "category":
            continue
        found = predictions(replace(inputs, target=name))
        mask = np.ones(len(found.truth), dtype=bool)
        if found.n_rows < 2 or not found.classes(mask):
            gaps[name] = insufficient(found.n_units)
            continue
        draws = multiplicities(found.n_units, DRAWS, rng=rng)
        gaps[name] = estimates_of(found.auc(draws, mask), found.n_units)["mean.gap"]
    return {"gap": gaps} if gaps else {}


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures; labels equally common."""
    why = applicable(declared)
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    each = declared.holdout // 2 if n_labels(declared) > 1 else 0
    gap = enough(around(0.0, spread(each, NOISE["auc"]), declared.holdout), each, MIN_PATIENTS)
    note = "" if each >= MIN_PATIENTS else "Under 50 positive or negative patients in the holdout."
    return _result({"mean.gap": gap}, {}, status=gap.status, note=note)


def _mean_gap(auc: Mapping[tuple[str, str], np.ndarray]) -> float:
    return float(np.mean([auc[name, "synthetic"][0] - auc[name, "real"][0] for name in LEARNERS]))


def _result(
    estimates: dict[str, Estimate],
    details: dict[str, Any],
    *,
    groups: Mapping[str, Mapping[str, Estimate]] | None = None,
    status: Status = "ok",
    note: str = "",
) -> MetricResult:
    return MetricResult(
        groups=groups or {},
        name="utility_tstr",
        head="utility",
        title="Train on synthetic, test on real",
        estimates=estimates,
        better="higher",
        reads_real=True,
        definition=DEFINITION,
        details=details,
        status=status,
        note=note,
    )
