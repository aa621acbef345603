"""Belief propagation on a junction tree, in numpy: structure once, beliefs for any potentials.

A graphical model is a product of non-negative factors, one a node. Two passes of sum-product over the
tree turn factors into calibrated tables: each node's marginal probabilities, equal to its
neighbours' on what they share (Koller and Friedman 2009, Section 10.2). A model changes with every
round of measuring, and compiling each one for a tracing library takes longer than the arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from synthgen.generators.graphical.junction_tree import Attributes, JunctionTree, Node


@dataclass(frozen=True)
class Place:
    """A node of the tree, before it has a table.

    Attributes:
        attributes: its columns; those shared with the parent come first.
        shape: their numbers of cells.
        parent: index of the parent, smaller than its own, or -1.
        n_shared: how many columns it shares with the parent.
    """

    attributes: Attributes
    shape: tuple[int, ...]
    parent: int
    n_shared: int

    @property
    def separator(self) -> Attributes:
        """The columns shared with the parent."""
        return self.attributes[: self.n_shared]


class Structure:
    """The junction tree of a set of cliques.

    Args:
        sizes: number of cells of each column; a column in no clique is a node of its own.
        cliques: sets of columns that must lie inside a node.
    """

    def __init__(self, sizes: Mapping[str, int], cliques: Sequence[Attributes]) -> None:
        self.sizes = dict(sizes)
        self.places = _rooted(self.sizes, _maximal(self.sizes, cliques))
        self._homes: dict[frozenset[str], int] = {}

    @property
    def n_cells(self) -> int:
        """Cells of all nodes together."""
        return sum(int(np.prod(place.shape)) for place in self.places)

    def home(self, attributes: Attributes) -> int:
        """Return the smallest node that holds these columns.

        Raises:
            ValueError: no node does.
        """
        key = frozenset(attributes)
        if key not in self._homes:
            fitting = [i for i, place in enumerate(self.places) if key <= set(place.attributes)]
            if not fitting:
                raise ValueError(f"Expected columns that share a node of the tree, got {attributes}.")
            self._homes[key] = min(fitting, key=lambda i: int(np.prod(self.places[i].shape)))
        return self._homes[key]

    def spread(self, factor: np.ndarray, attributes: Attributes, index: int) -> np.ndarray:
        """Bring a factor's axes into the order of a node, with length 1 where it does not speak."""
        onto = self.places[index].attributes
        order = sorted(range(len(attributes)), key=lambda i: onto.index(attributes[i]))
        shape = [self.sizes[name] if name in attributes else 1 for name in onto]
        return factor.transpose(order).reshape(shape)

    def marginal(self, table: np.ndarray, index: int, keep: Attributes) -> np.ndarray:
        """Sum a node's table over the columns that are not kept; axes in the order of ``keep``."""
        names = self.places[index].attributes
        gone = tuple(i for i, name in enumerate(names) if name not in keep)
        left = [name for name in names if name in keep]
        return np.asarray(table.sum(axis=gone).transpose([left.index(name) for name in keep]))

    def beliefs(self, factors: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return each node's calibrated probabilities.

        Args:
            factors: one non-negative array a node, of the node's shape.

        Raises:
            ValueError: the factors leave nothing possible.
        """
        tables = [np.array(factor, dtype=float) for factor in factors]
        ups: list[np.ndarray | None] = [None] * len(tables)
        for i in range(len(tables) - 1, -1, -1):
            place = self.places[i]
            if place.parent < 0:
                continue
            up = tables[i].reshape(*place.shape[: place.n_shared], -1).sum(axis=-1)
            top = up.max()
            if not top > 0:
                raise ValueError("Expected factors that leave something possible, got none.")
            up /= top
            ups[i] = up
            tables[place.parent] *= self.spread(up, place.separator, place.parent)
        for i, place in enumerate(self.places):
            up = ups[i]
            if up is not None:
                shared = self.marginal(tables[place.parent], place.parent, place.separator)
                down = np.divide(shared, up, out=np.zeros_like(up), where=up > 0)
                held = tables[i].reshape(*place.shape[: place.n_shared], -1)
                held *= down[..., None]
            total = tables[i].sum()
            if not total > 0:
                raise ValueError("Expected factors that leave something possible, got none.")
            tables[i] /= total
        return tables

    def tree(self, tables: Sequence[np.ndarray]) -> JunctionTree:
        """Return the calibrated tables as a tree to sample from."""
        return JunctionTree(
            tuple(
                Node(place.attributes, place.parent, place.separator, table)
                for place, table in zip(self.places, tables, strict=True)
            )
        )


def _maximal(sizes: Mapping[str, int], cliques: Iterable[Attributes]) -> list[frozenset[str]]:
    """Return the maximal cliques of the triangulated graph, by greedy elimination of the least cells.

    Sets of columns are bits of an integer, and costs are logarithms kept up to date edge by edge:
    choosing cliques asks for this thousands of times.
    """
    names = list(sizes)
    bit = {name: 1 << i for i, name in enumerate(names)}
    log = [math.log(size) for size in sizes.values()]
    near = [0] * len(names)
    for clique in set(cliques):
        whole = 0
        for name in clique:
            whole |= bit[name]
        for i in _bits(whole):
            near[i] |= whole & ~(1 << i)
    cost = {i: log[i] + sum(log[k] for k in _bits(near[i])) for i in range(len(names))}
    found: list[int] = []
    while cost:
        i = min(cost, key=cost.__getitem__)
        del cost[i]
        whole = near[i] | 1 << i
        if not any(whole & other == whole for other in found):
            found.append(whole)
        for k in _bits(near[i]):
            fresh = near[i] & ~near[k] & ~(1 << k)
            near[k] = (near[k] | fresh) & ~(1 << i)
            cost[k] += sum(log[j] for j in _bits(fresh)) - log[i]
    return [frozenset(names[i] for i in _bits(whole)) for whole in found]


def _bits(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, smallest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def tree_cells(sizes: Mapping[str, int], cliques: Sequence[Attributes]) -> float:
    """Return the cells of the junction tree of these cliques.

    Example:
        >>> tree_cells({"a": 2, "b": 3, "c": 5}, [("a", "b"), ("b", "c")])
        21.0
    """
    return sum(_cells(sizes, clique) for clique in _maximal(sizes, cliques))


def _rooted(sizes: Mapping[str, int], cliques: Sequence[frozenset[str]]) -> tuple[Place, ...]:
    """Join maximal cliques into a forest of largest separators, parents before children."""
    order = list(sizes)
    left = set(range(len(cliques)))
    places: list[Place] = []
    index: dict[int, int] = {}
    best: dict[int, tuple[int, int]] = dict.fromkeys(left, (0, -1))
    while left:  # Prim's maximum spanning tree; a new root where nothing is shared
        i = max(left, key=lambda k: (best[k][0], -k))
        left.remove(i)
        shared, parent = best[i]
        near = cliques[parent] if shared else frozenset()
        names = sorted(cliques[i] & near, key=order.index) + sorted(cliques[i] - near, key=order.index)
        index[i] = len(places)
        shape = tuple(sizes[name] for name in names)
        places.append(Place(tuple(names), shape, index[parent] if shared else -1, shared))
        for k in left:
            common = len(cliques[k] & cliques[i])
            if common > best[k][0]:
                best[k] = (common, i)
    return tuple(places)


def _cells(sizes: Mapping[str, int], names: set[str] | frozenset[str]) -> float:
    out = 1.0
    for name in names:
        out *= sizes[name]
    return out
