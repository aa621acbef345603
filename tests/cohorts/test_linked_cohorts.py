"""Three open longitudinal cohorts, as a hospital would bring them, through the whole line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen.config.run_config import load_config
from synthgen.pipeline.run import plan_summary, run
from synthgen.release.sample_size import few_patients

HERE = Path(__file__).parent
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", HERE.parents[2] / "shared" / "data"))


def read(name: str) -> pd.DataFrame:
    if not (DATA / name).is_file():
        pytest.skip(f"SYNTHGEN_TEST_DATA has no {name}")
    return pd.read_csv(DATA / name, dtype=str, keep_default_na=False)


def mimic3() -> pd.DataFrame:
    admissions = read("mimic3_demo/ADMISSIONS.csv.gz")
    table = admissions.merge(read("mimic3_demo/PATIENTS.csv.gz")[["subject_id", "gender"]], on="subject_id")
    names = ["subject_id", "hadm_id", "gender", "admittime", "dischtime", "admission_type", "insurance"]
    return table[[*names, "ethnicity", "diagnosis", "hospital_expire_flag"]]


def eicu() -> pd.DataFrame:
    table = read("eicu_demo/patient.csv.gz")
    table["age"] = table["age"].replace("> 89", "90")
    names = [
        "uniquepid",
        "patientunitstayid",
        "gender",
        "age",
        "ethnicity",
        "unitvisitnumber",
        "unitstaytype",
    ]
    names += ["unittype", "admissionheight", "admissionweight", "unitdischargeoffset", "unitdischargestatus"]
    return table[names]


def physionet() -> pd.DataFrame:
    """Six-hour means of four measurements, with what is known at admission in each row."""
    long = read("physionet2012/set-a-1500.csv.gz")
    deaths = read("physionet2012/Outcomes-a-1500.csv").set_index("RecordID")["In-hospital_death"]
    hours = long["Time"].str.split(":").str[0].astype(int)
    long = long.assign(hour=np.minimum(hours // 6, 7) * 6, value=pd.to_numeric(long["Value"]))
    known = long[long["Parameter"].isin(["Age", "Gender"]) & (long["value"] >= 0)]
    fixed = known.pivot_table(index="RecordID", columns="Parameter", values="value", aggfunc="first")
    moving = long[long["Parameter"].isin(["HR", "MAP", "GCS", "Creatinine"])]
    table = moving.pivot_table(
        index=["RecordID", "hour"], columns="Parameter", values="value", aggfunc="mean"
    )
    table = table.reset_index().merge(fixed.reset_index(), on="RecordID", how="left")
    table["death"] = table["RecordID"].map(deaths)
    return table[["RecordID", "hour", "Gender", "Age", "HR", "MAP", "GCS", "Creatinine", "death"]]


COHORTS = {"mimic3_demo": (mimic3, 100), "eicu_demo": (eicu, 100), "physionet2012": (physionet, 1500)}


GENERATORS: dict[str, dict[str, Any]] = {
    "marginal": {"name": "marginal"},
    "diffusion": {"name": "diffusion", "pretraining": 30, "steps": 5},
}


def config_for(name: str, folder: Path, epsilon: float, generator: str = "marginal") -> Path:
    make, patients = COHORTS[name]
    table = make()
    assert table.iloc[:, 0].nunique() == patients or name == "physionet2012"
    table.to_csv(folder / "table.csv", index=False)
    (folder / "table.schema.yaml").write_bytes((HERE / f"{name}.schema.yaml").read_bytes())
    config: dict[str, Any] = {
        "cohort": name,
        "data": {"table": {"path": "table.csv", "schema": "table.schema.yaml"}},
        "budget": {"ledger": "sqlite:///ledger.db", "epsilon": epsilon, "delta": 1e-6, "patients": patients},
        "release": {"formats": ["parquet"]},
        "generator": GENERATORS[generator],
        "evaluate": {"holdout": 0.2},
    }
    (folder / "config.yaml").write_text(json.dumps(config))
    return folder / "config.yaml"


@pytest.mark.parametrize(
    ("name", "generator"), [*((name, "marginal") for name in COHORTS), ("mimic3_demo", "diffusion")]
)
def test_a_longitudinal_cohort_runs_through_and_too_few_patients_are_said_plainly(
    name: str, generator: str, tmp_path: Path
) -> None:
    config = config_for(name, tmp_path, 1.0, generator)
    loaded = load_config(config)
    planned = plan_summary(loaded)
    outcome = run(loaded, tmp_path / "run")
    synthetic = pd.read_parquet(tmp_path / "run" / "public" / "synthetic.parquet")
    unit, order = loaded.schema.unit.column, loaded.schema.unit.order
    sizes = synthetic.groupby(unit).size()
    print(f"{name}: {outcome['verdict']}, {len(sizes)} patients, {len(synthetic)} rows, {outcome['seconds']}")
    assert len(sizes) == planned["training_patients"]
    assert sizes.max() <= loaded.schema.unit.max_records
    times = synthetic[str(order)]
    times = pd.to_datetime(times) if times.dtype == object else times
    assert times.groupby(synthetic[str(unit)]).is_monotonic_increasing.all()
    assert outcome["verdict"] != "release"
    internal = (tmp_path / "run" / "internal" / "report.html").read_text()
    public = (tmp_path / "run" / "public" / "report.html").read_text()
    warning = planned["warnings"][0]
    assert f"TOO FEW PATIENTS for epsilon 1: with {planned['training_patients']:,} training" in warning
    for text in (internal, public):
        assert warning.split(":")[0] in text
    measures = {r["name"]: r["status"] for r in json.loads(
        (tmp_path / "run" / "internal" / "evaluation.json").read_text()
    )["results"]}  # fmt: skip
    expected = "ok" if name == "physionet2012" else "insufficient"
    assert measures["fidelity_rows_per_patient"] == measures["fidelity_lag_pairs"] == expected


def test_the_command_line_says_it_too(tmp_path: Path) -> None:
    config = config_for("mimic3_demo", tmp_path, 1.0)
    done = subprocess.run(
        [sys.executable, "-m", "synthgen.cli.app", "plan", str(config)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "TOO FEW PATIENTS for epsilon 1" in done.stdout


def test_enough_patients_or_epsilon_make_no_warning() -> None:
    assert few_patients(57_000, 60.0, epsilon=1.0, delta=1e-6) == []
    few = few_patients(80, None, epsilon=1.0, delta=1e-6)
    assert few
    assert few_patients(80, None, epsilon=20.0, delta=1e-6) == []
