"""Rules as alternatives of plain conditions, and whether rules contradict each other.

A rule holds where it is not known to be false. In disjunctive form it holds where one alternative does: a
list of conditions, each about categories, a missing value, or a sum of numbers.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthgen.schema.rule_values import Linear, Node, evaluate

if TYPE_CHECKING:
    from synthgen.schema.rules import Domain, Rule

MOST_CLAUSES = 64
MOST_CHECKS = 500
"""Combinations of alternatives that are tried before rules pass as not proven to contradict each other."""
SECONDS = 1.0
"""Seconds that one system of whole numbers may take to be solved."""


@dataclass(frozen=True)
class Clause:
    """One alternative of a rule: all of its conditions hold.

    Attributes:
        linear: comparisons of sums of numbers; never ``!=``.
        other: conditions on categories and missing values, each an atom and whether it is wanted.
    """

    linear: tuple[Linear, ...] = ()
    other: tuple[tuple[Node, bool], ...] = ()

    def joined(self, more: Clause) -> Clause:
        """Return the alternative in which both hold."""
        return Clause((*self.linear, *more.linear), (*self.other, *more.other))

    def open(self, frame: Mapping[str, Any] | pd.DataFrame, n_records: int) -> np.ndarray:
        """Return, for each record, whether its categories and missing values do not rule this out."""
        out = np.ones(n_records, dtype=bool)
        for node, wanted in self.other:
            true, false, unknown = evaluate(node, frame, frame)
            out &= unknown | (true if wanted else false)
        return out


def clauses(node: Node, *, wanted: bool = True) -> tuple[Clause, ...] | None:
    """Return the alternatives of a rule, or None where it has more than `MOST_CLAUSES`."""
    kind = node[0]
    if kind == "not":
        return clauses(node[1], wanted=not wanted)
    if kind in ("and", "or"):
        parts = [clauses(child, wanted=wanted) for child in node[1:]]
        if parts[0] is None or parts[1] is None:
            return None
        if (kind == "or") == wanted:
            out = (*parts[0], *parts[1])
        else:
            out = tuple(a.joined(b) for a in parts[0] for b in parts[1])
        return out if len(out) <= MOST_CLAUSES else None
    if kind != "linear":
        return (Clause(other=((node, wanted),)),)
    linear: Linear = node[1] if wanted else node[1].negated()
    if linear.operator != "!=":
        return (Clause((linear,)),)
    below = replace(linear, operator="<", constant=linear.constant - linear.slack)
    above = replace(linear, operator=">", constant=linear.constant + linear.slack)
    return (Clause((below,)), Clause((above,)))


def contradiction(rules: Sequence[Rule], domains: Mapping[str, Domain]) -> tuple[int, ...] | None:
    """Return the numbers of rules that no record without further missing values can meet together, or None.

    Args:
        rules: bound to these columns.
        domains: what is known of each column.

    Returns:
        A set of rules of which none can be left out, in order. None where all can be met, and where that is
        too long to be settled: what is drawn is checked then.
    """
    listed: dict[int, tuple[_Demand, ...]] = {}
    for number, rule in enumerate(rules):
        found = clauses(rule.tree)
        if found is not None:
            listed[number] = tuple(_Demand.of(clause, domains) for clause in found)
    budget = [MOST_CHECKS]
    for group in _groups({number: rules[number].columns for number in listed}):
        if _meetable([listed[i] for i in group], domains, budget):
            continue
        guilty = list(group)
        for i in group:
            rest = [j for j in guilty if j != i]
            if not _meetable([listed[j] for j in rest], domains, budget):
                guilty = rest
        return tuple(guilty)
    return None


def _groups(columns: Mapping[int, frozenset[str]]) -> list[list[int]]:
    """Return the rules in groups that share no column, each in order."""
    out: list[tuple[set[str], list[int]]] = []
    for number, names in columns.items():
        joined = [group for group in out if group[0] & names]
        out = [group for group in out if not group[0] & names]
        whole = set(names).union(*(group[0] for group in joined))
        out.append((whole, sorted([number, *(i for group in joined for i in group[1])])))
    return [numbers for _, numbers in out]


@dataclass(frozen=True)
class _Demand:
    """What an alternative asks of a record: missing values, categories that are left, comparisons of sums."""

    absent: Mapping[str, bool]
    labels: Mapping[str, np.ndarray]
    linear: tuple[Linear, ...]

    @classmethod
    def of(cls, clause: Clause, domains: Mapping[str, Domain]) -> _Demand:
        """Return what a clause asks."""
        absent: dict[str, bool] = {}
        left: dict[str, np.ndarray] = {}
        for node, wanted in clause.other:
            name = node[2] if node[0] == "compare" else node[1]
            labels = domains[name].labels if name in domains else None
            if node[0] == "missing":
                absent[name] = wanted
            elif node[0] in ("compare", "in", "true") and labels:
                frame = {name: pd.Categorical(list(labels), categories=list(labels))}
                true, false, unknown = evaluate(node, frame, frame)
                kept = unknown | (true if wanted else false)
                left[name] = left.get(name, np.ones(len(labels), dtype=bool)) & kept
        return cls(absent, left, clause.linear)

    def joined(self, more: _Demand, domains: Mapping[str, Domain]) -> _Demand | None:
        """Return both demands as one, or None where no record meets it."""
        absent = {**self.absent, **more.absent}
        if any(self.absent.get(name, missing) != missing for name, missing in more.absent.items()):
            return None
        if any(missing and name in domains and domains[name].required for name, missing in absent.items()):
            return None
        gone = {name for name, missing in absent.items() if missing}
        labels = {**self.labels}
        for name, kept in more.labels.items():
            labels[name] = labels[name] & kept if name in labels else kept
        if any(not kept.any() for name, kept in labels.items() if name not in gone):
            return None
        whole = _Demand(absent, labels, (*self.linear, *more.linear))
        linear = [one for one in whole.linear if not gone & {name for name, _ in one.terms}]
        return whole if not more.linear or not linear or solvable(linear, domains) else None


def _meetable(
    listed: Sequence[tuple[_Demand, ...]], domains: Mapping[str, Domain], budget: list[int]
) -> bool:
    """Return whether some choice of alternatives can hold; True once the budget of checks is used up."""
    if not listed:
        return True
    taken = [_Demand({}, {}, ())]
    pending = [iter(listed[0])]
    while pending:
        step = next(pending[-1], None)
        if step is None:
            pending.pop()
            taken.pop()
            continue
        budget[0] -= 1
        if budget[0] <= 0:
            return True
        whole = taken[-1].joined(step, domains)
        if whole is None:
            continue
        if len(pending) == len(listed):
            return True
        taken.append(whole)
        pending.append(iter(listed[len(pending)]))
    return False


def solvable(linear: Sequence[Linear], domains: Mapping[str, Domain]) -> bool:
    """Return whether some numbers within the public bounds meet all comparisons; True if that stays open.

    Source: a mixed-integer linear program (HiGHS, in SciPy) that makes the room of strict comparisons large.
    """
    names = list(dict.fromkeys(name for one in linear for name, _ in one.terms))
    whole = {name for name in names if name in domains and domains[name].step == 1.0}
    rows = [_Row.of(one, whole) for one in linear]
    ends = {name: _ends(domains.get(name)) for name in names}
    for row in rows:
        if len(row.factors) == 1:
            ends = row.narrowed(ends, whole)
    if any(low > high for low, high in ends.values()) or not all(row.reachable(ends) for row in rows):
        return False
    rows = [row for row in rows if len(row.factors) > 1]
    return len(rows) < 2 or _program(names, whole, rows, ends)


@dataclass(frozen=True)
class _Row:
    """A comparison as two ends of a sum; ``strict``: whether the ends themselves are outside."""

    factors: Mapping[str, float]
    low: float
    high: float
    strict: bool

    @classmethod
    def of(cls, one: Linear, whole: Container[str]) -> _Row:
        """Return a comparison's ends; among whole numbers less is less by one at least."""
        factors = dict(one.terms)
        exact = all(name in whole and factor.is_integer() for name, factor in one.terms)
        strict, room = one.operator in ("<", ">"), one.slack if one.operator == "==" else 0.0
        low = one.constant - room if one.operator in (">", ">=", "==") else -np.inf
        high = one.constant + room if one.operator in ("<", "<=", "==") else np.inf
        if strict and exact:
            low, high, strict = np.floor(low) + 1.0, np.ceil(high) - 1.0, False
        return cls(factors, float(low), float(high), strict)

    def narrowed(
        self, ends: dict[str, tuple[float, float]], whole: Container[str]
    ) -> dict[str, tuple[float, float]]:
        """Return the ends of a column with what a comparison of that column alone leaves."""
        ((name, factor),) = self.factors.items()
        low, high = sorted((self.low / factor, self.high / factor))
        if self.strict and name not in whole:
            low, high = np.nextafter(low, np.inf), np.nextafter(high, -np.inf)
        if name in whole:
            low, high = np.ceil(low), np.floor(high)
        return {**ends, name: (max(ends[name][0], low), min(ends[name][1], high))}

    def reachable(self, ends: Mapping[str, tuple[float, float]]) -> bool:
        """Return whether the columns' ends reach into the comparison's."""
        pairs = [
            sorted((factor * ends[name][0], factor * ends[name][1])) for name, factor in self.factors.items()
        ]
        least, most = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
        if self.strict and len(pairs) > 1:
            return bool(least < self.high and most > self.low)
        return bool(least <= self.high and most >= self.low)


