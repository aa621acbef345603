"""The mechanism of `tabular_marginal`, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from synthgen.data.tables import RealTable
from synthgen.encode.table import Encoder
from synthgen.generators.base import Progress
from synthgen.generators.compression import Compression, merge
from synthgen.generators.graphical.belief_propagation import tree_cells
from synthgen.generators.graphical.estimation import Measurement, Model, estimate, total_of
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.generators.longitudinal.flattening import given_of, links_of
from synthgen.generators.marginal import structural_zeros
from synthgen.generators.marginal.aim_mst import aim, mst
from synthgen.generators.marginal.fitted import FittedMarginal
from synthgen.generators.marginal.interaction_shrinkage import Bands, shrink
from synthgen.generators.marginal.measurement import Records, expected_counts, split_rho
from synthgen.generators.marginal.missing_counts import without_noise
from synthgen.generators.marginal.small_groups import group_pairs, shrink_groups, sizes_of, split_by_need
from synthgen.generators.marginal.workload import Affordable, Candidate, candidates, role_pairs
from synthgen.privacy.marginal_queries import ZCDPFilter, lattice_weights
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

N_DRAWS = 100_000


class Weights(Settings):
    """How much a clique's error matters, by the public roles of its columns; 0 leaves the kind out."""

    pair: float = Field(default=1.0, gt=0, le=100)
    protected: float = Field(default=1.25, gt=0, le=100)
    label_triple: float = Field(default=1.5, ge=0, le=100)
    protected_triple: float = Field(default=0.75, ge=0, le=100)


@dataclass
class _State:
    """What has been measured so far: all of it noised and paid for."""

    measured: list[Measurement]
    cliques: list[Attributes]
    sizes: dict[str, int]
    forbidden: dict[Attributes, np.ndarray] = field(default_factory=dict)
    model: Model | None = None

    def explain(self, iterations: int) -> Model:
        """Fit the model to all that has been measured, from where it stands."""
        self.model = estimate(
            self.measured,
            self.sizes,
            iterations=iterations,
            forbidden=self.forbidden,
            warm_start=self.model,
        )
        return self.model


def fit(
    data: RealTable,
    numbers: Mapping[str, Any],
    *,
    noise: NoiseSource,
    iterations: int,
    progress: Progress | None = None,
) -> FittedMarginal:
    """Run the mechanism with the plan's numbers. See `tabular_marginal.Config.fit` for the guarantee."""
    progress = progress or (lambda what, done: None)
    schema = data.schema
    encoder = Encoder.of(schema, fine_cells=numbers["fine_cells"])
    records = open_records(data, encoder, numbers, noise)
    if numbers["method"] != "roles":
        mechanism = {"aim": aim, "mst": mst}[numbers["method"]]
        model, merging = mechanism(records, encoder, numbers, iterations, progress)
        return FittedMarginal(schema, model.tree, merging, numbers["fine_cells"])
    progress("one-way marginals", 0.0)
    ones = one_ways(records, encoder, numbers)
    merging = merge_cells(schema, encoder, ones, numbers["coarse_cells"])
    records.coarsen(merging)
    progress("pairs with a label", 0.1)
    state = start(records, schema, encoder, merging, ones, numbers)
    model = state.explain(iterations)
    per_round = np.array_split(np.arange(numbers["n_cliques"]), numbers["rounds"])
    for i, part in enumerate(per_round):
        progress(f"round {i + 1} of {len(per_round)}", 0.2 + 0.8 * i / len(per_round))
        _round(records, state, model, all_candidates(schema, numbers), numbers, len(part))
        model = state.explain(iterations)
    progress("done", 1.0)
    return FittedMarginal(schema, model.tree, merging, numbers["fine_cells"])


def open_records(
    data: RealTable,
    encoder: Encoder,
    numbers: Mapping[str, Any],
    noise: NoiseSource,
    spender: ZCDPFilter | None = None,
) -> Records:
    """Hand the records over to their only holder, with the plan's rho (or the filter that holds it)."""
    codes, n_units = data.unit_codes()
    sizes = {name: grid.n_cells for name, grid in encoder.grids.items()}
    spender = spender or ZCDPFilter(numbers["rho"])
    return Records(
        encoder.encode(data.frame), lattice_weights(codes, n_units), sizes, spender=spender, noise=noise
    )


