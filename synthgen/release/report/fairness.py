"""Fairness on one screen: what was found in a line of figures, then a row a group and a column a question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from synthgen.release.report.html import Html, badge, element, facts, join, paragraph, table

if TYPE_CHECKING:
    from synthgen.evaluation.base import Estimate, MetricResult

QUESTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("fairness_representation", "log_ratio", "keeps its share", "outside"),
    ("fairness_utility_gap", "gap", "predicted", "below"),
    ("fairness_equalised_odds", "true_positive", "ill found", "outside"),
    ("fairness_equalised_odds", "false_positive", "well spared", "outside"),
    ("fairness_calibration", "ece", "risks right", "above"),
    ("fidelity_precision_coverage", "coverage", "all there", "below"),
    ("leakage_strongest", "group_advantage", "stays hidden", "above"),
)
"""Metric, grouping, heading, and the side of the margin on which harm lies."""
MOST = 20  # crossings of two columns that are shown; the others are counted
CROSSED = " & "
WORDS = ("harm", "open", "too few", "ok")  # a group counts by its first that is said of it
_STYLE = {"harm": "refuse", "open": "cannot-sign", "too few": "plain", "ok": "ok"}
LEGEND = (
    "harm: the whole 95 % interval lies beyond the policy's margin. open: the figure lies beyond it, the "
    "interval does not. ok: no harm beyond the margin is seen. too few: insufficient evidence, which is no "
    "pass. A group counts once above, by its gravest answer. The gate corrects for the number of comparisons "
    "and decides; this table is to look at."
)


def fairness_grid(
    results: Sequence[MetricResult],
    margins: Mapping[str, tuple[float, ...]],
    *,
    protected: Sequence[str] = (),
) -> Html:
    """Return figures and table; nothing if no group was measured.

    Every group of one column has a row, the worst first; then come the crossings of two columns with harm or
    an open answer, and all others are counted.

    Args:
        results: of all metrics.
        margins: the policy's bounds as numbers, by ``<metric>.<groups>``; questions without one are left out.
        protected: columns that the schema protects, to say which of them were not looked at.
    """
    by_name = {result.name: result for result in results}
    asked: list[tuple[str, dict[str, tuple[str, float]]]] = []
    for metric, key, heading, harm in QUESTIONS:
        held = by_name[metric].groups.get(key, {}) if metric in by_name else {}
        bounds = margins.get(f"{metric}.{key}", ())
        if held and bounds:
            answers = {group: (word(e, bounds[-1], harm), e.value) for group, e in held.items()}
            asked.append((heading, answers))
    groups = list(dict.fromkeys(group for _, answers in asked for group in answers))
    if not groups:
        return Html("")
    said = {group: [answers.get(group, ("", 0.0)) for _, answers in asked] for group in groups}
    groups.sort(key=lambda group: _order(said[group]))
    single = [group for group in groups if CROSSED not in group]
    crossed = [group for group in groups if CROSSED in group]
    bad = [group for group in crossed if _worst(said[group]) in ("harm", "open")][:MOST]
    rows = [[group, *map(_cell, said[group])] for group in (*single, *bad)]
    told = f"Fairness at a glance: {len(single)} groups, {len(crossed)} crossings of two columns"
    shown = table(told, ["group", *(heading for heading, _ in asked)], rows)
    kept = [group for group in crossed if group not in bad]
    notes = [*_left(kept, said), *_unasked(protected, single)]
    return join(
        [
            _counts(groups, said),
            element("div", shown, class_="glance"),
            *(paragraph(note) for note in notes),
            paragraph(LEGEND, class_="definition"),
        ]
    )


def word(estimate: Estimate, margin: float, harm: str) -> str:
    """Return what a steward reads of one figure.

    Example:
        >>> from synthgen.evaluation.base import Estimate
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


def _cell(answer: tuple[str, float]) -> str:
    """Return a badge; what is not well says by how much."""
    text, value = answer
    if text in ("harm", "open"):
        return badge(f"{text} {value:+.2f}", _STYLE[text])
    return badge(text, _STYLE[text]) if text else ""


def _worst(answers: Sequence[tuple[str, float]]) -> str:
    """Return a group's gravest answer; a group is ok only where every question that was asked is."""
    words = {text for text, _ in answers}
    return next(text for text in WORDS if text in words)


def _order(answers: Sequence[tuple[str, float]]) -> list[int]:
    """Return what groups are sorted by: most harm first."""
    return sorted([*WORDS, ""].index(text) for text, _ in answers)


def _counts(groups: Sequence[str], said: Mapping[str, Sequence[tuple[str, float]]]) -> Html:
    """Return how many groups and crossings answer how: the ten seconds."""
    counts = {text: sum(_worst(said[group]) == text for group in groups) for text in WORDS}
    return facts(
        (text, f"{count} of {len(groups)}", "alarm" if text == "harm" and count else "")
        for text, count in counts.items()
    )


def _left(kept: Sequence[str], said: Mapping[str, Sequence[tuple[str, float]]]) -> list[str]:
    """Return what is said of crossings without a row."""
    if not kept:
        return []
    counts = {text: sum(_worst(said[group]) == text for group in kept) for text in WORDS}
    parts = [f"{count} {text}" for text, count in counts.items() if count]
    return [f"Crossings of two columns without a row: {len(kept)} ({', '.join(parts)})."]


def _unasked(protected: Sequence[str], single: Sequence[str]) -> list[Html]:
    """Return which protected columns the evaluation did not look at."""
    seen = {group.partition("=")[0] for group in single}
    missing = [name for name in protected if name not in seen]
    if not missing:
        return []
    named = element("code", "evaluate.groups")
    return [join(["Protected in the schema and left out by ", named, f": {', '.join(missing)}."])]
