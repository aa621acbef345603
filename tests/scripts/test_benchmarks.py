"""The benchmarks' own rules: verdicts that can fail, rows that are kept, data that depend."""

import dataclasses
import importlib
import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.data.tables import SyntheticTable
from synthgen.evaluation.base import Inputs
from synthgen.ingest.tables.table import read_table
from synthgen.schema.schema import Schema

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


def growth_row(records: int, **seconds: float) -> dict[str, Any]:
    stages = {
        "load": 1e-5 * records,
        "encode": 1e-6 * records,
        "fit": 9 + 1e-5 * records,
        "sample": 1.0,
    } | seconds
    row: dict[str, Any] = {"records": records, "columns": 20, "peak_sample": 1.0 + records / 1e6}
    return row | stages | {f"{stage}_cpu": value for stage, value in stages.items()}


def test_growth_that_is_linear_passes_and_each_steeper_stage_is_named(script: Any) -> None:
    growth = script("bench_growth")
    small, large = growth_row(100_000), growth_row(1_000_000)
    assert growth.verdicts([small, large])[0] == "at most linear in rows: yes"
    assert growth.verdicts([small])[0] == "at most linear in rows: not shown"
    for stage in growth.STAGES:
        steep = growth_row(1_000_000, **{stage: 30 * small[f"{stage}_cpu"]})
        lines = growth.verdicts([small, steep])
        assert lines[0] == "at most linear in rows: no"
        assert f"{stage}_cpu" in lines[1]
        assert "1.48" in lines[1]


def test_a_case_that_failed_or_needs_too_much_memory_is_no_pass(script: Any) -> None:
    growth = script("bench_growth")
    failed = {"records": 1_000_000, "columns": 20, "failed": "exit code -9: no message"}
    lines = growth.verdicts([growth_row(100_000), failed])
    assert "at most linear in rows: no" in lines
    assert lines[-1].startswith("within 24 GiB: no")
    big = growth_row(1_000_000) | {"peak_sample": 24.5}
    assert growth.verdicts([growth_row(100_000), big])[-1].startswith("within 24 GiB: no")


def test_the_simulated_cohort_keeps_to_its_schema_and_its_columns_depend(script: Any, tmp_path: Path) -> None:
    growth = script("bench_growth")
    tables = {}
    for suffix in ("parquet", "csv"):
        path = tmp_path / f"cohort.{suffix}"
        growth.simulate(3000, 8, path)
        schema = Schema.model_validate_json(path.with_suffix(".json").read_text(encoding="utf-8"))
        tables[suffix], report = read_table(path, schema)
        assert report.units < report.records == 3000
    assert tables["csv"].frame.equals(tables["parquet"].frame)
    numbers = [name for name in tables["csv"].frame if tables["csv"].frame[name].dtype == float]
    frame = tables["csv"].frame[numbers]
    rng = np.random.default_rng(0)
    for a, b in itertools.combinations(numbers, 2):
        cells = [np.digitize(frame[name].fillna(-1), np.linspace(0, 100, 11)) for name in (a, b)]
        chance = [mutual_information(cells[0], rng.permutation(cells[1])) for _ in range(20)]
        assert mutual_information(*cells) > 3 * max(chance)


def mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    joint = np.histogram2d(a, b, bins=12)[0] / len(a)
    even = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    held = joint > 0
    return float((joint[held] * np.log(joint[held] / even[held])).sum())


