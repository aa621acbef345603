"""Small DICOM files for tests, made here: one attribute wrong, absent or odd at a time."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

CR = "1.2.840.10008.5.1.4.1.1.1"
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big": ExplicitVRBigEndian,
}


def lut(
    entries: Any, first: int, bits: int, *, packed: bool = False, big: bool = False, signed: bool = False
) -> Dataset:
    """An item of a LUT sequence: its data as words, or two entries a word."""
    entries = np.asarray(entries)
    item = Dataset()
    count = len(entries) % 65536
    item.add_new("LUTDescriptor", "SS" if signed else "US", [count, first, bits])
    if packed:
        content = entries.astype(np.uint8).tobytes() + b"\0" * (len(entries) % 2)
        words = np.frombuffer(content, "<u2")
    else:
        words = entries.astype(np.uint16)
    item.add_new("LUTData", "OW", words.astype(">u2" if big else "<u2").tobytes())
    return item


def dataset(values: np.ndarray, *, number: int = 0, syntax: str = "explicit", **attributes: Any) -> Dataset:
    """A CR image of those values; None takes an attribute away."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    big = ">" if syntax == "big" else "<"
    colours = values.ndim - 2 if values.ndim == 3 and values.shape[2] == 3 else 0
    content: dict[str, Any] = {
        "SOPClassUID": CR, "SOPInstanceUID": f"1.2.3.{number + 1}", "PatientID": f"PAT{number:04d}",
        "Modality": "CR", "Rows": values.shape[0], "Columns": values.shape[1],
        "SamplesPerPixel": 3 if colours else 1,
        "PhotometricInterpretation": "RGB" if colours else "MONOCHROME2",
        "BitsAllocated": 8 * values.dtype.itemsize, "BitsStored": 8 * values.dtype.itemsize,
        "HighBit": 8 * values.dtype.itemsize - 1, "PixelRepresentation": int(values.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if colours else {}),
    }  # fmt: skip
    content.update(attributes)
    if "BitsStored" in attributes and "HighBit" not in attributes and attributes["BitsStored"]:
        content["HighBit"] = attributes["BitsStored"] - 1
    for name, value in content.items():
        if value is not None:
            setattr(
                made,
                name,
                Sequence(value) if isinstance(value, list) and isinstance(value[0], Dataset) else value,
            )
    if "PixelData" not in attributes and "FloatPixelData" not in attributes:
        order = values.dtype.newbyteorder(big) if values.dtype.itemsize > 1 else values.dtype
        raw = values.astype(order).tobytes()
        made.add_new("PixelData", "OW" if values.dtype.itemsize > 1 else "OB", raw + b"\0" * (len(raw) % 2))
    made.file_meta.MediaStorageSOPClassUID = UID(str(content["SOPClassUID"] or CR))
    made.file_meta.MediaStorageSOPInstanceUID = UID(str(content["SOPInstanceUID"]))
    return made


def write(path: Path, made: Dataset) -> Path:
    """Write a file."""
    made.save_as(path, enforce_file_format=True)
    return path
