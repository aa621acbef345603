"""The Python API: data frames in and out, through the same plan, ledger and stages as the command line."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import synthgen
from synthgen import frames
from synthgen.files import safe_files

DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
QUICK = {"name": "marginal", "iterations": 50, "rounds": 1}


def cohort(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 95, n)
    return pd.DataFrame(
        {
            "patient": [f"p{seed}-{i}" for i in range(n)],
            "age": pd.array(np.where(rng.random(n) < 0.05, None, age), dtype="Int64"),
            "sex": pd.Categorical(rng.choice(["F", "M"], n)),
            "cost": np.round(rng.gamma(2, 300, n), 2),
            "died": rng.random(n) < 1 / (1 + np.exp(-(age - 75) / 8)),
        }
    )


@pytest.fixture(scope="module")
def schema() -> synthgen.Schema:
    drafted = synthgen.Schema.draft(cohort(400, 0), unit="patient", labels="died", protected="sex")
    return drafted.edit("age", minimum=0, maximum=110).edit("cost", minimum=0, maximum=6000).confirm()


@pytest.fixture(scope="module")
def model(schema: synthgen.Schema, tmp_path_factory: pytest.TempPathFactory) -> synthgen.Model:
    url = f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'l.db'}"
    return synthgen.fit(
        cohort(600, 0),
        schema=schema,
        generator=QUICK,
        epsilon=4.0,
        delta=1e-6,
        patients=600,
        cohort="tiny",
        ledger=url,
        progress=None,
    )


def test_a_draft_is_unconfirmed_and_says_so(tmp_path: Path) -> None:
    drafted = synthgen.Schema.draft(cohort(200, 0), unit="patient")
    assert {"age", "sex", "cost", "died"} <= set(drafted.waiting)
    assert "not confirmed" in repr(drafted)
    drafted.to_yaml(tmp_path / "s.yaml")
    assert stat.S_IMODE((tmp_path / "s.yaml").stat().st_mode) == 0o600
    again = synthgen.Schema.from_yaml(tmp_path / "s.yaml")
    assert again == drafted
    with pytest.raises(synthgen.SynthgenError, match="confirmed"):
        synthgen.plan(drafted, epsilon=1.0, delta=1e-6, patients=200)
    assert set(again.confirm("age").waiting) == set(drafted.waiting) - {"age"}


def test_an_edit_changes_one_column_and_refuses_another_name(schema: synthgen.Schema) -> None:
    edited = schema.edit("cost", role="drop")
    assert [f.role for f in edited.parsed.fields if f.name == "cost"] == ["drop"]
    assert edited.edit("cost", role=None).parsed == schema.parsed
    with pytest.raises(synthgen.SynthgenError, match="none of the name 'costs'") as raised:
        schema.edit("costs", minimum=0)
    assert "cost" in raised.value.next_step


def test_a_plan_reads_no_record_and_is_a_table(schema: synthgen.Schema) -> None:
    planned = synthgen.plan(schema, generator=QUICK, epsilon=1.0, delta=1e-6, patients=600)
    frame = planned.to_frame()
    assert len(frame)
    assert frame["share"].sum() == pytest.approx(1.0)
    assert "epsilon 1" in repr(planned)
    assert "<table" in planned._repr_html_()


def test_records_come_back_with_the_types_of_the_frame(model: synthgen.Model) -> None:
    given, drawn = cohort(10, 0), model.sample(50, where={"sex": "F"})
    assert list(drawn.columns) == list(given.columns)
    assert drawn.dtypes.drop("patient").to_dict() == given.dtypes.drop("patient").to_dict()
    assert (drawn["sex"] == "F").all()
    assert model.sample(20, random_state=3).equals(model.sample(20, random_state=3))
    assert not model.sample(20, random_state=3).equals(model.sample(20, random_state=4))


def test_a_model_is_said_in_short_and_saved(model: synthgen.Model, tmp_path: Path) -> None:
    assert len(repr(model)) < 400
    for word in ("marginal", "epsilon=4", "patient", "tiny"):
        assert word in repr(model)
    assert "<table>" in model._repr_html_()
    model.save(tmp_path / "model")
    again = synthgen.load(tmp_path / "model")
    assert again.sample(5)["age"].equals(model.sample(5)["age"].astype(again.sample(5)["age"].dtype))


def test_the_spend_is_in_the_ledger_and_over_the_cap_no_frame_is_written(
    schema: synthgen.Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"schema": schema, "generator": QUICK, "delta": 1e-6, "patients": 300}
    options |= {"cohort": "capped", "ledger": f"sqlite:///{tmp_path / 'l.db'}", "progress": None}
    synthgen.fit(cohort(300, 1), epsilon=1.0, **options)
    with pytest.raises(synthgen.SynthgenError) as raised:
        synthgen.fit(cohort(300, 1), epsilon=1.0, **options)
    assert raised.value.exit_code == 4


def test_nothing_of_a_frame_stays_on_disk_also_after_an_error(
    schema: synthgen.Schema, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safe_files, "IN_MEMORY", tmp_path)
    seen: list[tuple[int, int]] = []
    written = frames.as_file

    def watched(data: Any, folder: Path, name: str) -> Path:
        path = written(data, folder, name)
        seen.append((stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(path.stat().st_mode)))
        return path

    monkeypatch.setattr("synthgen.api.as_file", watched)
    bad = cohort(50, 2).assign(age=-5)
    with pytest.raises(synthgen.SynthgenError):
        synthgen.fit(
            bad,
            schema=schema.edit("age", outside="error"),
            epsilon=1.0,
            delta=1e-6,
            patients=50,
            cohort="bad",
            ledger=f"sqlite:///{tmp_path / 'l.db'}",
            progress=None,
        )
    assert seen == [(0o700, 0o600)]
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_wrong_arguments_say_what_was_expected(schema: synthgen.Schema) -> None:
    budget: dict[str, Any] = {"epsilon": 1.0, "delta": 1e-6, "patients": 50}
    with pytest.raises(synthgen.SynthgenError, match="cohort's name"):
        synthgen.fit(cohort(50, 0), schema=schema, **budget)
    with pytest.raises(synthgen.SynthgenError, match="data frame or a path, got list"):
        synthgen.fit([1, 2], schema=schema, cohort="x", **budget)
    with pytest.raises(synthgen.SynthgenError, match=r"synthgen.Schema or the path") as raised:
        synthgen.fit(cohort(50, 0), schema={"a": 1}, cohort="x", **budget)
    assert "Schema.draft" in raised.value.next_step
    mixed = cohort(50, 0).assign(cost=[1.0, "a"] * 25)
    with pytest.raises(synthgen.SynthgenError, match="one type") as raised:
        synthgen.fit(mixed, schema=schema, cohort="x", **budget)
    assert "'a'" not in str(raised.value)


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_frames_of_other_libraries_are_taken(library: str, schema: synthgen.Schema, tmp_path: Path) -> None:
    module = pytest.importorskip(library)
    given = cohort(200, 4)
    frame = module.Table.from_pandas(given) if library == "pyarrow" else module.from_pandas(given)
    fitted = synthgen.fit(
        frame,
        schema=schema,
        generator=QUICK,
        epsilon=2.0,
        delta=1e-6,
        patients=200,
        cohort="other",
        ledger=f"sqlite:///{tmp_path / 'l.db'}",
        progress=None,
    )
    assert len(fitted.sample(7)) == 7


def test_a_table_of_any_generator_is_evaluated_in_memory(schema: synthgen.Schema, tmp_path: Path) -> None:
    said: list[str] = []
    found = synthgen.evaluate(
        real=cohort(500, 0),
        holdout=cohort(500, 1),
        synthetic=cohort(500, 2).drop(columns="patient"),
        schema=schema,
        progress=lambda what, done: said.append(what),
    )
    assert found.verdict in ("release", "cannot-sign", "refuse")
    assert any("Nobody counts" in reason for reason in found.reasons)
    frame = found.to_frame()
    assert {"fidelity", "utility", "fairness", "leakage"} == set(frame["head"])
    assert {"value", "low", "high", "n"} <= set(frame.columns)
    page = found.report(tmp_path / "report.html")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert page.read_text().startswith("<!doctype html>")
    assert len(repr(found)) < 400
    assert any(what.startswith("evaluate: ") for what in said)
    with pytest.raises(synthgen.SynthgenError, match=r"holdout: Expected parts without a common patient"):
        synthgen.evaluate(
            real=cohort(300, 0),
            holdout=cohort(300, 0),
            synthetic=cohort(300, 2).drop(columns="patient"),
            schema=schema,
            progress=None,
        )


def test_heart_uci_from_a_frame_to_a_report_in_ten_lines(tmp_path: Path, monkeypatch: Any) -> None:
    source = DATA / "heart_uci" / "heart_disease_uci.csv"
    if not source.is_file():
        pytest.skip("SYNTHGEN_TEST_DATA has no heart_uci")
    monkeypatch.chdir(tmp_path)
    df = pd.read_csv(source)
    train, test = df.iloc[::2], df.iloc[1::2]
    schema = synthgen.Schema.draft(df, unit="id", labels="num", protected="sex").confirm()
    model = synthgen.fit(train, schema=schema, epsilon=3, delta=1e-5, patients=460, cohort="heart")
    fake = model.sample(len(train))
    result = synthgen.evaluate(real=train, holdout=test, synthetic=fake, schema=schema)
    result.report("report.html")
    assert list(fake.columns) == list(df.columns)
    assert result.verdict in ("release", "refuse", "cannot-sign")
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_import_loads_no_heavy_package() -> None:
    code = "import synthgen, sys; print(sorted({'numpy', 'pandas', 'torch', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_typed_consumer_passes_mypy_strict(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "consumer.py").write_text(
        "import pandas as pd\n"
        "import synthgen\n"
        "schema: synthgen.Schema = synthgen.Schema.draft('t.csv', unit='id').confirm()\n"
        "model: synthgen.Model = synthgen.fit('t.csv', schema=schema, epsilon=1.0, delta=1e-6, patients=10)\n"
        "table: pd.DataFrame = model.sample(10, where={'sex': 'F'})\n"
        "verdict: str = synthgen.evaluate(real='t', holdout='h', synthetic=table, schema=schema).verdict\n"
        "wrong: int = model.sample(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "consumer.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 1, done.stdout
    assert "consumer.py:7" in errors[0]
