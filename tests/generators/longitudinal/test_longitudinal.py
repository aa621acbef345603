"""Linked records: rows of a patient stay together, in order, and are paid for by patient."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.encode.table import Encoder
from synthgen.errors import ConfigError
from synthgen.generators.longitudinal.flattening import GAP, POSITION, POSITIONS, ROWS, START, Layout
from synthgen.generators.longitudinal.model import LinkedModel, for_schema
from synthgen.generators.marginal import measurement
from synthgen.generators.marginal.config import Config
from synthgen.generators.saved_model import load_model, save_model
from synthgen.pipeline.public_metrics import fidelity
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter, lattice_weights, weighted_marginal
from synthgen.privacy.noise import NoiseSource
from synthgen.release.bundle.data_checks import data_problems
from synthgen.sampling.draw import draw, violations, write_shards, write_table
from synthgen.schema.schema import Schema

MOST = 6
SCHEMA: dict[str, Any] = {
    "unit": {"column": "pid", "max_records": MOST, "records": "linked", "order": "day"},
    "fields": [
        {"name": "pid", "type": "string", "role": "id"},
        {"name": "visit", "type": "integer", "role": "id"},
        {
            "name": "sex",
            "type": "string",
            "role": "protected",
            "static": True,
            "constraints": {"enum": ["F", "M"], "required": True},
        },
        {
            "name": "day",
            "type": "date",
            "origin": "2000-01-01",
            "constraints": {"minimum": "2000-01-01", "maximum": "2003-01-01", "required": True},
        },
        {"name": "out", "type": "date", "since": "day", "constraints": {"minimum": 0, "maximum": 90}},
        {"name": "pulse", "type": "number", "constraints": {"minimum": 20, "maximum": 220}},
        {"name": "ward", "type": "string", "constraints": {"enum": ["a", "b", "c"], "required": True}},
        {"name": "pregnant", "type": "boolean", "constraints": {"required": True}},
        {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
    ],
    "rules": ["pregnant implies sex == F"],
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


def canonical(schema: Schema, rows: list[dict[str, Any]], units: list[str]) -> RealTable:
    frame = pd.DataFrame(rows)
    columns = {
        c.name: pd.Categorical(frame[c.name], categories=list(c.labels))
        if c.kind == "category"
        else frame[c.name].to_numpy(float)
        for c in schema.columns
    }
    return RealTable(schema, pd.DataFrame(columns), np.array(units, dtype=object))


def cohort(schema: Schema, n_patients: int, seed: int = 0) -> RealTable:
    """Patients whose pulse and ward persist, and who die in their last row if at all."""
    rng = np.random.default_rng(seed)
    rows, units = [], []
    for i in range(n_patients):
        n_rows = int(rng.choice(np.arange(1, MOST + 1), p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05]))
        female, day, pulse, ward = rng.random() < 0.5, float(rng.integers(0, 400)), rng.normal(80, 20), "abc"
        now = ward[rng.integers(3)]
        for j in range(n_rows):
            rows.append(
                {
                    "sex": "F" if female else "M",
                    "day": day,
                    "out": float(rng.integers(0, 30)),
                    "pulse": np.nan if rng.random() < 0.1 else float(np.clip(pulse, 20, 220)),
                    "ward": now,
                    "pregnant": bool(female and rng.random() < 0.1),
                    "died": bool(j == n_rows - 1 and rng.random() < 0.4),
                }
            )
            units.append(f"p{i}")
            day += float(rng.integers(1, 90))
            pulse = 80 + 0.9 * (pulse - 80) + rng.normal(0, 8)
            now = now if rng.random() < 0.85 else ward[rng.integers(3)]
    return canonical(schema, rows, units)


def shuffled(table: RealTable, seed: int = 0) -> RealTable:
    order = np.random.default_rng(seed).permutation(len(table))
    return RealTable(table.schema, table.frame.iloc[order].reset_index(drop=True), table.units[order])


@pytest.fixture(scope="module")
def fitted(schema: Schema) -> LinkedModel:
    config = for_schema(Config(iterations=400), schema)
    plan = config.plan(schema, epsilon=6.0, delta=1e-6, patients=4000)
    model = config.fit(shuffled(cohort(schema, 4000)), plan, noise=NoiseSource.for_tests(0))
    assert isinstance(model, LinkedModel)
    return model


def extreme(schema: Schema, n_rows: int, kind: str) -> RealTable:
    """The worst patient: one or very many rows, spread over the domain or piled at its ends."""
    rng = np.random.default_rng(1)
    outlier = kind == "outlier"
    rows = [
        {
            "sex": "F",
            "day": 1096.0 if outlier else float(rng.integers(0, 1097)),
            "out": 90.0 if outlier else float(rng.integers(0, 91)),
            "pulse": 220.0 if outlier else float(rng.uniform(20, 220)),
            "ward": "abc"[0 if outlier else rng.integers(3)],
            "pregnant": bool(rng.random() < 0.5),
            "died": bool(rng.random() < 0.5),
        }
        for _ in range(n_rows)
    ]
    return canonical(schema, rows, ["worst"] * n_rows)


def joined(a: RealTable, b: RealTable) -> RealTable:
    frame = pd.concat([a.frame, b.frame], ignore_index=True)
    return shuffled(RealTable(a.schema, frame, np.concatenate([a.units, b.units])), seed=5)


def naive_flat(table: RealTable) -> list[tuple[Any, ...]]:
    """Position, number of rows, start, gap, and the ward before, patient by patient."""
    out = []
    for unit in dict.fromkeys(table.units):
        mine = table.frame[table.units == unit].sort_values("day", kind="stable").head(MOST)
        days, wards = mine["day"].tolist(), mine["ward"].tolist()
        for i in range(len(mine)):
            place = "only" if len(mine) == 1 else "first" if i == 0 else "middle"
            place = "last" if i == len(mine) - 1 > 0 else place
            before = None if i == 0 else "abc".index(wards[i - 1])
            gap = 0.0 if i == 0 else days[i] - days[i - 1]
            out.append((unit, place, float(len(mine)), days[0], gap, before, wards[i]))
    return out


def test_the_flat_table_is_what_a_loop_over_patients_makes(schema: Schema) -> None:
    table = joined(cohort(schema, 60), extreme(schema, 40, "spread"))
    flat = Layout(schema).flatten(table)
    labels = {"none": None, "v0": 0, "v1": 1, "v2": 2}
    found = [
        (unit, row[POSITION], row[ROWS], row[START], row[GAP], labels[row["previous.ward"]], row["ward"])
        for unit, (_, row) in zip(flat.units, flat.frame.iterrows(), strict=True)
    ]
    assert sorted(found, key=str) == sorted(naive_flat(table), key=str)
    assert list(flat.frame.columns) == [column.name for column in flat.schema.columns]
    Encoder.of(flat.schema).encode(flat.frame)  # every cell lies in its public domain


@pytest.mark.parametrize(
    ("n_rows", "kind"), [(1, "spread"), (MOST, "spread"), (MOST, "outlier"), (500, "spread")]
)
def test_a_patient_changes_no_other_patients_flat_rows_and_has_at_most_max_records(
    schema: Schema, n_rows: int, kind: str
) -> None:
    base = cohort(schema, 80)
    both = Layout(schema).flatten(joined(base, extreme(schema, n_rows, kind)))
    alone = Layout(schema).flatten(base)
    others = both.select(both.units != "worst")
    key = [START, GAP, ROWS]
    for table in (others, alone):
        table.frame["unit"] = table.units
    pd.testing.assert_frame_equal(
        others.frame.sort_values(["unit", *key], ignore_index=True),
        alone.frame.sort_values(["unit", *key], ignore_index=True),
    )
    assert (both.units == "worst").sum() == min(n_rows, MOST)


@pytest.mark.parametrize(
    ("n_rows", "kind"), [(1, "spread"), (MOST, "spread"), (MOST, "outlier"), (500, "spread")]
)
def test_each_vector_that_a_whole_linked_fit_measures_moves_by_at_most_one_patient(
    schema: Schema, monkeypatch: pytest.MonkeyPatch, n_rows: int, kind: str
) -> None:
    """With noise off, a fit on D asks its queries; D' with the worst patient answers the same ones."""
    base = cohort(schema, 200)
    both = Layout(schema).flatten(joined(base, extreme(schema, n_rows, kind)))
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
    config = for_schema(Config(iterations=50), schema)
    plan = config.plan(schema, epsilon=2.0, delta=1e-6, patients=200)
    config.fit(base, plan, noise=NoiseSource.none())
    encoder = Encoder.of(both.schema, fine_cells=plan.parameters["fine_cells"])
    cells, weights = encoder.encode(both.frame), lattice_weights(*both.unit_codes())
    names = {attributes for _, attributes, _ in asked}
    assert {("ward", "previous.ward"), (ROWS, POSITION), (POSITION, GAP)} <= names
    largest = 0.0
    for merging, attributes, exact in asked:
        columns = [cells[n] if merging is None else merging[n].coarse[cells[n]] for n in attributes]
        sizes = [encoder.grids[n].n_cells if merging is None else merging[n].n_coarse for n in attributes]
        moved = np.abs(weighted_marginal(columns, sizes, weights) - exact).astype(float)
        largest = max(largest, float(moved.sum()))
        assert moved.sum() <= LATTICE
        assert np.sqrt((moved**2).sum()) <= LATTICE
    assert largest > 0.9 * LATTICE


