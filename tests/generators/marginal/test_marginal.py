"""The marginal generator: sensitivity on neighbours, exact sampling, saving, conditions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators.graphical.junction_tree import JunctionTree, Node
from synthgen.generators.marginal import measurement
from synthgen.generators.marginal.config import Config, load
from synthgen.generators.marginal.small_groups import Groups
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw, violations, write_table
from synthgen.schema.schema import Schema

SCHEMA = {
    "unit": {"column": "patient", "max_records": 40},
    "fields": [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100, "required": True}},
        {"name": "albumin", "type": "number", "constraints": {"minimum": 0, "maximum": 7}},
        {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
        {
            "name": "stage",
            "type": "string",
            "constraints": {"enum": ["I", "II", "III", "IV"], "required": True},
        },
        {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
        {"name": "readmitted", "type": "boolean", "constraints": {"required": True}},
    ],
    "rules": ["died implies not readmitted"],
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


def cohort(schema: Schema, n_patients: int, seed: int = 0) -> RealTable:
    rng = np.random.default_rng(seed)
    records = rng.integers(1, 4, n_patients)
    units = np.repeat([f"p{i}" for i in range(n_patients)], records).astype(object)
    n = len(units)
    age = rng.integers(18, 101, n).astype(float)
    died = rng.random(n) < (age - 10) / 200
    frame = {
        "age": age,
        "albumin": np.where(rng.random(n) < 0.2, np.nan, np.clip(rng.normal(3.5, 0.8, n), 0, 7)),
        "sex": pd.Categorical.from_codes(rng.integers(-1, 2, n), categories=["F", "M"]),
        "stage": pd.Categorical.from_codes(rng.integers(0, 4, n), categories=["I", "II", "III", "IV"]),
        "died": pd.Categorical.from_codes(died.astype(int), categories=[False, True]),
        "readmitted": pd.Categorical.from_codes(
            (~died & (rng.random(n) < 0.4)).astype(int), categories=[False, True]
        ),
    }
    return RealTable(schema, pd.DataFrame(frame), units)


@pytest.fixture(scope="module")
def fitted(schema: Schema) -> Any:
    config = Config(iterations=200)
    plan = config.plan(schema, epsilon=3.0, delta=1e-6, patients=3000)
    return config.fit(cohort(schema, 3000), plan, noise=NoiseSource.for_tests(0))


def extreme(schema: Schema, n_records: int, kind: str) -> RealTable:
    rng = np.random.default_rng(1)
    same = kind == "outlier"
    frame = {
        "age": np.full(n_records, 100.0) if same else rng.integers(18, 101, n_records).astype(float),
        "albumin": np.full(n_records, 7.0) if same else rng.random(n_records) * 7,
        "sex": pd.Categorical.from_codes(
            np.full(n_records, -1) if same else rng.integers(0, 2, n_records), categories=["F", "M"]
        ),
        "stage": pd.Categorical.from_codes(
            np.full(n_records, 3) if same else rng.integers(0, 4, n_records),
            categories=["I", "II", "III", "IV"],
        ),
        "died": pd.Categorical.from_codes(np.ones(n_records, int), categories=[False, True]),
        "readmitted": pd.Categorical.from_codes(np.zeros(n_records, int), categories=[False, True]),
    }
    return RealTable(schema, pd.DataFrame(frame), np.array(["worst"] * n_records, dtype=object))


def joined(a: RealTable, b: RealTable) -> RealTable:
    frame = pd.concat([a.frame, b.frame], ignore_index=True)
    return RealTable(a.schema, frame, np.concatenate([a.units, b.units]))


@pytest.mark.parametrize(
    ("n_records", "kind"), [(1, "spread"), (40, "spread"), (40, "outlier"), (7, "spread")]
)
def test_a_patient_moves_every_marginal_by_at_most_one_lattice_weight_in_l1_and_l2(
    schema: Schema, n_records: int, kind: str
) -> None:
    base = cohort(schema, 200)
    both = joined(base, extreme(schema, n_records, kind))
    encoder = Encoder.of(schema, fine_cells=40)
    names = list(encoder.grids)
    for clique in [(name,) for name in names] + [("age", "died"), ("age", "albumin", "died")]:
        shape = [encoder.grids[name].n_cells for name in clique]
        counts = []
        for table in (base, both):
            cells = encoder.encode(table.frame)
            weights = lattice_weights(*table.unit_codes())
            counts.append(weighted_marginal([cells[name] for name in clique], shape, weights))
        moved = np.abs(counts[1] - counts[0]).astype(float)
        assert 0 < moved.sum() <= LATTICE
        assert np.sqrt((moved**2).sum()) <= LATTICE


@pytest.mark.parametrize("groups", [None, Groups(share=0.3)])
@pytest.mark.parametrize(("n_records", "kind"), [(1, "spread"), (40, "spread"), (40, "outlier")])
def test_each_vector_that_a_whole_fit_measures_moves_by_at_most_its_sensitivity(
    schema: Schema, monkeypatch: pytest.MonkeyPatch, n_records: int, kind: str, groups: Groups | None
) -> None:
    """With noise off, a fit on D asks its queries; D' with the worst patient answers the same ones."""
    base = cohort(schema, 300)
    both = joined(base, extreme(schema, n_records, kind))
    asked: list[tuple[Any, tuple[str, ...], np.ndarray]] = []
    merged: list[Any] = []
    measure, coarsen = measurement.Records.measure, measurement.Records.coarsen

    def spy(self: Any, attributes: tuple[str, ...], rho: float) -> Any:
        asked.append((merged[-1] if merged else None, attributes, self._exact(attributes).ravel()))
        return measure(self, attributes, rho)

    def watch(self: Any, merging: Any) -> None:
        merged.append(merging)
        coarsen(self, merging)

    monkeypatch.setattr(measurement.Records, "measure", spy)
    monkeypatch.setattr(measurement.Records, "coarsen", watch)
    config = Config(iterations=50, groups=groups)
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=300)
    config.fit(base, plan, noise=NoiseSource.none())
    encoder = Encoder.of(schema, fine_cells=plan.parameters["fine_cells"])
    cells, weights = encoder.encode(both.frame), lattice_weights(*both.unit_codes())
    assert {len(attributes) for _, attributes, _ in asked} >= {1, 2}
    assert len(merged) == 1
    for merging, attributes, exact in asked:
        columns = [cells[n] if merging is None else merging[n].coarse[cells[n]] for n in attributes]
        sizes = [encoder.grids[n].n_cells if merging is None else merging[n].n_coarse for n in attributes]
        moved = np.abs(weighted_marginal(columns, sizes, weights) - exact).astype(float)
        assert moved.sum() <= LATTICE
        assert np.sqrt((moved**2).sum()) <= LATTICE


