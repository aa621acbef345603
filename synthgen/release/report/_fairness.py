"""Fairness on one screen: a row a group, a column a question, a word a cell, the worst groups first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synthgen.release.report._html import Html, badge, element, join, paragraph, table

if TYPE_CHECKING:
    from synthgen.evaluate._base import Estimate, MetricResult

QUESTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("fairness_representation", "log_ratio", "keeps its share", "outside"),
    ("fairness_utility_gap", "gap", "predicted as well", "below"),
    ("fairness_equalised_odds", "true_positive", "ill found", "outside"),
    ("fairness_equalised_odds", "false_positive", "well spared", "outside"),
    ("fairness_calibration", "ece", "risks right", "above"),
    ("fidelity_precision_coverage", "coverage", "all its patients there", "below"),
    ("leakage_strongest", "group_advantage", "stays hidden", "above"),
)
"""Metric, grouping, heading, and the side of the margin on which harm lies."""
MOST = 30
_RANK = {"harm": 3, "open": 2, "too few": 1, "ok": 0}
_STYLE = {"harm": "refuse", "open": "cannot-sign", "too few": "plain", "ok": "ok"}
LEGEND = (
    "ok: no harm beyond the policy's margin is seen. harm: the whole 95 % interval lies beyond it. open: the "
    "figure lies beyond it, the interval does not. too few: insufficient evidence, which is not a pass. The "
    "gate corrects for the number of comparisons and decides; this table is to look at."
)


def fairness_grid(results: Sequence[MetricResult], margins: Mapping[str, tuple[float, ...]]) -> Html:
    """Return the table; nothing if no group was measured.

    Args:
        results: of all metrics.
        margins: the policy's bounds as numbers, by ``<metric>.<groups>``; questions without one are left out.
    """
    by_name = {result.name: result for result in results}
    asked = []
    for metric, key, heading, harm in QUESTIONS:
        held = by_name[metric].groups.get(key, {}) if metric in by_name else {}
        bounds = margins.get(f"{metric}.{key}", ())
        if held and bounds:
            asked.append((heading, {group: word(e, bounds[-1], harm) for group, e in held.items()}))
    groups = list(dict.fromkeys(group for _, words in asked for group in words))
    if not groups:
        return Html("")
    said = {group: [words.get(group, "") for _, words in asked] for group in groups}
    groups.sort(key=lambda group: sorted(-_RANK.get(text, -1) for text in said[group]))
    rows = [
        [group, *(badge(text, _STYLE[text]) if text else "" for text in said[group])]
        for group in groups[:MOST]
    ]
    left = f" (the worst {MOST} of {len(groups)})" if len(groups) > MOST else ""
    shown = table(f"Fairness at a glance{left}", ["group", *(heading for heading, _ in asked)], rows)
    return join([element("div", shown, class_="glance"), paragraph(LEGEND, class_="definition")])


def word(estimate: Estimate, margin: float, harm: str) -> str:
    """Return what a steward reads of one figure.

    Example:
        >>> from synthgen.evaluate._base import Estimate
        >>> word(Estimate(-0.2, -0.3, -0.1, n=99), -0.05, "below")
        'harm'
    """
    if estimate.status != "ok" or not math.isfinite(estimate.value):
        return "too few"
    if harm == "outside":
        least = max(estimate.low - margin, -margin - estimate.high)
        beyond = abs(estimate.value) - margin
    elif harm == "below":
        least, beyond = margin - estimate.high, margin - estimate.value
    else:
        least, beyond = estimate.low - margin, estimate.value - margin
    if least > 0:
        return "harm"
    return "open" if beyond > 0 else "ok"
