"""Counts of many cliques over the same records, each read as seldom as can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from synthgen.generators.graphical.junction_tree import Attributes


class Counts:
    """Remembers each clique's counts; the pairs inside a triple come along without another reading.

    Args:
        count: returns the counts of a clique, flat, in C order.
        sizes: number of cells of each column.
    """

    def __init__(self, count: Callable[[Attributes], np.ndarray], sizes: Mapping[str, int]) -> None:
        self._count = count
        self._sizes = sizes
        self._known: dict[frozenset[str], tuple[Attributes, np.ndarray]] = {}

    def __call__(self, attributes: Attributes) -> np.ndarray:
        """Return the counts of a clique, one axis a column, in the order asked for."""
        key = frozenset(attributes)
        if key not in self._known:
            table = self._count(attributes).reshape([self._sizes[name] for name in attributes])
            self._known[key] = attributes, table
            for axis in range(3 if len(attributes) == 3 else 0):
                pair = tuple(name for i, name in enumerate(attributes) if i != axis)
                self._known.setdefault(frozenset(pair), (pair, table.sum(axis=axis)))
        order, table = self._known[key]
        return table.transpose([order.index(name) for name in attributes])