def test_a_kept_row_replaces_the_one_of_its_peer_table_and_epsilon_only(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peers = script("_peers")
    monkeypatch.setattr(peers, "KEPT", tmp_path / "peers.json")
    assert peers.kept() == []
    for epsilon, score in ((1.0, 0.7), (10.0, 0.8), (1.0, 0.9)):
        peers.keep({"peer": "sn-mst", "table": "adult", "epsilon": epsilon, "auc_lr": score})
    assert [row["auc_lr"] for row in peers.find(peers.kept(), "adult", 1.0)] == [0.9]
    assert [row["auc_lr"] for row in peers.find(peers.kept(), "adult", 10.0)] == [0.8]
    assert peers.find(peers.kept(), "support2", 1.0) == []


def test_a_peer_that_cannot_be_installed_is_left_out_with_a_message(
    script: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = script("_peers")

    def refuse(*command: Any, **settings: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip", stderr="first\nno such version\n")

    monkeypatch.setattr(peers, "CACHE", tmp_path)
    monkeypatch.setattr(peers.venv, "create", lambda *place, **settings: None)
    monkeypatch.setattr(peers.subprocess, "run", refuse)
    assert peers.measure("sn-mst", "adult", 1.0, delta=1e-5, bench=tmp_path, score=dict) is None
    message = capsys.readouterr().err
    assert "SmartNoise MST is left out, it could not be installed: no such version" in message


def test_a_missed_goal_is_named_and_a_reached_one_is_said(script: Any) -> None:
    bench = script("bench_tabular")
    row = {"table": "adult", "epsilon": 1.0, "tvd2": 0.03, "auc_lr": 0.9, "auc_gb": 0.91, "seconds": 20.0}
    assert bench.goals_of(row) == ["reached: adult eps 1, all of tvd2, auc_lr, auc_gb, seconds"]
    for key, value in (("tvd2", 0.035), ("auc_lr", 0.89), ("auc_gb", 0.90), ("seconds", 31.0)):
        lines = bench.goals_of(row | {key: value})
        assert len(lines) == 1
        assert lines[0].startswith(f"missed: adult eps 1 {key}")


def test_the_kept_rows_name_no_path_and_say_how_they_were_measured(script: Any) -> None:
    peers = script("_peers")
    text = peers.KEPT.read_text(encoding="utf-8")
    assert "/" not in text
    for row in json.loads(text)["rows"]:
        assert {"date", "machine", "load_start", "load_end", "threads", "status"} <= set(row)
        scored = row["status"] == "scored"
        assert scored == ("tvd2" in row)
        assert not scored or row["versions"]


def test_the_linked_cohort_is_parted_by_patient_and_a_deal_of_its_rows_is_told_apart(script: Any) -> None:
    linked = script("bench_linked")
    train, holdout = linked.parts(2000)
    assert not set(train.units) & set(holdout.units)
    assert len(set(train.units)) == 1400
    drawn = SyntheticTable(train.schema, holdout.frame, units=holdout.unit_codes()[0] + 1)
    inputs = Inputs(train.schema, train, holdout, holdout, drawn)
    order = np.random.default_rng(0).permutation(len(drawn))
    dealt = SyntheticTable(train.schema, holdout.frame.iloc[order].reset_index(drop=True), units=drawn.units)
    found = [linked.values(linked.lag_pairs, inputs, table) for table in (drawn, dealt)]
    assert found[0][0] < found[0][1] < found[1][0]


def test_the_worst_group_is_worst_over_the_fits_and_too_few_is_no_figure(script: Any) -> None:
    tables = script("_fairness_tables")

    def rows(group: str, *found: Any) -> list[dict[str, Any]]:
        return [{"group": group, "gap": value} for value in found]

    swings = rows("race=A", [0.2, 0.1], [-0.2, 0.1])  # nothing on average, and far off in each fit
    steady = rows("race=B", [-0.1, 0.2], [-0.1, 0.2])
    few = rows("race=C", None, None)
    assert tables.worst_of([*steady, *swings, *few], "gap") == "**A -.20..+.20**"
    assert tables.worst_of([*steady, *few], "gap") == "B -.10"
    assert tables.worst_of(few, "gap") == "too few"


@pytest.fixture
def gate_bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.syspath_prepend(str(SCRIPTS / "benchmarks"))
    return importlib.import_module("bench_gate")


def test_the_bench_of_the_gate_judges_copies_and_an_independent_sample(gate_bench: Any) -> None:
    assert {"copies", "5 % of labels flipped"} <= {table.name for table in gate_bench.tables(("*",))}
    case = gate_bench.Case("simulated", 300, "copies", 0, ("leakage_nearest*", "leakage_exact*"), False)
    assert gate_bench.judged(case)["verdict"] == "refuse"
    row = gate_bench.judged(dataclasses.replace(case, table="independent sample", again=True))
    assert row["verdict"] != "refuse"
    assert row["rows"] == {"a part": 300, "synthetic": 300}