def test_flat_rows_that_weigh_one_each_would_break_that_bound(schema: Schema) -> None:
    worst = Layout(schema).flatten(extreme(schema, 500, "spread"))
    cells = Encoder.of(worst.schema, fine_cells=40).encode(worst.frame)["pulse"]
    counts = np.bincount(cells) * float(LATTICE)
    assert np.sqrt((counts**2).sum()) > 2 * LATTICE


def test_a_linked_fit_spends_its_plans_rho_and_nothing_besides(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    spent: list[float] = []
    original = ZCDPFilter.spend

    def spy(self: ZCDPFilter, rho: float) -> None:
        original(self, rho)
        spent.append(rho)

    monkeypatch.setattr(ZCDPFilter, "spend", spy)
    config = for_schema(Config(iterations=50), schema)
    plans = [config.plan(schema, epsilon=1.0, delta=1e-6, patients=500) for _ in range(2)]
    assert plans[0] == plans[1]
    config.fit(cohort(schema, 500), plans[0], noise=NoiseSource.for_tests(1))
    assert 0.9 * plans[0].parameters["rho"] < sum(spent) <= plans[0].parameters["rho"] * (1 + 1e-9)


def histories(frame: pd.DataFrame, units: np.ndarray) -> dict[str, Any]:
    """Rows per patient; lag-1 tables of pulse (20 wide) and ward; deaths that others follow."""
    rows = np.bincount(pd.Series(units).groupby(units).size(), minlength=MOST + 1)[1:]
    before = frame.groupby(units, sort=False).shift()
    there = before["day"].notna().to_numpy()
    pulses = [np.nan_to_num(np.floor(f["pulse"] / 20), nan=0).astype(int) for f in (before, frame)]
    wards = ["abc".index(str(w)) if not pd.isna(w) else 0 for w in before["ward"]], frame["ward"].cat.codes
    lag = np.bincount(pulses[0][there] * 12 + pulses[1][there], minlength=144) / there.sum()
    same = float((np.array(wards[0])[there] == wards[1].to_numpy()[there]).mean())
    return {"rows": rows / rows.sum(), "pulse": lag, "same ward": same, "there": there}


def tvd(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).sum() / 2)


