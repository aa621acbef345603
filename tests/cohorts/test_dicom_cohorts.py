"""A cohort of DICOM files through the whole line: joined by patient, and clean of every header's values."""

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest

from synthgen.cli import app as cli
from synthgen.config.data_section import ImageSource
from synthgen.config.run_config import load_config
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.dicom.cohort import read
from synthgen.ingest.dicom.pixels import SHORT
from tests.support.dicom_files import dataset, write

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """
cohort: drawn
seed: 3
data: {images: {path: p/dicom, table: p/clinical.csv, schema: s.yaml, size: 16}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 10.0, delta: 1e-5, patients: 100}
generator: {name: embedding, attributes: {name: marginal, share: 0.2, iterations: 50}}
sample: {records: 40}
release: {policy: images, formats: [csv, dicom]}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        maker: Any = importlib.import_module("make_dicom_cohort")
    finally:
        sys.path.pop(0)
    place = tmp_path_factory.mktemp("drawn")
    maker.make(place / "p", patients=100, size=32)
    broken = sorted((place / "p" / "dicom").rglob("*.dcm"))[5]
    broken.write_bytes(broken.read_bytes()[:1500])
    (place / "s.yaml").write_text((ROOT / "configs" / "phantom_dicom.schema.yaml").read_text())
    (place / "run.yaml").write_text(CONFIG)
    return place


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    shown = capsys.readouterr()
    return int(stop.value.code or 0), json.loads(shown.out), shown.out + shown.err


def identities(folder: Path) -> set[str]:
    """Every text of four letters or more that a header names somebody or something by, in words and whole."""
    found: set[str] = set()
    public = {"SIEMENS", "Healthineers", "CHEST"}
    for path in folder.rglob("*.dcm"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
            dataset = pydicom.dcmread(path, force=True)
            for element in dataset.iterall():
                if element.VR in ("PN", "LO", "UI", "DA", "SH", "ST", "TM", "LT") and element.value:
                    whole = str(element.value)
                    found |= {whole, *re.split(r"[\^ \\]", whole)}
    standard = {text for text in found if text.startswith("1.2.840.10008")}
    prose = {"copy", "asked"}  # words of a made comment that our own fixed texts have too
    return {text for text in found - standard - public - prose if len(text) >= 4}


def test_no_value_of_a_header_is_in_any_output_log_report_or_model(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place / "run"
    said = call(capsys, "run", place / "run.yaml", "--output", run)[2]
    asked = ["release", run, "--output", place / "bundle", "--override", "a test"]
    assert call(capsys, *asked)[0] == 0
    said += call(capsys, "export", place / "bundle", "dicom", "--output", place / "out", "--modality", "DX")[
        2
    ]
    said += call(capsys, "sample", run, "-n", 20, "-o", place / "more")[2]
    looked_for = identities(place / "p" / "dicom")
    assert len(looked_for) > 1000
    for name in ("Alderm", "MRN731", "Wilfrida", "Larkspur", "BUCKYROOM7", "Thistlethwaite"):
        assert any(name in text for text in looked_for)
    files = [path for folder in ("run", "bundle", "out", "more") for path in (place / folder).rglob("*")]
    contents = {path: path.read_bytes() for path in files if path.is_file()} | {Path("said"): said.encode()}
    assert len(contents) > 100
    whole = re.compile(b"|".join(re.escape(text.encode()) for text in sorted(looked_for)))
    for path, content in contents.items():
        text = whole.search(
            content if path.suffix not in (".safetensors", ".zip", ".dcm") else _words(content)
        )
        assert text is None, (path, text)
    planted = contents[Path("said")] + next(iter(looked_for)).encode()
    assert whole.search(planted)
    counts = json.loads((run / "internal" / "ingest.json").read_text())
    assert counts["quarantined"] == {SHORT: 1}
    assert counts["dropped"]["by_tag"]["(0010,0010) PatientName"] == counts["files"]


def _words(content: bytes) -> bytes:
    """Return a binary file's printable runs of 6 bytes or more: noise holds any four."""
    return b"\n".join(re.findall(rb"[\x20-\x7e]{6,}", content))


