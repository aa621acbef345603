"""Which cliques may be measured, and how much each matters: public roles and sizes decide.

A junction tree's tables grow with the cliques that are joined, so a candidate must keep the tree
below a public number of cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.generators.graphical.belief_propagation import Place, Structure, tree_cells
from synthgen.generators.graphical.junction_tree import Attributes

MOST = 12_000  # candidates of one selection; 50 columns with a label and two protected ones have 4,704


@dataclass(frozen=True)
class Candidate:
    """A clique that may be measured.

    Attributes:
        attributes: its columns.
        weight: how much its error matters, from the public roles.
    """

    attributes: Attributes
    weight: float


def role_pairs(
    names: Sequence[str],
    labels: Sequence[str],
    *,
    links: Sequence[Attributes] = (),
    given: Sequence[str] = (),
) -> list[Attributes]:
    """Return the pairs that are measured whatever the data: public roles decide.

    Args:
        names: all columns, in the schema's order.
        labels: columns with role label; each is paired with every other column that is drawn.
        links: pairs that carry a patient from row to row.
        given: columns that are never drawn, only given.

    Example:
        >>> role_pairs(["a", "b", "y"], ["y"], links=[("b", "a")])
        [('a', 'y'), ('b', 'y'), ('a', 'b')]
    """
    found = [
        _ordered((name, label), names)
        for i, label in enumerate(labels)
        for name in names
        if name not in labels[: i + 1] and name not in given
    ]
    return [*found, *(pair for pair in (_ordered(link, names) for link in links) if pair not in found)]


def candidates(
    names: Sequence[str], labels: Sequence[str], protected: Sequence[str], weights: Mapping[str, float]
) -> list[Candidate]:
    """Return pairs, and triples with a label or a protected column, weighed by role.

    A wide table has too many triples to look at: those with a protected column go first, then those with a
    label, until at most `MOST` candidates are left. Column counts are public.

    Args:
        names: all columns, in the schema's order.
        labels: columns with role label.
        protected: columns with role protected.
        weights: weight of a ``pair``, a pair with a ``protected`` column, a ``label_triple``,
            a ``protected_triple``.
    """
    rest = [name for name in names if name not in labels]
    n_pairs = len(rest) * (len(rest) - 1) // 2
    weights = dict(weights)
    if n_pairs * (1 + len(labels) + len(protected)) > MOST:
        weights["protected_triple"] = 0.0
    if n_pairs * (1 + len(labels)) > MOST:
        weights["label_triple"] = 0.0
    found = []
    for pair in itertools.combinations(rest, 2):
        role = "protected" if set(pair) & set(protected) else "pair"
        found.append(Candidate(pair, weights[role]))
        for label in labels if weights["label_triple"] > 0 else ():
            found.append(Candidate(_ordered((*pair, label), names), weights["label_triple"]))
        for group in protected:
            if group not in pair and weights["protected_triple"] > 0:
                found.append(Candidate(_ordered((*pair, group), names), weights["protected_triple"]))
    unique: dict[Attributes, Candidate] = {}
    for candidate in found:
        known = unique.get(candidate.attributes)
        if known is None or known.weight < candidate.weight:
            unique[candidate.attributes] = candidate
    return list(unique.values())


class Affordable:
    """Whether measuring a clique beside the taken ones keeps the junction tree small.

    Most answers come from a bound (the cells of one tree for both), or from a candidate with the same
    new edges. Cliques are only ever added, so what was once too large stays so.

    Args:
        sizes: number of cells of each column.
        max_cells: cells of the tree, at most.
    """

    def __init__(self, sizes: Mapping[str, int], max_cells: int) -> None:
        self._sizes = sizes
        self._max = max_cells
        self._refused: set[frozenset[frozenset[str]]] = set()
        self._known: dict[Attributes, set[frozenset[str]]] = {}

    def __call__(self, found: Sequence[Candidate], taken: Sequence[Attributes]) -> np.ndarray:
        """Return a boolean for each candidate."""
        edges = {edge for clique in taken for edge in self._edges(clique)}
        fresh = [frozenset(self._edges(candidate.attributes) - edges) for candidate in found]
        answers: dict[frozenset[frozenset[str]], bool] = {frozenset(): True}
        bound = self._bound(found, taken)
        for candidate, key, small in zip(found, fresh, bound, strict=True):
            if key in answers:
                continue
            answers[key] = key not in self._refused and (
                bool(small) or tree_cells(self._sizes, [*taken, candidate.attributes]) <= self._max
            )
            if not answers[key]:
                self._refused.add(key)
        return np.array([answers[key] for key in fresh], dtype=bool)

    def _edges(self, clique: Attributes) -> set[frozenset[str]]:
        if clique not in self._known:
            self._known[clique] = {frozenset(pair) for pair in itertools.combinations(clique, 2)}
        return self._known[clique]

    def _bound(self, found: Sequence[Candidate], taken: Sequence[Attributes]) -> np.ndarray:
        """Return whether a tree that carries the columns to a common node is small enough."""
        nodes = Structure(self._sizes, taken).places
        index = {name: i for i, name in enumerate(self._sizes)}
        sizes = np.array(list(self._sizes.values()), dtype=float)
        carry, holds = _carrying(nodes, index, sizes)
        total = sum(float(np.prod(node.shape)) for node in nodes)
        out = np.zeros(len(found), dtype=bool)
        for width in (2, 3):
            rows = [i for i, candidate in enumerate(found) if len(candidate.attributes) == width]
            columns = [[index[name] for name in found[i].attributes] for i in rows]
            table = np.array(columns, dtype=np.int64).reshape(-1, width)
            least = np.full(len(rows), np.inf)
            for order in itertools.permutations(range(width)):
                a, b, c = table[:, order[0]], table[:, order[1]], table[:, order[-1]]
                there = np.where(holds[:, b], carry[:, a], np.inf)
                if width == 3:  # the third column's way may lie along the first one's, where it costs more
                    there = there + sizes[a] * carry[:, c]
                least = np.minimum(least, there.min(axis=0, initial=np.inf))
            out[rows] = total + least <= self._max
        return out


def _carrying(
    nodes: Sequence[Place], index: Mapping[str, int], sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (node, column): the cells it costs to carry a column to a node, and whether it is there.

    Carrying adds the column to each node on its way through the tree, from where it is.
    """
    cells = np.array([float(np.prod(node.shape)) for node in nodes])
    holds = np.zeros((len(nodes), len(index)), dtype=bool)
    for i, node in enumerate(nodes):
        holds[i, [index[name] for name in node.attributes]] = True
    step = cells[:, None] * (sizes - 1.0)[None, :]
    cost = np.where(holds, 0.0, np.inf)
    for i in range(len(nodes) - 1, -1, -1):
        parent = nodes[i].parent
        if parent >= 0:
            cost[parent] = np.minimum(cost[parent], cost[i] + step[parent])
    for i, node in enumerate(nodes):
        if node.parent >= 0:
            cost[i] = np.minimum(cost[i], cost[node.parent] + step[i])
    return np.where(np.isinf(cost), step, cost), holds  # from another tree of the forest: join them here


def _ordered(attributes: Attributes, names: Sequence[str]) -> Attributes:
    return tuple(sorted(set(attributes), key=list(names).index))