def test_counting_each_record_as_one_would_break_that_bound(schema: Schema) -> None:
    worst = extreme(schema, 40, "spread")
    cells = Encoder.of(schema, fine_cells=40).encode(worst.frame)["age"]
    counts = np.bincount(cells) * float(LATTICE)
    assert np.sqrt((counts**2).sum()) > 2 * LATTICE


def test_the_plan_and_the_cells_are_the_same_for_neighbours(schema: Schema) -> None:
    plans = [Config().plan(schema, epsilon=1.0, delta=1e-6, patients=3000) for _ in range(2)]
    assert plans[0] == plans[1]
    assert Encoder.of(schema).grids == Encoder.of(schema).grids


def test_a_fit_spends_its_rho_and_not_more(schema: Schema, monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[float] = []
    original = ZCDPFilter.spend

    def spy(self: ZCDPFilter, rho: float) -> None:
        original(self, rho)
        spent.append(rho)

    monkeypatch.setattr(ZCDPFilter, "spend", spy)
    config = Config(iterations=50)
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=500)
    config.fit(cohort(schema, 500), plan, noise=NoiseSource.for_tests(1))
    assert 0.9 * plan.parameters["rho"] < sum(spent) <= plan.parameters["rho"] * (1 + 1e-9)


def test_the_samples_marginals_are_the_models(fitted: Any) -> None:
    n = 50_000
    drawn = fitted.tree.sample(n, rng=np.random.default_rng(3))
    for node in fitted.tree.nodes:
        flat = np.ravel_multi_index([drawn[name].astype(int) for name in node.attributes], node.table.shape)
        share = np.bincount(flat, minlength=node.table.size) / n
        assert 0.5 * np.abs(share - node.table.ravel()).sum() < 0.01


