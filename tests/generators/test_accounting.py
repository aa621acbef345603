"""The noise that a fit really draws costs no more than the rho that the ledger books."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.config.run_config import load_config
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.generators.marginal.config import Config
from synthgen.generators.marginal.small_groups import Groups
from synthgen.pipeline import run as pipeline
from synthgen.pipeline.public_metrics import fidelity
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "patient", "type": "string", "role": "id"},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100, "required": True}},
    {
        "name": "sex",
        "type": "string",
        "role": "protected",
        "constraints": {"enum": ["F", "M"], "required": True},
    },
    {"name": "stage", "type": "string", "constraints": {"enum": ["I", "II", "III"], "required": True}},
    {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
]


class Meter(NoiseSource):
    """Draws like a test's source and books what each mechanism costs in zCDP, from what it was asked for."""

    def __init__(self) -> None:
        self.inner = NoiseSource.for_tests(0)
        self.rho: list[float] = []

    def discrete_gaussian(self, values: Any, *, sigma: float) -> Any:
        self.rho.append(LATTICE**2 / (2 * sigma**2))
        return self.inner.discrete_gaussian(values, sigma=sigma)

    def select(self, scores: Any, *, epsilon: float, sensitivity: float) -> int:
        # One patient moves a score by at most its weight, here at most the largest of all.
        largest = max(Config().weights.model_dump().values())
        self.rho.append((epsilon * largest / max(sensitivity, 1e-9)) ** 2 / 8)
        return self.inner.select(scores, epsilon=epsilon, sensitivity=sensitivity)

    def _gaussian(self, values: Any, sigma: float) -> Any:
        raise NotImplementedError

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        raise NotImplementedError


@pytest.fixture(scope="module")
def data() -> RealTable:
    from synthgen.encode.simulate import simulate

    schema = Schema.model_validate_json(json.dumps({"unit": {"column": "patient"}, "fields": FIELDS}))
    frame = simulate(schema, 400, rng=np.random.default_rng(0)).frame
    return RealTable(schema, frame, np.array([f"p{i}" for i in range(len(frame))], dtype=object))


@pytest.mark.parametrize("groups", [None, Groups(share=0.3)])
def test_the_noise_drawn_by_a_whole_fit_costs_what_the_plan_books(
    data: RealTable, groups: Groups | None
) -> None:
    config, meter = Config(iterations=50, groups=groups), Meter()
    plan = config.plan(data.schema, epsilon=1.0, delta=1e-6, patients=400)
    config.fit(data, plan, noise=meter)
    assert 0.8 * plan.event.rho < math.fsum(meter.rho) <= plan.event.rho * (1 + 1e-9)


def test_a_published_figure_costs_what_it_books(data: RealTable) -> None:
    meter = Meter()
    figures = fidelity(data, SyntheticTable(data.schema, data.frame), rho=0.5, patients=400, noise=meter)
    assert math.fsum(meter.rho) == pytest.approx(0.5)
    assert set(figures["columns"]) == {"age", "sex", "stage", "died"}
    exact = fidelity(
        data, SyntheticTable(data.schema, data.frame), rho=0.5, patients=400, noise=NoiseSource.none()
    )
    assert exact["total_variation"] == pytest.approx(0.0, abs=1e-9)
    other = data.frame.assign(age=18.0)
    moved = fidelity(
        data, SyntheticTable(data.schema, other), rho=0.5, patients=400, noise=NoiseSource.none()
    )
    assert moved["columns"]["age"]["total_variation"] > 0.9


def test_the_line_books_the_event_of_its_plan_and_draws_from_the_system(
    tmp_path: Path, data: RealTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = SyntheticTable(data.schema, data.frame).to_pandas()
    table.to_parquet(tmp_path / "t.parquet")
    schema = {"unit": {"column": "patient"}, "fields": FIELDS}
    (tmp_path / "s.yaml").write_text(json.dumps(schema))
    config = {
        "cohort": "c",
        "data": {"table": {"path": "t.parquet", "schema": "s.yaml"}},
        "budget": {"ledger": "sqlite:///ledger.db", "epsilon": 1.0, "delta": 1e-6, "patients": 400},
        "generator": {"name": "marginal", "iterations": 50},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    loaded = load_config(tmp_path / "c.yaml")
    sources: list[NoiseSource] = []
    original = Config.fit

    def watch(self: Config, *args: Any, noise: NoiseSource, **kwargs: Any) -> Any:
        sources.append(noise)
        return original(self, *args, noise=noise, **kwargs)

    monkeypatch.setattr(Config, "fit", watch)
    pipeline.fit(loaded, tmp_path / "run")
    assert [source.is_private for source in sources] == [True]
    spent = Ledger.connect("sqlite:///ledger.db", base=tmp_path).spent("c")
    assert list(spent.event.events) == [pipeline.make_plan(loaded).event]
    assert spent.epsilon == pytest.approx(1.0, rel=1e-3)
