"""Make a cohort of drawn chests as real DICOM files with a clinical table: for tests and trials, no patients.

    python scripts/make_dicom_cohort.py [FOLDER] [--patients 500] [--seed 1] [--size 128]

writes FOLDER/dicom/ (one to five studies a patient) and FOLDER/clinical.csv (one row a patient). Headers are
full of invented names, dates and numbers, so that a test can look for them in all that is written later.
Sex, age and illness change the picture; a patient is built alike in all studies.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

FAMILIES = ("Aldermoor", "Brackwater", "Cinderhill", "Dunkeswell", "Eastwaite", "Fernhollow", "Greywick")
GIVEN = {"F": ("Ottilie", "Philippa", "Rosalind", "Seraphina"), "M": ("Augustin", "Bartholomew", "Cornelius")}
STUDIES = (0.2, 0.25, 0.25, 0.15, 0.15)
ROOT = "1.2.826.0.1.3680043.10.99999"


@dataclasses.dataclass(frozen=True)
class Patient:
    """An invented patient. Lengths are shares of the picture's side."""

    number: int
    sex: str
    born: int
    ill: bool
    smoker: bool
    width: float
    lung: float
    heart: float
    studies: int

    @property
    def name(self) -> str:
        """Family and given name, as DICOM writes them."""
        family, given = FAMILIES[self.number % len(FAMILIES)], GIVEN[self.sex]
        return f"{family}{self.number:05d}^{given[self.number % len(given)]}"

    @property
    def id(self) -> str:
        """Number in the invented hospital."""
        return f"MRN{7_310_000 + 37 * self.number}"


def patient(number: int, rng: np.random.Generator) -> Patient:
    sex = "F" if rng.random() < 0.5 else "M"
    born = int(rng.integers(1928, 2002))
    smoker = bool(rng.random() < 0.3)
    ill = bool(rng.random() < 0.25 + 0.3 * smoker + 0.004 * (1980 - born))
    size = -0.03 if sex == "F" else 0.03
    lung, heart = rng.normal(0.155, 0.01), 0.09 + 0.0007 * (2002 - born)
    studies = 1 + int(rng.choice(len(STUDIES), p=STUDIES))
    width = 0.4 + size + rng.normal(0, 0.015)
    return Patient(number, sex, born, ill, smoker, float(width), float(lung), float(heart), studies)


def picture(one: Patient, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return one study's picture, 12 bits, ``(row, column)``."""
    y, x = np.mgrid[:size, :size] / (size - 1) - 0.5
    x = x + rng.normal(0, 0.012)
    y = y + rng.normal(0, 0.012)

    def oval(cx: float, cy: float, rx: float, ry: float, soft: float = 0.12) -> np.ndarray:
        far = np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)
        return np.asarray(1 / (1 + np.exp(np.clip((far - 1) / soft, -40, 40))))

    body = oval(0, 0.08, one.width, 0.62)
    lungs = np.maximum(oval(-0.19, -0.05, one.lung, 0.29), oval(0.19, -0.05, one.lung, 0.29))
    ribs = 0.5 + 0.5 * np.cos(38 * (y + 0.35 * x**2))
    values = 0.62 * body - 0.4 * lungs + 0.06 * lungs * ribs
    values += 0.22 * oval(0.06, 0.12, one.heart, 0.13) + 0.16 * np.exp(-((x / 0.035) ** 2)) * body
    if one.sex == "F":
        values += 0.1 * (oval(-0.2, 0.24, 0.13, 0.1) + oval(0.2, 0.24, 0.13, 0.1))
    if one.ill:
        values += 0.3 * oval(-0.19 + rng.normal(0, 0.02), 0.1 + rng.normal(0, 0.02), 0.09, 0.09, 0.25)
    values += rng.normal(0, 0.012, values.shape)
    return np.asarray(np.clip(0.06 + values, 0, 1) * 4095, dtype=np.uint16)


def dataset(one: Patient, study: int, pixels: np.ndarray, *, view: str) -> FileDataset:
    """Return one file, as a hospital's archive would hold it."""
    uid = f"{ROOT}.{one.number + 1}.{study + 1}"
    year = 2019 + study
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    meta.MediaStorageSOPInstanceUID = f"{uid}.1.1"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset(io.BytesIO(), {}, file_meta=meta, preamble=bytes(128))
    out.SOPClassUID, out.SOPInstanceUID = ComputedRadiographyImageStorage, f"{uid}.1.1"
    out.StudyInstanceUID, out.SeriesInstanceUID = uid, f"{uid}.1"
    out.SpecificCharacterSet = "ISO_IR 192"
    out.StudyDate, out.StudyTime = f"{year}{1 + one.number % 12:02d}{1 + one.number % 28:02d}", "093107"
    out.AccessionNumber = f"ACC{880_000 + 7 * one.number + study}"
    out.Modality, out.BodyPartExamined, out.ViewPosition = "CR", "CHEST", view
    out.Manufacturer, out.InstitutionName = "SIEMENS Healthineers", "Saint Wilfrida Infirmary"
    out.ReferringPhysicianName, out.StationName = "Thistlethwaite^Hildegard", "BUCKYROOM7"
    out.PatientName, out.PatientID = one.name, one.id
    out.PatientBirthDate, out.PatientSex = f"{one.born}0{1 + one.number % 9}1{one.number % 9}", one.sex
    out.PatientAge = f"{year - one.born:03d}Y"
    out.PatientAddress = f"{one.number} Larkspur Crescent"
    out.StudyID, out.SeriesNumber, out.InstanceNumber = str(study + 1), 1, 1
    out.StudyDescription = f"Thorax of {one.name}"
    private = out.private_block(0x0011, "ARCHIVE OF WILFRIDA", create=True)
    private.add_new(1, "LO", f"copy of {one.id}")
    item = Dataset()
    item.RequestedProcedureDescription = f"asked for {one.name}"
    out.RequestAttributesSequence = [item]
    out.BurnedInAnnotation = "NO"
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
    out.Rows, out.Columns = pixels.shape
    out.BitsAllocated, out.BitsStored, out.HighBit, out.PixelRepresentation = 16, 12, 11, 0
    if one.number % 2:
        out.PhotometricInterpretation, pixels = "MONOCHROME1", 4095 - pixels
    out.PixelData = np.ascontiguousarray(pixels, dtype="<u2").tobytes()
    return out


def make(folder: Path, *, patients: int, seed: int = 1, size: int = 128) -> int:
    """Write the cohort.

    Returns:
        Files written. The same seed writes the same bytes.
    """
    rng = np.random.default_rng(seed)
    rows, files = [], 0
    for number in range(patients):
        one = patient(number, rng)
        place = folder / "dicom" / one.id
        place.mkdir(parents=True, exist_ok=True)
        for study in range(one.studies):
            view = "PA" if rng.random() < 0.7 else "AP"
            drawn = picture(one, size, rng)
            dataset(one, study, drawn, view=view).save_as(
                place / f"{study + 1:02d}.dcm", enforce_file_format=True
            )
            files += 1
        rows.append((one.id, str(one.ill).lower(), str(one.smoker).lower()))
    with (folder / "clinical.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("patient", "ill", "smoker"), *rows])
    return files


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path("phantom_dicom"))
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    files = make(given.folder, patients=given.patients, seed=given.seed, size=given.size)
    print(f"{files} files of {given.patients} invented patients in {given.folder}")


if __name__ == "__main__":
    main()
