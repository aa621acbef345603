"""71 real patients with images and a table: joined, and told plainly that they are few."""

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pydicom
import pytest

from synthgen.config.run_config import load_config
from synthgen.ingest.image_cohort import read
from synthgen.pipeline.run import plan_summary, run

HERE = Path(__file__).parent
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", HERE.parents[2] / "shared" / "data")) / "covid_cxr_hannover"
CONFIG = """
cohort: hannover
data: {images: {path: IMAGES, table: table.csv, schema: SCHEMA, size: 24}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 10.0, delta: 1e-3, patients: 71}
generator: {name: embedding, attributes: {name: marginal, share: 0.3, iterations: 50}}
sample: {records: 60}
release: {policy: images, formats: [csv, dicom]}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if not (DATA / "data.csv").is_file():
        pytest.skip("SYNTHGEN_TEST_DATA has no covid_cxr_hannover")
    place = tmp_path_factory.mktemp("hannover")
    table = pd.read_csv(DATA / "data.csv", dtype=str, keep_default_na=False)
    table["icu"] = (table["icu_admission_offset"] != "").map({True: "true", False: "false"})
    table[["patient_id", "image_id", "sex", "projection", "icu"]].to_csv(place / "table.csv", index=False)
    text = CONFIG.replace("IMAGES", str(DATA / "covid_cxr_128.npz"))
    (place / "run.yaml").write_text(text.replace("SCHEMA", str(HERE / "covid_cxr_hannover.schema.yaml")))
    return load_config(place / "run.yaml")


def test_the_plan_says_what_epsilon_71_patients_can_bear(config: Any) -> None:
    shown = plan_summary(config)
    assert shown["patients"] == 71
    (warning,) = shown["warnings"]
    assert "TOO FEW PATIENTS for epsilon 10" in warning
    assert "71 training patients" in warning
    assert re.search(r"or epsilon \d+ with these", warning)


def test_images_and_table_are_joined_in_and_out(config: Any) -> None:
    real = read(config, key=bytes(32), shares={"train": 1.0}).train
    table = pd.read_csv(config.base / "table.csv", dtype=str).set_index("patient_id")
    assert len(set(real.units)) == 71
    sexes = table[~table.index.duplicated()]["sex"]
    assert (real.frame["sex"].astype(str).to_numpy() == sexes.loc[real.units].to_numpy()).all()
    run(config, config.base / "run")
    public = config.base / "run" / "public"
    drawn = pd.read_csv(public / "synthetic.csv", dtype=str)
    with zipfile.ZipFile(public / "synthetic.zip") as archive:
        assert archive.namelist() == drawn["image_id"].tolist()
    files = [pydicom.dcmread(path) for path in sorted((public / "dicom").rglob("*.dcm"))]
    assert [str(one.PatientID) for one in files] == drawn["patient_id"].tolist()
    assert [str(one.PatientSex).lower() for one in files] == drawn["sex"].tolist()
    assert [str(one.ViewPosition).lower() for one in files] == drawn["projection"].tolist()
    assert json.loads((config.base / "run" / "internal" / "ingest.json").read_text())["quarantined"] == {}
