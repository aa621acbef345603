"""From noisy marginals to a calibrated junction tree, by entropic mirror descent.

The estimator sees noisy counts only, so its answer is post-processing. The number of records is
never given to it: it is estimated from the noisy counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from synthgen.generators.graphical.belief_propagation import Structure
from synthgen.generators.graphical.junction_tree import Attributes, JunctionTree

FLOOR = 1e-30
"""Least factor of a cell that is possible, of the largest: noise alone must not make all of them vanish."""
DISCREPANCY = 0.7  # of the number of counts: measured, see scripts/results; 1 would be pure noise


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
    """Return the minimum-variance estimate of the number of patients from noisy counts.

    It is never below its own standard deviation: shares of a total that noise has made almost 0 would be
    noise without bounds.
    """
    estimates = np.array([m.counts.sum() for m in measurements])
    variances = np.array([np.sum(np.broadcast_to(np.square(m.sigma), m.counts.shape)) for m in measurements])
    least = max(1.0, 1.0 / math.sqrt(float(np.sum(1.0 / variances))))
    return max(least, float(np.average(estimates, weights=1.0 / variances)))


class Model:
    """A graphical model: factors of the measured cliques, and the beliefs that follow.

    Attributes:
        structure: the junction tree.
        potentials: for each maximal measured clique the logarithm of its factor.
        tables: calibrated probabilities of each node.
    """

    def __init__(
        self, structure: Structure, potentials: Mapping[Attributes, np.ndarray], tables: Sequence[np.ndarray]
    ) -> None:
        self.structure = structure
        self.potentials = dict(potentials)
        self.tables = list(tables)

    @property
    def tree(self) -> JunctionTree:
        """The model to sample from."""
        return self.structure.tree(self.tables)


@dataclass
class _Term:
    """A measurement, as a squared error of probabilities.

    Attributes:
        attributes: the measured clique.
        target: noisy probabilities.
        weight: inverse variance of each, times the squared total.
        carrier: the maximal measured clique that holds it.
    """

    attributes: Attributes
    target: np.ndarray
    weight: np.ndarray
    carrier: Attributes


class _Problem:
    """The noisy counts, arranged over a junction tree."""

    def __init__(
        self,
        measurements: Sequence[Measurement],
        sizes: Mapping[str, int],
        forbidden: Mapping[Attributes, np.ndarray],
    ) -> None:
        cliques = sorted({m.attributes for m in measurements}, key=len, reverse=True)
        self.carriers: list[Attributes] = []
        for clique in cliques:
            if not any(set(clique) <= set(other) for other in self.carriers):
                self.carriers.append(clique)
        self.sizes = dict(sizes)
        self.structure = Structure(sizes, [*self.carriers, *forbidden])
        self.homes = {clique: self.structure.home(clique) for clique in self.carriers}
        total = total_of(measurements)
        self.terms = [self._term(m, total) for m in measurements]
        self.open = [np.ones(place.shape) for place in self.structure.places]
        for clique, mask in forbidden.items():
            index = self.structure.home(clique)
            self.open[index] *= self.structure.spread(~mask, clique, index)

    def _term(self, measurement: Measurement, total: float) -> _Term:
        holding = [c for c in self.carriers if set(measurement.attributes) <= set(c)]
        carrier = min(holding, key=lambda c: int(np.prod([self.sizes[name] for name in c])))
        sigma = np.broadcast_to(np.asarray(measurement.sigma, dtype=float), measurement.counts.shape)
        target = measurement.counts / total
        return _Term(measurement.attributes, target, (total / sigma) ** 2, carrier)

    @cached_property
    def curvature(self) -> float:
        """The largest curvature of the loss along one carrier's probabilities."""
        summed: dict[Attributes, float] = {}
        for term in self.terms:
            summed[term.carrier] = summed.get(term.carrier, 0.0) + float(term.weight.max())
        return max(summed.values())

    def factors(self, potentials: Mapping[Attributes, np.ndarray]) -> list[np.ndarray]:
        """Return one factor a node from the cliques' logarithms."""
        logs = [np.zeros(place.shape) for place in self.structure.places]
        for clique, potential in potentials.items():
            index = self.homes[clique]
            logs[index] += self.structure.spread(potential, clique, index)
        return [
            np.maximum(np.exp(log - log.max()), FLOOR) * free
            for log, free in zip(logs, self.open, strict=True)
        ]

    def loss(self, tables: Sequence[np.ndarray]) -> tuple[float, dict[Attributes, np.ndarray]]:
        """Return half the chi-square of the beliefs, and its gradient by carrier."""
        held = {c: self.structure.marginal(tables[i], i, c) for c, i in self.homes.items()}
        gradient = {c: np.zeros_like(table) for c, table in held.items()}
        value = 0.0
        for term in self.terms:
            got = _summed(held[term.carrier], term.carrier, term.attributes)
            miss = got - term.target
            pull = term.weight * miss
            value += 0.5 * float((pull * miss).sum())
            gradient[term.carrier] += _lifted(pull, term.attributes, term.carrier)
        return value, gradient


