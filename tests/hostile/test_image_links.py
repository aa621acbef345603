"""A folder of images is not left: links out of it are left out with a reason, those inside are followed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from synthgen.errors import DataError
from synthgen.ingest.fingerprint import source_digest
from synthgen.ingest.images.read import only_table, read_images
from synthgen.schema.image_format import Dicom
from synthgen.schema.schema import load_schema
from tests.hostile import line

OUTSIDE = "a link that leads out of the folder, or no plain file"


def test_pictures(tmp_path: Path) -> None:
    line.write_images(tmp_path)
    schema = load_schema(tmp_path / "scans.schema.yaml")
    assert schema.images is not None
    loose = {"size": 16, "most_left_out": 0.5}
    schema = schema.model_copy(update={"images": schema.images.model_copy(update=loose)})
    scans, outside = tmp_path / "scans", tmp_path / "0.png"
    shutil.move(scans / "0.png", outside)
    (scans / "0.png").symlink_to(outside)
    shutil.move(scans / "1.png", scans / "kept")
    (scans / "1.png").symlink_to("kept")
    raw = read_images(scans, schema)
    assert raw.report["quarantined"] == {OUTSIDE: 1}
    assert raw.report["images"] == len(list(scans.glob("*.png"))) - 1
    before = source_digest((scans, tmp_path / "images.yaml"))
    outside.write_bytes(b"other")  # what a link out of the folder leads to is not read
    assert source_digest((scans, tmp_path / "images.yaml")) == before
    shutil.move(scans / "attributes.csv", tmp_path / "attributes.csv")
    (scans / "attributes.csv").symlink_to(tmp_path / "attributes.csv")
    with pytest.raises(DataError, match="leads out of it"):
        only_table(scans)


def test_dicom_files(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    from synthgen.ingest.dicom import index

    line.write_dicom(tmp_path)
    folder = tmp_path / "dicom"
    shutil.move(folder / "0.dcm", tmp_path / "0.dcm")
    (folder / "0.dcm").symlink_to(tmp_path / "0.dcm")
    (folder / "again.dcm").symlink_to("1.dcm")
    found = index.index(folder, Dicom(screened=()))
    assert {reason for _, reason in found.quarantined} >= {OUTSIDE}
    assert set(found.units.tolist()) == {"p1", "p2"}
