"""Decide whether a synthetic table may leave: release, refuse, or cannot sign.

Three ways, on intervals. Harm that is proven refuses. Harm that is excluded passes. Anything between
cannot be signed, and neither can a head that nothing answers for. A pass needs no correction for
multiplicity, since every rule must pass; a refusal does, since any rule may refuse: a release without harm is
refused with at most the policy's probability over all rules (`confidence_levels`). Harm that a 95 % interval
proves cannot be signed either, of a single group as of all; where a rule only warns of what is open, or
passes unless harm is proven, the figure must also be told from one without any harm among all such
comparisons of its head. A group whose interval is no wider than its margin always is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synthgen.errors import ConfigError, DataError
from synthgen.evaluation.base import HEADS, Estimate, MetricResult
from synthgen.release.gate.confidence_levels import Level, depth, false_discovery, holm, is_compared, tail_of
from synthgen.release.gate.policy import Policy, Rule, load_policy
from synthgen.release.gate.reasons import Judged, Outcome, Reason, open_harm
from synthgen.release.gate.reasons import reasons as reasons_of

__all__ = ["Policy", "Reason", "Rule", "Verdict", "decide", "load_policy", "verdict_from_json"]

_ORDER = ("pass", "warn", "cannot-sign", "refuse")


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
    judged = _judged(policy, asked)
    reasons = [reason for rule in policy.rules for reason in reasons_of(rule, judged, by_name)]
    reasons += _unmeasured(judged)
    reasons.sort(key=lambda reason: -_ORDER.index(reason.severity))
    worst = {reason.severity for reason in reasons}
    verdict: Literal["release", "refuse", "cannot-sign"] = "release"
    if worst & {"refuse", "cannot-sign"}:
        verdict = "refuse" if "refuse" in worst else "cannot-sign"
    return Verdict(verdict, tuple(reasons), _heads(results, reasons, judged))


def _figures(rule: Rule, results: Mapping[str, MetricResult]) -> list[tuple[str, Estimate]]:
    """Return the estimates that a rule judges, by group; one without numbers if there is none.

    A figure that does not apply, such as one about a claim that nobody made, is not asked for.
    """
    result = results.get(rule.metric)
    nothing = [("", Estimate(math.nan, math.nan, math.nan, n=0, status="insufficient"))]
    if result is None:
        return nothing
    if rule.groups is not None:
        return list(result.groups.get(rule.groups, {}).items()) or nothing
    if rule.key is not None and rule.key in result.estimates:
        estimate = result.estimates[rule.key]
        return [] if estimate.status == "not-applicable" else [("", estimate)]
    if result.status == "ok":
        raise ConfigError(
            f"Expected one of {sorted(result.estimates)} of {rule.metric}, got {rule.key!r}.",
            where="policy",
            next_step="Correct the rule's key.",
        )
    return nothing


def _judged(policy: Policy, asked: Sequence[tuple[Rule, MetricResult | None, str, Estimate]]) -> list[Judged]:
    """Judge all estimates, those of a head together."""
    heads: dict[str, list[int]] = {}
    weak: dict[str, list[int]] = {}
    for i, (rule, _, _, estimate) in enumerate(asked):
        if is_compared(rule, estimate):
            heads.setdefault(rule.head, []).append(i)
            if rule.passes == "harm-unproven" or rule.unproven == "warn":
                weak.setdefault(rule.head, []).append(i)
    levels: dict[int, Level] = {}
    told: dict[int, bool] = {}
    for members in heads.values():
        tails = [tail_of(asked[i][0], asked[i][3]) for i in members]
        sides = [2 if asked[i][0].harm == "outside" else 1 for i in members]
        found = holm(tails, policy.wrongful_refusal / len(heads), sides)
        levels.update(zip(members, found, strict=True))
    for members in weak.values():
        tails = [tail_of(asked[i][0], asked[i][3], asked[i][0].ideal) for i in members]
        found_weak = false_discovery(tails, policy.wrongful_doubt / len(weak))
        told.update(zip(members, found_weak, strict=True))
    return [
        Judged(
            rule,
            group,
            estimate,
            _outcome(rule, result, estimate, levels.get(i), distinct=told.get(i, True)),
            levels.get(i),
        )
        for i, (rule, result, group, estimate) in enumerate(asked)
    ]


def _outcome(
    rule: Rule, result: MetricResult | None, estimate: Estimate, level: Level | None, *, distinct: bool
) -> Outcome:
    """Judge one estimate. Proven harm counts even where an attack failed its control.

    Args:
        rule: the rule.
        result: of its metric.
        estimate: the figure.
        level: at which it was decided; None of a figure that chance does not move.
        distinct: whether it is told from a figure without harm among all comparisons that only warn.
    """
    if estimate.status != "ok" or math.isnan(estimate.value):
        return "missing"
    beyond = rule.threshold is not None and depth(rule, estimate, 1.0, least=True) > 0
    if beyond and (level is None or level.proven):
        return "refuse"
    if result is None or result.status != "ok":
        return "missing"
    if beyond:
        return "cannot-sign" if distinct else "warn"
    if open_harm(rule, estimate):
        return rule.unproven
    return "warn" if _warns(rule, estimate.value) else "pass"


def _warns(rule: Rule, value: float) -> bool:
    if rule.warn is None:
        return False
    if rule.harm == "outside":
        return abs(value) > rule.warn
    return value < rule.warn if rule.harm == "below" else value > rule.warn


def _unmeasured(judged: Sequence[Judged]) -> list[Reason]:
    """Return a reason for each head that no deciding rule has an answer for."""
    answered = {item.rule.head for item in judged if item.rule.decides and item.outcome != "missing"}
    return [
        Reason(
            head, head, "cannot-sign", f"Nothing answers for {head}: a head that is missing cannot be signed."
        )
        for head in HEADS
        if head not in answered
    ]


def _heads(
    results: Sequence[MetricResult], reasons: Sequence[Reason], judged: Sequence[Judged]
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
