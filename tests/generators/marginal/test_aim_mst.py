"""MST and AIM, the papers' own mechanisms."""

import json
from typing import Any

import networkx
import numpy as np
import pytest

from synthgen.data.tables import RealTable
from synthgen.encode.simulate import simulate
from synthgen.generators.marginal import aim_mst, measurement
from synthgen.generators.marginal.config import Config
from synthgen.privacy.marginal_queries import ZCDPFilter
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100, "required": True}},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"], "required": True}},
    {"name": "stage", "type": "string", "constraints": {"enum": ["I", "II", "III"], "required": True}},
    {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
]


@pytest.fixture(scope="module")
def data() -> RealTable:
    schema = Schema.model_validate_json(json.dumps({"unit": "row", "fields": FIELDS}))
    frame = simulate(schema, 2000, rng=np.random.default_rng(0)).frame
    frame["stage"] = frame["stage"].where(frame["sex"] == "F", "III")  # a dependence to be found
    return RealTable(schema, frame, np.array([str(i) for i in range(len(frame))], dtype=object))


@pytest.mark.parametrize("method", ["aim", "mst"])
def test_a_reference_spends_its_rho_and_finds_the_dependence(
    data: RealTable, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters: list[ZCDPFilter] = []
    original = ZCDPFilter.__init__

    def watch(self: ZCDPFilter, rho: float) -> None:
        original(self, rho)
        filters.append(self)

    monkeypatch.setattr(ZCDPFilter, "__init__", watch)
    config = Config(method=method, iterations=200)  # type: ignore[arg-type]
    plan = config.plan(data.schema, epsilon=3.0, delta=1e-6, patients=2000)
    fitted = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    assert filters[0].spent == pytest.approx(plan.event.rho, rel=1e-6)
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1.0)
    drawn = fitted.sample(4000, rng=np.random.default_rng(0)).frame
    assert (drawn.loc[drawn["sex"] == "M", "stage"] == "III").mean() > 0.9
    assert (drawn.loc[drawn["sex"] == "F", "stage"] == "III").mean() < 0.6


def test_msts_pairs_are_a_spanning_tree(data: RealTable, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    measure = measurement.Records.measure

    def spy(self: Any, attributes: tuple[str, ...], rho: float) -> Any:
        asked.append(attributes)
        return measure(self, attributes, rho)

    monkeypatch.setattr(measurement.Records, "measure", spy)
    config = Config(method="mst", iterations=50)
    config.fit(
        data,
        config.plan(data.schema, epsilon=1.0, delta=1e-6, patients=2000),
        noise=NoiseSource.for_tests(1),
    )
    pairs = [a for a in asked if len(a) == 2]
    graph = networkx.Graph(pairs)
    assert len(pairs) == len(FIELDS) - 1
    assert networkx.is_tree(graph)
    assert len(graph) == len(FIELDS)


def test_aims_round_measures_with_nine_tenths() -> None:
    assert aim_mst.ALPHA == 0.9
    plan = Config(method="aim").plan(
        Schema.model_validate_json(json.dumps({"unit": "row", "fields": FIELDS})),
        epsilon=1.0,
        delta=1e-6,
        patients=100,
    )
    assert plan.parameters["rounds"] == 16 * len(FIELDS)
