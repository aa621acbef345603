"""Resampling against paid counts: it mends a wrong table, leaves noise alone, and repeats under its seed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.tabular.network.config import Config, load
from synthgen.generators.tabular.network.resampling import exchanged, misfit
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema
from tests.generators.marginal.test_marginal import SCHEMA, cohort

TRUTH = np.array([[0.30, 0.05, 0.05], [0.05, 0.25, 0.30]])
N_PATIENTS, SIGMA = 10_000, 20.0


def independent(n: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "a": rng.choice(2, n, p=TRUTH.sum(1)),
        "b": rng.choice(3, n, p=TRUTH.sum(0)),
        "c": rng.choice(4, n),
    }


def paid(seed: int = 1) -> list[Measurement]:
    rng = np.random.default_rng(seed)
    return [Measurement(("a", "b"), N_PATIENTS * TRUTH + rng.normal(0, SIGMA, TRUTH.shape), SIGMA)]


def joint(cells: dict[str, np.ndarray]) -> np.ndarray:
    out = np.zeros(TRUTH.shape)
    np.add.at(out, (cells["a"], cells["b"]), 1.0)
    return out / out.sum()


def drawing(source: Any) -> Any:
    seeds = iter(range(10))
    return lambda n: source(n, next(seeds))


def test_a_table_without_the_dependence_gets_nearer_to_it_and_the_rest_stays_as_it_was() -> None:
    cells = exchanged(drawing(independent), 8000, paid(), steps=300)
    assert len(cells["a"]) == 8000
    before = 0.5 * np.abs(joint(independent(8000)) - TRUTH).sum()
    assert 0.5 * np.abs(joint(cells) - TRUTH).sum() < 0.05 < 0.3 < before
    assert np.abs(np.bincount(cells["c"]) / 8000 - 0.25).max() < 0.03
    assert misfit(cells, paid()) < 0.1 * misfit(independent(8000), paid())


def test_what_the_noise_explains_is_left_alone() -> None:
    table = independent(5000)
    near = [Measurement(("a", "b"), N_PATIENTS * joint(table), 100.0)]
    cells = exchanged(drawing(independent), 5000, near)
    assert all((cells[name] == table[name]).all() for name in table)
    moved = exchanged(drawing(independent), 5000, paid())
    assert any((moved[name] != table[name]).any() for name in table)


@pytest.mark.parametrize("n_records", [0, 1, 2])
def test_few_records_stay_few(n_records: int) -> None:
    assert len(exchanged(drawing(independent), n_records, paid())["a"]) == n_records


def test_a_model_that_resamples_keeps_conditions_seed_and_file(tmp_path: Path) -> None:
    schema = Schema.model_validate_json(json.dumps(SCHEMA))
    options: dict[str, Any] = {"components": 60, "latent": 8, "hidden": 16, "steps": 20, "last_steps": 20}
    config = Config(**options, resample=True)
    plan = config.plan(schema, epsilon=5.0, delta=1e-6, patients=3000)
    assert plan == Config(**options).plan(schema, epsilon=5.0, delta=1e-6, patients=3000)
    model = config.fit(cohort(schema, 3000), plan, noise=NoiseSource.for_tests(0))
    model.save(tmp_path)
    again = load(tmp_path, schema)
    tables = [draw(m, schema, 500, seed=3).frame for m in (model, again, replace(model, paid=()))]
    assert tables[0].equals(tables[1])
    assert not tables[0].equals(tables[2])
    held = draw(model, schema, 300, seed=1, where={"stage": "IV", "age": (30, 40)}).frame
    assert (held["stage"] == "IV").all()
    assert held["age"].between(30, 40).all()
    assert len(draw(model, schema, 0, seed=1)) == 0
