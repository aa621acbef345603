"""The worked examples of docs/add_a_generator.md and docs/add_a_metric.md work as they stand there."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation import catalogue, fidelity
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.run import evaluate_all
from synthgen.generators import tabular
from synthgen.generators.saved_model import load_model, save_model
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from synthgen.schema.schema import Schema
from tests.faults.fixed_answers import FixedAnswers

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = Schema.model_validate_json("""{"unit": {"column": "patient", "max_records": 3}, "fields": [
    {"name": "patient", "type": "string", "role": "id"},
    {"name": "age", "type": "number", "constraints": {"minimum": 0, "maximum": 110}},
    {"name": "sex", "type": "string", "constraints": {"enum": ["F", "M"]}, "role": "protected"},
    {"name": "ill", "type": "boolean", "role": "label", "constraints": {"required": true}}]}""")


def example(name: str) -> str:
    found = re.search(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), flags=re.S)
    assert found is not None
    return found[1]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that adds a file to a package of plug-ins for this test."""

    def add(package: Any, name: str, text: str) -> Any:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
        importlib.invalidate_caches()
        monkeypatch.delitem(__import__("sys").modules, f"{package.__name__}.{name}", raising=False)
        return importlib.import_module(f"{package.__name__}.{name}")

    return add


def cohort(n: int, seed: int) -> RealTable:
    rng = np.random.default_rng(seed)
    ill = rng.random(n) < 0.3
    frame = pd.DataFrame(
        {
            "age": np.where(rng.random(n) < 0.1, np.nan, np.clip(rng.normal(50, 15, n), 0, 110)),
            "sex": pd.Categorical.from_codes(rng.integers(0, 2, n), categories=["F", "M"]),
            "ill": pd.Categorical.from_codes(ill.astype(int), categories=[False, True]),
        }
    )
    return RealTable(SCHEMA, frame, np.array([f"{seed}-{i // 2}" for i in range(n)], dtype=object))


def test_the_generator_keeps_its_plan_and_is_saved_and_drawn_from(place: Any, tmp_path: Path) -> None:
    module = place(tabular, "histograms", example("add_a_generator.md"))
    assert "histograms" in plugins.names("synthgen.generators.tabular")
    plan = module.Config().plan(SCHEMA, epsilon=2.0, delta=1e-6, patients=400)
    assert get_epsilon([plan.event], 1e-6, adaptive=True) <= 2.0
    model = module.Config().fit(cohort(4000, 0), plan, noise=NoiseSource.for_tests(0))
    (tmp_path / "model").mkdir()
    save_model(model, SCHEMA, "histograms", tmp_path / "model")
    loaded, _, name = load_model(tmp_path / "model")
    assert name == "histograms"
    tables = [draw(one, SCHEMA, 500, seed=4, where={"sex": "F"}) for one in (model, loaded)]
    assert tables[0].frame.equals(tables[1].frame)
    assert (tables[0].frame["sex"] == "F").all()
    assert abs(draw(model, SCHEMA, 5000, seed=1).frame["age"].mean() - 50) < 3


def test_the_generators_model_follows_from_its_noised_answers_alone(place: Any) -> None:
    module = place(tabular, "histograms", example("add_a_generator.md"))
    plan = module.Config().plan(SCHEMA, epsilon=2.0, delta=1e-6, patients=400)
    models = [
        module.Config().fit(cohort(n, seed), plan, noise=FixedAnswers()) for n, seed in ((800, 0), (300, 7))
    ]
    for name in models[0].shares:
        np.testing.assert_array_equal(models[0].shares[name], models[1].shares[name])


def test_the_metric_is_found_and_answers(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place(fidelity, "means", example("add_a_metric.md"))
    catalogue._places.cache_clear()
    try:
        synthetic = cohort(600, 3).frame
        shifted = synthetic.assign(age=np.clip(synthetic["age"] + 15, 0, 110))
        worst = []
        for frame in (synthetic, shifted):
            inputs = Inputs(
                SCHEMA, cohort(600, 0), cohort(600, 1), cohort(600, 2), SyntheticTable(SCHEMA, frame), "ill"
            )
            found = evaluate_all(inputs, seed=0, only=["fidelity_means"])
            assert [one.name for one in found] == ["fidelity_means"]
            worst.append(found[0].estimates["worst"])
        assert worst[0].low <= worst[0].value < 0.3
        assert worst[1].low > 0.6
    finally:
        catalogue._places.cache_clear()
