"""The shipped cohorts are releases of synthgen, hold what their SOURCE.md says, and hold no real patient."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from synthgen import datasets
from synthgen.cli import demo
from synthgen.config.run_config import load_config
from synthgen.datasets import meps_survey
from synthgen.errors import ConfigError
from synthgen.ingest.images.read import read_images
from synthgen.ingest.tables.check import check
from synthgen.privacy.accountant import from_json, get_epsilon
from synthgen.schema.schema import load_schema

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", ROOT.parent / "shared" / "data"))
FILES = {"diabetes130": "encounters.parquet", "pneumoniamnist": "pneumoniamnist.npz"}
MOST_EPSILON = {"diabetes130": 4.0, "pneumoniamnist": 8.0}


def script(name):
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.pop(0)
    return module


def record(name):
    return json.loads((datasets.path(name) / "privacy_record.json").read_text(encoding="utf-8"))


def encounters():
    return pd.read_parquet(datasets.path("diabetes130") / "encounters.parquet")


def test_an_unknown_cohort_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="diabetes130"):
        datasets.path("diabetes")


@pytest.mark.parametrize("name", FILES)
def test_the_shipped_file_is_the_one_that_source_md_names(name):
    content = (datasets.path(name) / FILES[name]).read_bytes()
    assert hashlib.sha256(content).hexdigest() in (datasets.path(name) / "SOURCE.md").read_text()
    assert len(content) < 5_000_000


@pytest.mark.parametrize("name", FILES)
def test_each_shipped_cohort_is_a_release_whose_record_keeps_to_its_epsilon_for_a_patient(name):
    claim, ledger = record(name)["claim"], record(name)["ledger"]
    assert (claim["unit"], claim["max_records"]) == ("patient", 4)
    assert claim["epsilon"] <= MOST_EPSILON[name]
    events = [from_json(event) for event in ledger["events"]]
    assert 0 < get_epsilon(events, claim["delta"]) <= MOST_EPSILON[name]
    assert claim["delta"] < 1 / claim["cohort_patients"]


def test_a_file_that_is_committed_is_no_copy_of_an_open_cohort():
    sources = sorted(DATA.glob("*/SOURCE.md"))
    if not sources:
        pytest.skip("SYNTHGEN_TEST_DATA has no cohorts")
    listed = "".join(source.read_text(encoding="utf-8") for source in sources)
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if files.returncode:
        pytest.skip("the project is not a git checkout")
    for name in files.stdout.split():
        path = ROOT / name
        if path.is_file() and path.stat().st_size:
            assert hashlib.sha256(path.read_bytes()).hexdigest() not in listed, name


def test_no_shipped_encounter_is_a_copy_of_a_real_one_beyond_what_chance_gives():
    if not (DATA / "diabetes130").is_dir():
        pytest.skip("SYNTHGEN_TEST_DATA has no diabetes130")
    sources = script("_demo_sources")
    real = sources.convert(sources.read_rows(DATA / "diabetes130" / "dataset_diabetes.zip")).to_pandas()
    columns = [name for name in real if name not in ("encounter_id", "patient_nbr")]
    keys = set(map(tuple, real[columns].astype(str).to_numpy()))
    shared = [tuple(row) in keys for row in encounters()[columns].astype(str).to_numpy()]
    assert np.mean(shared) < 0.002


def test_no_shipped_image_is_a_copy_of_a_real_one():
    path = DATA / "kermany_cxr" / "kermany_cxr_64.npz"
    if not path.exists():
        pytest.skip("SYNTHGEN_TEST_DATA has no kermany_cxr/kermany_cxr_64.npz")
    real = script("_demo_sources").radiographs(path, 28)["images"].reshape(-1, 784).astype(np.float32)
    with np.load(datasets.path("pneumoniamnist") / "pneumoniamnist.npz") as arrays:
        drawn = arrays["images"].reshape(-1, 784).astype(np.float32)[::10]
    squares = (drawn**2).sum(1)[:, None] - 2 * drawn @ real.T + (real**2).sum(1)
    assert float(squares.min()) / 784 > 4.0  # grey levels, squared; a copy has 0


def test_the_shipped_images_are_those_that_the_schema_names():
    folder = datasets.path("pneumoniamnist")
    loaded = load_config(folder / "pneumoniamnist_eps10.yaml")
    raw = read_images(loaded.table, loaded.schema)
    assert raw.report == {"images": 5_800, "quarantined": {}, "without_row": 0}
    assert raw.frame["patient"].nunique() == 5_800
    assert set(raw.frame["label"]) == {0, 1}
    assert loaded.schema.unit.level == "patient"


def test_the_shipped_encounters_are_linked_by_patient():
    frame = encounters()
    assert frame.patient_nbr.nunique() == 70_000
    assert frame.encounter_id.is_unique
    assert 1.2 < len(frame) / 70_000 < 1.6
    assert (frame.groupby("patient_nbr")[["race", "gender"]].nunique(dropna=False) == 1).all(axis=None)
    assert 0.01 < frame.race.isna().mean() < 0.04


def test_the_shipped_encounters_keep_to_their_schema_and_rules_and_rules_can_fail():
    folder = datasets.path("diabetes130")
    schema = load_schema(folder / "encounters.schema.yaml")
    frame = encounters()
    assert list(frame.columns) == [field.name for field in schema.fields]
    assert check(folder / "encounters.parquet", schema) == []
    assert len(schema.parsed_rules) == 2
    for rule in schema.parsed_rules:
        assert rule.violated(frame).sum() == 0
    broken = frame.assign(readmitted=True, diabetesMed="No")
    assert all(rule.violated(broken).sum() > 1_000 for rule in schema.parsed_rules)


def test_a_demo_of_real_persons_reads_them_from_the_package_that_carries_them():
    pytest.importorskip("linearmodels", reason="the extra `demo` is not installed", exc_type=ImportError)
    persons = meps_survey.read_persons()
    schema = load_schema(datasets.path("meps") / "meps.schema.yaml")
    assert len(persons) == 10_391
    assert list(persons.columns) == [field.name for field in schema.fields]
    for rule in schema.parsed_rules:
        assert rule.violated(persons).sum() == 0


def test_a_demo_of_real_persons_without_the_package_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="linearmodels") as caught:
        demo.run("tables", tmp_path / "demo", progress=lambda what, done: None, cohort="meps")
    assert "synthgen-medical[demo]" in caught.value.next_step
    assert not (tmp_path / "demo").exists()


def test_an_unknown_cohort_of_a_demo_is_refused_before_a_folder_is_made(tmp_path):
    with pytest.raises(ConfigError, match="meps"):
        demo.run("tables", tmp_path / "demo", progress=lambda what, done: None, cohort="mepps")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("code", "chapter"),
    [
        ("250.83", "Diabetes"),
        ("428", "Circulatory"),
        ("785", "Circulatory"),
        ("486", "Respiratory"),
        ("786", "Respiratory"),
        ("574", "Digestive"),
        ("787", "Digestive"),
        ("820", "Injury"),
        ("715", "Musculoskeletal"),
        ("599", "Genitourinary"),
        ("788", "Genitourinary"),
        ("197", "Neoplasms"),
        ("V57", "Other"),
        ("E909", "Other"),
        ("276", "Other"),
        ("8", "Other"),
        ("?", "?"),
    ],
)
def test_a_diagnosis_goes_to_its_chapter(code, chapter):
    assert script("_demo_sources").chapter(code) == chapter


def test_a_code_in_two_groups_is_refused():
    with pytest.raises(ValueError, match="in two"):
        script("_demo_sources").inverted({"a": (1, 2), "b": (2,)})


def test_every_domain_of_the_demo_schema_covers_the_original_cohort():
    source = DATA / "diabetes130" / "dataset_diabetes.zip"
    if not source.exists():
        pytest.skip("SYNTHGEN_TEST_DATA has no diabetes130/dataset_diabetes.zip")
    sources = script("_demo_sources")
    frame = sources.convert(sources.read_rows(source)).to_pandas()
    schema = load_schema(datasets.path("diabetes130") / "encounters.schema.yaml")
    assert (len(frame), frame.patient_nbr.nunique()) == (101_766, 71_518)
    for column in schema.columns:
        values = frame.loc[~frame[column.name].isin(["?"]), column.name]
        assert column.nullable or len(values) == len(frame), column.name
        if column.labels:
            assert set(values) <= set(column.labels), column.name
        else:
            assert values.min() >= column.minimum, column.name
            assert (values > column.maximum).mean() < 1e-3, column.name
    for rule in schema.parsed_rules:
        assert rule.violated(frame).sum() == 0
