"""Headers of synthetic images, built attribute by attribute: CR, DX, CT, MR and secondary capture (SC).

Nothing is copied from any file. Each function adds the modules of one part of an information object (PS3.3
A.2, A.3, A.4, A.8, A.26). Attributes of type 2 whose value is unknown are empty; those of type 2C are left
out, since an empty one claims that the condition holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)

Modality = Literal["CR", "DX", "CT", "MR", "SC"]
CLASSES = {
    "CR": ComputedRadiographyImageStorage,
    "DX": DigitalXRayImageStorageForPresentation,
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "SC": SecondaryCaptureImageStorage,
}
MODALITIES = tuple(CLASSES)
PAIRED = ("ANKLE", "ARM", "BREAST", "ELBOW", "EXTREMITY", "FOOT", "HAND", "HIP", "KIDNEY", "KNEE", "LEG")
PAIRED_MORE = ("SHOULDER", "WRIST")
REGIONS = {
    "ABDOMEN": ("818983003", "Abdomen"),
    "BREAST": ("76752008", "Breast"),
    "CHEST": ("51185008", "Chest"),
    "FOOT": ("56459004", "Foot"),
    "HAND": ("85562004", "Hand"),
    "HEAD": ("69536005", "Head"),
    "KNEE": ("72696002", "Knee"),
    "NECK": ("45048000", "Neck"),
    "PELVIS": ("12921003", "Pelvis"),
    "SHOULDER": ("16982005", "Shoulder"),
    "SPINE": ("421060004", "Spine"),
    "WHOLEBODY": ("38266002", "Entire body"),
}
METHOD = "Synthetic: drawn from a model, no patient was imaged"


@dataclass(frozen=True)
class Instance:
    """What one file says. All synthetic or public.

    Attributes:
        modality: which information object.
        patient: synthetic id.
        uids: of ``study``, ``series``, ``instance`` and ``frame``.
        told: attributes of `synthgen.schema.image_format.Attribute` as the drawn table has them.
        window: centre and width in the modality's units, or None.
        burned_in: whether a screen found text-like regions.
        software: name and version of what drew it.
        source: the SHA-256 of the model or of what was drawn, and which of the two it is.
    """

    modality: Modality
    patient: str
    uids: Mapping[str, str]
    told: Mapping[str, str]
    window: tuple[float, float] | None
    burned_in: bool
    software: tuple[str, str]
    source: str


def build(one: Instance, pixels: np.ndarray, *, bits: int) -> Dataset:
    """Return a whole data set.

    Args:
        one: what the header says.
        pixels: ``(channel, row, column)`` of uint8 or uint16.
        bits: depth of a value.

    Raises:
        ValueError: a modality of grey values is asked for colours.
    """
    if len(pixels) != 1 and one.modality != "SC":
        raise ValueError(f"Expected grey images for {one.modality}, got {len(pixels)} channels. Ask for SC.")
    out = Dataset()
    _identity(out, one)
    _marks(out, one)
    _pixels(out, pixels, bits, deep=one.modality in ("CT", "MR"))
    {"CR": _cr, "DX": _dx, "CT": _ct, "MR": _mr, "SC": _sc}[one.modality](out, one, bits)
    return out


def _identity(out: Dataset, one: Instance) -> None:
    out.SpecificCharacterSet = "ISO_IR 192"
    out.SOPClassUID, out.SOPInstanceUID = CLASSES[one.modality], one.uids["instance"]
    out.StudyInstanceUID, out.SeriesInstanceUID = one.uids["study"], one.uids["series"]
    out.PatientID, out.PatientName = one.patient, f"Synthetic^{one.patient}"
    out.PatientBirthDate, out.PatientSex = "", one.told.get("PatientSex", "")
    if "PatientAge" in one.told:
        out.PatientAge = one.told["PatientAge"]
    out.StudyDate = out.StudyTime = out.AccessionNumber = out.ReferringPhysicianName = ""
    out.StudyID, out.SeriesNumber, out.InstanceNumber = "1", 1, 1
    out.Modality = "OT" if one.modality == "SC" else one.modality
    out.Manufacturer, out.ManufacturerModelName = one.software[0], "generative model"
    out.SoftwareVersions = one.software[1]
    out.PatientOrientation = ["L", "F"]
    part = one.told.get("BodyPartExamined", "")
    if part:
        out.BodyPartExamined = part
    side = one.told.get("Laterality", "")
    paired = part in (*PAIRED, *PAIRED_MORE)
    if paired and one.modality != "DX":
        out.Laterality = side if side in ("L", "R") else ""


def _marks(out: Dataset, one: Instance) -> None:
    """Say in every way that there is that no patient was imaged."""
    out.add_new(0x0008001C, "CS", "YES")  # SyntheticData, which older dictionaries do not know
    out.ImageType = ["DERIVED", "SECONDARY"]
    out.PatientIdentityRemoved, out.DeidentificationMethod = "YES", METHOD
    out.BurnedInAnnotation = "YES" if one.burned_in else "NO"
    out.DerivationDescription = METHOD
    made = Dataset()
    made.PurposeOfReferenceCodeSequence = Sequence([_code("109102", "DCM", "Processing Equipment")])
    made.Manufacturer, made.ManufacturerModelName = one.software[0], "generative model"
    made.SoftwareVersions = one.software[1]
    made.ContributionDescription = f"Synthetic image, {one.source}"
    out.ContributingEquipmentSequence = Sequence([made])


def _pixels(out: Dataset, pixels: np.ndarray, bits: int, *, deep: bool) -> None:
    colours = len(pixels) == 3
    plain = np.moveaxis(pixels, 0, -1) if colours else pixels[0]
    wide = deep or plain.dtype.itemsize == 2
    out.SamplesPerPixel = 3 if colours else 1
    out.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
    if colours:
        out.PlanarConfiguration = 0
    out.Rows, out.Columns = plain.shape[:2]
    out.BitsAllocated = 16 if wide else 8
    out.BitsStored = max(bits, 12) if deep else bits
    out.HighBit, out.PixelRepresentation = out.BitsStored - 1, 0
    content = np.ascontiguousarray(plain, dtype="<u2" if wide else "u1").tobytes()
    out.add_new(0x7FE00010, "OW" if wide else "OB", content + b"\0" * (len(content) % 2))
    if not colours:
        top = float(2**bits)
        out.WindowCenter, out.WindowWidth = top / 2, top


def _cr(out: Dataset, one: Instance, bits: int) -> None:
    out.setdefault("BodyPartExamined", "")
    out.ViewPosition = one.told.get("ViewPosition", "")


def _dx(out: Dataset, one: Instance, bits: int) -> None:
    part, side = one.told.get("BodyPartExamined", ""), one.told.get("Laterality", "")
    out.PresentationIntentType = "FOR PRESENTATION"
    out.ViewPosition = one.told.get("ViewPosition", "")
    paired = part in (*PAIRED, *PAIRED_MORE)
    out.ImageLaterality = side if side in ("L", "R", "B") else ("B" if paired else "U")
    value, meaning = REGIONS.get(part, REGIONS["WHOLEBODY"])
    out.AnatomicRegionSequence = Sequence([_code(value, "SCT", meaning)])
    out.PositionerType = out.DetectorType = ""
    out.PixelIntensityRelationship, out.PixelIntensityRelationshipSign = "LIN", 1
    out.RescaleIntercept, out.RescaleSlope, out.RescaleType = 0, 1, "US"
    out.PresentationLUTShape, out.LossyImageCompression = "IDENTITY", "00"
    out.ImagerPixelSpacing = [1, 1]  # nominal: nothing was measured
    out.AcquisitionContextSequence = Sequence([])


def _ct(out: Dataset, one: Instance, bits: int) -> None:
    out.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    _plane(out, one)
    out.KVP = out.AcquisitionNumber = None
    out.RescaleIntercept, out.RescaleSlope, out.RescaleType = 0, 1, "US"
    if one.window is not None:
        centre, width = one.window
        out.RescaleSlope = round(width / (2**bits - 1), 10)
        out.RescaleIntercept, out.RescaleType = round(centre - width / 2, 4), "HU"
        out.WindowCenter, out.WindowWidth = centre, width


def _mr(out: Dataset, one: Instance, bits: int) -> None:
    out.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    _plane(out, one)
    out.ScanningSequence, out.SequenceVariant, out.ScanOptions = "RM", "NONE", ""
    out.MRAcquisitionType = "2D"
    out.EchoTime = out.EchoTrainLength = out.RepetitionTime = None


def _sc(out: Dataset, one: Instance, bits: int) -> None:
    out.ConversionType = "SYN"
    out.setdefault("BodyPartExamined", "")


def _plane(out: Dataset, one: Instance) -> None:
    """Place a slice where nothing was measured: a nominal grid of 1 mm."""
    out.FrameOfReferenceUID, out.PositionReferenceIndicator = one.uids["frame"], ""
    out.PixelSpacing, out.SliceThickness = [1, 1], None
    out.ImageOrientationPatient, out.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    out.PatientPosition = "HFS"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code