def _program(
    names: Sequence[str], whole: Container[str], rows: Sequence[_Row], ends: Mapping[str, tuple[float, float]]
) -> bool:
    from scipy.optimize import Bounds, LinearConstraint, milp

    strict = [(1.0 if np.isfinite(row.high) else -1.0) if row.strict else 0.0 for row in rows]
    matrix = [
        [*(row.factors.get(name, 0.0) for name in names), room]
        for row, room in zip(rows, strict, strict=True)
    ]
    finite = [abs(end) for pair in ends.values() for end in pair if np.isfinite(end)]
    scale = max([1e-6, *finite])
    found = milp(
        [*(0.0 for _ in names), -1.0 if any(strict) else 0.0],
        constraints=LinearConstraint(matrix, [row.low for row in rows], [row.high for row in rows]),
        integrality=[*(int(name in whole) for name in names), 0],
        bounds=Bounds([*(ends[n][0] for n in names), 0.0], [*(ends[n][1] for n in names), scale]),
        options={"time_limit": SECONDS},
    )
    if found.status == 2:  # infeasible
        return False
    return not (any(strict) and found.status == 0 and found.x[-1] <= 1e-9 * scale)


def _ends(domain: Domain | None) -> tuple[float, float]:
    if domain is None:
        return -np.inf, np.inf
    if domain.labels is not None:
        values = [float(label) for label in domain.labels if type(label) is int]
        return (min(values), max(values)) if values else (-np.inf, np.inf)
    low = -np.inf if np.isnan(domain.minimum) else domain.minimum
    high = np.inf if np.isnan(domain.maximum) else domain.maximum
    return low, high
