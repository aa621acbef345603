"""Draw records from a junction tree when some of their columns are already known.

`JunctionTree.sample` takes one condition for all records. Here each record brings its own: messages pass
through the tree for many records at once, in chunks of bounded memory. All of it is post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from synthgen.generators.graphical.junction_tree import JunctionTree, Node, draw

MOST_NUMBERS = 2**22
"""Numbers that a chunk holds at once: 32 MiB."""


def draw_given(
    tree: JunctionTree, observed: Mapping[str, np.ndarray], n_records: int, *, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Draw the columns that are not observed, given those that are, exactly by the model.

    Where the model gives what a record observed no chance, what contradicts is left out of account.

    Args:
        tree: a calibrated tree.
        observed: cells of some of its columns, one a record.
        n_records: number of records.
        rng: open randomness; the same state gives the same records.

    Returns:
        For each column that is not observed an int32 array of cells, one a record.

    Source: Koller and Friedman (2009), Section 10.2: sum-product with evidence.
    """
    names = [name for node in tree.nodes for name in node.attributes if name not in observed]
    out = {name: np.zeros(n_records, dtype=np.int32) for name in dict.fromkeys(names)}
    if n_records == 0 or not out:
        return out
    table = np.column_stack([np.zeros(n_records, dtype=np.int64), *observed.values()])
    distinct, which = np.unique(table, axis=0, return_inverse=True)
    which = which.reshape(-1)
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(np.bincount(which, minlength=len(distinct)))
    step = max(1, MOST_NUMBERS // sum(_n_free(node, observed) for node in tree.nodes))
    for start in range(0, len(distinct), step):
        part = distinct[start : start + step]
        given = {name: part[:, i + 1].astype(np.int64) for i, name in enumerate(observed)}
        records = order[(ends[start - 1] if start else 0) : ends[min(start + step, len(distinct)) - 1]]
        for name, cells in _drawn(tree, given, len(part), which[records] - start, rng).items():
            out[name][records] = cells
    return out


def _drawn(
    tree: JunctionTree,
    given: Mapping[str, np.ndarray],
    n_given: int,
    which: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Draw from the root down: each node's fresh columns given what is drawn and what is observed."""
    drawn: dict[str, np.ndarray] = {}
    for node, table in zip(tree.nodes, _weighed(tree, given, n_given), strict=True):
        known = [name for name in node.separator if name not in given]
        fresh = _free([name for name in node.attributes if name not in node.separator], given)
        if not fresh:
            continue
        shape = dict(zip(node.attributes, node.table.shape, strict=True))
        rows = which
        for name in known:
            rows = rows * shape[name] + drawn[name]
        flat = _flat(table, node, given, known, fresh)
        if not (flat.sum(axis=1)[rows] > 0).all():
            own = _gather(node.table, node.attributes, given, n_given)
            flat = _possible(flat, _flat(own, node, given, known, fresh))
        cells = draw(flat, rows, rng)
        parts = np.unravel_index(cells, [shape[name] for name in fresh])
        drawn |= {name: part.astype(np.int64) for name, part in zip(fresh, parts, strict=True)}
    return drawn


def _weighed(tree: JunctionTree, given: Mapping[str, np.ndarray], n_given: int) -> list[np.ndarray]:
    """Return each node's table at the observed cells times its children's messages, ``(given, *free)``."""
    tables = [_gather(node.table, node.attributes, given, n_given) for node in tree.nodes]
    for i in range(len(tree.nodes) - 1, -1, -1):
        node = tree.nodes[i]
        if node.parent < 0:
            continue
        free = _free(node.attributes, given)
        gone = tuple(1 + k for k, name in enumerate(free) if name not in node.separator)
        message = tables[i].sum(axis=gone)
        away = tuple(k for k, name in enumerate(node.attributes) if name not in node.separator)
        kept = [name for name in node.attributes if name in node.separator]
        prior = _gather(node.table.sum(axis=away), kept, given, n_given)
        ratio = np.divide(message, prior, out=np.zeros_like(message), where=prior > 0)
        top = ratio.reshape(n_given, -1).max(axis=1).reshape(-1, *[1] * (ratio.ndim - 1))
        ratio = np.where(top > 0, ratio / np.where(top > 0, top, 1.0), 1.0)
        tables[node.parent] *= _spread(ratio, _free(kept, given), tree.nodes[node.parent], given)
    return tables


def _gather(
    table: np.ndarray, attributes: Sequence[str], given: Mapping[str, np.ndarray], n_given: int
) -> np.ndarray:
    """Return a table at the observed cells: one slice over its free columns for each entry of ``given``."""
    held = [i for i, name in enumerate(attributes) if name in given]
    free = [i for i, name in enumerate(attributes) if name not in given]
    shape = [table.shape[i] for i in held]
    flat = table.transpose([*held, *free]).reshape(-1, *[table.shape[i] for i in free])
    if not held:
        return np.repeat(flat.reshape(1, *table.shape), n_given, axis=0)
    return np.asarray(flat[np.ravel_multi_index([given[attributes[i]] for i in held], shape)])


def _spread(
    ratio: np.ndarray, names: Sequence[str], parent: Node, given: Mapping[str, np.ndarray]
) -> np.ndarray:
    """Bring the axes behind the first into the order of the parent's free columns; others have length 1."""
    onto = _free(parent.attributes, given)
    order = sorted(range(len(names)), key=lambda k: onto.index(names[k]))
    sizes = dict(zip(names, ratio.shape[1:], strict=True))
    moved = ratio.transpose([0, *[1 + k for k in order]])
    return moved.reshape(len(ratio), *[sizes.get(name, 1) for name in onto])


def _flat(
    table: np.ndarray,
    node: Node,
    given: Mapping[str, np.ndarray],
    known: Sequence[str],
    fresh: Sequence[str],
) -> np.ndarray:
    """Return a row for each entry of ``given`` and cell of the known columns, over the fresh ones' cells."""
    free = _free(node.attributes, given)
    moved = table.transpose([0, *[1 + free.index(name) for name in (*known, *fresh)]])
    return moved.reshape(len(table) * int(np.prod(moved.shape[1 : 1 + len(known)], dtype=np.int64)), -1)


def _possible(flat: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Replace rows without any chance by the node's own, and where that has none either by even ones."""
    flat = np.where(flat.sum(axis=1, keepdims=True) > 0, flat, own)
    return np.where(flat.sum(axis=1, keepdims=True) > 0, flat, 1.0)


def _free(names: Sequence[str], given: Mapping[str, np.ndarray]) -> list[str]:
    return [name for name in names if name not in given]


def _n_free(node: Node, observed: Mapping[str, np.ndarray]) -> int:
    sizes = zip(node.attributes, node.table.shape, strict=True)
    return int(np.prod([size for name, size in sizes if name not in observed], dtype=np.int64))
