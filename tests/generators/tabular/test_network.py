"""The network on marginals: sensitivity on neighbours, spend, determinism, conditions, rules, evidence."""

import json
import math
import sys
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.config.run_config import load_config
from synthgen.data.tables import SyntheticTable
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators.longitudinal.model import for_schema
from synthgen.generators.marginal import measurement as select
from synthgen.generators.tabular.network.config import Config, load
from synthgen.pipeline import run as pipeline
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.marginal_queries import LATTICE, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw, violations, write_table
from synthgen.schema.schema import Schema
from tests.generators.longitudinal import test_longitudinal as longitudinal
from tests.generators.marginal.test_marginal import SCHEMA, cohort, extreme, joined
from tests.generators.test_accounting import Meter

SMALL: dict[str, Any] = {
    "components": 60,
    "latent": 8,
    "hidden": 16,
    "steps": 30,
    "last_steps": 60,
    "rounds": 3,
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


@pytest.fixture(scope="module")
def fitted(schema: Schema) -> Any:
    config = Config(components=200, latent=16, hidden=64, rounds=2)
    plan = config.plan(schema, epsilon=3.0, delta=1e-6, patients=3000)
    return config.fit(cohort(schema, 3000), plan, noise=NoiseSource.for_tests(0))


@pytest.mark.parametrize(("n_records", "kind"), [(1, "spread"), (40, "spread"), (40, "outlier")])
def test_each_vector_and_score_that_a_whole_fit_asks_moves_by_at_most_its_sensitivity(
    schema: Schema, monkeypatch: pytest.MonkeyPatch, n_records: int, kind: str
) -> None:
    """With noise off, a fit on D asks its queries; D' with the worst patient answers the same ones."""
    base = cohort(schema, 300)
    both = joined(base, extreme(schema, n_records, kind))
    asked: list[tuple[Any, tuple[str, ...], np.ndarray]] = []
    scored: list[tuple[Any, ...]] = []
    merged: list[Any] = []
    measure, coarsen, errors = select.Records.measure, select.Records.coarsen, select.Records.errors

    def spy(self: Any, attributes: tuple[str, ...], rho: float) -> Any:
        asked.append((merged[-1] if merged else None, attributes, self._exact(attributes).ravel()))
        return measure(self, attributes, rho)

    def watch(self: Any, merging: Any) -> None:
        merged.append(merging)
        coarsen(self, merging)

    def listen(self: Any, found: Any, expected: Any, *, sigma: float) -> np.ndarray:
        scores = errors(self, found, expected, sigma=sigma)
        scored.append((found, expected, sigma, scores))
        return scores

    monkeypatch.setattr(select.Records, "measure", spy)
    monkeypatch.setattr(select.Records, "coarsen", watch)
    monkeypatch.setattr(select.Records, "errors", listen)
    config = Config(**SMALL)
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=300)
    config.fit(base, plan, noise=NoiseSource.none())
    encoder = Encoder.of(schema, fine_cells=plan.parameters["fine_cells"])
    cells, weights = encoder.encode(both.frame), lattice_weights(*both.unit_codes())
    assert {len(attributes) for _, attributes, _ in asked} >= {1, 2}
    for merging, attributes, exact in asked:
        columns = [cells[n] if merging is None else merging[n].coarse[cells[n]] for n in attributes]
        sizes = [encoder.grids[n].n_cells if merging is None else merging[n].n_coarse for n in attributes]
        moved = np.abs(weighted_marginal(columns, sizes, weights) - exact).astype(float)
        assert moved.sum() <= LATTICE
    coarse = {name: merged[0][name].coarse[values] for name, values in cells.items()}
    sizes_of = {name: merged[0][name].n_coarse for name in cells}
    other = select.Records(coarse, weights, sizes_of, spender=None, noise=NoiseSource.none())  # type: ignore[arg-type]
    assert scored
    for found, expected, sigma, scores in scored:
        moved = np.abs(errors(other, found, expected, sigma=sigma) - scores)
        allowed = np.array([candidate.weight for candidate in found])  # in patients
        assert moved.max() > 0
        assert (moved <= allowed * (1 + 1e-9)).all()


def test_the_noise_drawn_by_a_whole_fit_costs_what_the_plan_books(schema: Schema) -> None:
    config, meter = Config(**SMALL), Meter()
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=400)
    config.fit(cohort(schema, 400), plan, noise=meter)
    assert 0.7 * plan.event.rho < math.fsum(meter.rho) <= plan.event.rho * (1 + 1e-9)


def test_training_options_cannot_change_the_plan(schema: Schema) -> None:
    plans = [
        Config(**options).plan(schema, epsilon=1.0, delta=1e-6, patients=400)
        for options in ({}, {"components": 7, "steps": 5, "device": "cuda", "rate": 0.1, "penalty": 2.0})
    ]
    assert plans[0] == plans[1]
    assert plans[0].generator == "network"
    many = Config(cliques=30).plan(schema, epsilon=1.0, delta=1e-6, patients=400).parameters["n_cliques"]
    assert many == 180  # far more than a junction tree of six columns could take


def test_all_that_real_records_decide_is_what_the_noise_let_through(schema: Schema) -> None:
    """Two cohorts that give the same noisy answers give the same model, byte for byte."""

    class Fixed(NoiseSource):
        def _gaussian(self, values: Any, sigma: float) -> Any:
            return np.random.default_rng(values.size).integers(0, 10**7, values.size)

        def _select(self, lattice: Any, epsilon: float, units: int) -> int:
            return 0

    config = Config(**SMALL)
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=300)
    models = [config.fit(cohort(schema, n, seed=n), plan, noise=Fixed()) for n in (120, 300)]
    for name, table in models[0].mixture.tables.items():
        assert np.array_equal(table, models[1].mixture.tables[name])


