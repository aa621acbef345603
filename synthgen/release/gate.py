"""Decide whether a synthetic table may leave: release, refuse, or cannot sign.

Three ways, on intervals. Harm that is proven refuses. Harm that is excluded passes. Anything between
cannot be signed, and neither can a head that nothing answers for. A pass needs no correction for
multiplicity, since every rule must pass; a refusal does, since any rule may refuse: its intervals are
widened so that a release without harm is refused with at most the policy's probability over all rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthgen.errors import ConfigError, DataError
from synthgen.evaluate._base import HEADS, Estimate, MetricResult
from synthgen.release.policy import Policy, Rule, load_policy

__all__ = ["Policy", "Reason", "Rule", "Verdict", "decide", "load_policy", "verdict_from_json"]

Severity = Literal["refuse", "cannot-sign", "warn"]
Outcome = Literal["pass", "warn", "cannot-sign", "refuse", "missing"]
_ORDER = ("pass", "warn", "cannot-sign", "refuse")
_Z95 = 1.959963984540054
_NAMED = 5
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
class Verdict:
    """The gate's word.

    Attributes:
        verdict: ``refuse`` if any harm is proven, else ``cannot-sign`` if anything is open.
        reasons: the gravest first.
        heads: by head its status and its metrics' figures, as JSON values.
    """

    verdict: Literal["release", "refuse", "cannot-sign"]
    reasons: tuple[Reason, ...]
    heads: Mapping[str, Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        reasons = [vars(reason).copy() for reason in self.reasons]
        heads = {head: dict(content) for head, content in self.heads.items()}
        return {"verdict": self.verdict, "reasons": reasons, "heads": heads}


def verdict_from_json(content: Mapping[str, Any]) -> Verdict:
    """Return the verdict that `Verdict.to_json` wrote.

    Raises:
        DataError: a key is missing or unknown.
    """
    try:
        reasons = tuple(Reason(**reason) for reason in content["reasons"])
        return Verdict(content["verdict"], reasons, content["heads"])
    except (TypeError, KeyError):
        raise DataError(
            "Expected a verdict of this version of synthgen, got other keys.", next_step="Evaluate again."
        ) from None


@dataclass(frozen=True)
class _Judged:
    """A rule's answer for one estimate: a metric's figure, or one group of it."""

    rule: Rule
    group: str
    estimate: Estimate
    outcome: Outcome


def decide(results: Sequence[MetricResult], policy: Policy) -> Verdict:
    """Judge results by a policy.

    Args:
        results: what the metrics found, in any order.
        policy: the rules.

    Raises:
        ConfigError: a rule names a figure that its metric does not give.
    """
    by_name = {result.name: result for result in results}
    asked = [
        (rule, by_name.get(rule.metric), group, estimate)
        for rule in policy.rules
        for group, estimate in _figures(rule, by_name)
    ]
    factor = _widening(policy, [(rule, estimate) for rule, _, _, estimate in asked])
    judged = [
        _Judged(rule, group, estimate, _outcome(rule, result, estimate, factor))
        for rule, result, group, estimate in asked
    ]
    reasons = [reason for rule in policy.rules for reason in _reasons(rule, judged, by_name)]
    reasons += _unmeasured(judged)
    reasons.sort(key=lambda reason: -_ORDER.index(reason.severity))
    worst = {reason.severity for reason in reasons}
    verdict: Literal["release", "refuse", "cannot-sign"] = "release"
    if worst & {"refuse", "cannot-sign"}:
        verdict = "refuse" if "refuse" in worst else "cannot-sign"
    return Verdict(verdict, tuple(reasons), _heads(results, reasons, judged))


def _figures(rule: Rule, results: Mapping[str, MetricResult]) -> list[tuple[str, Estimate]]:
    """Return the estimates that a rule judges, by group; one without numbers if there is none."""
    result = results.get(rule.metric)
    nothing = [("", Estimate(math.nan, math.nan, math.nan, n=0, status="insufficient"))]
    if result is None:
        return nothing
    if rule.groups is not None:
        return list(result.groups.get(rule.groups, {}).items()) or nothing
    if rule.key is not None and rule.key in result.estimates:
        return [("", result.estimates[rule.key])]
    if result.status == "ok":
        raise ConfigError(
            f"Expected one of {sorted(result.estimates)} of {rule.metric}, got {rule.key!r}.",
            where="policy",
            next_step="Correct the rule's key.",
        )
    return nothing


def _widening(policy: Policy, asked: Sequence[tuple[Rule, Estimate]]) -> float:
    """Return by how much a 95 % interval grows so that all rules keep the policy's rate (Bonferroni)."""
    from scipy.special import ndtri

    comparisons = sum(
        2 if rule.harm == "outside" else 1
        for rule, estimate in asked
        if rule.threshold is not None and estimate.status == "ok" and estimate.low < estimate.high
    )
    return max(1.0, float(-ndtri(policy.wrongful_refusal / max(comparisons, 1))) / _Z95)


def _outcome(rule: Rule, result: MetricResult | None, estimate: Estimate, factor: float) -> Outcome:
    """Judge one estimate. Proven harm counts even where an attack failed its control."""
    if estimate.status != "ok" or math.isnan(estimate.value):
        return "missing"
    if rule.threshold is not None and _depth(rule, estimate, factor, least=True) > 0:
        return "refuse"
    if result is None or result.status != "ok":
        return "missing"
    open_harm = _depth(rule, estimate, 1.0, least=rule.passes == "harm-unproven") > 0
    if rule.threshold is not None and open_harm:
        return rule.unproven
    return "warn" if _warns(rule, estimate.value) else "pass"


