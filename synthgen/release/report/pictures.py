"""The steward's pictures: by column, by learner, by group, or what an attack finds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from synthgen.evaluation.base import Estimate, MetricResult
from synthgen.release.report.charts import MOST_COLUMNS, MOST_GROUPS, distance_chart, forest_chart, pair_chart
from synthgen.release.report.html import Html, element

_TRAINED = ("trained on real", "trained on synthetic")
_LEARNERS = ("area under the ROC curve, on real patients", "by learner", _TRAINED)
_PAIRS = {
    "utility_brier": ("Brier score on real patients (0: best)", "by learner", _TRAINED),
    "fidelity_precision_coverage": (
        "share (density: balls that hold a record, over 5)",
        "beside what real records reach",
        ("other real records", "synthetic records"),
    ),
    "fidelity_image_manifold": (
        "share (density: balls that hold an image, over 5)",
        "beside what real images reach, encoder radiomics-1",
        ("other real images", "synthetic images"),
    ),
}
_CENTRES = {"auc": 0.5, "precision": 1.0, "coverage": 1.0}


def pictures(result: MetricResult, margins: Mapping[str, tuple[float, ...]]) -> list[Html]:
    """Return the pictures that a result's shape allows: by column, by learner, by group, or an attack."""
    found = []
    columns = result.details.get("columns")
    if result.head == "fidelity" and isinstance(columns, Sequence) and columns:
        cut = f" (the first {MOST_COLUMNS} of {len(columns)})" if len(columns) > MOST_COLUMNS else ""
        caption = f"Distance by column, the largest excess over the ceiling first{cut}"
        found.append((caption, distance_chart(f"{result.name}-columns", columns)))
    pairs = _pairs(result)
    if pairs:
        axis, what, names = _PAIRS.get(result.name, _LEARNERS)
        chart = pair_chart(f"{result.name}-pairs", pairs, axis=axis, names=names)
        found.append((f"{result.title}, {what}", chart))
    attack = _attack(result) if result.head == "leakage" else None
    if attack is not None:
        found.append((f"{result.title}: what it finds", attack))
    for key, groups in result.groups.items():
        if groups:
            centre = _CENTRES.get(key, 0.0)
            name = f"{result.name}-{key.replace('_', '-')}"
            axis = _axis(result, key)
            lines = margins.get(f"{result.name}.{key}", ())
            chart = forest_chart(name, groups, axis=axis, centre=centre, margins=lines)
            cut = f" (the first {MOST_GROUPS} of {len(groups)})" if len(groups) > MOST_GROUPS else ""
            which = f": {key}" if len(result.groups) > 1 else ""
            title = result.title.removesuffix(" by group")
            found.append((f"{title}{which}, by group{cut}", chart))
    return [
        element("figure", element("figcaption", caption), chart, class_="wide") for caption, chart in found
    ]


def _axis(result: MetricResult, key: str) -> str:
    known = {
        "log_ratio": "log of (synthetic share / real share); 0: equal",
        "gap": "change of AUC within the group minus the overall change; below 0: worse",
        "precision": "precision within the group, synthetic / real; 1: as real records",
        "coverage": "coverage within the group, synthetic / real; 1: as real records",
        "true_positive": "change of the rate at which positives are found, minus everybody's",
        "false_positive": "change of the rate at which negatives are called positive, minus everybody's",
        "ece": "change of calibration error within the group; above 0: worse",
        "auc_gap": "change of the label's AUC against the others, synthetic minus real",
        "recall_gap": "change of the share of the label's images that are read right, synthetic minus real",
        "group_advantage": "advantage of the strongest attack within the group; 0: chance",
        "auc": "attack's area under the ROC curve; 0.5: chance",
    }
    return known.get(key, key.replace("_", " "))


def _pairs(result: MetricResult) -> dict[str, tuple[Estimate, Estimate]]:
    estimates = result.estimates
    learners = [key.removesuffix(".real") for key in estimates if key.endswith(".real")]
    return {
        name: (estimates[f"{name}.real"], estimates[f"{name}.synthetic"])
        for name in learners
        if f"{name}.synthetic" in estimates
    }


def _attack(result: MetricResult) -> Html | None:
    """Return what an attack finds beyond guessing, and beside it what it finds of planted copies.

    Each figure has its own chance: an AUC .5, a true positive rate its false positive rate, the rest 0.
    """
    rows = {}
    for key, estimate in result.estimates.items():
        chance = _chance(key)
        if chance is not None:
            moved = (estimate.value - chance, estimate.low - chance, estimate.high - chance)
            rows[_NAMES.get(key, key.replace("_", " at ").replace("pct", " % false alarms"))] = Estimate(
                *moved, n=estimate.n, status=estimate.status
            )
    planted = result.details.get("control")
    if isinstance(planted, Mapping) and {"advantage", "low", "high"} <= set(planted):
        found = (float(planted["advantage"]), float(planted["low"]), float(planted["high"]))
        rows["positive control: planted copies"] = Estimate(*found, n=0)
    axis = "found beyond guessing (0: no better than chance)"
    return forest_chart(f"{result.name}-attack", rows, axis=axis, centre=0.0) if rows else None


_NAMES = {
    "auc": "AUC",
    "advantage": "advantage",
    "difference": "train minus holdout",
    "holdout_excess": "holdout minus foreign",
}


def _chance(key: str) -> float | None:
    """Return what guessing reaches, or None for a figure that is no attack's."""
    rate = re.fullmatch(r"tpr_([\d.]+)pct", key)
    if rate is not None:
        return float(rate[1]) / 100
    return {"auc": 0.5, "advantage": 0.0, "difference": 0.0, "holdout_excess": 0.0}.get(key)
