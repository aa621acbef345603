"""What every generator of images keeps to. Found by file name: a new one is tested by being there."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen import plugins
from synthgen.data.images import SyntheticImages
from synthgen.generators.base import ImageConfig, ImageModel
from synthgen.generators.saved_model import load_model, save_model
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw
from tests.support.phantom_cohorts import cohort, schema_of

NAMES = plugins.names("synthgen.generators.imaging")


SMALL: dict[str, dict[str, Any]] = {
    "diffusion": {"width": 8, "pretraining": 20, "steps": 2, "calls": 2, "prior": ["leaves"]},
    "gan": {
        "width": 8,
        "critic_width": 4,
        "pretraining": 10,
        "steps": 2,
        "prior": ["leaves"],
        "candidates": 2,
    },
}


def config_of(name: str) -> Any:
    """Return a generator's settings, with less training where its defaults take minutes."""
    return plugins.load("synthgen.generators.imaging", name).Config(**SMALL.get(name, {}))


@pytest.fixture(scope="module")
def fitted() -> dict[str, Any]:
    data = cohort(200, images=(1, 3))
    models = {}
    for name in NAMES:
        config = config_of(name)
        assert isinstance(config, ImageConfig)
        plan = config.plan(data.schema, epsilon=2.0, delta=1e-5, patients=200)
        models[name] = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    return models


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_keeps_to_its_epsilon_and_is_the_same_each_time(name: str) -> None:
    plans = [config_of(name).plan(schema_of(), epsilon=0.7, delta=1e-5, patients=200) for _ in range(2)]
    assert plans[0] == plans[1]
    assert get_epsilon([plans[0].event], 1e-5, adaptive=True) <= 0.7
    json.dumps(dict(plans[0].parameters))
    assert sum(stage.share for stage in plans[0].stages) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_records", [0, 1, 300])
def test_samples_have_the_declared_form(name: str, n_records: int, fitted: dict[str, Any]) -> None:
    assert isinstance(fitted[name], ImageModel)
    images = draw(fitted[name], fitted[name].schema, n_records, seed=1)
    assert isinstance(images, SyntheticImages)
    assert images.pixels.shape == (n_records, 1, 16, 16)
    assert len(images.frame) == n_records
    if n_records > 1:
        assert images.pixels.std(axis=0).max() > 0  # not one image again and again


@pytest.mark.parametrize("name", NAMES)
def test_conditions_are_exact_and_a_saved_model_draws_the_same(
    name: str, fitted: dict[str, Any], tmp_path: Path
) -> None:
    schema = fitted[name].schema
    save_model(fitted[name], schema, name, tmp_path)
    assert all(file.suffix in (".json", ".safetensors") for file in tmp_path.rglob("*") if file.is_file())
    model, loaded_schema, generator = load_model(tmp_path)
    assert (loaded_schema, generator) == (schema, name)
    drawn: list[Any] = [draw(m, schema, 40, seed=4, where={"sex": "F"}) for m in (fitted[name], model)]
    assert drawn[0].frame.equals(drawn[1].frame)
    assert np.array_equal(drawn[0].pixels, drawn[1].pixels)
    assert (drawn[0].frame["sex"] == "F").all()
