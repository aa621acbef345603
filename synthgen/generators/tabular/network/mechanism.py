"""The mechanism of `tabular_network`, step by step: the counts of `tabular_marginal`, another model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from synthgen.data.tables import RealTable
from synthgen.encode.table import Encoder
from synthgen.generators.base import Progress
from synthgen.generators.device import device_of
from synthgen.generators.graphical.estimation import DISCREPANCY, Measurement, total_of
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.generators.graphical.mixture_of_products import Mixture
from synthgen.generators.marginal import mechanism as marginal
from synthgen.generators.marginal import structural_zeros
from synthgen.generators.marginal.measurement import Records
from synthgen.generators.marginal.workload import Candidate
from synthgen.generators.tabular.network.fitted import FittedNetwork
from synthgen.privacy.noise import NoiseSource

if TYPE_CHECKING:
    from synthgen.generators.tabular.network.network import Network, Problem


@dataclass(frozen=True)
class Training:
    """How the network is trained: speed and fit, not privacy.

    Attributes:
        components: latent codes.
        latent: numbers in a code.
        hidden: width of the hidden layers.
        steps: steps after each round of measuring, at most.
        last_steps: steps after the last one, at most.
        rate: learning rate.
        penalty: weight of the information penalty.
        pair_penalty: weight of the penalty on unmeasured pairs.
        device: where to compute.
    """

    components: int
    latent: int
    hidden: int
    steps: int
    last_steps: int
    rate: float
    penalty: float
    pair_penalty: float
    device: str


@dataclass
class State:
    """What has been measured so far, all of it noised and paid for, and the network that explains it."""

    measured: list[Measurement]
    sizes: dict[str, int]
    forbidden: Mapping[Attributes, np.ndarray]
    training: Training
    network: Network | None = field(default=None)

    def explain(self, *, last: bool = False) -> Mixture:
        """Fit the network to all that has been measured, from where it stands."""
        from synthgen.generators.tabular.network import network as _network  # torch takes seconds to import

        network, problem = self.ready()
        _network.explain(
            network,
            problem,
            steps=self.training.last_steps if last else self.training.steps,
            rate=self.training.rate,
            penalty=self.training.penalty,
            pair_penalty=self.training.pair_penalty,
            discrepancy=DISCREPANCY,
        )
        return network.mixture()

    def ready(self) -> tuple[Network, Problem]:
        """Return the network, made at the first call, and all that it should explain."""
        from synthgen.generators.tabular.network import network as _network  # torch takes seconds to import

        device = device_of(self.training.device)
        if self.network is None:
            self.network = _network.Network(
                self.sizes,
                {m.attributes[0]: _shares(m.counts) for m in self.measured if len(m.attributes) == 1},
                components=self.training.components,
                latent=self.training.latent,
                hidden=self.training.hidden,
            ).to(device)
        return self.network, _network.Problem(self.measured, self.sizes, self.forbidden, device)


def fit(
    data: RealTable,
    numbers: Mapping[str, Any],
    *,
    noise: NoiseSource,
    training: Training,
    resample: bool = False,
    progress: Progress | None = None,
) -> FittedNetwork:
    """Run the mechanism with the plan's numbers. See `tabular_network.Config.fit` for the guarantee."""
    device_of(training.device)  # asked before anything is drawn
    progress = progress or (lambda what, done: None)
    schema = data.schema
    encoder = Encoder.of(schema, fine_cells=numbers["fine_cells"])
    records = marginal.open_records(data, encoder, numbers, noise)
    progress("one-way marginals", 0.0)
    ones = marginal.one_ways(records, encoder, numbers)
    merging = marginal.merge_cells(schema, encoder, ones, numbers["coarse_cells"])
    records.coarsen(merging)
    progress("pairs with a label", 0.1)
    state = State(
        marginal.start(records, schema, encoder, merging, ones, numbers).measured,
        {name: m.n_coarse for name, m in merging.items()},
        structural_zeros.structural(schema, encoder, merging, max_cells=structural_zeros.MAX_OF_NETWORKS),
        training,
    )
    mixture = state.explain(last=not numbers["n_cliques"])
    found = marginal.all_candidates(schema, numbers)
    per_round = np.array_split(np.arange(numbers["n_cliques"]), numbers["rounds"])
    for i, part in enumerate(per_round if numbers["n_cliques"] else ()):
        progress(f"round {i + 1} of {len(per_round)}", 0.2 + 0.8 * i / len(per_round))
        _round(records, state, mixture, found, numbers, len(part))
        mixture = state.explain(last=i == len(per_round) - 1)
    progress("done", 1.0)
    paid = tuple(state.measured) if resample else ()
    return FittedNetwork(schema, mixture, merging, numbers["fine_cells"], paid=paid)


def _round(
    records: Records,
    state: State,
    mixture: Mixture,
    found: list[Candidate],
    numbers: Mapping[str, Any],
    n_select: int,
) -> None:
    """Select and measure the cliques that the network explains worst; no clique is too large to join."""
    found = marginal.open_candidates(found, state.measured, state.sizes, numbers)
    if not found or not n_select:
        return
    total = total_of(state.measured)
    expected = {names: total * table for names, table in mixture.marginals([c.attributes for c in found])}
    scores = records.errors(found, expected, sigma=numbers["sigma_clique"])
    chosen = _selected(records, state.measured, found, scores, numbers, n_select)
    rho = numbers["rho"] * numbers["share_cliques"] * len(chosen) / numbers["n_cliques"]
    state.measured += marginal.measure_all(records, chosen, state.sizes, rho)


def _selected(
    records: Records,
    measured: list[Measurement],
    found: list[Candidate],
    scores: np.ndarray,
    numbers: Mapping[str, Any],
    n_select: int,
) -> list[Attributes]:
    """Select cliques one after the other, no two with a new pair of columns in common.

    What one pair says would otherwise be measured again and again, with each other column beside it.
    """
    known = {pair for m in measured for pair in _pairs(m.attributes)}
    new = [_pairs(candidate.attributes) - known for candidate in found]
    rho = numbers["rho"] * numbers["share_select"] / numbers["n_cliques"]
    chosen: list[Attributes] = []
    open_ = np.ones(len(found), dtype=bool)
    for _ in range(n_select):
        live = np.flatnonzero(open_)
        if not len(live):
            break
        largest = max(found[i].weight for i in live)
        named = [found[i].attributes for i in live]
        pick = live[records.select(scores[live], named, sensitivity=largest, rho=rho)]
        chosen.append(found[pick].attributes)
        open_ &= np.array([not (new[pick] & other) for other in new])
        open_[pick] = False
    return chosen


def _pairs(clique: Attributes) -> set[frozenset[str]]:
    return {frozenset(pair) for pair in itertools.combinations(clique, 2)}


def _shares(counts: np.ndarray) -> np.ndarray:
    floored = np.maximum(counts, 1e-3 * max(float(counts.mean()), 1.0))
    return np.asarray(floored / floored.sum())
