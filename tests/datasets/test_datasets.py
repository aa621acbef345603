"""The shipped cohorts hold what their SOURCE.md says."""

import hashlib
import importlib.util
import os
from pathlib import Path

import pandas as pd
import pytest

from synthgen import datasets
from synthgen.config import load_config
from synthgen.errors import ConfigError
from synthgen.ingest.images import read_images
from synthgen.schema import load_schema

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", ROOT.parent / "shared" / "data"))


def script():
    spec = importlib.util.spec_from_file_location(
        "make_diabetes130", ROOT / "scripts" / "make_diabetes130.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_unknown_cohort_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="diabetes130"):
        datasets.path("diabetes")


def test_the_shipped_file_is_the_one_that_source_md_names():
    folder = datasets.path("diabetes130")
    digest = hashlib.sha256((folder / "encounters.parquet").read_bytes()).hexdigest()
    assert digest in (folder / "SOURCE.md").read_text()


def test_the_shipped_images_are_those_that_source_md_and_the_schema_name():
    folder = datasets.path("pneumoniamnist")
    content = (folder / "pneumoniamnist.npz").read_bytes()
    assert hashlib.sha256(content).hexdigest() in (folder / "SOURCE.md").read_text()
    loaded = load_config(folder / "pneumoniamnist_eps10.yaml")
    raw = read_images(loaded.table, loaded.schema)
    assert raw.report == {"images": 5856, "quarantined": {}, "without_row": 0}
    assert raw.frame["split"].value_counts().to_dict() == {"train": 4708, "val": 524, "test": 624}
    assert raw.frame["label"].value_counts().to_dict() == {1: 4273, 0: 1583}
    assert loaded.schema.unit.level == "row"
    assert len(content) < 5_000_000


def test_the_demo_cohort_has_every_encounter_and_patient_of_the_original():
    frame = pd.read_parquet(datasets.path("diabetes130") / "encounters.parquet")
    assert len(frame) == 101_766
    assert frame.patient_nbr.nunique() == 71_518
    assert frame.encounter_id.is_unique
    assert (frame.race == "?").sum() == 2_273
    assert frame.readmitted.sum() == 35_545 + 11_357


def test_every_domain_of_the_demo_schema_is_complete_and_covers_the_data_without_errors():
    folder = datasets.path("diabetes130")
    schema = load_schema(folder / "encounters.schema.yaml")
    frame = pd.read_parquet(folder / "encounters.parquet")
    assert list(frame.columns) == [field.name for field in schema.fields]
    for column in schema.columns:
        values = frame.loc[~frame[column.name].isin(["?"]), column.name]
        assert column.nullable or len(values) == len(frame), column.name
        if column.labels:
            assert set(values) <= set(column.labels), column.name
        else:
            assert values.min() >= column.minimum, column.name
            assert (values > column.maximum).mean() < 1e-3, column.name


def test_the_hard_rules_of_the_demo_hold_for_every_real_encounter_and_can_fail():
    folder = datasets.path("diabetes130")
    schema = load_schema(folder / "encounters.schema.yaml")
    frame = pd.read_parquet(folder / "encounters.parquet")
    assert len(schema.parsed_rules) == 2
    for rule in schema.parsed_rules:
        assert rule.violated(frame).sum() == 0
    broken = frame.assign(readmitted=True, diabetesMed="No")
    assert [int(rule.violated(broken).sum()) for rule in schema.parsed_rules] == [1_652, 54_383]


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
    assert script().chapter(code) == chapter


def test_a_code_in_two_groups_is_refused():
    with pytest.raises(ValueError, match="in two"):
        script().inverted({"a": (1, 2), "b": (2,)})


def test_the_script_makes_the_shipped_records_from_the_original_zip():
    source = DATA / "diabetes130" / "dataset_diabetes.zip"
    if not source.exists():
        pytest.skip("SYNTHGEN_TEST_DATA has no diabetes130/dataset_diabetes.zip")
    made = script()
    table = made.convert(made.read_rows(source))
    shipped = pd.read_parquet(datasets.path("diabetes130") / "encounters.parquet")
    pd.testing.assert_frame_equal(table.to_pandas(), shipped)