def one_ways(records: Records, encoder: Encoder, numbers: Mapping[str, Any]) -> dict[str, Measurement]:
    """Measure every column on its fine public cells; missing values that noise explains are none."""
    rho = numbers["rho"] * numbers["share_one"]
    parts = split_rho(rho, [grid.n_cells for grid in encoder.grids.values()])
    noisy = {name: records.measure((name,), part) for name, part in zip(encoder.grids, parts, strict=True)}
    return without_noise(noisy, encoder)


def merge_cells(
    schema: Schema, encoder: Encoder, ones: Mapping[str, Measurement], n_target: int
) -> dict[str, Compression]:
    """Choose coarse cells from the noisy counts of the fine ones."""
    ruled = {name for rule in schema.parsed_rules for name in rule.columns}
    out = {}
    for name, grid in encoder.grids.items():
        keep = not grid.is_ordered and (grid.column.role in ("label", "protected") or name in ruled)
        counts, sigma = ones[name].counts, ones[name].scale
        out[name] = merge(grid, counts, sigma=sigma, n_target=n_target, keep=keep)
    return out


def start(
    records: Records,
    schema: Schema,
    encoder: Encoder,
    merging: Mapping[str, Compression],
    ones: Mapping[str, Measurement],
    numbers: Mapping[str, Any],
) -> _State:
    """Measure the pairs that the public roles ask for; start the model from them."""
    names = list(merging)
    sizes = {name: merging[name].n_coarse for name in names}
    singles = [_coarsened(ones[name], merging[name]) for name in names]
    pairs = _role_pairs(records, schema, encoder, merging, singles, numbers)
    if numbers["share_groups"]:
        singles, grouped = _groups(records, schema, encoder, merging, singles, numbers)
        pairs += grouped
    cliques = [pair.attributes for pair in pairs]
    forbidden = structural_zeros.structural(schema, encoder, merging, max_cells=numbers["max_cells"])
    forbidden = {
        clique: mask
        for clique, mask in forbidden.items()
        if tree_cells(sizes, [*cliques, clique]) <= numbers["max_cells"]
    }
    return _State([*singles, *pairs], [*cliques, *forbidden], sizes, forbidden)


def _role_pairs(
    records: Records,
    schema: Schema,
    encoder: Encoder,
    merging: Mapping[str, Compression],
    singles: list[Measurement],
    numbers: Mapping[str, Any],
) -> list[Measurement]:
    """Measure and shrink the pairs of the roles, but for those of groups with a part of rho of their own."""
    cliques = role_pairs(
        list(merging), schema.with_role("label"), links=links_of(schema), given=given_of(schema)
    )
    grouped = group_pairs(schema) if numbers["share_groups"] else []
    cliques = [clique for clique in cliques if clique not in grouped]
    sizes = {name: merged.n_coarse for name, merged in merging.items()}
    pairs = measure_all(records, cliques, sizes, numbers["rho"] * numbers["share_role"])
    return _shrunk(pairs, singles, encoder, merging)


def _groups(
    records: Records,
    schema: Schema,
    encoder: Encoder,
    merging: Mapping[str, Compression],
    singles: list[Measurement],
    numbers: Mapping[str, Any],
) -> tuple[list[Measurement], list[Measurement]]:
    """Measure the pairs of groups; return all columns, with no group gone, and these pairs, shrunk.

    Along an ordered column, whose neighbours tell of each other, both stay as for any other pair.
    """
    cliques, by_name = group_pairs(schema), {one.attributes[0]: one for one in singles}
    counts = {name: one.counts for name, one in by_name.items()}
    parts = split_by_need(numbers["rho"] * numbers["share_groups"], cliques, counts, schema)
    paid = [records.measure(clique, part) for clique, part in zip(cliques, parts, strict=True)]
    plain = [p for p in paid if not any(encoder.grids[name].is_ordered for name in p.attributes)]
    of = {pair.attributes: _protected_axis(pair, schema) for pair in plain}
    for name in {attributes[axis] for attributes, axis in of.items()}:
        told = [(pair, of[pair.attributes]) for pair in plain if pair.attributes[of[pair.attributes]] == name]
        by_name[name] = Measurement((name,), sizes_of(by_name[name], told), by_name[name].sigma)
    out = _shrunk([p for p in paid if p.attributes not in of], singles, encoder, merging)
    for pair in plain:
        axis = of[pair.attributes]
        overall = _shares(counts[pair.attributes[1 - axis]])
        out.append(shrink_groups(pair, axis, overall, by_name[pair.attributes[axis]].counts))
    return list(by_name.values()), out


def _protected_axis(pair: Measurement, schema: Schema) -> int:
    return int(pair.attributes[1] in schema.with_role("protected"))