def _depth(rule: Rule, estimate: Estimate, factor: float, *, least: bool) -> float:
    """Return how far into harm the interval's mildest (``least``) or worst end lies; negative outside."""
    low = high = estimate.value
    if estimate.low < estimate.high:  # an exact value may be infinite, and has no ends to widen
        low -= factor * (estimate.value - estimate.low)
        high += factor * (estimate.high - estimate.value)
    threshold = float(rule.threshold or 0.0)
    if rule.harm == "above":
        return (low if least else high) - threshold
    if rule.harm == "below":
        return threshold - (high if least else low)
    ends = (low - threshold, -threshold - high) if least else (high - threshold, -threshold - low)
    return max(ends)


def _warns(rule: Rule, value: float) -> bool:
    if rule.warn is None:
        return False
    if rule.harm == "outside":
        return abs(value) > rule.warn
    return value < rule.warn if rule.harm == "below" else value > rule.warn


def _reasons(rule: Rule, judged: Sequence[_Judged], results: Mapping[str, MetricResult]) -> list[Reason]:
    """Return a rule's reasons, one an outcome; groups of one outcome share it, the worst named first."""
    head = rule.metric.partition("_")[0]
    found = []
    for outcome in ("refuse", "cannot-sign", "warn"):
        mine = [item for item in judged if item.rule is rule and item.outcome == outcome]
        if mine:
            found.append(Reason(head, rule.name, outcome, _message(rule, mine, outcome)))
    absent = [item for item in judged if item.rule is rule and item.outcome == "missing"]
    if absent and rule.missing != "silent":
        result = results.get(rule.metric)
        found.append(Reason(head, rule.name, rule.missing, _absence(rule, absent, result)))
    return found


def _message(rule: Rule, mine: Sequence[_Judged], outcome: Severity) -> str:
    mine = sorted(mine, key=lambda item: -_depth(rule, item.estimate, 1.0, least=outcome == "refuse"))
    figures = "; ".join(_words(item) for item in mine[:_NAMED])
    more = f"; and {len(mine) - _NAMED} more groups" if len(mine) > _NAMED else ""
    verdict = {
        "refuse": "harm is proven",
        "cannot-sign": "neither harm nor its absence is proven",
        "warn": "not proven over all comparisons, so a warning only",
    }[outcome]
    needed = _needed(rule, mine[0].estimate) if outcome == "cannot-sign" else ""
    judgement = f"Expected {rule.words}: {verdict}{needed}. Source: {rule.source}."
    return f"{_sentence(rule.title)}: {figures}{more}. {judgement}"


def _words(item: _Judged) -> str:
    estimate = item.estimate
    number = f"{estimate.value:.3g}"
    if estimate.low < estimate.high:
        number += f" (95 % interval {estimate.low:.3g} to {estimate.high:.3g})"
    return f"{item.group} {number}" if item.group else number


def _needed(rule: Rule, estimate: Estimate) -> str:
    """Return about how many patients would exclude harm, if the value stayed as it is."""
    inside = -_depth(rule, estimate, 0.0, least=False)
    worst = _depth(rule, estimate, 1.0, least=False) + inside
    if inside <= 0 or estimate.n == 0 or rule.passes == "harm-unproven":
        return ""
    enough = math.ceil(estimate.n * (worst / inside) ** 2)
    return f"; about {enough:,} patients instead of {estimate.n:,} would do"


def _absence(rule: Rule, absent: Sequence[_Judged], result: MetricResult | None) -> str:
    named = [item.group for item in absent if item.group]
    if named:
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        return f"{_sentence(rule.title)}: too few patients to judge {', '.join(named[:_NAMED])}{more}."
    why = (
        result.note if result is not None and result.note else "It was not measured, or on too few patients."
    )
    return f"{_sentence(rule.title)}: no answer. {why}"


def _sentence(title: str) -> str:
    return title[:1].upper() + title[1:]


def _unmeasured(judged: Sequence[_Judged]) -> list[Reason]:
    """Return a reason for each head that no deciding rule has an answer for."""
    answered = {
        item.rule.metric.partition("_")[0]
        for item in judged
        if item.rule.decides and item.outcome != "missing"
    }
    return [
        Reason(
            head, head, "cannot-sign", f"Nothing answers for {head}: a head that is missing cannot be signed."
        )
        for head in HEADS
        if head not in answered
    ]


def _heads(
    results: Sequence[MetricResult], reasons: Sequence[Reason], judged: Sequence[_Judged]
) -> dict[str, dict[str, Any]]:
    """Return each head's status and figures. A warning about one rule does not hide a pass of the others."""
    outcomes = {item.rule.name: item.outcome for item in judged if not item.group}
    thresholds = {item.rule.name: item.rule.threshold for item in judged}
    heads: dict[str, dict[str, Any]] = {}
    for head in HEADS:
        severities = [reason.severity for reason in reasons if reason.head == head]
        metrics = {
            name: {
                **_numbers(estimate),
                "threshold": thresholds.get(name),
                "status": outcomes.get(name, "reported") if estimate.status == "ok" else estimate.status,
            }
            for result in results
            if result.head == head
            for name, estimate in ((f"{result.name}.{key}", e) for key, e in result.estimates.items())
        }
        heads[head] = {"status": max(severities, key=_ORDER.index, default="pass"), "metrics": metrics}
    return heads


def _numbers(estimate: Estimate) -> dict[str, float | None]:
    return {
        key: value if math.isfinite(value) else None
        for key, value in (("value", estimate.value), ("low", estimate.low), ("high", estimate.high))
    }
