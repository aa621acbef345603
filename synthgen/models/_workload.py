"""Which cliques may be measured, and how much each matters: public roles and sizes decide.

A junction tree's tables grow with the cliques that are joined, so a candidate must keep the tree
below a public number of cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.models._junction import Attributes


@dataclass(frozen=True)
class Candidate:
    """A clique that may be measured.

    Attributes:
        attributes: its columns.
        weight: how much its error matters, from the public roles.
    """

    attributes: Attributes
    weight: float


def candidates(
    names: Sequence[str], labels: Sequence[str], protected: Sequence[str], weights: Mapping[str, float]
) -> list[Candidate]:
    """Return pairs, and triples with a label or a protected column, weighed by role.

    Args:
        names: all columns, in the schema's order.
        labels: columns with role label.
        protected: columns with role protected.
        weights: weight of a ``pair``, a pair with a ``protected`` column, a ``label_triple``,
            a ``protected_triple``.
    """
    rest = [name for name in names if name not in labels]
    found = []
    for pair in itertools.combinations(rest, 2):
        role = "protected" if set(pair) & set(protected) else "pair"
        found.append(Candidate(pair, weights[role]))
        found += [Candidate(_ordered((*pair, label), names), weights["label_triple"]) for label in labels]
        for group in protected:
            if group not in pair and weights["protected_triple"] > 0:
                found.append(Candidate(_ordered((*pair, group), names), weights["protected_triple"]))
    unique: dict[Attributes, Candidate] = {}
    for candidate in found:
        known = unique.get(candidate.attributes)
        if known is None or known.weight < candidate.weight:
            unique[candidate.attributes] = candidate
    return list(unique.values())


def tree_cells(sizes: Mapping[str, int], cliques: Sequence[Attributes]) -> float:
    """Return the cells of the junction tree that greedy elimination gives these cliques.

    Example:
        >>> tree_cells({"a": 2, "b": 3, "c": 5}, [("a", "b"), ("b", "c")])
        21.0
    """
    neighbours: dict[str, set[str]] = {name: set() for name in sizes}
    for clique in cliques:
        for name in clique:
            neighbours[name] |= set(clique) - {name}
    cost = {name: _cells(sizes, near | {name}) for name, near in neighbours.items()}
    total = 0.0
    covered: list[set[str]] = []
    while neighbours:
        name = min(cost, key=cost.__getitem__)
        near = neighbours.pop(name)
        clique_set = near | {name}
        if not any(clique_set <= other for other in covered):
            total += cost[name]
            covered.append(clique_set)
        del cost[name]
        for other in near:
            neighbours[other] = (neighbours[other] | near) - {name, other}
            cost[other] = _cells(sizes, neighbours[other] | {other})
    return total


def affordable(
    found: Sequence[Candidate], taken: Sequence[Attributes], sizes: Mapping[str, int], max_cells: int
) -> np.ndarray:
    """Return, for each candidate, whether measuring it beside the taken cliques keeps the tree small."""
    answers: dict[frozenset[str], bool] = {}
    edges = {frozenset(pair) for clique in taken for pair in itertools.combinations(clique, 2)}
    out = []
    for candidate in found:
        fresh = frozenset(
            name
            for pair in itertools.combinations(candidate.attributes, 2)
            if frozenset(pair) not in edges
            for name in pair
        )
        key = frozenset(candidate.attributes) if len(fresh) > 2 else fresh
        if key not in answers:
            answers[key] = tree_cells(sizes, [*taken, candidate.attributes]) <= max_cells
        out.append(answers[key])
    return np.array(out, dtype=bool)


def _ordered(attributes: Attributes, names: Sequence[str]) -> Attributes:
    return tuple(sorted(set(attributes), key=list(names).index))


def _cells(sizes: Mapping[str, int], names: set[str]) -> float:
    out = 1.0
    for name in names:
        out *= sizes[name]
    return out
