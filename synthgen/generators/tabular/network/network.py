"""A network that makes a mixture of products, fitted to noisy counts by gradient descent.

Latent codes, drawn once, go through a small network that returns for each code the logits of every column:
a finite mixture of product distributions whose marginals are matrix products, so that a step costs one
product for each group of measured cliques and no record is ever drawn. GEM (Liu et al. 2021,
arXiv:2106.07153) fits such a network to marginals; the rest is ours: all measured cliques at once by
their noise, penalties on what was not measured, and a stop where the noise explains the misfit.

It sees noisy counts only: post-processing. Torch is imported by this module, so import it late.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from synthgen.generators.graphical.estimation import Measurement, total_of
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.generators.graphical.mixture_of_products import Mixture

BETAS, WARM_UP = (0.9, 0.99), 20
SMALLEST = 1e-12
MOST_COLUMNS = 32  # of the penalty on unmeasured pairs, drawn anew each step


class Network(nn.Module):
    """From latent codes to the weights and the column logits of a mixture.

    Args:
        sizes: number of cells of each column.
        first: noisy probabilities of each column, where the logits start.
        components: number of latent codes.
        latent: numbers in a code.
        hidden: width of the two hidden layers.
        seed: of the codes and the first weights.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        first: Mapping[str, np.ndarray],
        *,
        components: int,
        latent: int,
        hidden: int,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        open_ = torch.Generator().manual_seed(seed)
        start = np.concatenate([first[name] for name in sizes])
        self.register_buffer("codes", torch.randn(components, latent, generator=open_))
        self.codes: Tensor
        self.base = nn.Parameter(torch.log(torch.tensor(start, dtype=torch.float32).clamp(min=1e-6)))
        self.log_weights = nn.Parameter(torch.zeros(components))
        widths = (latent, hidden, hidden, len(start))
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        for layer in layers:
            layer.weight.data = torch.randn(layer.weight.shape, generator=open_) / math.sqrt(
                layer.in_features
            )
            layer.bias.data.zero_()
        self.layers = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return the components' weights (component,) and chances (component, cell of all columns)."""
        logits = self.layers(self.codes) + self.base
        chances = [torch.softmax(part, 1) for part in logits.split(list(self.sizes.values()), 1)]
        return torch.softmax(self.log_weights, 0), torch.cat(chances, 1)

    def mixture(self) -> Mixture:
        """Return the mixture as it stands, in numpy."""
        with torch.no_grad():
            weights, chances = self()
        parts = chances.double().cpu().split(list(self.sizes.values()), 1)
        tables = {name: _normed(part.numpy()) for name, part in zip(self.sizes, parts, strict=True)}
        return Mixture(_normed(weights.double().cpu().numpy()), tables)


@dataclass
class _Group:
    """Cliques that share all columns but one: one matrix product for all of them.

    Attributes:
        left: the shared columns' slices of the chances.
        right: index of each other cell, (cell,).
        target: noisy probabilities, (cell of the shared columns, cell).
        weight: inverse variance of each times the squared total.
        forbidden: one where a rule is always broken.
    """

    left: list[slice]
    right: Tensor
    target: Tensor
    weight: Tensor
    forbidden: Tensor | None = None


