"""DICOM out: valid, marked, related and equal to the table; and a real archive takes it."""

import dataclasses
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pydicom
import pytest

from synthgen.data.images import SyntheticImages
from synthgen.errors import ConfigError
from synthgen.release.export.dicom import KINDS, uid, write_dicom
from synthgen.schema.image_format import Dicom
from tests.support.phantom_cohorts import synthetic

ALLOWED = {
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName", "StudyID", "SeriesNumber", "InstanceNumber", "Modality"),
    *("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "PatientOrientation", "BodyPartExamined"),
    *("Laterality", "", "SyntheticData", "ImageType", "PatientIdentityRemoved", "DeidentificationMethod"),
    *("BurnedInAnnotation", "DerivationDescription", "ContributingEquipmentSequence", "SamplesPerPixel"),
    *("PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored"),
    *("HighBit", "PixelRepresentation", "PixelData", "WindowCenter", "WindowWidth", "ViewPosition"),
    *("PresentationIntentType", "ImageLaterality", "AnatomicRegionSequence", "PositionerType"),
    *("DetectorType", "PixelIntensityRelationship", "PixelIntensityRelationshipSign", "RescaleIntercept"),
    *("RescaleSlope", "RescaleType", "PresentationLUTShape", "LossyImageCompression", "ImagerPixelSpacing"),
    *("AcquisitionContextSequence", "KVP", "AcquisitionNumber", "ScanningSequence", "SequenceVariant"),
    *("ScanOptions", "MRAcquisitionType", "EchoTime", "EchoTrainLength", "RepetitionTime", "ConversionType"),
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "PixelSpacing", "SliceThickness"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PatientPosition"),
}


def drawn(kind: str, *, n: int = 4, part: str = "CHEST", **form: Any) -> SyntheticImages:
    images = synthetic(n, size=24, **form)
    window = (-600.0, 1500.0) if kind == "CT" else None
    names = {"sex": "PatientSex", "age": "PatientAge"}
    dicom = Dicom.model_validate(
        {"attributes": names, "body_part": (part,), "view": ("PA",), "window": window}
    )
    spec = images.schema.images.model_copy(update={"dicom": dicom})
    return dataclasses.replace(images, schema=images.schema.model_copy(update={"images": spec}))


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


CASES = [
    *[(kind, "CHEST", {}) for kind in KINDS],
    *[(kind, "KNEE", {"bits": 12}) for kind in KINDS],
    ("SC", "CHEST", {"channels": 3}),
]


@pytest.mark.parametrize(("kind", "part", "form"), CASES)
def test_every_file_is_valid_and_one_without_rows_is_not(
    kind: str, part: str, form: dict[str, Any], tmp_path: Path
) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed: apt-get install dicom3tools")
    write_dicom(drawn(kind, part=part, **form), tmp_path, modality=kind)
    for path in files(tmp_path):
        assert problems(path) == []
    path = files(tmp_path)[0]
    dataset = pydicom.dcmread(path)
    del dataset.Rows
    dataset.save_as(path)
    assert problems(path)


def problems(path: Path) -> list[str]:
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    unknown = [line for line in lines if "(0008,001c)" not in line]
    return unknown + ([f"exit {done.returncode}"] if done.returncode else [])


@pytest.mark.parametrize("kind", KINDS)
def test_headers_hold_the_allow_list_only_and_say_that_they_are_synthetic(kind: str, tmp_path: Path) -> None:
    images = drawn(kind)
    done = write_dicom(images, tmp_path, modality=kind)
    assert (done["files"], done["patients"], done["modalities"]) == (4, 4, {kind: 4})
    table = pd.read_csv(tmp_path / "attributes.csv", dtype=str)
    seen: dict[str, set[str]] = {"study": set(), "series": set(), "instance": set()}
    for path in files(tmp_path):
        dataset = pydicom.dcmread(path)
        assert {element.keyword for element in dataset} <= ALLOWED
        assert not any(element.tag.is_private for element in dataset.iterall())
        assert dataset[0x0008001C].value == "YES"
        assert list(dataset.ImageType)[:2] == ["DERIVED", "SECONDARY"]
        assert dataset.PatientIdentityRemoved == "YES"
        assert "ynthetic" in dataset.DeidentificationMethod
        assert re.search(
            r"sha256 [0-9a-f]{64}", dataset.ContributingEquipmentSequence[0].ContributionDescription
        )
        purpose = dataset.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0]
        assert (purpose.CodeValue, purpose.CodingSchemeDesignator) == ("109102", "DCM")
        assert kind != "SC" or dataset.ConversionType == "SYN"
        row = table[table["patient"] == dataset.PatientID].iloc[0]
        assert dataset.PatientSex == row["sex"]
        assert dataset.PatientAge == f"{int(row['age']):03d}Y"
        place = int(dataset.PatientID.removeprefix("S")) - 1
        np.testing.assert_array_equal(dataset.pixel_array, images.pixels[place, 0])
        seen["study"].add(dataset.StudyInstanceUID)
        seen["series"].add(dataset.SeriesInstanceUID)
        seen["instance"].add(dataset.SOPInstanceUID)
    assert all(len(one) == 4 for one in seen.values())
    assert all(
        re.fullmatch(r"2\.25\.[1-9]\d*", text) and len(text) <= 64 for s in seen.values() for text in s
    )


