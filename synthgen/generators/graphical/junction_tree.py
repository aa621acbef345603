"""Draw records from a calibrated junction tree, with exact conditions.

A junction tree holds a table for each clique of columns; its joint distribution is the product of the
clique tables over the product of the separators' tables. Everything here works on probabilities
that were paid for, so it is post-processing. It needs numpy alone: a saved model samples where
neither the data nor the estimator is installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Attributes = tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """A clique of the tree.

    Attributes:
        attributes: the clique's columns, one an axis of ``table``.
        parent: index of the parent node, smaller than the node's own, or -1 for a root.
        separator: the columns shared with the parent, in the node's order.
        table: probabilities, float64, non-negative, summing to 1.
    """

    attributes: Attributes
    parent: int
    separator: Attributes
    table: np.ndarray


def stored_tree(listed: object, tables: Sequence[np.ndarray], sizes: Mapping[str, int]) -> JunctionTree:
    """Return the tree that a saved model's settings and tables describe, which may be anybody's.

    Args:
        listed: one ``[columns, parent, separator]`` a node.
        tables: of the nodes.
        sizes: number of cells of each column.

    Raises:
        ValueError: a parent does not stand before its child (a cycle), a column is drawn twice or never,
            a separator is not shared with the parent, or a table is of another shape or no probabilities.
    """
    if not isinstance(listed, list) or len(listed) != len(tables):
        raise ValueError("Expected a table for each node of the tree, got another number.")
    nodes: list[Node] = []
    drawn: set[str] = set()
    for (attributes, parent, separator), table in zip(listed, tables, strict=True):
        node = Node(tuple(attributes), parent, tuple(separator), np.asarray(table))
        if not isinstance(parent, int) or isinstance(parent, bool) or not -1 <= parent < len(nodes):
            raise ValueError("Expected a tree whose parents stand before their children, got another graph.")
        above = set(nodes[parent].attributes) if parent >= 0 else set()
        fresh = [name for name in node.attributes if name not in node.separator]
        if not set(node.separator) <= above & set(node.attributes) or drawn & set(fresh):
            raise ValueError("Expected each column to be drawn once, given columns of the parent.")
        if len(set(node.attributes)) != len(attributes) or len(set(node.separator)) != len(separator):
            raise ValueError("Expected each column once in a node, got one twice.")
        _require_probabilities(node.table, tuple(sizes[name] for name in node.attributes))
        drawn |= set(fresh)
        nodes.append(node)
    if drawn != set(sizes):
        raise ValueError("Expected a tree of all columns, got one that lacks some.")
    return JunctionTree(tuple(nodes))


def _require_probabilities(table: np.ndarray, shape: tuple[int, ...]) -> None:
    if table.dtype != np.float64 or table.shape != shape:
        raise ValueError("Expected a table with one axis a column, got another shape or type.")
    if not (np.isfinite(table).all() and (table >= 0).all() and table.sum() > 0):
        raise ValueError("Expected probabilities in a table, got other numbers.")


@dataclass(frozen=True)
class JunctionTree:
    """A calibrated junction tree (a forest, where columns are independent).

    Attributes:
        nodes: cliques, parents before children.
    """

    nodes: tuple[Node, ...]

    def weighed(self, masks: Mapping[Attributes, np.ndarray]) -> list[np.ndarray]:
        """Return each node's table times the messages of its children, given masks.

        Args:
            masks: non-negative factors by the columns they speak of; each must lie inside one node.
                Zero forbids a combination. An observed value is a mask with a single one.

        Returns:
            One array a node: proportional to P(node's columns, what is observed below it) over the
            separator's probability.

        Raises:
            ValueError: a mask's columns lie in no node, or nothing is possible under the masks.
        """
        tables = [node.table.copy() for node in self.nodes]
        for attributes, mask in masks.items():
            index = self.home(attributes)
            tables[index] *= _spread(mask, attributes, self.nodes[index].attributes)
        for index in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[index]
            if node.parent < 0:
                if not tables[index].sum() > 0:
                    raise ValueError("Expected a possible condition, got one that the model gives no chance.")
                continue
            message = _marginal(tables[index], node.attributes, node.separator)
            prior = _marginal(node.table, node.attributes, node.separator)
            ratio = np.divide(message, prior, out=np.zeros_like(message), where=prior > 0)
            parent = self.nodes[node.parent]
            tables[node.parent] *= _spread(ratio, node.separator, parent.attributes)
        return tables

    def home(self, attributes: Attributes) -> int:
        """Return the smallest node that holds all these columns.

        Raises:
            ValueError: no node does.
        """
        fitting = [i for i, node in enumerate(self.nodes) if set(attributes) <= set(node.attributes)]
        if not fitting:
            raise ValueError(f"Expected columns that share a clique of the model, got {attributes}.")
        return min(fitting, key=lambda i: self.nodes[i].table.size)

    def sample(
        self,
        n_records: int,
        *,
        rng: np.random.Generator,
        masks: Mapping[Attributes, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Draw records whose clique marginals match the model's to within about one record a cell.

        Strata instead of independent draws: inside each separator value the records take evenly spaced
        quantiles of the conditional distribution, in random order. A clique's counts then miss their
        expectation by rounding only, not by the sampling error of independent draws.

        Args:
            n_records: records to draw.
            rng: open randomness; the same state gives the same records, byte for byte.
            masks: see `weighed`.

        Returns:
            For each column an int32 array of cells, one a record.
        """
        tables = self.weighed(masks or {})
        drawn: dict[str, np.ndarray] = {}
        for node, table in zip(self.nodes, tables, strict=True):
            fresh = [name for name in node.attributes if name not in node.separator]
            order = [node.attributes.index(name) for name in (*node.separator, *fresh)]
            shape = table.shape
            rows = int(np.prod([shape[i] for i in order[: len(node.separator)]], dtype=np.int64))
            flat = table.transpose(order).reshape(rows, -1)
            given = _ravel([drawn[name] for name in node.separator], [shape[i] for i in order], n_records)
            cells = draw(flat, given, rng)
            sizes = [shape[node.attributes.index(name)] for name in fresh]
            for name, values in zip(fresh, np.unravel_index(cells, sizes) if fresh else (), strict=True):
                drawn[name] = values.astype(np.int32)
        return drawn


def draw(table: np.ndarray, given: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a column of ``table`` for each record from the row that ``given`` names, in strata.

    Args:
        table: non-negative weights, one row a condition, shape (row, column).
        given: the row of each record, int64.
        rng: open randomness.

    Returns:
        int64 array of columns, one a record.
    """
    n_records = len(given)
    mixed = rng.permutation(n_records)
    order = mixed[np.argsort(given[mixed], kind="stable")]
    counts = np.bincount(given, minlength=len(table))
    starts = np.cumsum(counts) - counts
    rows = given[order]
    rank = np.arange(n_records) - starts[rows]
    u = (rank + rng.random(n_records)) / np.maximum(counts[rows], 1)
    used = np.flatnonzero(counts)
    cumulative = np.cumsum(table[used], axis=1)
    total = cumulative[:, -1:]
    cumulative /= np.where(total > 0, total, 1.0)
    compact = np.zeros(len(table), dtype=np.int64)
    compact[used] = np.arange(len(used))
    ladder = (cumulative + np.arange(len(used))[:, None]).ravel()
    position = np.searchsorted(ladder, compact[rows] + np.minimum(u, 1 - 1e-9), side="right")
    cells = np.clip(position - compact[rows] * table.shape[1], 0, table.shape[1] - 1)
    out = np.empty(n_records, dtype=np.int64)
    out[order] = cells
    return out


def _ravel(columns: Sequence[np.ndarray], sizes: Sequence[int], n_records: int) -> np.ndarray:
    if not columns:
        return np.zeros(n_records, dtype=np.int64)
    return np.asarray(np.ravel_multi_index([c.astype(np.int64) for c in columns], sizes[: len(columns)]))


def _marginal(table: np.ndarray, attributes: Attributes, keep: Attributes) -> np.ndarray:
    """Sum a table over the columns that are not kept; axes in the order of ``keep``."""
    gone = tuple(i for i, name in enumerate(attributes) if name not in keep)
    left = [name for name in attributes if name in keep]
    return np.asarray(table.sum(axis=gone).transpose([left.index(name) for name in keep]))


def _spread(factor: np.ndarray, attributes: Attributes, onto: Attributes) -> np.ndarray:
    """Bring a factor's axes into the order of ``onto``, with length 1 where it does not speak."""
    order = sorted(range(len(attributes)), key=lambda i: onto.index(attributes[i]))
    sizes = dict(zip(attributes, factor.shape, strict=True))
    return np.asarray(factor.transpose(order).reshape([sizes.get(name, 1) for name in onto]))