def estimate(
    measurements: Sequence[Measurement],
    sizes: Mapping[str, int],
    *,
    iterations: int,
    forbidden: Mapping[Attributes, np.ndarray],
    warm_start: Model | None = None,
    discrepancy: float = DISCREPANCY,
) -> Model:
    """Fit the maximum-entropy model that explains the noisy counts best.

    Entropic mirror descent with a backtracking step on the cliques' potentials (McKenna et al. 2019,
    arXiv:1901.09136, Algorithm 1). It stops once the counts are missed by less than their noise explains,
    since what lies beyond is noise (Morozov's discrepancy principle).

    Args:
        measurements: noisy counts; together they fix the model's cliques.
        sizes: number of coarse cells of each column.
        iterations: steps, at most.
        forbidden: for some cliques a boolean array over their cells: structural zeros.
        warm_start: the model of an earlier call.
        discrepancy: stop below this part of the chi-square that noise alone would leave; 0 goes on.

    Returns:
        The calibrated model.
    """
    problem = _Problem(measurements, sizes, forbidden)
    potentials = _start(problem, measurements, warm_start)
    factors = problem.factors(potentials)
    tables = problem.structure.beliefs(factors)
    loss, gradient = problem.loss(tables)
    step = 2.0 / problem.curvature
    n_counts = sum(m.counts.size for m in measurements)
    for _ in range(iterations):
        moved = _stepped(problem, factors, gradient, step)
        new_tables = problem.structure.beliefs(moved)
        new_loss, new_gradient = problem.loss(new_tables)
        if new_loss > loss:
            step *= 0.5
            continue
        for clique, pull in gradient.items():
            potentials[clique] = potentials[clique] - step * pull
        factors, tables, loss, gradient = moved, new_tables, new_loss, new_gradient
        step *= 1.05
        if 2.0 * loss < discrepancy * n_counts:
            break
    return Model(problem.structure, potentials, tables)


def _start(
    problem: _Problem, measurements: Sequence[Measurement], warm_start: Model | None
) -> dict[Attributes, np.ndarray]:
    """Return the first potentials: an earlier model's, else independent columns."""
    out = {c: np.zeros([problem.sizes[name] for name in c]) for c in problem.carriers}
    if warm_start is not None:
        known = warm_start.potentials
    else:
        known = {m.attributes: np.log(_positive(m.counts)) for m in measurements if len(m.attributes) == 1}
    for clique, potential in known.items():
        carrier = next(c for c in problem.carriers if set(clique) <= set(c))
        out[carrier] = out[carrier] + _lifted(potential, clique, carrier)
    return out


def _stepped(
    problem: _Problem, factors: Sequence[np.ndarray], gradient: Mapping[Attributes, np.ndarray], step: float
) -> list[np.ndarray]:
    """Return the factors after a step against the gradient, each scaled to a largest value of one."""
    moved = [factor.copy() for factor in factors]
    for clique, pull in gradient.items():
        index = problem.homes[clique]
        change = np.exp(np.clip(-step * (pull - pull.min()), np.log(FLOOR), 0.0))
        moved[index] *= problem.structure.spread(change, clique, index)
    return [
        np.maximum(table / table.max(), FLOOR) * free for table, free in zip(moved, problem.open, strict=True)
    ]


def _summed(table: np.ndarray, attributes: Attributes, keep: Attributes) -> np.ndarray:
    """Sum a clique's table over what is not kept; axes in the order of ``keep``."""
    gone = tuple(i for i, name in enumerate(attributes) if name not in keep)
    left = [name for name in attributes if name in keep]
    return np.asarray(table.sum(axis=gone).transpose([left.index(name) for name in keep]))


def _lifted(table: np.ndarray, attributes: Attributes, onto: Attributes) -> np.ndarray:
    """Bring a table's axes into the order of a larger clique, with length 1 where it does not speak."""
    order = sorted(range(len(attributes)), key=lambda i: onto.index(attributes[i]))
    sizes = dict(zip(attributes, table.shape, strict=True))
    return np.asarray(table.transpose(order).reshape([sizes.get(name, 1) for name in onto]))


def _positive(counts: np.ndarray) -> np.ndarray:
    """Return probabilities from noisy counts, none of them zero."""
    floored = np.maximum(counts, 1e-3 * max(float(counts.mean()), 1.0))
    return np.asarray(floored / floored.sum())