def test_the_model_follows_what_was_measured(fitted: Any, schema: Schema) -> None:
    real = cohort(schema, 3000).frame
    drawn = draw(fitted, schema, 6000, seed=0).frame

    def gap(frame: pd.DataFrame) -> float:
        died = frame["died"].astype(bool)
        return float(frame["age"][died].mean() - frame["age"][~died].mean())

    assert abs(gap(drawn) - gap(real)) < 5.0
    shuffled = real.assign(died=np.random.default_rng(0).permutation(real["died"].astype(bool)))
    assert abs(gap(shuffled) - gap(real)) > 10.0  # independence would fail


def test_sampling_is_byte_deterministic_and_a_saved_model_samples_alike(
    fitted: Any, schema: Schema, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    again = load(tmp_path, schema)
    for name, model in (("a.csv", fitted), ("b.csv", again)):
        write_table(draw(model, schema, 500, seed=5), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ConfigError):
        load(tmp_path, schema)


def test_conditions_and_rules_hold_exactly(fitted: Any, schema: Schema) -> None:
    table = draw(fitted, schema, 400, seed=1, where={"sex": "F", "age": (65, 80), "albumin": None})
    assert (table.frame["sex"] == "F").all()
    assert table.frame["age"].between(65, 80).all()
    assert table.frame["albumin"].isna().all()
    table = draw(fitted, schema, 5000, seed=2, where={"died": True})
    assert not violations(table).any()
    with pytest.raises(ConfigError):
        draw(fitted, schema, 10, seed=1, where={"sex": "X"})


def test_rules_are_learnt_so_that_few_records_are_drawn_anew(fitted: Any) -> None:
    table = fitted.sample(20_000, rng=np.random.default_rng(0))
    assert violations(table).mean() < 0.01
    frame = table.frame
    apart = frame.assign(readmitted=np.random.default_rng(0).permutation(frame["readmitted"].astype(bool)))
    both = frame["died"].astype(bool) & apart["readmitted"].astype(bool)
    assert both.mean() > 0.05  # independent columns would break the rule that often


def test_evidence_stays_and_draws_what_goes_with_it(fitted: Any, schema: Schema) -> None:
    n = 4000
    evidence = pd.DataFrame({"age": np.where(np.arange(n) % 2, 95.0, 20.0)})
    table = fitted.sample_given(evidence, rng=np.random.default_rng(0))
    assert table.frame["age"].equals(evidence["age"])
    died = table.frame["died"].astype(bool)
    assert died[1::2].mean() - died[::2].mean() > 0.2
    cells = fitted.given({"stage": np.where(np.arange(n) % 2, 2, -1)}, np.random.default_rng(0))
    assert (cells["stage"][1::2] == 2).all()
    assert len(set(cells["stage"][::2])) == 4
    assert list(table.to_pandas().columns) == [field.name for field in schema.fields]


def test_torch_is_not_imported_before_a_fit() -> None:
    code = "import synthgen.generators.tabular.network.config, sys; print('torch' in sys.modules)"
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["network", "pategan"])
def test_linked_records_are_drawn_patient_by_patient(name: str) -> None:
    linked = Schema.model_validate_json(json.dumps(longitudinal.SCHEMA))
    made = plugins.load("synthgen.generators.tabular", name).Config
    wanted = {**SMALL, "generator_steps": 2, "votes": 20}
    config = for_schema(made(**{k: v for k, v in wanted.items() if k in made.model_fields}), linked)
    plan = config.plan(linked, epsilon=3.0, delta=1e-6, patients=150)
    model = config.fit(longitudinal.cohort(linked, 150), plan, noise=NoiseSource.for_tests(0))
    tables = [draw(model, linked, 60, seed=2) for _ in range(2)]
    assert tables[0].frame.equals(tables[1].frame)
    assert len(np.unique(tables[0].units)) == 60
    assert np.bincount(np.asarray(tables[0].units)).max() <= linked.unit.max_records


@pytest.mark.parametrize("name", ["network", "pategan"])
def test_the_line_books_the_event_of_its_plan_and_asks_each_answer_by_name(
    name: str, tmp_path: Path, schema: Schema
) -> None:
    SyntheticTable(schema, cohort(schema, 150).frame).to_pandas().to_parquet(tmp_path / "t.parquet")
    (tmp_path / "s.yaml").write_text(json.dumps({**SCHEMA, "unit": {"column": "patient"}}))
    made = plugins.load("synthgen.generators.tabular", name).Config
    options = {
        k: v for k, v in {**SMALL, "generator_steps": 2, "votes": 20}.items() if k in made.model_fields
    }
    config = {
        "cohort": "c",
        "data": {"table": {"path": "t.parquet", "schema": "s.yaml"}},
        "budget": {"ledger": "sqlite:///ledger.db", "epsilon": 1.0, "delta": 1e-6, "patients": 300},
        "generator": {"name": name, **options},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    loaded = load_config(tmp_path / "c.yaml")
    pipeline.fit(loaded, tmp_path / "run")
    spent = Ledger.connect("sqlite:///ledger.db", base=tmp_path).spent("c")
    assert list(spent.event.events) == [pipeline.make_plan(loaded).event]
    assert spent.epsilon == pytest.approx(1.0, rel=1e-3)
    lines = [
        path.read_text()
        for path in (tmp_path / "run" / "internal").rglob("*")
        if path.is_file() and path.suffix not in (".safetensors", ".db")
    ]
    assert any('"about"' in text for text in lines)
