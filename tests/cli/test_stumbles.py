"""What newcomers stumbled over: each message says what to do, with the names that they typed."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event

from synthgen.cli import app as cli
from synthgen.cli.next_steps import ending
from synthgen.cli.output import show
from synthgen.errors import BudgetExceeded, ConfigError
from synthgen.ingest.schema_draft.table_draft import Named
from synthgen.privacy.accountant import PrivacyFilter
from synthgen.privacy.ledger.ledger import Ledger
from tests.cli.test_app import CONFIG, SCHEMA, call, place

__all__ = ["place"]


def text_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(one) for one in arguments])
    shown = capsys.readouterr()
    return int(stop.value.code or 0), shown.out + shown.err


@pytest.fixture
def semi(tmp_path: Path) -> Path:
    """A cohort with semicolons and decimal commas, as its schema says, in three tables."""
    schema = """
unit: {column: patient}
dialect: {delimiter: ";", decimalChar: ",", encoding: cp1252}
fields:
  - {name: patient, type: string, role: id}
  - {name: dose, type: number, constraints: {minimum: 0, maximum: 10, required: true}}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M, Ü], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
    (tmp_path / "s.yaml").write_text(schema)
    for name, first in (("train", 0), ("holdout", 1000), ("drawn", 5000)):
        rng = random.Random(first)
        rows = [
            f"p{first + i};{rng.randrange(9)},{rng.randrange(100):02d};{rng.choice('FMÜ')};"
            + rng.choice(["true", "true", "true", "false"])
            for i in range(300)
        ]
        content = "\n".join(["patient;dose;sex;died", *rows]) + "\n"
        (tmp_path / f"{name}.csv").write_bytes(content.encode("cp1252"))
    return tmp_path


def test_evaluate_of_files_reads_them_as_the_schema_says(semi, capsys):
    files = ["--real", semi / "train.csv", "--holdout", semi / "holdout.csv", "--schema", semi / "s.yaml"]
    code, found = call(capsys, "evaluate", *files, "--synthetic", semi / "drawn.csv")
    assert code in (0, 5)
    assert "verdict" in found
    text = (semi / "drawn.csv").read_bytes().decode("cp1252").replace(",", ".").replace(";", ",")
    (semi / "usual.csv").write_text(text)
    own = ["--synthetic-delimiter", ",", "--synthetic-decimal", ".", "--synthetic-encoding", "utf-8"]
    code, found = call(capsys, "evaluate", *files, "--synthetic", semi / "usual.csv", *own)
    assert "verdict" in found
    code, found = call(capsys, "evaluate", *files, "--synthetic", semi / "drawn.csv", "--delimiter", ",")
    assert code == 3  # what a person says goes before the schema


def test_all_columns_that_wait_stand_in_one_line(place, capsys):
    text = SCHEMA.replace("role: label", "confirmed: false, role: label").replace(
        "role: protected", "confirmed: false, role: protected"
    )
    (place / "tiny.schema.yaml").write_text(text)
    code, shown = text_of(capsys, "schema", "check", place / "tiny.schema.yaml", place / "tiny.csv")
    assert code == 2
    lines = [line for line in shown.splitlines() if "not confirmed" in line]
    assert len(lines) == 1
    assert "2 columns" in lines[0]
    assert "sex, died" in lines[0]
    _, found = call(capsys, "schema", "check", place / "tiny.schema.yaml", place / "tiny.csv")
    assert [one["column"] for one in found["violations"]] == ["sex", "died"]


def test_over_the_cap_the_message_says_which_cap_is_enough_and_it_is(tmp_path):
    ledger = Ledger.connect(f"sqlite:///{tmp_path / 'l.db'}", base=tmp_path)
    ledger.open_cohort("a.b", epsilon=1.0, delta=1e-6)
    ledger.reserve("a.b", dp_event.ZCDpEvent(0.01), purpose="first", run="r")
    with pytest.raises(BudgetExceeded) as stop:
        ledger.reserve("a.b", dp_event.ZCDpEvent(0.05), purpose="second", run="r")
    step = stop.value.next_step
    needed = float(step.partition("--epsilon ")[2].split()[0])
    assert f"epsilon {needed:g} would be enough" in step
    assert "synthgen ledger open a.b" in step
    events = [dp_event.ZCDpEvent(0.01), dp_event.ZCDpEvent(0.05)]
    assert not PrivacyFilter(0.97 * needed, 1e-6).fits(events)
    ledger.open_cohort("a.b", epsilon=needed, delta=1e-6, reason="a second model")
    ledger.reserve("a.b", dp_event.ZCDpEvent(0.05), purpose="second", run="r")


