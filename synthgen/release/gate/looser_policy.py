"""Say, rule by rule, where a policy allows more than the shipped one.

A hospital may write its own policy, and a reader of a verdict must see that it did, and what it changed.
"""

from __future__ import annotations

from collections.abc import Iterator

from synthgen.release.gate.policy import Policy, Rule

_GRAVITY = {"silent": 0, "warn": 1, "cannot-sign": 2}
_PASSES = {"harm-unproven": 0, "harm-excluded": 1}


def looser(policy: Policy, shipped: Policy) -> tuple[str, ...]:
    """Return a sentence for each way in which a policy is looser than the shipped one; empty if in none."""
    return tuple(_of_rules(policy, shipped)) + tuple(_of_policy(policy, shipped))


def _of_rules(policy: Policy, shipped: Policy) -> Iterator[str]:
    mine = {rule.name: rule for rule in policy.rules}
    for usual in shipped.rules:
        rule = mine.get(usual.name)
        if rule is None:
            yield f"{usual.name}: no rule ({usual.title}: {usual.words})"
            continue
        for key, now, before in _differences(rule, usual):
            yield f"{usual.name}: {key} {_said(now)} instead of {_said(before)}"


def _differences(rule: Rule, usual: Rule) -> Iterator[tuple[str, object, object]]:
    """Yield what is looser: the rule's key, its value, and the shipped one's."""
    if rule.harm not in (usual.harm, "outside"):
        yield "harm", rule.harm, usual.harm
        return
    for key in ("threshold", "warn"):
        now, before = getattr(rule, key), getattr(usual, key)
        if before is not None and (now is None or _allows_more(rule.harm, now, before)):
            yield key, now, before
    if _PASSES[rule.passes] < _PASSES[usual.passes]:
        yield "passes", rule.passes, usual.passes
    for key in ("unproven", "missing"):
        now, before = getattr(rule, key), getattr(usual, key)
        if _GRAVITY[now] < _GRAVITY[before]:
            yield key, now, before
    if rule.decides and not usual.decides:
        yield "decides", rule.decides, usual.decides
    if abs(rule.ideal - usual.ideal) > 0 and _nearer(rule, usual):
        yield "harmless", rule.ideal, usual.ideal


def _allows_more(harm: str, now: float, before: float) -> bool:
    if harm == "outside":
        return abs(now) > abs(before)
    return now < before if harm == "below" else now > before


def _nearer(rule: Rule, usual: Rule) -> bool:
    """Return whether figures must lie further off to be told from one without harm."""
    bound = usual.threshold
    return bound is not None and abs(rule.ideal - bound) < abs(usual.ideal - bound)


def _of_policy(policy: Policy, shipped: Policy) -> Iterator[str]:
    for key in ("wrongful_refusal", "wrongful_doubt"):
        now, before = getattr(policy, key), getattr(shipped, key)
        if now < before:
            yield f"{key} {_said(now)} instead of {_said(before)}: harm takes more proof"
    now, before = policy.most_looks, shipped.most_looks
    if before is not None and (now is None or now > before):
        yield f"most_looks {_said(now)} instead of {_said(before)}"


def _said(value: object) -> str:
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
