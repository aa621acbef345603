"""Say before a run whether its release could be signed: the gate's own decision on what is known beforehand.

Each metric says what it would find at a perfect generator (`synthgen.evaluation.expected_power`), and the
policy decides on that as it decides on measured figures. What comes out as "cannot sign" here is not a matter
of the
generator: there is no label, no protected column, or there are too few patients. What a real generator loses,
and how common a label is, stays open.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

from synthgen.evaluation.base import HEADS, Estimate, MetricResult, result
from synthgen.evaluation.catalogue import load_metric
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.statistics.intervals import Z, exactly, insufficient
from synthgen.release.gate.confidence_levels import depth, is_compared
from synthgen.release.gate.gate import decide
from synthgen.release.gate.policy import Policy, Rule
from synthgen.release.gate.reasons import open_harm

EVEN = 0.5
"""Chance of a perfect generator to be signed below which a run is not worth its spend: our own choice."""
OFTEN = 0.8
"""Cases in which a gate sees a harm of the stated size: the usual power of a study."""
MOST_PATIENTS = 10**8


@dataclass(frozen=True)
class Hindrance:
    """Why a release cannot be signed, whatever the generator.

    Attributes:
        because: what is missing, in words.
        do: what to change.
    """

    because: str
    do: str

    def to_json(self) -> dict[str, str]:
        """Return plain JSON values."""
        return {"because": self.because, "do": self.do}


@dataclass(frozen=True)
class Power:
    """What one gate can tell at the declared sizes.

    Attributes:
        rule: ``<metric>.<key>``.
        title: what is judged, in words.
        bound: its threshold, in words.
        patients: those that it is tested on; 0 where that is not known beforehand.
        half_width: of the 95 % interval; None where it is not known beforehand.
        passes: probability that a perfect generator passes; None likewise.
        refuses: the figure, as far into harm, that is refused in `OFTEN` of the cases; None likewise.
    """

    rule: str
    title: str
    bound: str
    patients: int
    half_width: float | None
    passes: float | None
    refuses: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, rounded."""
        numbers = {key: getattr(self, key) for key in ("half_width", "passes", "refuses")}
        shown = {key: None if value is None else float(f"{value:.3g}") for key, value in numbers.items()}
        known = {"rule": self.rule, "title": self.title, "bound": self.bound}
        return {**known, "patients": self.patients or None, **shown}


@dataclass(frozen=True)
class Forecast:
    """What the gate would say of a perfect generator.

    Attributes:
        hindrances: why it would not be signed; empty if it may be.
        chance: probability that it would be signed, 0 to 1, by normal approximations.
        gates: what each gate can tell, in the policy's order.
    """

    hindrances: tuple[Hindrance, ...]
    chance: float
    gates: tuple[Power, ...] = ()


def forecast(policy: Policy, declared: Declared) -> Forecast:
    """Return what the gate would say of a perfect generator with so many patients.

    Args:
        policy: the rules.
        declared: what is known before any record is read.
    """
    names = dict.fromkeys(rule.metric for rule in policy.rules)
    results = {name: _expected(name, policy, declared) for name in names}
    verdict = decide(list(results.values()), policy)
    gravest = [reason for reason in verdict.reasons if reason.severity != "warn"]
    found: list[Hindrance] = []
    unproven: list[tuple[float, Rule, Estimate]] = []
    for rule in policy.rules:
        for estimate in _estimates(rule, results[rule.metric]):
            if estimate.status == "ok" and rule.threshold is not None and rule.unproven == "cannot-sign":
                unproven.append((chance_of(rule, estimate), rule, estimate))
    for reason in gravest:
        if reason.metric in HEADS:  # a head that no deciding rule answers for
            found.append(Hindrance(*_unanswered(reason.head, policy, results)))
        elif reason.severity == "refuse":
            found.append(Hindrance(reason.message, "Lower budget.epsilon, or release less of this cohort."))
    chance = _together(unproven)
    if chance < EVEN:
        worst = sorted(unproven, key=lambda item: item[0])
        named = [item for item in worst if item[0] < 0.9][:3] or worst[:1]
        found += [Hindrance(_too_few(rule, estimate, declared), "") for _, rule, estimate in named]
    answered = not any(reason.metric in HEADS or reason.severity == "refuse" for reason in gravest)
    gates = _powers(policy, declared, results)
    return Forecast(tuple(found), chance if answered else 0.0, gates)


def _powers(policy: Policy, declared: Declared, results: Mapping[str, MetricResult]) -> tuple[Power, ...]:
    """Return what each gate with a threshold can tell, of groups the one that tells least."""
    asked = [
        (rule, estimate)
        for rule in policy.rules
        if rule.threshold is not None
        for estimate in _estimates(rule, results[rule.metric])[:1] or [insufficient(0)]
    ]
    compared = [rule.head for rule, estimate in asked if is_compared(rule, estimate)]
    heads = max(len(set(compared)), 1)
    found = []
    for rule, estimate in asked:
        known = is_compared(rule, estimate)
        tail = policy.wrongful_refusal / heads / max(compared.count(rule.head), 1)
        patients = _tested(rule.metric, declared).holdout if known else 0
        width = (estimate.high - estimate.low) / 2 if known else None
        missing = None if estimate.status == "ok" else 0.0
        found.append(
            Power(
                rule.name,
                rule.title,
                rule.bound,
                patients,
                width,
                chance_of(rule, estimate) if known else missing,
                None if width is None else _refused_in(rule, width, tail),
            )
        )
    return tuple(found)


