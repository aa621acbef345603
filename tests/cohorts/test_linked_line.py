"""Linked records through the verbs of the command line: paid domains, conditions, foreign tables, bundles."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.cli import app as cli
from synthgen.config.run_config import load_config
from synthgen.generators.saved_model import load_model
from synthgen.pipeline.run import fit
from synthgen.sampling.draw import draw

SCHEMA = """
unit: {column: patient, max_records: 3, records: linked, order: day}
fields:
  - {name: patient, type: string, role: id}
  - {name: sex, type: string, role: protected, static: true, constraints: {enum: [F, M], required: true}}
  - {name: day, type: integer, role: time, constraints: {minimum: 0, maximum: 400, required: true}}
  - {name: cost, type: number, bounds: paid}
  - {name: drug, type: string, categories: paid}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: linked
seed: 3
data: {table: {path: table.csv, schema: table.schema.yaml}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 4.0, delta: 1e-6, patients: 800, preprocessing: 0.1}
generator: {name: marginal, iterations: 50}
evaluate: {holdout: 0.25}
release: {formats: [csv]}
"""


def table(n_patients: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_patients), rng.integers(1, 6, n_patients))
    n = len(owner)
    frame = {
        "patient": [f"s{seed}p{i}" for i in owner],
        "sex": np.array(["F", "M"])[rng.integers(0, 2, n_patients)][owner],
        "day": rng.integers(0, 401, n),
        "cost": np.round(rng.gamma(2, 100, n), 2),
        "drug": rng.choice(["aspirin", "heparin"], n),
        "died": rng.random(n) < 0.2,
    }
    return pd.DataFrame(frame)


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linked")
    table(800, 0).to_csv(folder / "table.csv", index=False)
    (folder / "table.schema.yaml").write_text(SCHEMA)
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def in_order(frame: pd.DataFrame) -> bool:
    return bool(frame.groupby("patient")["day"].is_monotonic_increasing.all())


def test_the_line_from_a_paid_domain_to_a_verified_bundle(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place / "run"
    assert call(capsys, "schema", "check", place / "table.schema.yaml", place / "table.csv")[0] == 0
    code, shown = call(capsys, "plan", place / "config.yaml")
    assert (code, shown["training_patients"]) == (0, 600)
    code, _ = call(capsys, "run", place / "config.yaml", "--output", run)
    assert code in (0, 5)
    drawn = pd.read_csv(run / "public" / "synthetic.csv")
    assert drawn["patient"].nunique() == 600
    assert drawn.groupby("patient").size().max() == 3
    assert in_order(drawn)
    assert {"aspirin", "heparin"} <= set(drawn["drug"].dropna())

    out = place / "more.csv"
    code, shown = call(capsys, "sample", run, "-n", 40, "-o", out, "--where", "sex=F", "--seed", 1)
    assert (code, shown["patients"]) == (0, 40)
    assert set(pd.read_csv(out)["sex"]) == {"F"}
    code, problem = call(
        capsys, "sample", run, "-n", 40, "-o", place / "other.csv", "--where", "drug=aspirin"
    )
    assert code == 2
    assert "static" in problem["error"]["message"]

    code, _ = call(capsys, "release", run, "-o", place / "bundle", "--override", "for the test")
    assert code == 0
    code, checked = call(capsys, "verify", place / "bundle")
    assert (code, checked["problems"]) == (0, [])
    card = (place / "bundle" / "card.md").read_text()
    assert "Rows of an invented patient belong together" in card
    report = (place / "bundle" / "report.html").read_text()
    assert "invented patients, each with up to 3 rows in order" in report


def test_a_foreign_table_of_linked_records_is_judged_by_its_patients(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SCHEMA.replace("bounds: paid", "constraints: {minimum: 0, maximum: 5000}")
    text = text.replace("categories: paid", "constraints: {enum: [aspirin, heparin]}")
    (place / "full.schema.yaml").write_text(text)
    good, loose = table(400, 3), table(400, 3)
    loose["patient"] = [f"q{i}" for i in range(len(loose))]
    for name, frame in {
        "real": table(400, 1),
        "holdout": table(400, 2),
        "good": good,
        "loose": loose,
    }.items():
        frame.to_csv(place / f"{name}.csv", index=False)
    excess = {}
    for name in ("good", "loose"):
        code, shown = call(
            capsys, "evaluate", "--real", place / "real.csv", "--holdout", place / "holdout.csv",
            "--synthetic", place / f"{name}.csv", "--schema", place / "full.schema.yaml",
        )  # fmt: skip
        assert code in (0, 5)
        found = {result["name"]: result for result in shown["results"]}
        excess[name] = found["fidelity_rows_per_patient"]["estimates"]["excess"]
    assert excess["good"]["low"] <= 0 <= excess["good"]["high"]
    assert excess["loose"]["low"] > 0.3


def test_a_killed_linked_fit_goes_on_from_its_stored_answers(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cohort's cap is one fit's epsilon, so drawing the stored answers again would be refused."""
    for name in ("table.csv", "table.schema.yaml", "config.yaml"):
        (tmp_path / name).write_bytes((place / name).read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(
            "synthgen.generators.marginal.mechanism._round",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        with pytest.raises(KeyboardInterrupt):
            fit(load_config(tmp_path / "config.yaml"), tmp_path / "run")
    done = fit(load_config(tmp_path / "config.yaml"), tmp_path / "run", resume=True)
    model, schema, _ = load_model(Path(done["model"]))
    assert schema.unit.is_linked
    assert len(set(np.asarray(draw(model, schema, 30, seed=0).units))) == 30