def all_candidates(schema: Schema, numbers: Mapping[str, Any]) -> list[Candidate]:
    """Return what may be measured, by the public roles."""
    names = [column.name for column in schema.columns]
    found = candidates(names, schema.with_role("label"), schema.with_role("protected"), numbers["weights"])
    given = set(given_of(schema))  # how columns that are only ever given hang together is never asked
    return [candidate for candidate in found if not set(candidate.attributes) <= given]


def _round(
    records: Records,
    state: _State,
    model: Model,
    found: list[Candidate],
    numbers: Mapping[str, Any],
    n_select: int,
) -> None:
    """Select and measure cliques; what is not affordable is no candidate."""
    found = open_candidates(found, state.measured, state.sizes, numbers)
    if not found:
        return
    total = total_of(state.measured)
    expected = expected_counts(
        model.tree, [c.attributes for c in found], state.sizes, total=total, n_draws=N_DRAWS
    )
    scores = records.errors(found, expected, sigma=numbers["sigma_clique"])
    rho_select = numbers["rho"] * numbers["share_select"] / numbers["n_cliques"]
    affordable = Affordable(state.sizes, numbers["max_cells"])
    chosen: list[Attributes] = []
    open_ = np.ones(len(found), dtype=bool)
    for _ in range(n_select):
        live = np.flatnonzero(affordable(found, state.cliques) & open_)
        if not len(live):
            break
        largest = max(found[i].weight for i in live)
        named = [found[i].attributes for i in live]
        pick = live[records.select(scores[live], named, sensitivity=largest, rho=rho_select)]
        chosen.append(found[pick].attributes)
        state.cliques.append(found[pick].attributes)
        open_ &= np.array([not set(c.attributes) <= set(chosen[-1]) for c in found])
    rho = numbers["rho"] * numbers["share_cliques"] * len(chosen) / numbers["n_cliques"]
    state.measured += measure_all(records, chosen, state.sizes, rho)


def open_candidates(
    found: list[Candidate], measured: list[Measurement], sizes: Mapping[str, int], numbers: Mapping[str, Any]
) -> list[Candidate]:
    """Return the candidates that lie in no measured clique and whose noise could be worth it."""
    known = [set(m.attributes) for m in measured]
    return [
        c
        for c in found
        if _worth(c, sizes, numbers) and not any(set(c.attributes) <= clique for clique in known)
    ]


def measure_all(
    records: Records, chosen: list[Attributes], sizes: Mapping[str, int], rho: float
) -> list[Measurement]:
    """Measure cliques with one rho, split so that their summed error is least."""
    cells = [int(np.prod([sizes[name] for name in clique])) for clique in chosen]
    parts = split_rho(rho, cells) if chosen else []
    return [records.measure(clique, part) for clique, part in zip(chosen, parts, strict=True)]


def _shrunk(
    pairs: list[Measurement], singles: list[Measurement], encoder: Encoder, merging: Mapping[str, Compression]
) -> list[Measurement]:
    """Shrink each pair's interaction, from independence."""
    total = total_of(singles)
    even = {m.attributes[0]: _shares(m.counts) for m in singles}
    bands = {name: Bands.of(grid, merging[name]) for name, grid in encoder.grids.items()}
    out = []
    for pair in pairs:
        a, b = pair.attributes
        expected = total * np.outer(even[a], even[b])
        counts = shrink(pair.counts, expected, sigma=pair.scale, rows=bands[a], columns=bands[b])
        out.append(Measurement(pair.attributes, counts, pair.sigma))
    return out


def _shares(counts: np.ndarray) -> np.ndarray:
    """Return the shares of noisy counts; even ones where the noise of a small cohort has left none."""
    kept = np.maximum(counts, 0.0)
    return kept / kept.sum() if kept.any() else np.full(len(kept), 1.0 / len(kept))


def _worth(candidate: Candidate, sizes: Mapping[str, int], numbers: Mapping[str, Any]) -> bool:
    """Return whether a clique's noise could ever be less than the largest error a model can make."""
    n_cells = float(np.prod([sizes[name] for name in candidate.attributes]))
    return bool(0.8 * numbers["sigma_clique"] * n_cells < 2.0 * numbers["patients"])


def _coarsened(one: Measurement, merging: Compression) -> Measurement:
    """Sum a one-way marginal over the coarse cells; their noise grows with the cells they join."""
    counts = np.bincount(merging.coarse, weights=one.counts)
    return Measurement(one.attributes, counts, one.scale * np.sqrt(np.bincount(merging.coarse)))
