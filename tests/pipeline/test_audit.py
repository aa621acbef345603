"""The audit as part of the line: when it runs, what it may read, and that a violation stops the release."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from synthgen.config.run_config import load_config
from synthgen.errors import GateRefused
from synthgen.evaluation.audit.bounds import OneRun
from synthgen.evaluation.audit.twin import CANARIES, TwinAudit
from synthgen.pipeline import audit as audits
from synthgen.pipeline import run as pipeline
from synthgen.pipeline.fit import make_plan

SCHEMA = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: tiny
data: {table: {path: tiny.csv, schema: tiny.schema.yaml}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 1.0, delta: 1e-6, patients: 600}
generator: {name: marginal, iterations: 50}
sample: {records: 300}
evaluate: {holdout: 0.3}
release: {formats: [csv]}
"""
VIOLATION = TwinAudit(OneRun(1000, 200, 199, 3.2, 4.9, 1.5, 2.1, 1.0, 0.999), crowd=1000, records=5000)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        f"p{i},{rng.integers(18, 101)},{'FM'[i % 2]},{('false', 'true')[rng.integers(2)]}" for i in range(600)
    ]
    (tmp_path / "tiny.csv").write_text("patient,age,sex,died\n" + "\n".join(rows) + "\n")
    (tmp_path / "tiny.schema.yaml").write_text(SCHEMA)
    (tmp_path / "run.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def few_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the metrics that this file is not about."""
    names = ["leakage_audit", "leakage_claim", "utility_twin_inference"]
    monkeypatch.setattr("synthgen.evaluation.run.metric_names", lambda: names)


@pytest.mark.parametrize(
    ("generator", "asked", "expected"),
    [
        ("{name: marginal}", None, CANARIES),
        ("{name: auto}", None, CANARIES),
        ("{name: network}", None, 0),
        ("{name: network}", 200, 200),
        ("{name: marginal}", 0, 0),
    ],
)
def test_the_rule_is_public_and_a_config_overrules_it(
    place: Path, generator: str, asked: int | None, expected: int
) -> None:
    (place / "tiny.csv").unlink()
    overrides = [f"generator={generator}"] + ([] if asked is None else [f"evaluate.canaries={asked}"])
    loaded = load_config(place / "run.yaml", overrides=overrides)
    assert audits.canaries_of(loaded, make_plan(loaded)) == expected
    assert pipeline.plan_summary(loaded)["canaries"] == expected
    if expected == 0:
        assert audits.audit(loaded, make_plan(loaded)).reason


@pytest.mark.usefixtures("few_metrics")
def test_a_run_tells_its_audit_everywhere_and_reads_no_record_for_it(place: Path) -> None:
    loaded = load_config(place / "run.yaml", overrides=["evaluate.canaries=60"])
    outcome = pipeline.run(loaded, place / "run", overrides=["evaluate.canaries=60"])
    internal, public = place / "run" / "internal", place / "run" / "public"
    told = json.loads((internal / "record.json").read_text())["audit"]
    assert (told["verdict"], told["crowd"], told["bounds"]["canaries"]) == ("no violation", 60, 60)
    assert "leakage_audit.epsilon" in outcome["heads"]["leakage"]["metrics"]
    for report in (internal / "report.html", public / "report.html"):
        assert "No violation of epsilon 1 was found" in report.read_text()
    asked = json.loads((internal / "record.json").read_text())["inference"]
    assert (asked["fits"], asked["patients"]) == (audits.FITS, 420)
    assert (asked["stamp"] == "valid for inference") == (asked["coverage"] >= 0.9)
    for report in (internal / "report.html", public / "report.html"):
        assert "3 twins of 420 simulated patients" in report.read_text()
    kept = [(internal / name).read_text() for name in (audits.FILE, audits.INFERENCE)]
    pipeline.evaluate(place / "run")
    again = [(internal / name).read_text() for name in (audits.FILE, audits.INFERENCE)]
    assert again == kept, "another evaluation throws no coin again"
    shutil.move(place / "tiny.csv", place / "gone.csv")
    assert audits.audit(loaded, make_plan(loaded)).found is not None
    assert audits.inference(loaded, make_plan(loaded)).coverage is not None


@pytest.mark.usefixtures("few_metrics")
def test_a_violation_is_refused_and_an_override_carries_it_with_name_time_and_reason(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audits, "audit_twin", lambda *args, **options: VIOLATION)
    outcome = pipeline.run(load_config(place / "run.yaml"), place / "run")
    assert outcome["verdict"] == "refuse"
    assert "leakage_audit.excess" in [r["metric"] for r in outcome["reasons"] if r["severity"] == "refuse"]
    for reason in (None, "  "):
        with pytest.raises(GateRefused):
            pipeline.release(place / "run", place / "bundle", override=reason)
    monkeypatch.setattr("getpass.getuser", lambda: "steward")
    pipeline.release(place / "run", place / "bundle", override="for a drill")
    record = json.loads((place / "bundle" / "privacy_record.json").read_text())
    made = record["verdict"]["override"]
    assert (made["who"], made["reason"]) == ("steward", "for a drill")
    assert made["when"].endswith("+00:00")
    for name in ("card.md", "report.html"):
        text = (place / "bundle" / name).read_text()
        for word in ("VIOLATION", "steward", "for a drill", made["when"], "refuse"):
            assert word.lower() in text.lower(), (name, word)


def test_a_plan_that_cannot_be_audited_says_why(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SCHEMA + "rules: ['not died']\n"
    (place / "tiny.schema.yaml").write_text(text)
    monkeypatch.setattr("synthgen.encode.simulate.MAX_ROUNDS", 1)
    loaded = load_config(place / "run.yaml")
    audit = audits.audit(loaded, make_plan(loaded))
    assert audit.found is None
    assert audit.reason.startswith("No twin could be fitted. Expected rules")


def test_a_config_that_says_nothing_keeps_the_folder_of_older_runs(place: Path) -> None:
    silent, asked = (load_config(place / "run.yaml", overrides=o) for o in ([], ["evaluate.canaries=9"]))
    assert silent.digest != asked.digest
    assert load_config(place / "run.yaml", overrides=["evaluate.canaries=null"]).digest == silent.digest


def test_a_record_that_contradicts_its_audit_is_found() -> None:
    from synthgen.release.record.record import Audit

    assert audits.told(VIOLATION).verdict == "violation"
    assert audits.told(replace(VIOLATION, found=None, reason="why")) == Audit("not run", "why")
