"""The original cohorts that the shipped demo cohorts are drawn from, in the columns of their schemas.

Both are read from the folder of open data (``SYNTHGEN_TEST_DATA``) and are never copied into the project.

* Diabetes 130-US hospitals: the zip of UCI data set 296. Groupings are public: the code lists of
  IDs_mapping.csv in the zip, and for the diagnosis Table 2 of Strack et al. (2014), BioMed Research
  International 781670.
* Chest radiographs of children: Kermany et al. (2018), doi:10.17632/rscbjbr9sj.2, with patient numbers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SYNTHGEN_TEST_DATA", ROOT.parent / "shared" / "data"))
CACHE = ROOT / ".bench"
SOURCE_SHA256 = "0689e7ec031237dc63031b938805c48377748761a3b26acab621567afa24df97"

ADMISSION_TYPE = {
    "Emergency": (1,),
    "Urgent": (2,),
    "Elective": (3,),
    "Newborn": (4,),
    "Trauma center": (7,),
    "Not available": (5, 6, 8),
}
DISCHARGE_DISPOSITION = {
    "Home": (1,),
    "Home with care": (6, 8),
    "Short-term hospital": (2,),
    "Nursing facility": (3, 4, 15, 24),
    "Rehabilitation": (22,),
    "Long-term care hospital": (23,),
    "Other institution": (5, 9, 10, 27, 28, 29, 30),
    "Outpatient care": (12, 16, 17),
    "Left against advice": (7,),
    "Hospice": (13, 14),
    "Expired": (11, 19, 20, 21),
    "Not available": (18, 25, 26),
}
ADMISSION_SOURCE = {
    "Emergency room": (7,),
    "Physician referral": (1,),
    "Clinic or HMO referral": (2, 3),
    "Transfer from hospital": (4, 10, 22),
    "Transfer from nursing facility": (5,),
    "Transfer from other care": (6, 18, 19, 25, 26),
    "Court or law enforcement": (8,),
    "Birth": (11, 12, 13, 14, 23, 24),
    "Not available": (9, 15, 17, 20, 21),
}
CHAPTERS = {
    "Circulatory": [(390, 459), (785, 785)],
    "Respiratory": [(460, 519), (786, 786)],
    "Digestive": [(520, 579), (787, 787)],
    "Diabetes": [(250, 250)],
    "Injury": [(800, 999)],
    "Musculoskeletal": [(710, 739)],
    "Genitourinary": [(580, 629), (788, 788)],
    "Neoplasms": [(140, 239)],
}
CODED = {
    "admission_type": ("admission_type_id", ADMISSION_TYPE),
    "discharge_disposition": ("discharge_disposition_id", DISCHARGE_DISPOSITION),
    "admission_source": ("admission_source_id", ADMISSION_SOURCE),
}
INTEGERS = (
    "encounter_id patient_nbr time_in_hospital num_lab_procedures num_procedures num_medications "
    "number_outpatient number_emergency number_inpatient number_diagnoses"
).split()
COLUMNS = (
    "encounter_id patient_nbr race gender age admission_type discharge_disposition admission_source "
    "time_in_hospital num_lab_procedures num_procedures num_medications number_outpatient number_emergency "
    "number_inpatient diag_1 number_diagnoses max_glu_serum A1Cresult metformin glipizide glyburide insulin "
    "change diabetesMed readmitted"
).split()


def chapter(code: str) -> str:
    """Return the group of an ICD-9 code; E, V and all other codes are ``Other``, ``?`` stays missing."""
    if code == "?":
        return "?"
    if not code[0].isdigit():
        return "Other"
    number = int(float(code))
    for name, ranges in CHAPTERS.items():
        if any(low <= number <= high for low, high in ranges):
            return name
    return "Other"


def inverted(groups: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the group of each code; a code in two groups is an error."""
    pairs = [(str(code), name) for name, codes in groups.items() for code in codes]
    lookup = dict(pairs)
    if len(lookup) != len(pairs):
        raise ValueError("Expected each code in one group, got one in two. Correct the table.")
    return lookup


def convert(rows: Iterable[Mapping[str, str]]) -> pa.Table:
    """Return the cohort's columns from the rows of the original file."""
    records = list(rows)
    columns: dict[str, pa.Array] = {}
    for name in COLUMNS:
        if name in CODED:
            original, groups = CODED[name]
            lookup = inverted(groups)
            columns[name] = pa.array([lookup[row[original]] for row in records], pa.string())
        elif name in INTEGERS:
            columns[name] = pa.array([int(row[name]) for row in records], pa.int64())
        elif name == "diag_1":
            columns[name] = pa.array([chapter(row[name]) for row in records], pa.string())
        elif name == "readmitted":
            columns[name] = pa.array([row[name] != "NO" for row in records], pa.bool_())
        else:
            columns[name] = pa.array([row[name] for row in records], pa.string())
    return pa.table(columns)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the original CSV out of the zip, after checking that it is the known one."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read("dataset_diabetes/diabetic_data.csv")
    if hashlib.sha256(content).hexdigest() != SOURCE_SHA256:
        raise ValueError("Expected the known diabetic_data.csv, got other bytes. Fetch UCI data set 296.")
    return list(csv.DictReader(io.StringIO(content.decode("ascii"))))


def encounters_file(folder: Path) -> Path:
    """Write the original encounters as Parquet into a folder, once, and return the file."""
    path = folder / "encounters.parquet"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(convert(read_rows(DATA / "diabetes130" / "dataset_diabetes.zip")), path)
    return path


def first_of_patient(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Return the table with each column's value of a patient's first row in all rows of that patient.

    Looks at one patient at a time, so neighbouring cohorts still differ by one patient's rows.
    """
    frame = table.to_pandas()
    for name in columns:
        frame[name] = frame.groupby("patient_nbr", sort=False)[name].transform("first")
    return pa.Table.from_pandas(frame, schema=table.schema, preserve_index=False)


def radiographs(path: Path, size: int) -> dict[str, NDArray[Any]]:
    """Return chest radiographs of ``size`` pixels with patient and label, as arrays by name."""
    with np.load(path) as arrays:
        pixels, patients, labels = (arrays[key] for key in ("images", "patient", "label"))
    small = [Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS) for image in pixels]
    return {
        "images": np.stack([np.asarray(image) for image in small]),
        "patient": patients.astype(np.int64),
        "label": labels.astype(np.int64),
    }
