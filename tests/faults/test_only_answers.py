"""What a fit leaves follows from its noised answers alone, and each answer's noise covers any one patient.

These are the proofs of every generator, run (see `tests.faults.fixed_answers`); a new one is tested too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.images import RealImages
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.generators.image_statistics import intensity_histogram, power_spectrum, private_evolution
from synthgen.generators.longitudinal.model import can_link, for_schema
from synthgen.ingest import private_domains
from synthgen.ingest.private_domains import with_preprocessing
from synthgen.pipeline.public_metrics import fidelity
from synthgen.privacy.accountant import calibrate_rho
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.partition_selection import stable_histogram
from synthgen.schema.schema import Schema
from tests.faults.fixed_answers import FixedAnswers, moved, saved, unseen_gradients
from tests.support.phantom_cohorts import attributes, picture, schema_of

QUICK: dict[str, Any] = {
    "pretraining": 3,
    "steps": 3,
    "last_steps": 3,
    "iterations": 50,
    "generator_steps": 2,
}
QUICK |= {"components": 8, "latent": 4, "hidden": 8, "features": 8}
TABLES = plugins.names("synthgen.generators.tabular")
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in TABLES}
VARIANTS |= {
    "marginal, groups": ("marginal", {"groups": {"share": 0.3}}),
    "marginal, aim": ("marginal", {"method": "aim"}),
    "marginal, mst": ("marginal", {"method": "mst"}),
    "network, groups": ("network", {"groups": {"share": 0.3}}),
}
SELECTING = set(VARIANTS) - {"pategan"}  # a clique, by the exponential mechanism
FAST = {"network", "marginal", "marginal, groups", "marginal, mst", "embedding", "embedding, cells"}


def each(variants: Any) -> list[Any]:
    """Return parameters; what trains networks, or selects for long, is for `make test-slow`."""
    return [pytest.param(v, marks=() if v in FAST else pytest.mark.slow) for v in variants]


SCHEMA: dict[str, Any] = {
    "unit": {"column": "patient", "max_records": 3},
    "fields": [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "age", "type": "integer", "constraints": {"minimum": 0, "maximum": 110}},
        {"name": "cost", "type": "number", "constraints": {"minimum": 0, "maximum": 1000}},
        {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
        {"name": "race", "type": "string", "role": "protected", "constraints": {"enum": ["A", "B", "C"]}},
        {"name": "ill", "type": "boolean", "role": "label", "constraints": {"required": True}},
    ],
}
PATIENTS = 300


def schema(*, linked: bool = False) -> Schema:
    unit = {**SCHEMA["unit"], **({"records": "linked"} if linked else {})}
    return Schema.model_validate_json(json.dumps({**SCHEMA, "unit": unit}))


def table(n_patients: int, seed: int, *, linked: bool = False) -> RealTable:
    """Patients of one to three records. The first one has three, all alike, at the edge of every column."""
    rng, ill = np.random.default_rng(seed), 0.2 * seed
    owner = np.repeat(np.arange(n_patients), np.concatenate([[3], rng.integers(1, 4, n_patients - 1)]))
    n, first = len(owner), owner == 0
    codes = {"sex": rng.integers(-1, 2, n), "race": rng.choice(4, n, p=[0.1, 0.6, 0.25, 0.05]) - 1}
    frame = pd.DataFrame({
        "age": np.where(first, 110.0, np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 90, n))),
        "cost": np.where(first, 1000.0, rng.gamma(1 + seed, 60, n).clip(0, 900)),
        "sex": pd.Categorical.from_codes(np.where(first, 0, codes["sex"]), categories=["F", "M"]),
        "race": pd.Categorical.from_codes(np.where(first, 2, codes["race"]), categories=["A", "B", "C"]),
        "ill": pd.Categorical.from_codes(np.where(first, 1, rng.random(n) < ill), categories=[False, True]),
    })  # fmt: skip
    return RealTable(schema(linked=linked), frame, np.array([f"p{i:05d}" for i in owner], dtype=object))


def contrary(n_patients: int, seed: int, *, linked: bool = False) -> RealTable:
    """Cohorts whose best cliques differ: race follows sex in the one, cost follows age in the other."""
    data = table(n_patients, seed, linked=linked)
    frame = data.frame.copy()
    if seed == 1:
        codes = np.where(frame["sex"].cat.codes == 0, 0, 2)
        frame["race"] = pd.Categorical.from_codes(codes, categories=["A", "B", "C"])
    else:
        frame["cost"] = (9.0 * frame["age"].fillna(50.0)).clip(0, 900)
    return RealTable(data.schema, frame, data.units)


def config(variant: str) -> Any:
    name, options = VARIANTS[variant]
    made = plugins.load("synthgen.generators.tabular", name).Config
    quick = {key: value for key, value in QUICK.items() if key in made.model_fields}
    return made.model_validate({**quick, **options})


def fit(
    settings: Any, data: Any, *, epsilon: float = 2.0, patients: int = PATIENTS, size: float = 40.0
) -> tuple[Any, Any, FixedAnswers]:
    noise = FixedAnswers(size=size)
    settings = for_schema(settings, data.schema)
    plan = settings.plan(data.schema, epsilon=epsilon, delta=1e-6, patients=patients)
    with unseen_gradients():
        return settings.fit(data, plan, noise=noise), plan, noise


CONTRARY = ((1.0, 280, 411, PATIENTS), (40.0, 3000, 4100, 3500))
"""Size of the answers, patients of both cohorts, and declared patients. What is selected best follows from
the records where both are of one size: small answers and few patients, or large ones and many."""


def same_model(settings: Any, cohorts: list[Any], folder: Path, **options: Any) -> list[FixedAnswers]:
    """Fit two cohorts with the same answers; both must be asked the same and leave the same files."""
    fits = [fit(settings, data, **options) for data in cohorts]
    asked = [[query.public for query in noise.queries] for _, _, noise in fits]
    assert asked[0] == asked[1]
    files = [saved(model, folder / str(i)) for i, (model, _, _) in enumerate(fits)]
    assert files[0] == files[1]
    return [noise for _, _, noise in fits]


def best(noise: FixedAnswers) -> list[int]:
    """Return what each selection would have chosen without noise."""
    return [int(query.values.argmax()) for query in noise.queries if query.kind == "select"]


def check_contrary(settings: Any, folder: Path, *, linked: bool = False) -> None:
    """The same of cohorts for which selections without noise would differ."""
    chosen: list[list[int]] = [[], []]
    for i, (size, first, second, patients) in enumerate(CONTRARY):
        cohorts = [contrary(n, seed, linked=linked) for n, seed in ((first, 1), (second, 2))]
        noises = same_model(settings, cohorts, folder / str(i), size=size, patients=patients)
        for all_, noise in zip(chosen, noises, strict=True):
            all_ += best(noise)
    assert chosen[0] != chosen[1]  # the test could see a selection without noise


@pytest.mark.parametrize("variant", each(VARIANTS))
def test_the_same_answers_leave_the_same_model_of_a_table_whatever_the_records(variant: str, tmp_path: Path):
    noises = same_model(config(variant), [table(280, 1), table(411, 2)], tmp_path / "plain")
    assert len(noises[0].queries) >= 5
    values = [np.concatenate([query.values for query in noise.queries]) for noise in noises]
    assert (values[0] != values[1]).mean() > 0.2  # the cohorts do differ
    assert bool(best(noises[0])) == (variant in SELECTING)
    if variant in SELECTING:
        check_contrary(config(variant), tmp_path / "contrary")


@pytest.mark.parametrize("name", each(name for name in TABLES if can_link(name)))
def test_the_same_answers_leave_the_same_model_of_linked_records(name: str, tmp_path: Path):
    cohorts = [table(n, seed, linked=True) for n, seed in ((280, 1), (411, 2))]
    noises = same_model(config(name), cohorts, tmp_path / "plain")
    assert bool(best(noises[0])) == (name in SELECTING)
    if name in SELECTING:
        check_contrary(config(name), tmp_path / "contrary", linked=True)


def check_neighbours(settings: Any, data: Any, without: Any) -> None:
    """Each query's noise covers the patient, the draws say what they cost, and together cost the plan."""
    _, plan, whole = fit(settings, data)
    _, _, less = fit(settings, without)
    stated: dict[int, float] = {}
    cost: dict[int, float] = {}
    for query, found in zip(whole.queries, moved(whole.queries, less.queries), strict=True):
        assert query.rho is not None, "a draw that does not say what it costs"
        stated[query.ask] = query.rho
        cost[query.ask] = cost.get(query.ask, 0.0) + found
    for ask, rho in stated.items():
        assert cost[ask] <= rho * (1 + 1e-6)
    zcdp = zcdp_of(plan.event)
    assert 0.5 * zcdp <= math.fsum(stated.values()) <= zcdp * (1 + 1e-6)


