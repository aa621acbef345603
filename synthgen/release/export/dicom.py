"""Synthetic DICOM studies: a patient, study, series and file for each drawn image, and the table beside them.

    OUTPUT/attributes.csv                   the drawn table; its ids are the files' PatientID
    OUTPUT/<id>/<study>/<series>/1.dcm      one image

Headers are built from an allow-list (see `synthgen.release.export.dicom_iods`) and say in several ways that
they are synthetic. UIDs follow from what was drawn and its place, never from a source's.
"""

from __future__ import annotations

import hashlib
import io
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from synthgen.burned_in_text import has_text
from synthgen.data.images import SyntheticImages, intensities
from synthgen.data.tables import SyntheticTable
from synthgen.errors import ConfigError, OperationError
from synthgen.files.safe_files import make_folders, sync_disk, write_bytes
from synthgen.sampling.draw import write_table
from synthgen.schema.image_format import Dicom
from synthgen.schema.schema import Schema

TABLE = "attributes.csv"
KINDS = ("CR", "DX", "CT", "MR", "SC")
_UID_BYTES = 16


def write_dicom(
    images: SyntheticTable,
    output: Path,
    *,
    modality: str | None = None,
    model: str | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """Write a synthetic cohort as DICOM files; the same cohort gives the same bytes.

    Args:
        images: what was drawn.
        output: a new folder.
        modality: CR, DX, CT, MR or SC; None takes the one that a record's column says, else the first that
            the schema asks for, else SC.
        model: SHA-256 of the model, in hex; None takes that of what was drawn.
        again: write over what an earlier call left, as a resumed run does.

    Returns:
        What was written, as JSON values.

    Raises:
        ConfigError: the extra is not installed, the folder is not empty, or the modality cannot be.
        OperationError: the disk refused.
    """
    spec = images.schema.images
    if spec is None or not isinstance(images, SyntheticImages):
        raise ConfigError("Expected images, got a table.", next_step="Export a cohort of images.")
    _require(output, modality, spec.channels, again)
    columns = (spec.dicom or Dicom()).columns([column.name for column in images.schema.columns])
    frame = images.to_pandas()
    patients = _patients(images, frame)
    digest = _digest(images)
    told = [_told(row, columns, images.schema) for row in frame.to_dict("records")]
    source = f"cohort sha256 {digest}" if model is None else f"model sha256 {model}"
    counts: dict[str, int] = {}
    try:
        make_folders(output, private=False)
        for place, pixels in enumerate(images.pixels):
            kind = _kind(modality, told[place], images.schema)
            one = _instance(kind, place, patients[place], told[place], images, digest, source)
            _write(one, pixels, spec.bits, output)
            counts[kind] = counts.get(kind, 0) + 1
        sync_disk(output)
        write_table(images, output / TABLE, first=images.first_id)
    except OSError as error:
        raise OperationError.of(error, "write DICOM files", where=str(output)) from error
    return {"output": str(output), "files": len(images), "patients": len(set(patients)), "modalities": counts}


def uid(digest: str, kind: str, number: int) -> str:
    """Return a UID of a UUID's form (PS3.5 B.2) that follows from what was drawn.

    Example:
        >>> uid("ab", "study", 1).startswith("2.25.")
        True
    """
    whole = hashlib.sha256(f"{digest}|{kind}|{number}".encode()).digest()
    return f"2.25.{int.from_bytes(whole[:_UID_BYTES], 'big')}"


def unwritable(schema: Schema) -> str:
    """Return why images of a schema cannot be written as DICOM files, or an empty text. Reads no record."""
    if schema.images is None:
        return "A table has no images to write as DICOM files."
    if find_spec("pydicom") is None:
        return "DICOM files need the package pydicom, which is not installed."
    return ""


def _require(output: Path, modality: str | None, channels: int, again: bool) -> None:
    if find_spec("pydicom") is None:
        raise ConfigError(
            "Expected the package pydicom, found none.", next_step='pip install "synthgen-medical[dicom]"'
        )
    if modality is not None and modality not in KINDS:
        raise ConfigError(f"Expected one of {list(KINDS)}, got another.", where="--modality")
    if channels == 3 and modality not in (None, "SC"):
        raise ConfigError("Expected SC for images in colour, got another.", where="--modality")
    if not again and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(
            "Expected no folder, or an empty one, found another.",
            where=str(output),
            next_step="Choose another --output.",
        )


def _patients(images: SyntheticImages, frame: pd.DataFrame) -> list[str]:
    """Return each record's synthetic patient, as the table names it."""
    unit = images.schema.unit.column
    if unit is not None and unit in frame:
        return [str(name) for name in frame[unit].tolist()]
    return [f"S{images.first_id + place:08d}" for place in range(len(images))]


def _told(row: dict[Any, Any], columns: dict[str, Any], schema: Schema) -> dict[str, str]:
    """Return a record's attributes as a header says them; what is missing is left out."""
    told = {}
    for name, attribute in columns.items():
        value = row[name]
        if value is None or value is pd.NA or value != value:
            continue
        told[attribute] = f"{int(value):03d}Y" if attribute == "PatientAge" else str(value).upper()[:16]
    dicom = None if schema.images is None else schema.images.dicom
    if dicom is not None and len(dicom.body_part) == 1:
        told.setdefault("BodyPartExamined", dicom.body_part[0])
    if dicom is not None and len(dicom.view) == 1:
        told.setdefault("ViewPosition", dicom.view[0])
    return told


def _kind(modality: str | None, told: dict[str, str], schema: Schema) -> str:
    images = schema.images
    if images is not None and images.channels == 3:
        return "SC"
    asked = () if images is None or images.dicom is None else images.dicom.modality[:1]
    for name in (modality, told.get("Modality"), *asked):
        if name in KINDS:
            return str(name)
    return "SC"


def _instance(
    kind: str,
    place: int,
    patient: str,
    told: dict[str, str],
    images: SyntheticImages,
    digest: str,
    source: str,
) -> Any:
    from synthgen.release.export import dicom_iods

    number = images.first_id + place
    dicom = None if images.schema.images is None else images.schema.images.dicom
    planes = list(intensities(images.pixels[place], images.schema))
    return dicom_iods.Instance(
        modality=next(one for one in get_args(dicom_iods.Modality) if one == kind),
        patient=patient,
        uids={name: uid(digest, name, number) for name in ("study", "series", "instance", "frame")},
        told=told,
        window=None if dicom is None else dicom.window,
        burned_in=has_text(planes),
        software=("synthgen", _version()),
        source=source,
    )


def _write(one: Any, pixels: np.ndarray, bits: int, output: Path) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.filewriter import dcmwrite
    from pydicom.uid import UID, ExplicitVRLittleEndian

    from synthgen.release.export import dicom_iods

    dataset = dicom_iods.build(one, pixels, bits=bits)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = UID(uid("synthgen", "implementation", 1))
    dataset.file_meta.ImplementationVersionName = "SYNTHGEN"
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    folder = output / one.patient / one.uids["study"][-12:] / one.uids["series"][-12:]
    write_bytes(folder / "1.dcm", buffer.getvalue(), "write DICOM files", private=False, durable=False)


def _digest(images: SyntheticImages) -> str:
    """Return the SHA-256 of what was drawn: its pixels and attributes."""
    whole = hashlib.sha256(np.ascontiguousarray(images.pixels).tobytes())
    whole.update(images.to_pandas().to_csv(index=False).encode())
    return whole.hexdigest()


def _version() -> str:
    try:
        return version("synthgen-medical")
    except PackageNotFoundError:
        return "not installed"
