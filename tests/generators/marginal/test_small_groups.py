"""Statistics bought for small groups: what they spend, that they are always bought, and what they buy."""

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.errors import ConfigError
from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.marginal import measurement
from synthgen.generators.marginal.config import Config
from synthgen.generators.marginal.small_groups import (
    Groups,
    group_pairs,
    shrink_groups,
    sizes_of,
    split_by_need,
)
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

FIELDS: list[dict[str, Any]] = [
    {"name": "patient", "type": "string", "role": "id"},
    {"name": "race", "type": "string", "role": "protected", "constraints": {"enum": ["A", "B", "C"]}},
    {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
    {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100, "required": True}},
    {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
]
PAIRS = [("race", "died"), ("sex", "died")]


def schema_of(fields: list[dict[str, Any]]) -> Schema:
    return Schema.model_validate_json(json.dumps({"unit": {"column": "patient"}, "fields": fields}))


@pytest.fixture(scope="module")
def schema() -> Schema:
    return schema_of(FIELDS)


def cohort(schema: Schema, n: int) -> RealTable:
    """A cohort in which 4 of 100 patients are C, who die four times as often."""
    rng = np.random.default_rng(0)
    race = rng.choice(3, n, p=[0.76, 0.2, 0.04])
    died = rng.random(n) < np.where(race == 2, 0.8, 0.2)
    frame = {
        "race": pd.Categorical.from_codes(race, categories=["A", "B", "C"]),
        "sex": pd.Categorical.from_codes(rng.integers(0, 2, n), categories=["F", "M"]),
        "age": rng.integers(18, 101, n).astype(float),
        "died": pd.Categorical.from_codes(died.astype(int), categories=[False, True]),
    }
    return RealTable(schema, pd.DataFrame(frame), np.array([f"p{i}" for i in range(n)], dtype=object))


def death_of(model: Any, group: str) -> float:
    frame = model.sample(40_000, rng=np.random.default_rng(0)).frame
    return float(frame["died"][frame["race"] == group].astype(bool).mean())


def test_without_the_setting_nothing_is_reserved_and_no_number_moves(schema: Schema) -> None:
    plan = Config().plan(schema, epsilon=1.0, delta=1e-6, patients=2000)
    assert plan.parameters["share_groups"] == 0.0
    assert (plan.parameters["share_role"], plan.parameters["share_select"]) == (0.15, 0.05)
    assert "protected columns with a label" not in [stage.name for stage in plan.stages]


@pytest.mark.parametrize("name", ["marginal", "network", "pategan", "diffusion", "gan"])
def test_each_generators_plan_names_the_stage_and_costs_what_it_did(schema: Schema, name: str) -> None:
    if name != "marginal":
        pytest.importorskip("torch")
    made = plugins.load("synthgen.generators.tabular", name).Config
    asked = {"epsilon": 1.0, "delta": 1e-6, "patients": 2000}
    off, on = made().plan(schema, **asked), made(groups={"share": 0.2}).plan(schema, **asked)
    assert on.event == off.event
    numbers = on.parameters.get("marginal", on.parameters)
    [stage] = [s for s in on.stages if s.name == "protected columns with a label"]
    assert numbers["share_groups"] == pytest.approx(0.2)
    assert stage.noise == pytest.approx(math.sqrt(2 / (2 * numbers["rho"] * 0.2)))
    assert stage.epsilon > 0
    assert math.fsum(s.share for s in on.stages) == pytest.approx(1.0)


def test_every_pair_of_a_group_and_a_label_is_measured_once_with_all_that_was_reserved(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: dict[tuple[str, ...], list[float]] = {}
    measure = measurement.Records.measure

    def spy(self: Any, attributes: tuple[str, ...], rho: float) -> Any:
        spent.setdefault(attributes, []).append(rho)
        return measure(self, attributes, rho)

    monkeypatch.setattr(measurement.Records, "measure", spy)
    config = Config(iterations=50, groups=Groups(share=0.25))
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=2000)
    config.fit(cohort(schema, 2000), plan, noise=NoiseSource.for_tests(0))
    assert [len(spent[pair]) for pair in PAIRS] == [1, 1]
    assert math.fsum(spent[pair][0] for pair in PAIRS) == pytest.approx(0.25 * plan.event.rho)
    assert spent["race", "died"] > spent["sex", "died"]  # its groups are smaller


def test_rho_goes_where_groups_are_small_and_hopeless_ones_do_not_steer(schema: Schema) -> None:
    sizes = {"race": np.array([1000.0, 800.0, 90.0]), "sex": np.array([950.0, 940.0])}
    race, sex = split_by_need(0.02, PAIRS, sizes, schema)
    assert race + sex == pytest.approx(0.02)
    best = min(
        (sum((1 / n**2).sum() / (2 * part) for n, part in zip(sizes.values(), (x, 0.02 - x), strict=True)), x)
        for x in np.linspace(0.0005, 0.0195, 400)
    )
    assert race == pytest.approx(best[1], abs=1e-4)  # by brute force
    hopeless = split_by_need(0.02, PAIRS, {**sizes, "race": np.array([1000.0, 800.0, 2.0])}, schema)
    assert hopeless[0] == pytest.approx(0.01, rel=0.1)
    assert split_by_need(0.02, PAIRS, {name: np.zeros(3) for name in sizes}, schema) == [0.01, 0.01]


def test_shrinking_keeps_the_groups_sizes_and_what_has_no_noise() -> None:
    counts, overall = np.array([[500.0, 200.0], [100.0, 90.0], [30.0, -5.0]]), np.array([0.7, 0.3])
    sizes = counts.sum(axis=1)
    exact = shrink_groups(Measurement(("race", "died"), counts, 1e-6), 0, overall, sizes)
    assert exact.counts == pytest.approx(counts, abs=1e-3)
    noisy = shrink_groups(Measurement(("died", "race"), counts.T, 20.0), 1, overall, sizes)
    assert noisy.counts.sum(axis=0) == pytest.approx(sizes)
    off = [np.abs(held - sizes[:, None] * overall)[:, 0] for held in (noisy.counts.T, counts)]
    left = off[0] / off[1]
    assert left[0] > left[1] > left[2]


def test_no_group_is_wiped_out_and_large_ones_stay_as_measured() -> None:
    """Far below 0, at 0 and far above: the mean of a normal distribution cut off at 0, by brute force."""
    one = Measurement(("race",), np.array([-60.0, 0.0, 40.0, 5000.0]), 30.0)
    pair = Measurement(
        ("race", "died"), np.array([[-20.0, -50.0], [0.0, 0.0], [20.0, 25.0], [2500.0, 2510.0]]), 20.0
    )
    sizes = sizes_of(one, [(pair, 0)])
    weight = np.array([1 / 30**2, 1 / (2 * 20**2)])
    mean = (weight[0] * one.counts + weight[1] * pair.counts.sum(axis=1)) / weight.sum()
    at = np.linspace(0, 6000, 600_001)
    for size, middle in zip(sizes, mean, strict=True):
        chance = np.exp(-0.5 * (at - middle) ** 2 * weight.sum())
        assert size == pytest.approx((at * chance).sum() / chance.sum(), rel=1e-3, abs=0.02)
    assert (sizes > 4).all()


def test_shrinking_by_group_errs_less_than_the_noisy_rates() -> None:
    """Over 300 cohorts of eight groups: the summed squared error of rates falls by at least a third."""
    rng = np.random.default_rng(0)
    sizes, sigma = np.array([8000, 2000, 900, 700, 400, 300, 150, 90]), 25.0
    errors = np.zeros(2)
    for _ in range(300):
        rates = np.clip(0.3 + 0.04 * rng.standard_normal(8), 0, 1)
        exact = np.column_stack([sizes * (1 - rates), sizes * rates])
        paid = Measurement(("race", "died"), exact + sigma * rng.standard_normal(exact.shape), sigma)
        overall = exact.sum(axis=0) / exact.sum()
        for i, counts in enumerate((paid.counts, shrink_groups(paid, 0, overall, exact.sum(axis=1)).counts)):
            errors[i] += ((counts[:, 1] / np.maximum(counts.sum(axis=1), sigma) - rates) ** 2).sum()
    assert errors[1] < 0.67 * errors[0]


def test_a_small_groups_rate_is_kept_better_with_the_setting(schema: Schema) -> None:
    """Four in a hundred of 3,000 patients; root mean square error over 8 fits, fixed seeds."""
    data = cohort(schema, 3000)
    frame = data.frame
    truth = float(frame["died"][frame["race"] == "C"].astype(bool).mean())
    errors = []
    for config in (Config(iterations=200), Config(iterations=200, groups=Groups(share=0.3))):
        plan = config.plan(schema, epsilon=0.5, delta=1e-6, patients=3000)
        models = [config.fit(data, plan, noise=NoiseSource.for_tests(seed)) for seed in range(8)]
        errors.append(math.sqrt(np.mean([(death_of(model, "C") - truth) ** 2 for model in models])))
    assert errors[1] < 0.7 * errors[0]


def test_groups_without_a_role_and_beside_a_papers_method_are_refused(schema: Schema) -> None:
    assert group_pairs(schema) == PAIRS
    for gone in ("protected", "label"):
        bare = schema_of([{**f, "role": "feature"} if f.get("role") == gone else f for f in FIELDS])
        with pytest.raises(ConfigError, match="role protected and one of role label"):
            Config(groups=Groups()).plan(bare, epsilon=1.0, delta=1e-6, patients=100)
    with pytest.raises(ValueError, match="groups goes with method roles"):
        Config(method="aim", groups=Groups())


def test_a_number_is_a_protected_group_of_the_evaluation_too(tmp_path: Any) -> None:
    """A schema with a protected age could not be run unless the config left it out."""
    from synthgen.config.run_config import groups_of, load_config

    fields = [{**field, "role": "protected"} if field["name"] == "age" else field for field in FIELDS]
    (tmp_path / "s.yaml").write_text(json.dumps({"unit": {"column": "patient"}, "fields": fields}))
    (tmp_path / "t.csv").write_text("patient,race,sex,age,died\n")
    config = "cohort: t\nseed: 1\ndata: {table: {path: t.csv, schema: s.yaml}}\nevaluate: {target: died}\n"
    config += "budget: {epsilon: 1.0, delta: 1e-6, patients: 600}\ngenerator: {name: marginal}\n"
    (tmp_path / "run.yaml").write_text(config)
    loaded = load_config(tmp_path / "run.yaml")
    assert groups_of(loaded.config, loaded.schema) == ("race", "sex", "age")
