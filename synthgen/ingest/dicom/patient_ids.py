"""Whose a DICOM file is: (IssuerOfPatientID, PatientID), or what a mapping says.

A patient who is taken for two contributes twice what the guarantee allows; two who are taken for one do no
harm. So what is unclear is refused, or left out by a rule that looks at the file alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables.table import read_raw

PATIENT = "patient"
FILE = "file"
KEYS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SOPInstanceUID", FILE)
Without = Literal["error", "leave_out", "own"]


def units_of(
    values: Sequence[Mapping[str, str]], files: Sequence[str], *, table: Path | None, without: Without
) -> np.ndarray:
    """Return the patient of each file as text; empty where a file names none and is to be left out.

    Without a mapping it is the PatientID, with its issuer if the file names one.

    Args:
        values: texts of each header. Sensitive.
        files: path of each file in its folder. Sensitive.
        table: a CSV with a column ``patient`` and one or more of `KEYS`, which together name a file; a file
            that is not in it has no id.
        without: what becomes of a file without an id: refuse the cohort, leave it out, or take it for a
            patient of its own.

    Raises:
        DataError: files without an id, an id with and without an issuer, or one under several issuers.
        ConfigError: the mapping has no such columns, or says two things of one file.
    """
    if table is not None:
        units = _mapped(values, files, table)
    else:
        units = [_own(one) for one in values]
        _require_one_issuer(values)
    lacking = [number for number, unit in enumerate(units) if not unit]
    if lacking and without == "error":
        raise DataError(
            f"Expected the patient of every image, got {len(lacking)} of {len(units)} images without one.",
            where="DICOM",
            next_step="Name them in a CSV as data.images.patients, or say `without_id: leave_out`."
            " No budget was spent.",
        )
    if without == "own":
        for number in lacking:
            units[number] = f"file:{files[number]}"
    return np.array(units, dtype=object)


def _own(values: Mapping[str, str]) -> str:
    name, issuer = values["PatientID"], values["IssuerOfPatientID"]
    return name if not issuer or not name else json.dumps([issuer, name])


def _require_one_issuer(values: Sequence[Mapping[str, str]]) -> None:
    """Refuse ids that stand with several issuers or with and without one: are these one patient or two?"""
    issuers: dict[str, set[str]] = {}
    for one in values:
        issuers.setdefault(one["PatientID"], set()).add(one["IssuerOfPatientID"])
    mixed = sum(len(found) > 1 and "" in found for name, found in issuers.items() if name)
    if mixed:
        raise DataError(
            f"Expected the issuer of an id in all of its files or in none, got {mixed} ids with both.",
            where="DICOM",
            next_step="Say whose they are in a CSV as data.images.patients. No budget was spent.",
        )


def _mapped(values: Sequence[Mapping[str, str]], files: Sequence[str], table: Path) -> list[str]:
    frame = read_raw(table)
    keys = [key for key in KEYS if key in frame.columns]
    if PATIENT not in frame.columns or not keys:
        raise ConfigError(
            f"data.images.patients: expected the column {PATIENT!r} and one or more of {list(KEYS)}.",
            where=str(table),
            next_step="Correct the names in its first line.",
        )
    cells = [[str(cell).strip() for cell in row] for row in frame[[*keys, PATIENT]].itertuples(index=False)]
    known: dict[tuple[str, ...], str] = {}
    twice = 0
    for *key, patient in cells:
        twice += known.setdefault(tuple(key), patient) != patient
    if twice:
        raise ConfigError(
            f"data.images.patients: expected one patient for each file, got {twice} lines that name another.",
            where=str(table),
            next_step="Correct these lines.",
        )
    whole = [{**one, FILE: file} for one, file in zip(values, files, strict=True)]
    return [known.get(tuple(one[key] for key in keys), "") for one in whole]
