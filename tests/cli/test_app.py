"""The command line's contract: JSON at every exit, exit codes, idempotence, the ledger before the data."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from synthgen.cli import app as cli

SCHEMA = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}, outside: clip}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: tiny
seed: 3
data: {table: {path: tiny.csv, schema: tiny.schema.yaml}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 1.0, delta: 1e-6, patients: 600}
generator: {name: marginal, iterations: 50}
sample: {records: 500}
release: {formats: [csv]}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rows = [f"p{i // 2},{20 + i % 80},{'FM'[i % 2]},{'true' if i % 5 == 0 else 'false'}" for i in range(1200)]
    (tmp_path / "tiny.csv").write_text("patient,age,sex,died\n" + "\n".join(rows) + "\n")
    (tmp_path / "tiny.schema.yaml").write_text(SCHEMA)
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return int(stop.value.code or 0), json.loads(out)


def test_help_takes_less_than_a_second() -> None:
    command = [sys.executable, "-m", "synthgen.cli.app", "--help"]
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        assert subprocess.run(command, capture_output=True, check=True).stdout
        seconds.append(time.perf_counter() - start)
    modules = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, synthgen.cli.app; print('pandas' in sys.modules, 'jax' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert modules.split() == ["False", "False"]


def test_plan_reads_no_record(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "tiny.csv").unlink()
    code, shown = call(capsys, "plan", place / "run.yaml")
    assert code == 0
    assert {"patients", "epsilon", "delta", "stages", "noise", "steps", "seconds", "expected_error"} <= set(
        shown
    )
    assert shown["patients"] == 600


def test_a_plan_over_the_cap_ends_with_4_and_no_record_read(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{place / 'ledger.db'}"
    assert call(capsys, "ledger", "open", "tiny", "--epsilon", 0.5, "--delta", 1e-6, "--ledger", url)[0] == 0
    read: list[str] = []
    original = Path.open

    def watch(self: Path, *args: Any, **kwargs: Any) -> Any:
        read.append(self.name)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", watch)
    monkeypatch.setattr("synthgen.ingest.tables.table.read_raw", lambda *a, **k: read.append("tiny.csv"))
    code, shown = call(capsys, "fit", place / "run.yaml", "--output", place / "run")
    assert code == 4
    assert shown["error"]["code"] == "budget"
    assert "tiny.csv" not in read


def test_a_missing_bound_ends_with_2_and_the_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = SCHEMA.replace("minimum: 18, maximum: 100, required: true", "minimum: 18, required: true")
    (place / "tiny.schema.yaml").write_text(text)
    code, shown = call(capsys, "plan", place / "run.yaml")
    assert code == 2
    assert shown["error"]["where"].endswith("tiny.schema.yaml:5")
    assert "maximum" in shown["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["plan", "nowhere.yaml"], 2),
        (["run"], 2),
        (["nonsense"], 2),
        (["verify", "nowhere"], 2),
        (["sample", "nowhere", "-n", "3", "-o", "x.csv"], 2),
        (["evaluate"], 2),
        (["ledger", "show", "--ledger", "sqlite:///nowhere.db"], 2),
    ],
)
def test_every_failure_prints_one_json_error(
    arguments: list[str],
    code: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    got, shown = call(capsys, *arguments)
    assert got == code
    assert set(shown["error"]) == {"code", "message", "where", "next"}


def test_run_without_evaluation_cannot_be_signed_and_is_done_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = call(capsys, "run", place / "run.yaml", "--output", place / "run")
    assert code == 5
    assert shown["verdict"] == "cannot-sign"
    assert {"verdict", "reasons", "epsilon", "delta", "unit", "heads", "run", "bundle", "seconds"} <= set(
        shown
    )
    assert set(shown["heads"]) == {"fidelity", "utility", "fairness", "leakage"}
    assert (place / "run" / "internal").stat().st_mode & 0o777 == 0o700
    again, same = call(capsys, "run", place / "run.yaml", "--output", place / "run")
    assert (again, same) == (5, shown)
    url = f"sqlite:///{place / 'ledger.db'}"
    assert call(capsys, "ledger", "show", "--ledger", url)[1]["cohorts"][0]["spends"] == 1
    assert call(capsys, "ledger", "verify", "--ledger", url) == (0, {"verified": True, "problems": []})
    other = call(capsys, "run", place / "run.yaml", "--output", place / "run", "--set", "seed=4")
    assert other[0] == 2

    assert call(capsys, "release", place / "run", "--output", place / "bundle")[0] == 5
    code, _ = call(capsys, "release", place / "run", "--output", place / "bundle", "--override", "a test")
    assert code == 0
    assert call(capsys, "verify", place / "bundle")[0] == 0
    data = place / "bundle" / "data" / "tiny.csv"
    data.write_bytes(data.read_bytes().replace(b"F", b"M", 1))
    code, shown = call(capsys, "verify", place / "bundle")
    assert code == 3
    assert "data/tiny.csv" in {problem["file"] for problem in shown["problems"]}

    for name in ("a.csv", "b.csv"):
        code, _ = call(
            capsys, "sample", place / "run", "-n", 50, "-o", place / name, "--where", "sex=F", "--seed", 9
        )
        assert code == 0
    assert (place / "a.csv").read_bytes() == (place / "b.csv").read_bytes()
    assert (place / "a.csv").read_text().splitlines()[0] == "patient,age,sex,died"
    assert call(capsys, "sample", place / "run", "-n", 50, "-o", place / "shards", "--shards", 3)[0] == 0
    assert len(list((place / "shards").iterdir())) == 3


def crashed_fit(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[object], str]:
    from synthgen.generators.marginal.config import Config

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    url = f"sqlite:///{place / 'ledger.db'}"
    run: list[object] = ["run", place / "run.yaml", "--output", place / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(Config, "fit", crash)
        assert call(capsys, *run)[0] == 130
    return run, url


def test_a_crash_in_the_fit_keeps_the_spend_and_resume_goes_on_under_it(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, url = crashed_fit(place, capsys, monkeypatch)
    shown = call(capsys, "ledger", "show", "--ledger", url)[1]
    assert shown["cohorts"][0]["spends"] == 1
    assert len(shown["orphans"]) == 1
    assert call(capsys, *run)[0] == 2
    assert call(capsys, *run, "--resume")[0] == 5
    shown = call(capsys, "ledger", "show", "--ledger", url)[1]
    assert (shown["cohorts"][0]["spends"], shown["orphans"]) == (1, [])


def test_a_fit_that_was_written_off_is_charged_anew(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, url = crashed_fit(place, capsys, monkeypatch)
    number = call(capsys, "ledger", "show", "--ledger", url)[1]["orphans"][0]
    assert call(capsys, "ledger", "resolve", number, "--reason", "crashed", "--ledger", url)[0] == 0
    assert call(capsys, *run, "--resume")[0] == 4
    cap = ["ledger", "open", "tiny", "--epsilon", 3, "--delta", 1e-6, "--reason", "a crash", "--ledger", url]
    assert call(capsys, *cap)[0] == 0
    assert call(capsys, *run, "--resume")[0] == 5
    assert call(capsys, "ledger", "show", "--ledger", url)[1]["cohorts"][0]["spends"] == 2


def test_refused_data_void_the_reservation_and_mended_data_are_charged_once(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["run", place / "run.yaml", "--output", place / "run"]
    url, table = f"sqlite:///{place / 'ledger.db'}", place / "tiny.csv"
    assert call(capsys, "ledger", "open", "tiny", "--epsilon", 1, "--delta", 1e-6, "--ledger", url)[0] == 0
    good = table.read_text()
    table.write_text(good.replace(",F,", ",X,", 3))
    for again in ([], ["--resume"]):
        code, shown = call(capsys, *run, *again)
        assert (code, shown["error"]["code"]) == (3, "data")
    shown = call(capsys, "ledger", "show", "--ledger", url)[1]
    assert (shown["cohorts"][0]["spends"], shown["cohorts"][0]["left"]) == (0, pytest.approx(1.0))
    assert [entry["kind"] for entry in shown["entries"]] == ["cap", "reserve", "void", "reserve", "void"]
    assert "X" not in json.dumps(shown["entries"])
    table.write_text(good)
    assert call(capsys, *run, "--resume")[0] == 5
    kinds = [entry["kind"] for entry in call(capsys, "ledger", "show", "--ledger", url)[1]["entries"]]
    assert kinds[5:] == ["reserve", "draw", "commit"]
    with pytest.raises(SystemExit):
        cli.main(["ledger", "show", "--ledger", url])
    assert "tiny void of 2" in capsys.readouterr().out


def test_a_wrong_path_costs_no_budget(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", place / "run.yaml", "--output", place / "run"]
    (place / "tiny.csv").rename(place / "other.csv")
    code, shown = call(capsys, *run)
    assert (code, shown["error"]["code"]) == (3, "data")
    (place / "other.csv").rename(place / "tiny.csv")
    assert call(capsys, *run, "--resume")[0] == 5


def test_a_partial_fit_needs_resume_like_a_run(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthgen.generators.marginal.config import Config

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    fit = ["fit", place / "run.yaml", "--output", place / "run"]
    with monkeypatch.context() as patch:
        patch.setattr(Config, "fit", crash)
        assert call(capsys, *fit)[0] == 130
    code, shown = call(capsys, *fit)
    assert code == 2
    assert "--resume" in shown["error"]["next"]


def test_counted_patients_are_said_to_be_unprotected_and_a_public_figure_is_paid_for(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.replace(", patients: 600", "") + "evaluate: {holdout: 0.3}\n"
    (place / "run.yaml").write_text(text)
    code, shown = call(capsys, "run", place / "run.yaml", "--output", place / "run")
    assert code in (0, 5)
    assert set(shown["heads"]) == {"fidelity", "utility", "fairness", "leakage"}
    record = json.loads((place / "run" / "internal" / "record.json").read_text())
    assert record["claim"]["patients_counted"] is True
    assert record["claim"]["cohort_patients"] == 600
    assert record["claim"]["replace_one_epsilon"] > 1.0
    assert "NOT protected" in (place / "run" / "public" / "report.html").read_text()
    assert call(capsys, "plan", place / "run.yaml")[0] == 2

    assert call(capsys, "evaluate", place / "run", "--public", "epsilon=0.5")[0] == 4
    url = f"sqlite:///{place / 'ledger.db'}"
    cap = ["ledger", "open", "tiny", "--epsilon", 2, "--delta", 1e-6, "--reason", "figures", "--ledger", url]
    assert call(capsys, *cap)[0] == 0
    code, figure = call(capsys, "evaluate", place / "run", "--public", "epsilon=0.5")
    assert code == 0
    assert 0 <= figure["fidelity"]["total_variation"] <= 1
    assert call(capsys, "ledger", "show", "--ledger", url)[1]["cohorts"][0]["spends"] == 2
    assert call(capsys, "evaluate", place / "run")[0] in (0, 5)
    assert call(capsys, "ledger", "show", "--ledger", url)[1]["cohorts"][0]["looks"] == 2


def test_files_of_any_generator_are_judged(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (place / "tiny.csv").read_text().splitlines()
    head, rows = lines[0], lines[1:]
    for name, part in (("train", rows[:600]), ("holdout", rows[600:])):
        (place / f"{name}.csv").write_text("\n".join([head, *part]) + "\n")
    bare = [line.split(",", 1)[1] for line in [head, *rows[:600]]]
    (place / "synthetic.csv").write_text("\n".join(bare) + "\n")
    files = {name: place / f"{name}.csv" for name in ("train", "holdout", "synthetic")}
    code, shown = call(
        capsys,
        *("evaluate", "--real", files["train"], "--holdout", files["holdout"]),
        *("--synthetic", files["synthetic"], "--schema", place / "tiny.schema.yaml"),
        *("--epsilon", 1, "--delta", 1e-6, "--report", place / "report.html"),
    )
    assert code in (0, 5)
    assert {"verdict", "reasons", "epsilon", "delta", "unit", "heads"} <= set(shown)
    assert (place / "report.html").read_text().startswith("<!doctype html>")


def test_changed_data_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", place / "run.yaml", "--output", place / "run"]
    assert call(capsys, *run)[0] == 5
    with (place / "tiny.csv").open("a") as stream:
        stream.write("p9999,44,F,true\n")
    assert call(capsys, *run)[0] == 2


def test_schema_verbs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, schema = place / "tiny.csv", place / "tiny.schema.yaml"
    assert call(capsys, "schema", "init", table, "-o", place / "draft.yaml", "--suggest")[0] == 0
    assert "confirmed: false" in (place / "draft.yaml").read_text()
    assert call(capsys, "schema", "check", schema, table) == (0, {"valid": True, "violations": []})
    table.write_text(table.read_text().replace(",F,", ",X,", 3))
    code, shown = call(capsys, "schema", "check", schema, table)
    assert code == 3
    assert shown["violations"][0]["count"] == 3
    assert call(capsys, "schema", "simulate", schema, "-n", 20, "-o", place / "fake.csv")[0] == 0
    assert len((place / "fake.csv").read_text().splitlines()) == 21


def test_the_python_way(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import synthgen

    monkeypatch.chdir(place)
    model = synthgen.fit(
        "tiny.csv",
        schema="tiny.schema.yaml",
        generator={"name": "marginal", "iterations": 50},
        epsilon=1.0,
        delta=1e-6,
        patients=600,
        ledger="sqlite:///ledger.db",
    )
    assert (model.sample(100, where={"sex": "F"})["sex"] == "F").all()
    model.save("model")
    again = synthgen.load("model")
    assert again.sample(10).equals(model.sample(10))
    assert len(again.sample(10)) == 10