def test_synthetic_patients_have_the_real_ones_number_of_rows_and_their_persistence(
    fitted: LinkedModel, schema: Schema
) -> None:
    """A control that shuffles rows among patients shows what independent rows would give."""
    drawn = draw(fitted, schema, 4000, seed=1)
    real = cohort(schema, 4000, seed=9)
    mine, theirs = histories(drawn.frame, np.asarray(drawn.units)), histories(real.frame, real.units)
    order = np.random.default_rng(0).permutation(len(drawn))
    loose = histories(drawn.frame.iloc[order].reset_index(drop=True), np.asarray(drawn.units))
    uniform = np.full(MOST, 1 / MOST)
    rows, pulse = tvd(mine["rows"], theirs["rows"]), tvd(mine["pulse"], theirs["pulse"])
    apart = tvd(loose["pulse"], theirs["pulse"])
    print(f"rows {rows:.3f}, uniform {tvd(uniform, theirs['rows']):.3f}")
    print(f"pulse pairs {pulse:.3f}, shuffled {apart:.3f}")
    print(f"same ward {mine['same ward']:.3f}, real {theirs['same ward']:.3f}, {loose['same ward']:.3f}")
    assert rows < 0.03 < tvd(uniform, theirs["rows"])
    assert pulse < 0.5 * apart
    assert abs(mine["same ward"] - theirs["same ward"]) < 0.05 < theirs["same ward"] - loose["same ward"]
    died = drawn.frame["died"].astype(bool).to_numpy()
    followed = died[:-1] & (np.diff(np.asarray(drawn.units)) == 0)
    assert followed.sum() < 0.05 * died.sum()