def zcdp_of(event: Any) -> float:
    """Return the rho of an event's zCDP parts: what DP-SGD spends is not among them."""
    if type(event).__name__ == "ZCDpEvent":
        return float(event.rho)
    return math.fsum(zcdp_of(part) for part in getattr(event, "events", ()))


@pytest.mark.parametrize("variant", each(VARIANTS))
@pytest.mark.parametrize("patient", ["p00000", pytest.param("p00004", marks=pytest.mark.slow)])
def test_the_noise_of_every_query_of_a_table_covers_a_patient(variant: str, patient: str):
    data = table(PATIENTS, 1)
    check_neighbours(config(variant), data, data.select(data.units != patient))


@pytest.mark.slow
@pytest.mark.parametrize("patient", ["p00000", "p00002"])
def test_the_noise_of_every_query_of_linked_records_covers_a_patient(patient: str):
    data = table(PATIENTS, 1, linked=True)
    check_neighbours(config("marginal"), data, data.select(data.units != patient))


def test_a_patient_can_use_up_the_noise_of_a_query_so_that_less_noise_would_be_seen():
    """The first patient's records share all cells: it moves each marginal by all that a patient may."""
    data = table(PATIENTS, 1)
    found = [fit(config("marginal"), part)[2].queries for part in (data, data.select(data.units != "p00000"))]
    full = [cost / float(query.rho or 1) for query, cost in zip(found[0], moved(*found), strict=True)]
    assert sum(share > 0.999 for share in full) > 0.5 * len(full)