@pytest.mark.parametrize("rho", [1e-4, 0.3, 20.0])
def test_a_cap_that_is_enough_fits_and_one_a_little_smaller_does_not(rho):
    events = [dp_event.ZCDpEvent(rho), dp_event.ZCDpEvent(rho / 3)]
    needed = PrivacyFilter(0.01, 1e-6).enough(events)
    assert needed is not None
    assert PrivacyFilter(needed, 1e-6).fits(events)
    assert not PrivacyFilter(0.985 * needed, 1e-6).fits(events)
    assert PrivacyFilter(1.0, 1e-6).enough([dp_event.NonPrivateDpEvent()]) is None


def test_the_next_step_names_the_files_of_the_call(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    (place / "my run.yaml").write_text((place / "run.yaml").read_text())
    _, shown = text_of(capsys, "plan", "my run.yaml", "--set", "budget.epsilon=0.5")
    step = next(line for line in shown.splitlines() if line.startswith("Next: "))
    assert "synthgen run 'my run.yaml' --set budget.epsilon=0.5" in step
    assert "CONFIG" not in step
    _, shown = text_of(capsys, "schema", "check", "tiny.schema.yaml", "tiny.csv")
    assert "synthgen config init tiny.schema.yaml --data tiny.csv" in shown
    assert ending("plan", {"cannot_be_signed": []}) == ["Next: synthgen run CONFIG does it."]


def test_warnings_of_true_positive_rates_are_one_line_with_the_strongest():
    def reason(attack: str, rate: str, value: float, severity: str = "warn") -> dict[str, Any]:
        title = f"True positive rate of the attack by {attack} at {rate} % false positives, beyond the claim"
        key = f"leakage_{attack}.beyond_claim_{rate}pct"
        message = f"{title}: {value} (95 % interval 0 to 1). The policy warns. Source: x."
        return {"head": "leakage", "metric": key, "severity": severity, "message": message}

    rates = [
        reason(a, r, v) for a, r, v in (("nearest", "10", 0.02), ("density", "0.1", 0.31), ("mia", "1", -0.1))
    ]
    other = {"head": "utility", "metric": "utility_x.y", "severity": "warn", "message": "AUC: 0.9."}
    refused = reason("classifier", "10", 0.01, "refuse")
    shown = show({"verdict": "refuse", "reasons": [other, *rates, refused]}, color=False)
    lines = [line for line in shown.splitlines() if "rue positive rate" in line]
    assert len(lines) == 2  # what refuses stands alone
    assert "3 true positive rates" in lines[0]
    assert "density at 0.1 %" in lines[0]
    assert "AUC: 0.9." in shown


@pytest.mark.parametrize(("typed", "nearest"), [("nun", "'num'"), ("SEX", "'sex'"), ("diied", "'died'")])
def test_an_unknown_column_lists_the_nearest_names(typed, nearest):
    with pytest.raises(ConfigError) as stop:
        Named(labels=(typed,)).require_in(["patient", "num", "sex", "died"])
    assert nearest in stop.value.next_step
    assert "patient" not in stop.value.next_step
    assert typed in stop.value.message


def declared(place: Path, patients: int) -> None:
    (place / "run.yaml").write_text(CONFIG.replace("patients: 600", f"patients: {patients}"))


def test_far_more_patients_declared_than_there_are_stop_a_fit_before_a_draw(place, capsys):
    declared(place, 6_000)  # the table has 600
    url = f"sqlite:///{place / 'ledger.db'}"
    assert call(capsys, "ledger", "open", "tiny", "--epsilon", 1, "--delta", 1e-6, "--ledger", url)[0] == 0
    fit = ["fit", place / "run.yaml", "--output", place / "run"]
    code, found = call(capsys, *fit)
    assert code == 3
    assert "6,000" in found["error"]["message"]
    assert "600 " not in json.dumps(found).replace("6,000", "")
    shown = call(capsys, "ledger", "show", "--ledger", url)[1]
    assert [entry["kind"] for entry in shown["entries"]] == ["cap", "reserve", "void"]
    assert math.isclose(shown["cohorts"][0]["left"], 1.0, rel_tol=1e-6)
    assert not (place / "run").exists()
    assert call(capsys, *fit, "--anyway")[0] == 0


def test_a_rounded_number_of_patients_is_no_mistake(place, capsys):
    declared(place, 2_000)
    assert call(capsys, "fit", place / "run.yaml", "--output", place / "run")[0] == 0