def cohort(place: Path, **source: Any) -> Any:
    loaded = load_config(place / "run.yaml")
    given = loaded.config.data.images.model_copy(update=source)
    return read(loaded.table, loaded.schema, given, base=place)


def test_headers_and_table_are_joined_by_patient_and_pixels_stay_with_them(place: Path) -> None:
    raw = cohort(place)
    table = pd.read_csv(place / "p" / "clinical.csv", dtype=str).set_index("patient")
    assert raw.frame["patient"].nunique() == 100
    assert (raw.frame["ill"].to_numpy() == table.loc[raw.frame["patient"], "ill"].to_numpy()).all()
    for row in (0, 50, len(raw.frame) - 1):
        files = sorted((place / "p" / "dicom" / raw.frame["patient"][row]).glob("*.dcm"))
        sexes = {str(pydicom.dcmread(path).PatientSex) for path in files}
        assert sexes == {raw.frame["sex"][row]}
    ill = (raw.frame["ill"] == "true").to_numpy()
    spot = raw.pixels[:, 0, 8:11, 4:6].mean(axis=(1, 2))
    assert spot[ill].mean() > spot[~ill].mean() + 8


def test_a_table_of_other_patients_or_of_two_rows_a_patient_is_refused(place: Path) -> None:
    lines = (place / "p" / "clinical.csv").read_text().splitlines()
    (place / "two.csv").write_text("\n".join([*lines, lines[1]]))
    with pytest.raises(DataError, match="1 rows more"):
        cohort(place, table="two.csv")
    (place / "others.csv").write_text(lines[0] + "\nnobody,true,true\n")
    with pytest.raises(DataError, match="none of them"):
        cohort(place, table="others.csv")
    (place / "fewer.csv").write_text("\n".join(lines[:40]))
    few = cohort(place, table="fewer.csv")
    assert few.frame["patient"].nunique() == 39
    assert few.report["without_row"] > 0


def test_a_folder_of_omop_tables_is_joined_too(place: Path) -> None:
    lines = [line.split(",") for line in (place / "p" / "clinical.csv").read_text().splitlines()[1:]]
    omop = place / "omop"
    omop.mkdir()
    people = [f"{patient},{smoker}" for patient, _, smoker in lines]
    (omop / "person.csv").write_text("\n".join(["person_id,smoker", *people]))
    ill = [f"{patient},7" for patient, flag, _ in lines if flag == "true"]
    (omop / "condition_occurrence.csv").write_text("\n".join(["person_id,condition_concept_id", *ill]))
    (place / "omop.yaml").write_text((place / "s.yaml").read_text().replace("name: ill", "name: condition_7"))
    overrides = ["data.images.schema=omop.yaml", "data.images.table=omop"]
    loaded = load_config(place / "run.yaml", overrides=overrides)
    joined = read(loaded.table, loaded.schema, loaded.config.data.images, base=place)
    assert joined.frame["condition_7"].tolist() == cohort(place).frame["ill"].tolist()


