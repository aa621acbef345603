"""Say why the gate decides as it does: value, interval, threshold and its source, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from synthgen.evaluation.base import Estimate, MetricResult
from synthgen.release.gate.confidence_levels import Level, depth, factor_of, interval
from synthgen.release.gate.policy import Rule

Severity = Literal["refuse", "cannot-sign", "warn"]
Outcome = Literal["pass", "warn", "cannot-sign", "refuse", "missing"]
NAMED = 5
"""Groups that a reason names; the report lists all."""


@dataclass(frozen=True)
class Reason:
    """Why the verdict is what it is. Sensitive: it states figures of real records.

    Attributes:
        head: the head that it speaks of.
        metric: ``<metric>.<key>``.
        severity: what it does to the verdict; a warning does nothing.
        message: value, interval, threshold and its source, in words.
    """

    head: str
    metric: str
    severity: Severity
    message: str


@dataclass(frozen=True)
class Judged:
    """A rule's answer for one estimate: a metric's figure, or one group of it.

    Attributes:
        rule: the rule.
        group: of the figure; empty if it is of all.
        estimate: the figure.
        outcome: what follows.
        level: at which harm had to be proven; None of a figure that chance does not move.
    """

    rule: Rule
    group: str
    estimate: Estimate
    outcome: Outcome
    level: Level | None = None


def open_harm(rule: Rule, estimate: Estimate) -> bool:
    """Return whether the rule does not pass at 95 %: the interval holds harm, or is all harm, as it asks."""
    return rule.threshold is not None and depth(rule, estimate, 1.0, least=rule.passes == "harm-unproven") > 0


def reasons(rule: Rule, judged: Sequence[Judged], results: Mapping[str, MetricResult]) -> list[Reason]:
    """Return a rule's reasons, one an outcome; groups of one outcome share it, the worst named first."""
    head = rule.head
    found = []
    for outcome in ("refuse", "cannot-sign", "warn"):
        mine = [item for item in judged if item.rule is rule and item.outcome == outcome]
        if mine:
            found.append(Reason(head, rule.name, outcome, _message(rule, mine, outcome)))
    absent = [item for item in judged if item.rule is rule and item.outcome == "missing"]
    if absent and rule.missing != "silent" and not _told_before(rule, judged, results):
        result = results.get(rule.metric)
        found.append(Reason(head, rule.name, rule.missing, _absence(rule, absent, result)))
    return found


def _told_before(rule: Rule, judged: Sequence[Judged], results: Mapping[str, MetricResult]) -> bool:
    """Return whether an earlier rule already says, as gravely, that the whole metric has no answer."""
    result = results.get(rule.metric)
    if result is not None and result.status == "ok":
        return False
    said = [item.rule for item in judged if item.rule.metric == rule.metric and item.outcome == "missing"]
    earlier = said[: said.index(rule)]
    return any(other.missing in (rule.missing, "cannot-sign") for other in earlier)


def _message(rule: Rule, mine: Sequence[Judged], outcome: Severity) -> str:
    mine = sorted(mine, key=lambda item: -depth(rule, item.estimate, 1.0, least=outcome == "refuse"))
    figures = "; ".join(_words(item) for item in mine[:NAMED])
    more = f"; and {len(mine) - NAMED} more groups" if len(mine) > NAMED else ""
    judgement = f"{_judgement(rule, mine[0], outcome)} Source: {rule.source}."
    return f"{_sentence(rule.title)}: {figures}{more}. {judgement}"


def _judgement(rule: Rule, item: Judged, outcome: Severity) -> str:
    estimate = item.estimate
    proven = rule.threshold is not None and depth(rule, estimate, 1.0, least=True) > 0
    if outcome == "warn" and not proven and not open_harm(rule, estimate):
        return (
            f"This is {rule.bound}, but the policy {rule.warning}."
            if rule.bound
            else f"The policy {rule.warning}."
        )
    if proven:
        verdict = _proof(rule, item, outcome)
    else:
        needed = _needed(rule, estimate) if outcome == "cannot-sign" else ", so a warning only"
        verdict = f"neither harm nor its absence is proven{needed}"
    return f"Expected {rule.words}: {verdict}."


def _proof(rule: Rule, item: Judged, outcome: Severity) -> str:
    """Return how far harm is proven, with the interval that decided."""
    level = item.level
    if level is None:
        return "harm is proven"
    low, high = interval(item.estimate, factor_of(level.tail, item.estimate))
    whose = f"{item.group}: " if item.group else ""
    others = f"{level.comparisons} comparison{'s' * (level.comparisons != 1)} of {rule.head}"
    corrected = f"{whose}{level.percent} % interval {low:.3g} to {high:.3g}"
    if outcome == "refuse":
        return f"harm is proven, corrected for {others} ({corrected})"
    only = ", so a warning only" if outcome == "warn" else ""
    return f"harm is proven at 95 %, though not corrected for {others} ({corrected}){only}"


def _words(item: Judged) -> str:
    estimate = item.estimate
    number = f"{estimate.value:.3g}"
    if estimate.low < estimate.high:
        number += f" (95 % interval {estimate.low:.3g} to {estimate.high:.3g})"
    return f"{item.group} {number}" if item.group else number


def _needed(rule: Rule, estimate: Estimate) -> str:
    """Return about how many patients would exclude harm, if the value stayed as it is."""
    inside = -depth(rule, estimate, 0.0, least=False)
    worst = depth(rule, estimate, 1.0, least=False) + inside
    if inside <= 0 or estimate.n == 0 or rule.passes == "harm-unproven":
        return ""
    enough = math.ceil(estimate.n * (worst / inside) ** 2)
    return f"; about {enough:,} patients instead of {estimate.n:,} would do"


def _absence(rule: Rule, absent: Sequence[Judged], result: MetricResult | None) -> str:
    named = [item.group for item in absent if item.group]
    if named:
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return f"{_sentence(rule.title)}: too few patients to judge {', '.join(named[:NAMED])}{more}."
    why = _why(rule, absent[0].estimate, result)
    return f"{_sentence(rule.title)}: no answer. {why}"


def _why(rule: Rule, estimate: Estimate, result: MetricResult | None) -> str:
    if result is not None and result.note:
        return result.note
    needs = {} if result is None else result.details.get("needs", {})
    if isinstance(needs, Mapping) and rule.key in needs:
        return f"It takes {needs[rule.key]:,} holdout patients, and there were {estimate.n:,}."
    return "It was not measured, or on too few patients."


def _sentence(title: str) -> str:
    return title[:1].upper() + title[1:]
