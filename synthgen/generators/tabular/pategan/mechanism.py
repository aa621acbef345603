"""The mechanism of `tabular_pategan`, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.data.tables import RealTable
from synthgen.encode.table import Encoder
from synthgen.generators.base import Progress
from synthgen.generators.compression import Compression
from synthgen.generators.marginal import mechanism as marginal
from synthgen.generators.marginal import structural_zeros
from synthgen.generators.tabular.network import mechanism as networks
from synthgen.generators.tabular.network.fitted import FittedNetwork
from synthgen.generators.tabular.pategan.teachers import Features, Teachers
from synthgen.privacy.marginal_queries import ZCDPFilter
from synthgen.privacy.noise import NoiseSource

STUDENT_STEPS = 200


def fit(
    data: RealTable,
    numbers: Mapping[str, Any],
    *,
    noise: NoiseSource,
    training: networks.Training,
    generator_steps: int,
    pull: float,
    resample: bool = False,
    progress: Progress | None = None,
) -> FittedNetwork:
    """Run the mechanism with the plan's numbers. See `tabular_pategan.Config.fit` for the guarantee."""
    progress = progress or (lambda what, done: None)
    spender = ZCDPFilter(numbers["rho"])
    encoder = Encoder.of(data.schema, fine_cells=numbers["fine_cells"])
    records = marginal.open_records(data, encoder, numbers, noise, spender)
    progress("one-way marginals", 0.0)
    ones = marginal.one_ways(records, encoder, numbers)
    merging = marginal.merge_cells(data.schema, encoder, ones, numbers["coarse_cells"])
    records.coarsen(merging)
    progress("warm start", 0.1)
    measured = marginal.start(records, data.schema, encoder, merging, ones, numbers).measured
    forbidden = structural_zeros.structural(
        data.schema, encoder, merging, max_cells=structural_zeros.MAX_OF_NETWORKS
    )
    sizes = {name: m.n_coarse for name, m in merging.items()}
    state = networks.State(measured, sizes, forbidden, training)
    state.explain(last=True)
    teachers = _teachers(data, encoder, merging, numbers, spender, noise)
    _rounds(state, teachers, numbers, generator_steps, pull, progress)
    progress("done", 1.0)
    mixture, paid = state.ready()[0].mixture(), tuple(measured) if resample else ()
    return FittedNetwork(data.schema, mixture, merging, numbers["fine_cells"], "pategan", paid)


def _teachers(
    data: RealTable,
    encoder: Encoder,
    merging: Mapping[str, Compression],
    numbers: Mapping[str, Any],
    spender: ZCDPFilter,
    noise: NoiseSource,
) -> Teachers:
    """Hand the real rows over to the teachers, by patient."""
    sizes = {name: m.n_coarse for name, m in merging.items()}
    fine = encoder.encode(data.frame)
    cells = {name: merging[name].coarse[fine[name]] for name in sizes}
    features = Features.draw(sizes, numbers["features"])
    return Teachers(cells, data.units, numbers["teachers"], features, spender=spender, noise=noise)


def _rounds(
    state: networks.State,
    teachers: Teachers,
    numbers: Mapping[str, Any],
    generator_steps: int,
    pull: float,
    progress: Progress,
) -> None:
    """Ask the teachers about what the generator draws, teach the student, improve the generator."""
    from synthgen.generators.tabular.pategan import student as _student  # torch takes seconds to import

    network, problem = state.ready()
    student = _student.Student(state.sizes)
    n_rounds, n_rows = numbers["rounds"], numbers["votes"] // numbers["rounds"]
    for i in range(n_rounds):
        progress(f"round {i + 1} of {n_rounds}", 0.3 + 0.7 * i / n_rounds)
        rng = np.random.default_rng([0, i])
        mixture = network.mixture()
        asked, fake = (mixture.sample(n, rng=rng) for n in (n_rows, numbers["fake_rows"]))
        noisy = teachers.vote(asked, fake, sigma=numbers["sigma_votes"], about=i)
        student.learn(asked, noisy / teachers.n_teachers, steps=STUDENT_STEPS)
        _student.improve(
            network, student, problem, steps=generator_steps, rate=state.training.rate / 5, pull=pull, seed=i
        )