def _refused_in(rule: Rule, half_width: float, tail: float) -> float:
    """Return the true figure that is refused in `OFTEN` of the cases, by a normal approximation."""
    normal = NormalDist()
    reach = half_width / Z * (normal.inv_cdf(1 - tail) + normal.inv_cdf(OFTEN))
    threshold = float(rule.threshold or 0.0)
    return threshold - reach if rule.harm == "below" else threshold + reach


def chance_of(rule: Rule, estimate: Estimate) -> float:
    """Return the probability that a normal estimate with this mean and width passes a rule.

    Example:
        >>> rule = Rule(metric="m", key="k", title="t", harm="above", threshold=0.1, source="s")
        >>> round(chance_of(rule, Estimate(0.0, -0.05, 0.05, n=9)), 3)
        0.975
    """
    half = (estimate.high - estimate.low) / 2
    if not half > 0:
        return float(not open_harm(rule, estimate))
    inside = -depth(rule, estimate, 1.0, least=rule.passes == "harm-unproven")
    return NormalDist().cdf(inside * Z / half)


def needed_patients(policy: Policy, declared: Callable[[int], Declared]) -> int | None:
    """Return the smallest cohort that may be signed; None if no number of patients helps.

    Args:
        policy: the rules.
        declared: returns what is known of a cohort of so many patients.
    """
    enough = 1
    while not (ok := not forecast(policy, declared(enough)).hindrances) and enough < MOST_PATIENTS:
        enough *= 4
    if not ok:
        return None
    low, high = enough // 4, enough
    while high - low > max(1, low // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if not forecast(policy, declared(middle)).hindrances else (middle, high)
    step = int(10 ** max(len(str(high)) - 2, 0))
    return math.ceil(high / step) * step


def _together(unproven: Sequence[tuple[float, Rule, Estimate]]) -> float:
    """Return the chance that all rules pass: heads as if independent, within a head the least."""
    least: dict[str, float] = {}
    for chance, rule, _ in unproven:
        head = rule.head
        least[head] = min(chance, least.get(head, 1.0))
    return math.prod(least.values())


def _expected(name: str, policy: Policy, declared: Declared) -> MetricResult:
    """Return what a metric would find: what it says itself, else that it passes if it has its patients."""
    metric = load_metric(name)
    declared = _tested(name, declared)
    found: MetricResult | None = metric.expect(declared) if hasattr(metric, "expect") else None
    if found is not None:
        return found
    needed = int(getattr(metric, "MIN_PATIENTS", 0))
    few = min(declared.train, declared.holdout) < needed
    images = name.split("_")[1] == "image"
    keys: dict[str, Estimate] = {}
    groups: dict[str, dict[str, Estimate]] = {}
    for rule in (rule for rule in policy.rules if rule.metric == name):
        bound = rule.threshold if rule.threshold is not None else rule.warn
        passes = insufficient(declared.holdout) if few else exactly(float(bound or 0.0))
        if rule.key is not None:
            keys[rule.key] = passes
        else:
            groups[str(rule.groups)] = {"every group": passes}
    if images and not declared.of_images:
        return result(name, name, "", {}, status="not-applicable", note="These records are no images.")
    status: Any = "insufficient" if few else "ok"
    note = f"It takes {needed} patients a side." if few else ""
    return result(name, name, "", keys, groups=groups, status=status, note=note)


def _tested(name: str, declared: Declared) -> Declared:
    """Return what a metric is tested on: all heads but leakage on the reference too (`evaluate_all`)."""
    whole = 0 if name.startswith("leakage_") else declared.reference
    return replace(declared, holdout=declared.holdout + whole)


def _estimates(rule: Rule, found: MetricResult) -> list[Estimate]:
    if rule.groups is not None:
        return list(found.groups.get(rule.groups, {}).values())
    return [found.estimates[rule.key]] if rule.key is not None and rule.key in found.estimates else []


def _unanswered(head: str, policy: Policy, results: dict[str, MetricResult]) -> tuple[str, str]:
    """Return why no deciding rule answers for a head, and what to do."""
    deciding = [rule for rule in policy.rules if rule.decides and rule.head == head]
    if not deciding:
        return f"The policy {policy.name!r} has no rule that decides on {head}.", "Choose another policy."
    notes = list(dict.fromkeys(note for rule in deciding if (note := results[rule.metric].note)))
    because = f"Nothing would answer for {head}: {' '.join(notes) or 'too few patients.'}"
    if any("target" in note for note in notes) and not any("patients" in note for note in notes):
        return because, "Mark the outcome as `role: label` in the schema, or name it in evaluate.target."
    if any("protected" in note for note in notes):
        return because, "Mark sex, race or age as `role: protected` in the schema, or name evaluate.groups."
    return because, ""


def _too_few(rule: Rule, estimate: Estimate, declared: Declared) -> str:
    half = (estimate.high - estimate.low) / 2
    patients = _tested(rule.metric, declared).holdout
    return (
        f"{rule.title[:1].upper()}{rule.title[1:]} must be shown to be {rule.bound}, but with {patients:,} "
        f"patients to test on it is known to plus or minus {half:.2g} only, even for a perfect generator."
    )