def images(n_patients: int, seed: int) -> RealImages:
    """Patients of one to three images. The first one's are white, those of the others are drawn."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_patients), np.concatenate([[3], rng.integers(1, 4, n_patients - 1)]))
    described = schema_of(size=8, max_records=3)
    frame = attributes(len(owner), rng, ill=0.2 * seed)
    pixels = picture(frame, described, rng)
    if seed > 1:
        pixels = pixels[:, :, ::-1] // 2
    pixels = np.ascontiguousarray(pixels)
    pixels[owner == 0] = 255
    return RealImages(described, frame, np.array([f"p{i:05d}" for i in owner], dtype=object), pixels=pixels)


SMALL: dict[str, dict[str, Any]] = {
    "diffusion": {"width": 8, "pretraining": 2, "steps": 2, "calls": 2, "prior": ["leaves"], "device": "cpu"},
    "gan": {"width": 8, "critic_width": 4, "pretraining": 2, "steps": 2, "prior": ["leaves"], "candidates": 2,
            "device": "cpu"},
    "embedding": {"cosines": 16},
    "embedding, cells": {"cosines": 16, "cells": 2},
    "embedding, merf": {"method": "merf"},
    "auto": {},
}  # fmt: skip
OPTIONS = {"attributes": {"name": "marginal", "share": 0.2, "iterations": 50}}


def image_config(variant: str) -> Any:
    made = plugins.load("synthgen.generators.imaging", variant.partition(",")[0]).Config
    return made.model_validate({**OPTIONS, **SMALL[variant]})


def test_every_generator_of_images_is_among_these():
    assert {variant.partition(",")[0] for variant in SMALL} == set(
        plugins.names("synthgen.generators.imaging")
    )


@pytest.mark.parametrize("variant", each(SMALL))
def test_the_same_answers_leave_the_same_model_of_images_whatever_the_records(variant: str, tmp_path: Path):
    fits = [fit(image_config(variant), images(n, seed), patients=150) for n, seed in ((140, 1), (190, 2))]
    asked = [[query.public for query in noise.queries] for _, _, noise in fits]
    assert asked[0] == asked[1]
    files = [saved(model, tmp_path / str(i)) for i, (model, _, _) in enumerate(fits)]
    assert files[0] == files[1]


@pytest.mark.parametrize("variant", each(SMALL))
@pytest.mark.parametrize("patient", ["p00000", pytest.param("p00003", marks=pytest.mark.slow)])
def test_the_noise_of_every_query_of_images_covers_a_patient(variant: str, patient: str):
    data = images(150, 1)
    check_neighbours(image_config(variant), data, data.select(data.units != patient))


PAID = {
    "unit": {"column": "patient", "max_records": 3},
    "fields": [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "cost", "type": "number", "bounds": "paid"},
        {"name": "age", "type": "integer", "bounds": "paid"},
        {"name": "drug", "type": "string", "categories": "paid"},
        {"name": "site", "type": "string", "categories": "paid"},
        {"name": "ill", "type": "boolean", "role": "label"},
    ],
}


def raw(n_patients: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Cells as text. Categories first occur in the same order, since each has the noise of its turn."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate([[1, 1, 2, 2, 0, 0, 0], np.repeat(np.arange(3, n_patients), 2)])
    n, first = len(owner), owner == 0
    names = ["b", "d", "a", "c"]
    shares = [[0.5, 0.3, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]][seed - 1]
    drawn = [np.concatenate([names, rng.choice(names, n - 4, p=shares)]) for _ in range(2)]
    frame = pd.DataFrame({
        "cost": np.where(first, 9e5, rng.gamma(seed, 100, n)), "age": rng.integers(0, 50 * seed, n),
        "drug": np.where(first, "a", drawn[0]), "site": drawn[1], "ill": rng.choice(["true", "false"], n),
    })  # fmt: skip
    return frame.astype(str), np.array([f"p{i:05d}" for i in owner], dtype=object)


def learn(n_patients: int, seed: int, leave_out: str = "") -> tuple[Schema, FixedAnswers]:
    described = Schema.model_validate_json(json.dumps(PAID))
    settings = config("marginal")

    def make(schema: Schema, epsilon: float) -> Any:
        return settings.plan(schema, epsilon=epsilon, delta=1e-6, patients=PATIENTS)

    plan = with_preprocessing(described, make, share=0.3, epsilon=2.0, delta=1e-6)
    frame, owner = raw(n_patients, seed)
    kept, noise = owner != leave_out, FixedAnswers()
    return private_domains.learn(
        frame[kept].reset_index(drop=True), owner[kept], described, plan, noise=noise
    ), noise


def test_paid_domains_follow_from_their_noised_answers_alone():
    (one, first), (other, second) = learn(200, 1), learn(333, 2)
    assert one == other
    assert [query.public for query in first.queries] == [query.public for query in second.queries]
    assert not one.paid[0].unpaid


def test_the_noise_of_paid_domains_covers_a_patient():
    first, second = learn(200, 1)[1].queries, learn(200, 1, leave_out="p00000")[1].queries
    rho = calibrate_rho(2.0, 1e-6) * 0.3
    costs = moved(first, second)
    assert len(costs) == 4
    assert max(costs) <= rho / 4 * (1 + 1e-6)
    assert costs[0] == pytest.approx(rho / 4, rel=1e-4)  # the patient's costs lie in one cell
    assert costs[2] == pytest.approx(rho / 4, rel=1e-4)  # and so do its drugs


def test_what_stays_hidden_is_decided_by_noised_counts():
    """Each category is shown or not, and counted, by the answers, although a few patients hold it."""
    codes = np.arange(40)
    weights = np.full(40, float(LATTICE))
    noise = FixedAnswers()
    counts = stable_histogram(codes, weights, 40, sigma=2.0, threshold=30.0, noise=noise)
    answers = FixedAnswers().discrete_gaussian(noise.queries[0].values, sigma=2.0 * LATTICE) / LATTICE
    assert 0 < np.isnan(counts).sum() < 40
    assert np.array_equal(counts, np.where(answers > 30.0, answers, np.nan), equal_nan=True)


PARTS: dict[str, Any] = {
    "votes": lambda data, noise: private_evolution.vote(
        data, private_evolution.numbers_of(0.2, 150, 2, ["leaves"]), noise=noise, seed=1
    ),
    "spectrum": lambda data, noise: power_spectrum.measure(data, rho=0.2, noise=noise),
    "brightness": lambda data, noise: intensity_histogram.measure(data, rho=0.2, cells=8, noise=noise),
}


@pytest.mark.parametrize(
    "size", [1.0, 40.0]
)  # small answers, too: large ones may hide what they are divided by
@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_an_image_fit_follows_from_its_noised_answers_and_their_noise_covers_a_patient(
    part: str, size: float
):
    noises = [FixedAnswers(size=size) for _ in range(3)]
    data = images(60, 1)
    cohorts = [data, images(90, 2), data.select(data.units != "p00000")]
    found = [PARTS[part](data, noise) for data, noise in zip(cohorts, noises, strict=True)]
    asked = [[query.public for query in noise.queries] for noise in noises]
    assert asked[0] == asked[1] == asked[2]
    texts = [repr(one.tolist() if isinstance(one, np.ndarray) else one) for one in found]
    assert texts[0] == texts[1]
    costs, stated = moved(noises[0].queries, noises[2].queries), [query.rho for query in noises[0].queries]
    assert all(cost <= rho * (1 + 1e-6) for cost, rho in zip(costs, stated, strict=True))
    assert max(cost / rho for cost, rho in zip(costs, stated, strict=True)) > 0.3
    assert math.fsum(stated) == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["gan", *each(["diffusion", "auto"])])
def test_what_a_deep_plan_spends_before_its_steps_is_what_its_event_books(name: str):
    plan = config(name).plan(schema(), epsilon=8.0, delta=1e-6, patients=20_000)
    numbers = plan.parameters.get("marginal", plan.parameters)
    assert zcdp_of(plan.event) == pytest.approx(numbers["rho"], rel=1e-9)


@pytest.mark.parametrize("name", ["gan", *each(["diffusion"])])
def test_what_a_deep_image_plan_spends_before_its_steps_is_what_its_event_books(name: str):
    plan = image_config(name).plan(schema_of(size=16), epsilon=8.0, delta=1e-6, patients=20_000)
    numbers = plan.parameters
    parts = [numbers["drafts"]["rho_pixels"], numbers["votes"]["rho"], numbers["spectrum"]["rho"]]
    parts += [numbers["brightness"]["rho"], numbers["attributes"]["parameters"]["rho"]]
    assert min(parts) > 0
    assert zcdp_of(plan.event) == pytest.approx(math.fsum(parts), rel=1e-9)


def test_a_published_figure_follows_from_its_noised_answers_alone():
    synthetic = SyntheticTable(schema(), table(50, 3).frame)
    noises = [FixedAnswers(), FixedAnswers()]
    figures = [
        fidelity(table(n, seed), synthetic, rho=0.05, patients=60, noise=noise)
        for noise, n, seed in zip(noises, (55, 73), (1, 2), strict=True)
    ]
    assert figures[0] == figures[1]
    assert [query.public for query in noises[0].queries] == [query.public for query in noises[1].queries]


def test_the_noise_of_a_published_figure_covers_a_patient():
    synthetic, data = SyntheticTable(schema(), table(50, 3).frame), table(55, 1)
    noises = [FixedAnswers(), FixedAnswers()]
    for noise, part in zip(noises, (data, data.select(data.units != "p00000")), strict=True):
        fidelity(part, synthetic, rho=0.05, patients=60, noise=noise)
    costs = moved(noises[0].queries, noises[1].queries)
    assert costs == pytest.approx([query.rho for query in noises[0].queries], rel=1e-4)  # 3 x floor(L / 3)
    assert math.fsum(costs) == pytest.approx(0.05, rel=1e-4)
