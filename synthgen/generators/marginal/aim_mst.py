"""The papers' own mechanisms, as references: MST and AIM.

They measure with the same `Records`, spend through the same filter and fit with the same estimator as
our mechanism, so a comparison is one of mechanisms. They have no time goal, and know no roles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.encode.table import Encoder
from synthgen.generators.base import Progress
from synthgen.generators.compression import Compression
from synthgen.generators.graphical.belief_propagation import Structure
from synthgen.generators.graphical.estimation import Measurement, Model, estimate, total_of
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.generators.marginal.measurement import Records, expected_counts
from synthgen.generators.marginal.missing_counts import joined, without_noise
from synthgen.generators.marginal.workload import Candidate

N_DRAWS = 100_000
ALPHA = 0.9  # AIM: part of a round's rho that measures
CELLS = 20  # public cells of a number: the papers take discrete data as given


def mst(
    records: Records, encoder: Encoder, numbers: Mapping[str, Any], iterations: int, progress: Progress
) -> tuple[Model, dict[str, Compression]]:
    """Measure all columns, then the pairs of a maximum spanning tree.

    A third of rho each for the columns, the tree's selections, and its pairs; values with noisy counts
    below three sigma share one cell.

    Source: McKenna et al. (2021), arXiv:2108.04978, Section 3 and Appendix A.
    """
    names = list(encoder.grids)
    third = numbers["rho"] / 3.0
    progress("columns", 0.0)
    noisy = {name: records.measure((name,), third / len(names)) for name in names}
    ones = list(without_noise(noisy, encoder).values())
    merging = {one.attributes[0]: _compressed(one, encoder.grids[one.attributes[0]].missing) for one in ones}
    records.coarsen(merging)
    sizes = {name: merging[name].n_coarse for name in names}
    measured = [_summed(one, merging[one.attributes[0]]) for one in ones]
    model = estimate(measured, sizes, iterations=iterations, forbidden={}, discrepancy=0.0)
    tree = _spanning_tree(records, model, sizes, total_of(measured), third)
    progress("pairs", 0.5)
    measured += [records.measure(edge, third / len(tree)) for edge in tree]
    return estimate(
        measured, sizes, iterations=iterations, forbidden={}, discrepancy=0.0, warm_start=model
    ), merging


def _spanning_tree(
    records: Records, model: Model, sizes: Mapping[str, int], total: float, rho: float
) -> list[Attributes]:
    """Select edges by how much independence misses them, never closing a cycle."""
    pairs = [Candidate(pair, 1.0) for pair in itertools.combinations(sizes, 2)]
    wanted = [pair.attributes for pair in pairs]
    expected = expected_counts(model.tree, wanted, sizes, total=total, n_draws=N_DRAWS)
    scores = records.errors(pairs, expected, sigma=0.0)
    part = {name: name for name in sizes}
    chosen: list[Attributes] = []
    for _ in range(len(sizes) - 1):
        open_ = [i for i, (a, b) in enumerate(wanted) if part[a] != part[b]]
        pick = wanted[
            open_[
                records.select(
                    scores[open_], [wanted[i] for i in open_], sensitivity=1.0, rho=rho / (len(sizes) - 1)
                )
            ]
        ]
        old, new = part[pick[0]], part[pick[1]]
        part = {name: new if root == old else root for name, root in part.items()}
        chosen.append(pick)
    return chosen


def aim(
    records: Records, encoder: Encoder, numbers: Mapping[str, Any], iterations: int, progress: Progress
) -> tuple[Model, dict[str, Compression]]:
    """Measure what the model explains worst, a clique a round, with a budget that anneals.

    The workload is all triples of columns, so a candidate's weight is the number of its columns; a
    candidate must keep the model below the part of ``max_cells`` that has been paid for.

    Source: McKenna et al. (2022), arXiv:2201.12677, Algorithm 2 with Equations 2 to 5.
    """
    sizes = {name: grid.n_cells for name, grid in encoder.grids.items()}
    rho, spent = numbers["rho"], 0.0
    measure_rho = ALPHA * rho / numbers["rounds"]
    select_rho = (1.0 - ALPHA) * rho / numbers["rounds"]
    noisy = {name: records.measure((name,), measure_rho) for name in sizes}
    spent += measure_rho * len(sizes)
    ones = without_noise(noisy, encoder)
    merging = {name: joined(encoder.grids[name], one.counts) for name, one in ones.items()}
    records.coarsen(merging)
    sizes = {name: merged.n_coarse for name, merged in merging.items()}
    measured = [_summed(one, merging[name]) for name, one in ones.items()]
    model = estimate(measured, sizes, iterations=iterations, forbidden={}, discrepancy=0.0)
    workload = [Candidate(c, float(k)) for k in (1, 2, 3) for c in itertools.combinations(sizes, k)]
    while rho - spent > 1e-9 * rho:
        progress("rounds", spent / rho)
        if rho - spent < 2.0 * (measure_rho + select_rho):
            measure_rho, select_rho = ALPHA * (rho - spent), (1.0 - ALPHA) * (rho - spent)
        found = _small(workload, measured, sizes, numbers["max_cells"] * (spent + measure_rho) / rho)
        sigma = 1.0 / math.sqrt(2.0 * measure_rho)
        wanted = [c.attributes for c in found]
        total = total_of(measured)
        expected = expected_counts(model.tree, wanted, sizes, total=total, n_draws=N_DRAWS)
        scores = records.errors(found, expected, sigma=sigma)
        largest = max(c.weight for c in found)
        pick = wanted[records.select(scores, wanted, sensitivity=largest, rho=select_rho)]
        measured.append(records.measure(pick, measure_rho))
        spent += measure_rho + select_rho
        model = estimate(
            measured, sizes, iterations=iterations, forbidden={}, discrepancy=0.0, warm_start=model
        )
        index = model.structure.home(pick)
        now = total * model.structure.marginal(model.tables[index], index, pick)
        if np.abs(now - expected[pick]).sum() <= math.sqrt(2 / math.pi) * sigma * now.size:
            measure_rho, select_rho = 4.0 * measure_rho, 4.0 * select_rho
    return model, merging


def _small(
    workload: list[Candidate], measured: list[Measurement], sizes: Mapping[str, int], max_cells: float
) -> list[Candidate]:
    """Return the candidates that keep the model small; single columns always do."""
    taken = [m.attributes for m in measured]
    return [
        c
        for c in workload
        if len(c.attributes) == 1 or Structure(sizes, [*taken, c.attributes]).n_cells <= max_cells
    ]


def _compressed(one: Measurement, missing: int | None) -> Compression:
    """Give each value above three sigma a cell, the rest one in common, and missing values their own."""
    alone = one.counts >= 3.0 * one.scale
    if missing is not None:
        alone[missing] = one.counts[missing] > 0.0
    coarse = np.full(len(alone), int(alone.sum()), dtype=np.int64)
    coarse[alone] = np.arange(int(alone.sum()))
    share = np.ones(len(alone))
    if missing is not None and not alone[missing] and (coarse == coarse[missing]).sum() > 1:
        share[missing] = 0.0
    elif missing is not None and not alone[missing]:
        coarse[missing], share[missing] = int(coarse[np.argmax(one.counts)]), 0.0
    return Compression(coarse, share / np.bincount(coarse, weights=share)[coarse])


def _summed(one: Measurement, merging: Compression) -> Measurement:
    counts = np.bincount(merging.coarse, weights=one.counts)
    return Measurement(one.attributes, counts, one.scale * np.sqrt(np.bincount(merging.coarse)))