def test_a_tree_reproduces_its_joint_distribution_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    joint = rng.random((2, 3, 2))
    joint /= joint.sum()
    ab, b, bc = joint.sum(2), joint.sum((0, 2)), joint.sum(0)
    tree = JunctionTree((Node(("a", "b"), -1, (), ab), Node(("b", "c"), 0, ("b",), bc)))
    drawn = tree.sample(200_000, rng=rng)
    share = np.zeros((2, 3, 2))
    np.add.at(share, (drawn["a"], drawn["b"], drawn["c"]), 1 / 200_000)
    expected = ab[:, :, None] * bc[None] / b[None, :, None]
    assert np.abs(share - expected).max() < 0.003


def test_sampling_is_byte_deterministic_and_a_saved_model_samples_alike(
    fitted: Any, schema: Schema, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    again = load(tmp_path, schema)
    for name, model in (("a.csv", fitted), ("b.csv", again)):
        write_table(draw(model, schema, 500, seed=5), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert not draw(fitted, schema, 500, seed=6).frame.equals(draw(fitted, schema, 500, seed=5).frame)


def test_conditions_hold_exactly(fitted: Any, schema: Schema) -> None:
    table = draw(fitted, schema, 400, seed=1, where={"sex": "F", "age": (65, 80), "albumin": None})
    assert (table.frame["sex"] == "F").all()
    assert table.frame["age"].between(65, 80).all()
    assert table.frame["albumin"].isna().all()
    with pytest.raises(ConfigError):
        draw(fitted, schema, 10, seed=1, where={"sex": "X"})


def test_hard_rules_hold_on_what_is_drawn(fitted: Any, schema: Schema) -> None:
    table = draw(fitted, schema, 5000, seed=2)
    assert not violations(table).any()
    assert table.frame["died"].astype(bool).any()


@pytest.mark.parametrize("n_records", [0, 1, 3])
def test_few_records_have_the_schemas_columns(fitted: Any, schema: Schema, n_records: int) -> None:
    table = draw(fitted, schema, n_records, seed=0)
    assert list(table.to_pandas().columns) == [field.name for field in schema.fields]
    assert len(table) == n_records


def test_balance_gives_each_category_its_share(fitted: Any, schema: Schema) -> None:
    counts = draw(fitted, schema, 1000, seed=0, balance="stage").frame["stage"].value_counts()
    assert set(counts) == {250}


def test_balance_leaves_missing_values_their_own_share(fitted: Any, schema: Schema) -> None:
    """Two thirds of the cohort have a sex; the others were once left out of a balanced table."""
    plain = draw(fitted, schema, 20_000, seed=0).frame["sex"].isna().mean()
    counts = draw(fitted, schema, 3000, seed=0, balance="sex").frame["sex"].value_counts(dropna=False)
    assert 0.25 < plain < 0.42
    assert counts[np.nan] == pytest.approx(3000 * plain, abs=45)  # five standard deviations of the pilot's
    assert abs(counts["F"] - counts["M"]) <= 1
    assert counts.sum() == 3000
    told = draw(fitted, schema, 300, seed=0, balance="sex", where={"died": True}).frame
    assert told["died"].astype(bool).all()
    assert told["sex"].isna().any()


def test_split_rho_spends_all_of_it() -> None:
    assert sum(measurement.split_rho(0.5, [2, 30, 700])) == pytest.approx(0.5)


@pytest.mark.parametrize(("n_patients", "epsilon"), [(1, 0.01), (20, 0.1), (100, 0.1), (200, 1.0), (5, 10.0)])
def test_a_cohort_that_drowns_in_noise_still_gives_a_lawful_table(
    schema: Schema, n_patients: int, epsilon: float
) -> None:
    """Noise that left no count positive made the estimator give up, after the budget was spent."""
    config = Config(iterations=200)
    plan = config.plan(schema, epsilon=epsilon, delta=1e-6, patients=n_patients)
    for seed in range(3):
        model = config.fit(cohort(schema, n_patients, seed), plan, noise=NoiseSource.for_tests(seed))
        assert not violations(draw(model, schema, 50, seed=0)).any()