def test_schema_check_counts_what_headers_do_against_the_schema(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, _ = call(capsys, "schema", "check", place / "s.yaml", place / "p" / "dicom")
    assert (code, shown["valid"]) == (0, True)
    assert [v["count"] for v in shown["violations"]] == [1]
    (place / "strict.yaml").write_text((place / "s.yaml").read_text().replace("[F, M]", "[F, O]"))
    code, shown, _ = call(capsys, "schema", "check", place / "strict.yaml", place / "p" / "dicom")
    assert code == 3
    assert any(v["column"] == "sex" and v["severity"] == "error" for v in shown["violations"])


def made(folder: Path, n_broken: int, n_files: int = 20, **odd: Any) -> Path:
    """DICOM files of as many patients, of which some are odd."""
    folder.mkdir()
    values = np.arange(256, dtype=np.uint16).reshape(16, 16) * 16
    for number in range(n_files):
        attributes: dict[str, Any] = {"PatientSex": "F" if number % 2 else "M", "BitsStored": 12}
        attributes |= odd if number < n_broken else {}
        write(folder / f"{number}.dcm", dataset(values, number=number, **attributes))
    return folder


SCHEMA = """
unit: {column: patient}
images: {channels: 1}
fields:
  - {name: patient, type: string, role: id}
  - {name: sex, type: string, role: label, constraints: {enum: [F, M]}}
"""
SMALL = """
cohort: small
data: {images: {path: d, schema: s.yaml, size: 8}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 10.0, delta: 1e-5, patients: 20}
generator: {name: embedding, attributes: {name: marginal, share: 0.2, iterations: 50}}
sample: {records: 4}
release: {policy: images, formats: [csv]}
"""


@pytest.mark.parametrize(
    ("n_broken", "odd", "code"),
    [
        (20, {"BitsAllocated": 12}, 3),
        (3, {"BitsAllocated": 12}, 3),
        (2, {"BitsAllocated": 12}, 0),
        (3, {"NumberOfFrames": -1}, 3),
        (19, {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4", "Modality": "SEG"}, 0),
        (20, {"WindowWidth": 0, "WindowCenter": 0, "RescaleSlope": 0}, 0),
    ],
)
def test_a_share_of_images_left_out_fails_the_check_and_stops_a_run_before_a_spend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], n_broken: int, odd: dict[str, Any], code: int
) -> None:
    folder = made(tmp_path / "d", n_broken, **odd)
    (tmp_path / "s.yaml").write_text(SCHEMA)
    found, shown, _ = call(capsys, "schema", "check", tmp_path / "s.yaml", folder)
    assert found == code
    if code:
        assert next(iter(odd)) in json.dumps(shown)
        assert "violations" not in shown or not shown["valid"]
    (tmp_path / "run.yaml").write_text(SMALL)
    if code or n_broken == 2:
        found, shown, _ = call(capsys, "fit", tmp_path / "run.yaml", "--output", tmp_path / "run")
        assert found == code
        _, ledger, _ = call(capsys, "ledger", "show", "--ledger", f"sqlite:///{tmp_path / 'ledger.db'}")
        assert [one["epsilon"] > 0 for one in ledger["cohorts"]] == ([True] if code == 0 else [])
        assert ledger["orphans"] == []
    (tmp_path / "wide.yaml").write_text(SCHEMA.replace("channels: 1", "channels: 1, most_left_out: 0.5"))
    if n_broken == 3:
        assert call(capsys, "schema", "check", tmp_path / "wide.yaml", folder)[0] == 0


def test_a_column_from_nowhere_is_named(place: Path) -> None:
    with pytest.raises(ConfigError, match="smoker"):
        cohort(place, table=None)


def test_dicom_of_a_table_is_refused_before_anything_is_spent(capsys: pytest.CaptureFixture[str]) -> None:
    config = ROOT / "configs" / "diabetes130_marginal_eps1.yaml"
    code, shown, _ = call(capsys, "plan", config, "--set", "release.formats=[dicom]")
    assert (code, "dicom" in shown["error"]["message"]) == (2, True)


def test_an_older_config_keeps_its_folder_and_paths_of_sources_are_all_read(place: Path) -> None:
    loaded = load_config(place / "run.yaml", overrides=["data.images.patients=p/clinical.csv"])
    assert [path.name for path in loaded.sources] == ["dicom", "clinical.csv", "clinical.csv"]
    assert loaded.digest != load_config(place / "run.yaml").digest
    assert isinstance(loaded.config.data.images, ImageSource)
    assert np.isfinite(loaded.config.budget.epsilon)