class Problem:
    """Noisy counts, arranged for the network.

    Args:
        measurements: noisy counts.
        sizes: number of cells of each column.
        forbidden: for some cliques a boolean array over their cells: structural zeros.
        device: where to compute.
    """

    def __init__(
        self,
        measurements: Sequence[Measurement],
        sizes: Mapping[str, int],
        forbidden: Mapping[Attributes, np.ndarray],
        device: torch.device,
    ) -> None:
        ends = np.cumsum(list(sizes.values()))
        self._slices = {
            name: slice(int(end - size), int(end))
            for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        self._sizes, self._device = dict(sizes), device
        self.total = total_of(measurements)
        self.n_counts = sum(m.counts.size for m in measurements)
        tables: dict[Attributes, dict[str, tuple[np.ndarray, ...]]] = {}
        for m in measurements:
            sigma = np.broadcast_to(np.asarray(m.sigma, dtype=float), m.counts.shape)
            self._put(tables, m.attributes, (m.counts / self.total, (self.total / sigma) ** 2))
        index = {name: i for i, name in enumerate(sizes)}
        self._apart = ~np.eye(len(sizes), dtype=bool)
        for m in measurements:
            for a, b in itertools.permutations(m.attributes, 2):
                self._apart[index[a], index[b]] = False
        self.groups = [self._group(left, rights) for left, rights in tables.items()]
        tables = {}
        for clique, mask in forbidden.items():
            self._put(tables, clique, (np.zeros(mask.shape), np.zeros(mask.shape), mask.astype(float)))
        self.groups += [self._group(left, rights) for left, rights in tables.items()]

    def _put(
        self,
        tables: dict[Attributes, dict[str, tuple[np.ndarray, ...]]],
        clique: Attributes,
        arrays: tuple[np.ndarray, ...],
    ) -> None:
        """File a clique under its smallest columns; the largest is the right side of the product."""
        order = sorted(range(len(clique)), key=lambda i: (self._sizes[clique[i]], i))
        left = tuple(clique[i] for i in order[:-1])
        flat = tuple(a.transpose(order).reshape(-1, a.shape[order[-1]]) for a in arrays)
        tables.setdefault(left, {})[clique[order[-1]]] = flat

    def _group(self, left: Attributes, rights: Mapping[str, tuple[np.ndarray, ...]]) -> _Group:
        def joined(i: int) -> Tensor:
            parts = [arrays[i] for arrays in rights.values()]
            return torch.tensor(np.concatenate(parts, axis=1), dtype=torch.float32, device=self._device)

        cells = [np.arange(self._slices[name].start, self._slices[name].stop) for name in rights]
        right = torch.tensor(np.concatenate(cells), device=self._device)
        slices = [self._slices[name] for name in left]
        mask = joined(2) if len(next(iter(rights.values()))) == 3 else None
        return _Group(slices, right, joined(0), joined(1), mask)

    def unmeasured(self, chances: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return the chances of some columns, and for two cells how much their unmeasured pair counts."""
        names = list(self._sizes)
        some = np.sort(rng.permutation(len(names))[:MOST_COLUMNS])
        each = [self._sizes[names[i]] for i in some]
        pairs = self._apart[np.ix_(some, some)] * (len(names) / len(some)) ** 2
        spread = np.repeat(np.repeat(pairs, each, axis=0), each, axis=1)
        held = torch.cat([chances[:, self._slices[names[i]]] for i in some], 1)
        return held, torch.tensor(spread, dtype=torch.float32, device=self._device)

    def loss(self, weights: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
        """Return the chi-square a count, and the patients expected where a rule forbids any, a count."""
        miss = torch.zeros((), device=self._device)
        broken = torch.zeros((), device=self._device)
        for group in self.groups:
            product = weights[:, None]
            for part in group.left:
                product = (product[:, :, None] * chances[:, None, part]).flatten(1)
            got = product.T @ chances[:, group.right]
            if group.forbidden is not None:
                broken = broken + (group.forbidden * got).sum()
            else:
                miss = miss + (group.weight * (got - group.target) ** 2).sum()
        return miss / self.n_counts, broken * self.total / self.n_counts


def information(weights: Tensor, chances: Tensor) -> Tensor:
    """Return what a component says about the columns: their mutual informations, summed, in nats.

    It bounds the columns' total correlation from above: keeping it small keeps the mixture smooth.
    """
    mean = weights @ chances
    ratio = torch.log(chances.clamp(min=SMALLEST)) - torch.log(mean.clamp(min=SMALLEST))
    return (weights[:, None] * chances * ratio).sum()


def dependence(weights: Tensor, chances: Tensor, unmeasured: Tensor) -> Tensor:
    """Return the mutual informations of the unmeasured pairs, summed, to second order, in nats.

    Codes that serve two groups of columns couple them although nothing was measured between them; a
    model of maximum entropy would not.

    Args:
        weights: of the components, (component,).
        chances: of the cells in each component, (component, cell).
        unmeasured: one where two cells are of a pair that nobody measured, (cell, cell).
    """
    joint = (weights[:, None] * chances).T @ chances
    mean = weights @ chances
    apart = torch.outer(mean, mean)
    return 0.25 * (unmeasured * (joint - apart) ** 2 / apart.clamp(min=SMALLEST)).sum()


def explain(
    network: Network,
    problem: Problem,
    *,
    steps: int,
    rate: float,
    penalty: float,
    pair_penalty: float,
    discrepancy: float,
) -> float:
    """Fit the network to the counts, from where it stands.

    Args:
        network: changed in place.
        problem: the noisy counts.
        steps: steps of Adam, at most.
        rate: learning rate at its highest.
        penalty: weight of `information` beside the chi-square a count.
        pair_penalty: weight of `dependence`.
        discrepancy: stop once the chi-square a count is below this; 1 is what noise alone explains.

    Returns:
        The chi-square a count where it stopped.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: 0.5 * (1 + math.cos(math.pi * i / steps)) * min(1.0, (i + 1) / WARM_UP)
    )
    reached, rng = math.inf, np.random.default_rng(0)
    for _ in range(steps):
        weights, chances = network()
        miss, broken = problem.loss(weights, chances)
        reached = float(miss.detach())
        if reached < discrepancy:
            break
        loss = miss + broken + penalty * information(weights, chances)
        if pair_penalty:
            loss = loss + pair_penalty * dependence(weights, *problem.unmeasured(chances, rng))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return reached


def _normed(table: np.ndarray) -> np.ndarray:
    return np.asarray(table / table.sum(axis=-1, keepdims=True))