def test_rows_of_a_patient_share_an_id_and_what_is_static_and_stand_in_order(
    fitted: LinkedModel, schema: Schema
) -> None:
    table = draw(fitted, schema, 500, seed=2)
    frame = table.to_pandas()
    groups = frame.groupby("pid", sort=False)
    assert list(frame.columns) == [field.name for field in schema.fields]
    assert frame["pid"].drop_duplicates().tolist() == [f"S{i:08d}" for i in range(1, 501)]
    assert groups.size().max() <= MOST
    assert (groups["sex"].nunique() == 1).all()
    assert groups["day"].is_monotonic_increasing.all()
    assert frame["visit"].is_unique
    assert frame["day"].between("2000-01-01", "2003-01-01").all()
    assert (frame["out"].dropna() >= frame["day"][frame["out"].notna()]).all()
    assert not violations(table).any()
    assert table.frame["pregnant"].astype(bool).any()


def test_the_same_seed_gives_the_same_bytes_from_a_saved_model_too(
    fitted: LinkedModel, schema: Schema, tmp_path: Path
) -> None:
    save_model(fitted, schema, "marginal", tmp_path)
    again, loaded, _ = load_model(tmp_path)
    assert loaded == schema
    for name, model in (("a.csv", fitted), ("b.csv", again)):
        write_table(draw(model, schema, 200, seed=5), tmp_path / name)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert not draw(fitted, schema, 200, seed=6).frame.equals(draw(fitted, schema, 200, seed=5).frame)


@pytest.mark.parametrize("n_patients", [0, 1, 3])
def test_few_patients_have_the_schemas_columns(fitted: LinkedModel, schema: Schema, n_patients: int) -> None:
    table = draw(fitted, schema, n_patients, seed=0)
    assert len(np.unique(np.asarray(table.units))) == n_patients
    assert list(table.to_pandas().columns) == [field.name for field in schema.fields]


def test_conditions_and_balance_speak_of_patients(fitted: LinkedModel, schema: Schema) -> None:
    assert (draw(fitted, schema, 200, seed=0, where={"sex": "F"}).frame["sex"] == "F").all()
    table = draw(fitted, schema, 200, seed=0, balance="sex")
    firsts = table.frame["sex"][np.unique(np.asarray(table.units), return_index=True)[1]]
    assert firsts.value_counts().to_dict() == {"F": 100, "M": 100}
    assert len(set(firsts.iloc[:20])) == 2  # mixed, not one block after the other
    with pytest.raises(ConfigError, match="static"):
        draw(fitted, schema, 10, seed=0, where={"ward": "a"})