def test_the_same_cohort_gives_the_same_bytes_and_another_one_other_uids(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_dicom(drawn("DX"), tmp_path / name, modality="DX")
    first, again = ([path.read_bytes() for path in files(tmp_path / name)] for name in ("a", "b"))
    assert first == again
    assert uid("a", "study", 1) != uid("b", "study", 1) != uid("b", "series", 1)


def test_ct_values_are_in_the_declared_units(tmp_path: Path) -> None:
    images = drawn("CT")
    write_dicom(images, tmp_path, modality="CT")
    dataset = pydicom.dcmread(files(tmp_path)[0])
    units = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    expected = images.pixels[int(dataset.PatientID[1:]) - 1, 0] / 255 * 1500 - 1350
    np.testing.assert_allclose(units, expected, atol=1e-3)


def test_burned_in_text_is_not_denied(tmp_path: Path) -> None:
    from PIL import Image, ImageDraw, ImageFont

    images = dataclasses.replace(drawn("SC", n=1), pixels=synthetic(1, size=24).pixels)
    write_dicom(images, tmp_path / "plain", modality="SC")
    assert pydicom.dcmread(files(tmp_path / "plain")[0]).BurnedInAnnotation == "NO"
    sheet = Image.new("L", (96, 96), 20)
    ImageDraw.Draw(sheet).text((4, 30), "DOE 1950 X", fill=255, font=ImageFont.load_default(size=14))
    big = synthetic(1, size=96)
    written = dataclasses.replace(big, pixels=np.asarray(sheet, dtype=np.uint8)[None, None])
    write_dicom(written, tmp_path / "text", modality="SC")
    assert pydicom.dcmread(files(tmp_path / "text")[0]).BurnedInAnnotation == "YES"


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SC for images in colour"):
        write_dicom(drawn("SC", channels=3), tmp_path / "c", modality="CT")
    with pytest.raises(ConfigError, match="one of"):
        write_dicom(drawn("SC"), tmp_path / "c", modality="NM")
    (tmp_path / "other.txt").write_text("x")
    with pytest.raises(ConfigError, match="empty"):
        write_dicom(drawn("SC"), tmp_path)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def get(url: str, accept: str = "application/json") -> bytes:
    asked = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - loopback
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        return bytes(answer.read())


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A real Orthanc with its DICOMweb plug-in, on loopback."""
    program = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
    plugins = sorted(Path("/usr/share/orthanc/plugins").glob("libOrthancDicomWeb.so*"))
    if not Path(program).exists() or not plugins:
        pytest.skip("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb dcmtk")
    place = tmp_path_factory.mktemp("orthanc")
    web, dicom = free_port(), free_port()
    config = {
        "Name": "test",
        "StorageDirectory": str(place / "store"),
        "IndexDirectory": str(place / "store"),
        "HttpPort": web,
        "DicomPort": dicom,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowStore": True,
        "Plugins": [str(plugins[0])],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (place / "orthanc.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [program, str(place / "orthanc.json")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(240):
            if process.poll() is not None:
                pytest.fail("Orthanc ended")
            try:
                get(f"http://127.0.0.1:{web}/system")
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.25)
        else:
            pytest.fail("Orthanc did not answer")
        yield f"http://127.0.0.1:{web}", dicom
    finally:
        process.terminate()
        process.wait(timeout=60)


def stow(url: str, path: Path) -> int:
    bound = "synthetic-part"
    head = f"--{bound}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = head + path.read_bytes() + f"\r\n--{bound}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={bound}'
    asked = urllib.request.Request(  # noqa: S310 - loopback
        f"{url}/dicom-web/studies",
        data=body,
        headers={"Content-Type": kind, "Accept": "application/dicom+json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:  # noqa: S310
        return int(answer.status)


@pytest.mark.parametrize(("kind", "how"), [(kind, how) for kind in KINDS for how in ("stow", "storescu")])
def test_an_archive_takes_finds_and_returns_every_file(
    kind: str, how: str, archive: tuple[str, int], tmp_path: Path
) -> None:
    url, port = archive
    images = drawn(kind, n=2)
    changed = images.pixels ^ np.uint8(1 if how == "stow" else 2)  # other UIDs for either way in
    write_dicom(dataclasses.replace(images, pixels=changed), tmp_path, modality=kind)
    for path in files(tmp_path):
        if how == "stow":
            assert stow(url, path) == 200
        else:
            if shutil.which("storescu") is None:
                pytest.skip("storescu is not installed: apt-get install dcmtk")
            subprocess.run(["storescu", "127.0.0.1", str(port), str(path)], check=True)
        sent = pydicom.dcmread(path)
        study, series, instance = sent.StudyInstanceUID, sent.SeriesInstanceUID, sent.SOPInstanceUID
        found = json.loads(
            get(f"{url}/dicom-web/studies?PatientID={sent.PatientID}&StudyInstanceUID={study}")
        )
        assert [one["0020000D"]["Value"] for one in found] == [[study]]
        place = f"{url}/dicom-web/studies/{study}/series/{series}/instances/{instance}"
        whole = get(place, 'multipart/related; type="application/dicom"')
        content = whole.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        (tmp_path / "back.bin").write_bytes(content)
        back = pydicom.dcmread(tmp_path / "back.bin")
        assert back[0x0008001C].value == "YES"
        np.testing.assert_array_equal(back.pixel_array, sent.pixel_array)
        assert get(f"{place}/rendered", "image/png").startswith(b"\x89PNG")
