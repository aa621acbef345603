"""Resampling against paid counts: it mends a wrong table, leaves noise alone, and repeats under its seed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.models._estimate import Measurement
from synthgen.models._resample import resampled, weights_of
from synthgen.models.tabular_network import Config, load
from synthgen.privacy.noise import NoiseSource
from synthgen.sample import draw
from synthgen.schema import Schema
from tests.models.test_marginal import SCHEMA, cohort

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


def test_a_table_without_the_dependence_gets_it_and_the_rest_stays_as_it_was() -> None:
    cells = resampled(independent, 8000, paid(), rng=np.random.default_rng(0))
    assert len(cells["a"]) == 8000
    assert 0.5 * np.abs(joint(cells) - TRUTH).sum() < 0.02
    assert 0.5 * np.abs(joint(independent(8000)) - TRUTH).sum() > 0.3  # without it the check fails
    assert np.abs(np.bincount(cells["c"]) / 8000 - 0.25).max() < 0.03


def test_what_the_noise_explains_is_left_alone() -> None:
    rng = np.random.default_rng(2)
    flat = rng.choice(6, 50_000, p=TRUTH.ravel())
    cells = {"a": flat // 3, "b": flat % 3}
    near = Measurement(("a", "b"), N_PATIENTS * joint(cells), 100.0)
    assert np.ptp(weights_of(cells, [near])) == 0.0
    assert np.ptp(weights_of(independent(50_000), paid())) > 0.0


def test_weights_are_shares_and_empty_tables_stay_empty() -> None:
    weights = weights_of(independent(5000), paid())
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0)
    assert len(resampled(independent, 0, paid(), rng=np.random.default_rng(0))["a"]) == 0
    assert len(resampled(independent, 1, paid(), rng=np.random.default_rng(0))["a"]) == 1


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
