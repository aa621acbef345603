"""A run and its ledger: what is released has been charged, for one unit, and is claimed as it is proven."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import synthgen
from synthgen.cli import app as cli
from synthgen.errors import ConfigError
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit

SCHEMA = """
unit: %s
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 0, maximum: 99, required: true}, bins: 4}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
"""
CONFIG = """
cohort: c
data: {table: {path: t.csv, schema: %s.schema.yaml}}
budget: {ledger: "sqlite:///ledger.db", epsilon: 1.0, delta: 1e-5, patients: 200}
generator: {name: marginal, iterations: 50, rounds: 1, cliques: 0.5}
sample: {records: 50}
"""
UNITS = {
    "patient": "{column: patient, max_records: 2}",
    "one": "{column: patient, max_records: 1}",
    "row": "{level: row}",
    "admission": "{column: admission, max_records: 2}",
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rng, n = np.random.default_rng(0), 400
    frame = pd.DataFrame(
        {
            "patient": [f"p{i // 2}" for i in range(n)],
            "admission": [f"a{i}" for i in range(n)],
            "age": rng.integers(0, 100, n),
            "sex": rng.choice(["F", "M"], n),
        }
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    dropped = "  - {name: %s, type: string, role: drop}\n"
    for name, unit in UNITS.items():
        text = SCHEMA % unit
        if name == "row":
            text = text.replace("role: id", "role: drop")
        if name == "admission":
            text = text.replace("name: patient", "name: admission") + dropped % "patient"
        else:
            text += dropped % "admission"
        (tmp_path / f"{name}.schema.yaml").write_text(text)
        (tmp_path / f"{name}.yaml").write_text(CONFIG % name)
    ledger_of(tmp_path).open_cohort("c", epsilon=4.0, delta=1e-5)
    return tmp_path


def ledger_of(place: Path) -> Ledger:
    return Ledger.connect("sqlite:///ledger.db", base=place)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def run(
    capsys: pytest.CaptureFixture[str], place: Path, name: str, *more: object
) -> tuple[int, dict[str, Any]]:
    return call(capsys, "run", place / f"{name}.yaml", "--output", place / f"run-{name}", *more)


def test_a_run_of_another_unit_is_refused_before_a_record_is_read(place, capsys):
    assert run(capsys, place, "patient")[0] == 5  # nothing was held out, so that nothing can be signed
    entries = ledger_of(place).entries()
    assert [e.content["unit"] for e in entries if e.kind == "reserve"] == [
        {"level": "patient", "column": "patient", "max_records": 2}
    ]
    for name, next_step in (("row", "unit: {column"), ("admission", "same-unit")):
        code, told = run(capsys, place, name)
        assert (code, told["error"]["code"]) == (2, "config")
        assert "one privacy unit" in told["error"]["message"]
        assert next_step in told["error"]["next"]
        with pytest.raises(ConfigError, match="one privacy unit"):
            synthgen.fit(
                place / "t.csv", schema=place / f"{name}.schema.yaml", epsilon=0.5, delta=1e-5, patients=200,
                ledger=f"sqlite:///{place / 'ledger.db'}", cohort="c",
            )  # fmt: skip
    assert ledger_of(place).entries() == entries
    assert run(capsys, place, "one")[0] == 5  # another number of records of the same patients
    assert ledger_of(place).spent("c").units == (
        LedgerUnit("patient", "patient", 2),
        LedgerUnit("patient", "patient", 1),
    )


def test_the_second_release_of_a_cohort_claims_the_cap(place, capsys):
    for name, spends in (("patient", 1), ("one", 2)):
        assert run(capsys, place, name)[0] == 5
        record = json.loads((place / f"run-{name}" / "internal" / "record.json").read_text())["ledger"]
        assert (len(record["events"]), record["adaptive"]) == (spends, spends > 1)
        assert record["proven_epsilon"] == (4.0 if spends > 1 else record["epsilon"])
        assert record["epsilon"] < 1.6
        bundle = place / f"bundle-{name}"
        released = call(capsys, "release", place / f"run-{name}", "--output", bundle, "--override", "a test")
        assert released[0] == 0
        assert ("the cap, for the 2 spends" in (bundle / "card.md").read_text()) == (spends > 1)
        assert call(capsys, "verify", bundle)[0] == 0
        shown = call(capsys, "ledger", "show", "--ledger", f"sqlite:///{place / 'ledger.db'}")[1]["cohorts"][
            0
        ]
        assert shown["proven"] == record["proven_epsilon"]


def test_a_model_that_the_ledger_has_not_charged_is_not_evaluated(place, capsys):
    assert run(capsys, place, "patient")[0] == 5
    model = place / "run-patient" / "public" / "model"
    shutil.copytree(model, place / "kept")
    (model / "schema.json").write_text((model / "schema.json").read_text() + " ")
    code, told = call(capsys, "evaluate", place / "run-patient")
    assert (code, told["error"]["code"]) == (3, "data")
    assert "altered" in told["error"]["message"]
    shutil.rmtree(model)
    (place / "kept").rename(model)
    assert call(capsys, "evaluate", place / "run-patient")[0] == 5


def test_a_ledger_that_was_replaced_does_not_stand_for_the_one_of_the_fit(place, capsys):
    assert run(capsys, place, "patient")[0] == 5
    (place / "ledger.db").unlink()
    assert call(capsys, "evaluate", place / "run-patient")[0] == 2
    assert not (place / "ledger.db").exists()
    ledger_of(place).open_cohort("c", epsilon=4.0, delta=1e-5)
    code, told = call(capsys, "evaluate", place / "run-patient")
    assert code == 3
    assert "found none" in told["error"]["message"]
    state = place / "run-patient" / "internal" / "state.json"
    content = json.loads(state.read_text())
    content["stages"] = {}
    state.write_text(json.dumps(content))
    code, told = run(capsys, place, "patient", "--resume")
    assert code == 3
    assert "found none, though noise was drawn" in told["error"]["message"]
    assert ledger_of(place).spent("c").entries == 0


def test_stages_that_are_struck_out_of_the_state_cost_nothing_and_draw_nothing(place, capsys, monkeypatch):
    from synthgen.privacy import noise

    assert run(capsys, place, "patient")[0] == 5
    model = {p.name: p.read_bytes() for p in (place / "run-patient" / "public" / "model").iterdir()}
    state = place / "run-patient" / "internal" / "state.json"
    content = json.loads(state.read_text())
    monkeypatch.setattr(noise._SystemNoise, "_gaussian", lambda *_: pytest.fail("was drawn again"))
    for stages in ([], ["sample"], ["sample", "evaluate"]):
        content["stages"] = {name: content["stages"][name] for name in stages if name in content["stages"]}
        state.write_text(json.dumps(content))
        assert run(capsys, place, "patient", "--resume")[0] == 5
        content = json.loads(state.read_text())
        assert ledger_of(place).spent("c").entries == 1
        found = {p.name: p.read_bytes() for p in (place / "run-patient" / "public" / "model").iterdir()}
        assert found == model