def test_several_batches_hold_different_patients(
    fitted: LinkedModel, schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.sampling.draw.BATCH", 40)
    table = draw(fitted, schema, 100, seed=0)
    assert np.unique(np.asarray(table.units)).tolist() == list(range(1, 101))
    assert (table.frame.groupby(table.units)["sex"].nunique() == 1).all()


def test_shards_share_no_id_and_keep_patients_whole(
    fitted: LinkedModel, schema: Schema, tmp_path: Path
) -> None:
    paths = write_shards(fitted, schema, 50, tmp_path, shards=3, seed=0)
    frame = pd.concat([pd.read_parquet(path) for path in paths])
    assert frame["pid"].nunique() == 50
    assert frame["visit"].is_unique
    assert pd.concat([pd.read_parquet(p)[["pid"]].drop_duplicates() for p in paths])["pid"].is_unique


def test_a_broken_rule_redraws_the_whole_patient(
    fitted: LinkedModel, schema: Schema, monkeypatch: Any
) -> None:
    """Without the row-wise redraw, the patients who break a rule are drawn anew, and others stay."""
    from synthgen.generators.longitudinal import model as longitudinal

    monkeypatch.setattr(longitudinal, "REDRAWS", 0)
    hard = schema.model_copy(update={"rules": ("not died or ward == a",)})
    table = draw(LinkedModel(hard, fitted.inner), hard, 300, seed=3)
    assert not violations(table).any()
    assert np.unique(np.asarray(table.units)).tolist() == list(range(1, 301))


def test_a_generator_that_cannot_draw_given_evidence_is_refused_before_anything_is_spent(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain:
        def sample(self, n_records: int, **kwargs: Any) -> SyntheticTable:
            raise NotImplementedError

        def save(self, folder: Path) -> None:
            raise NotImplementedError

    monkeypatch.setattr("synthgen.generators.tabular.marginal.Fitted", Plain)
    monkeypatch.setattr("synthgen.generators.marginal.config.FittedMarginal", Plain)
    with pytest.raises(ConfigError, match="row before"):
        for_schema(Config(), schema)
    with pytest.raises(ConfigError, match="row before"):
        LinkedModel.of(schema, Plain())
    single = Schema.model_validate_json(json.dumps({**SCHEMA, "unit": {"column": "pid", "max_records": 2}}))
    assert for_schema(Config(), single) == Config()


def test_a_column_called_like_the_flat_tables_own_is_refused() -> None:
    fields = [*SCHEMA["fields"], {"name": ROWS, "type": "boolean"}]
    schema = Schema.model_validate_json(json.dumps({**SCHEMA, "fields": fields}))
    with pytest.raises(ConfigError, match="other names"):
        _ = Layout(schema).flat


def test_many_labels_share_cells_with_their_neighbours_and_none_stays_apart() -> None:
    labels = [f"c{i:03d}" for i in range(1000)]
    fields = [SCHEMA["fields"][0], {"name": "code", "type": "string", "constraints": {"enum": labels}}]
    unit = {"column": "pid", "max_records": 2, "records": "linked"}
    wide = Schema.model_validate_json(json.dumps({"unit": unit, "fields": fields}))
    code = pd.Series(pd.Categorical([*labels, None], categories=labels))
    first = np.r_[np.zeros(1000, dtype=bool), False]
    cells = Layout(wide).previous(pd.DataFrame({"code": code}), first=first)["previous.code"]
    assert cells.isna().tolist() == [False] * 1000 + [True]
    assert (np.diff(cells.cat.codes[:1000]) >= 0).all()
    assert cells[:1000].nunique() == 200
    none = Layout(wide).previous(pd.DataFrame({"code": code}), first=~first)["previous.code"]
    assert set(none) == {"none"}
    assert list(Layout(wide).flat.column("previous.code").labels) == list(cells.cat.categories)


def test_positions_are_known_by_name(schema: Schema) -> None:
    stands = Layout(schema).where_it_stands(np.array([0, 0, 1, 2]), np.array([1, 3, 3, 3]))
    assert stands[POSITION].tolist() == list(POSITIONS)


def test_a_released_file_whose_histories_are_broken_is_named(
    fitted: LinkedModel, schema: Schema, tmp_path: Path
) -> None:
    table = draw(fitted, schema, 60, seed=1)
    frame = table.frame

    def problems(frame: pd.DataFrame, units: Any) -> list[str]:
        write_table(SyntheticTable(schema, frame, units=np.asarray(units)), tmp_path / "t.parquet")
        return data_problems(tmp_path / "t.parquet", schema, records=len(frame))

    assert problems(frame, table.units) == []
    one = problems(frame, np.ones(len(frame), dtype=np.int64))
    assert [text for text in one if "more than 6 rows" in text]
    assert [text for text in one if "not in order" in text]
    assert [text for text in one if "differ in the static column 'sex'" in text]
    apart = problems(frame, 1 + np.arange(len(frame)) % 2)
    assert [text for text in apart if "do not stand together" in text]


def test_a_published_figure_weighs_each_synthetic_patient_alike(schema: Schema) -> None:
    real = cohort(schema, 300)
    linked = SyntheticTable(schema, real.frame, units=pd.factorize(real.units)[0] + 1)
    loose = SyntheticTable(schema, real.frame)
    exact = [
        fidelity(real, table, rho=1.0, patients=300, noise=NoiseSource.none())["columns"]["died"]
        for table in (linked, loose)
    ]
    assert exact[0]["total_variation"] == pytest.approx(0.0, abs=1e-3)
    assert exact[1]["total_variation"] > 0.02
