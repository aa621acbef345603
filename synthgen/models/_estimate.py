"""From noisy marginals to a calibrated junction tree, by mbi's mirror descent.

The estimator sees noisy counts only, so its answer is post-processing. The number of records is
never given to it: it is estimated from the noisy counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.models._junction import Attributes, JunctionTree, Node


@dataclass(frozen=True)
class Measurement:
    """Noisy counts of a clique.

    Attributes:
        attributes: the clique's columns.
        counts: noisy counts over the clique's coarse cells, in patients; one axis a column.
        sigma: standard deviation of each count's noise, in patients; an array where coarse cells were
            summed from different numbers of fine ones.
    """

    attributes: Attributes
    counts: np.ndarray
    sigma: float | np.ndarray

    @property
    def scale(self) -> float:
        """The standard deviation, where it is one for all cells."""
        return float(np.max(self.sigma))


def total_of(measurements: Sequence[Measurement]) -> float:
    """Return the minimum-variance estimate of the number of patients from noisy counts."""
    estimates = np.array([m.counts.sum() for m in measurements])
    variances = np.array([np.sum(np.broadcast_to(np.square(m.sigma), m.counts.shape)) for m in measurements])
    return max(1.0, float(np.average(estimates, weights=1.0 / variances)))


def star(singles: Sequence[Measurement], pairs: Sequence[Measurement], label: str | None) -> JunctionTree:
    """Return a first model in closed form: columns independent given the label.

    Args:
        singles: one-way counts of every column.
        pairs: counts of pairs of the label with other columns.
        label: the column in the middle; None makes all columns independent.
    """
    probabilities = {m.attributes[0]: _positive(m.counts) for m in singles}
    nodes: list[Node] = []
    if label is not None:
        nodes.append(Node((label,), -1, (), probabilities[label]))
        for pair in pairs:
            other = pair.attributes[1] if pair.attributes[0] == label else pair.attributes[0]
            counts = pair.counts if pair.attributes[0] == label else pair.counts.T
            table = _raked(_positive(counts), probabilities[label], probabilities[other])
            nodes.append(Node((label, other), 0, (label,), table))
    covered = {name for node in nodes for name in node.attributes}
    nodes += [Node((name,), -1, (), p) for name, p in probabilities.items() if name not in covered]
    return JunctionTree(tuple(nodes))


def _positive(counts: np.ndarray) -> np.ndarray:
    """Return probabilities from noisy counts, none of them zero."""
    floored = np.maximum(counts, 1e-3 * max(float(counts.mean()), 1.0))
    return np.asarray(floored / floored.sum())


def _raked(table: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Fit a table's margins to those given, rows exactly."""
    for _ in range(20):
        table = table * (columns / table.sum(axis=0))
        table = table * (rows / table.sum(axis=1))[:, None]
    return table


def estimate(
    measurements: Sequence[Measurement],
    sizes: Mapping[str, int],
    *,
    iterations: int,
    forbidden: Mapping[Attributes, np.ndarray],
    warm_start: Any = None,
) -> tuple[JunctionTree, Any]:
    """Fit the maximum-entropy model that explains the noisy counts best.

    Args:
        measurements: noisy counts; together they fix the model's cliques.
        sizes: number of coarse cells of each column.
        iterations: steps of mirror descent.
        forbidden: for some cliques a boolean array over their cells: structural zeros.
        warm_start: the model that an earlier call returned second.

    Returns:
        The calibrated junction tree, and the model for a later warm start.
    """
    mbi = _mbi()
    domain = mbi.Domain(tuple(sizes), tuple(sizes.values()))
    constraints = tuple(
        mbi.Constraint(domain.project(clique), invalid=np.argwhere(mask))
        for clique, mask in forbidden.items()
    )
    linear = [_linear(mbi, measurement) for measurement in measurements]
    total = total_of(measurements)
    model = mbi.estimation.MirrorDescent().estimate(
        domain, linear, known_total=total, iters=iterations, warm_start=warm_start, constraints=constraints
    )
    return _calibrated(mbi, model, domain, constraints), model


def _linear(mbi: Any, measurement: Measurement) -> Any:
    counts = np.asarray(measurement.counts, dtype=float).ravel()
    if isinstance(measurement.sigma, float):
        return mbi.LinearMeasurement(counts, measurement.attributes, measurement.sigma)
    weights = 1.0 / measurement.sigma.ravel()
    return mbi.LinearMeasurement(
        counts * weights, measurement.attributes, 1.0, query=mbi.WeightedQuery(weights)
    )


def _calibrated(mbi: Any, model: Any, domain: Any, constraints: tuple[Any, ...]) -> JunctionTree:
    """Return the model's junction tree with the probability table of every node."""
    import networkx

    cliques = [tuple(clique) for clique in model.cliques] + [constraint.clique for constraint in constraints]
    tree, _ = mbi.junction_tree.make_junction_tree(domain, cliques)
    potentials = model.potentials.expand(list(tree.nodes))
    marginals = mbi.marginal_oracles.message_passing_shafer_shenoy(potentials, 1.0, constraints=constraints)
    nodes: list[Node] = []
    where: dict[Attributes, int] = {}
    for component in networkx.connected_components(tree):
        root = min(component)
        parents = dict(networkx.bfs_predecessors(tree, root))
        for clique in [root, *parents]:
            table = np.asarray(marginals.project(clique).datavector(flatten=False), dtype=float)
            table = np.maximum(np.nan_to_num(table), 0.0)
            parent = parents.get(clique)
            separator = tuple(name for name in clique if parent is not None and name in parent)
            where[clique] = len(nodes)
            nodes.append(
                Node(clique, -1 if parent is None else where[parent], separator, table / table.sum())
            )
    return JunctionTree(tuple(nodes))


def _mbi() -> Any:
    """Import mbi with 64-bit arithmetic, which it needs above 100,000 records."""
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mbi
    return mbi
