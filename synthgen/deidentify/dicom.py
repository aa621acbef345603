"""Of a DICOM header, let through only what is on the allow-list, in a coarse public form.

Every element that is not named here is dropped, known or private, whatever it holds: PS3.15's profile says
what to take out of a header, this says what may come in. No text of a header is handed on: a value becomes
one of the words below, a number of years, or is missing. What is dropped is reported by tag and count.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from synthgen.schema.image_format import Attribute

OLDEST = 90
"""Ages above are told as this one: older patients can be known by their age alone (45 CFR 164.514(b)(2))."""
SEX = ("F", "M", "O")
LATERALITY = ("B", "L", "R", "U")
VIEWS = ("AP", "PA", "LL", "RL", "RLD", "LLD", "RLO", "LLO")
VIEWS_BREAST = ("CC", "MLO", "ML", "LM", "XCCL", "XCCM", "AT")
MODALITIES = ("CR", "CT", "DX", "ES", "IO", "IVUS", "MG", "MR", "NM", "OP", "OPT", "OT", "PT", "PX", "RF")
MODALITIES_MORE = ("SC", "SM", "US", "XA", "XC")
BODY_PARTS = (
    "ABDOMEN",
    "ANKLE",
    "ARM",
    "BRAIN",
    "BREAST",
    "CHEST",
    "CSPINE",
    "ELBOW",
    "EXTREMITY",
    "FOOT",
    "HAND",
    "HEAD",
    "HEART",
    "HIP",
    "KIDNEY",
    "KNEE",
    "LEG",
    "LIVER",
    "LSPINE",
    "NECK",
    "PELVIS",
    "PROSTATE",
    "SHOULDER",
    "SKULL",
    "SPINE",
    "TSPINE",
    "WHOLEBODY",
    "WRIST",
)
MAKERS = {
    "AGFA": "AGFA",
    "CANON": "CANON",
    "TOSHIBA": "CANON",
    "CARESTREAM": "CARESTREAM",
    "KODAK": "CARESTREAM",
    "FUJI": "FUJIFILM",
    "GE MEDICAL": "GE",
    "GE HEALTHCARE": "GE",
    "HITACHI": "FUJIFILM",
    "HOLOGIC": "HOLOGIC",
    "LORAD": "HOLOGIC",
    "KONICA": "KONICA",
    "PHILIPS": "PHILIPS",
    "SAMSUNG": "SAMSUNG",
    "SHIMADZU": "SHIMADZU",
    "SIEMENS": "SIEMENS",
}
OTHER = "OTHER"
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_A_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}
_WORDS: dict[str, tuple[str, ...]] = {
    "PatientSex": SEX,
    "ViewPosition": (*VIEWS, *VIEWS_BREAST),
    "BodyPartExamined": BODY_PARTS,
    "Laterality": LATERALITY,
    "Modality": (*MODALITIES, *MODALITIES_MORE),
}


def attribute(values: Mapping[str, str], name: Attribute) -> str | None:
    """Return one attribute in its public form, or None if a header does not say it in a known way.

    Args:
        values: texts of a header. Sensitive.
        name: which attribute.

    Example:
        >>> attribute({"PatientAge": "093Y", "PatientBirthDate": "", "StudyDate": ""}, "PatientAge")
        '90'
        >>> attribute({"PatientSex": "Jane Doe"}, "PatientSex") is None
        True
    """
    if name == "PatientAge":
        years = _age(values)
        return None if years is None else str(min(years, OLDEST))
    if name == "Manufacturer":
        text = values.get(name, "").upper()
        return next((label for word, label in MAKERS.items() if word in text), OTHER) if text else None
    text = values.get(name, "")
    if name == "Laterality":
        text = text or values.get("ImageLaterality", "")
    text = text.upper()
    return text if text in _WORDS[name] else None


def conditioning(
    headers: Sequence[Mapping[str, str]], columns: Mapping[str, Attribute], *, missing: str
) -> pd.DataFrame:
    """Return the columns that headers fill, one row an image.

    Args:
        headers: texts of each header. Sensitive.
        columns: column and the attribute that fills it.
        missing: text that means a missing value.

    Guarantee:
        A cell is a function of one header, and one of finitely many public words whatever that header holds.
    """
    cells = {name: [attribute(one, kind) or missing for one in headers] for name, kind in columns.items()}
    return pd.DataFrame(cells, index=range(len(headers)), dtype=object)


def dropped(tags: Mapping[int, int], columns: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return in how many files each element was found and dropped, for the internal report.

    Args:
        tags: files by tag.
        columns: what is kept.

    Returns:
        ``by_tag``: files by tag and its name in the standard; ``private``: elements of vendors, in all.
    """
    from pydicom.datadict import keyword_for_tag

    kept = set(columns.values())
    named = {tag: keyword_for_tag(tag) for tag in tags}
    shown = {
        f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {name or 'unknown'}": tags[tag]
        for tag, name in sorted(named.items())
        if not (tag >> 16) % 2 and name not in kept
    }
    private = sum(count for tag, count in tags.items() if (tag >> 16) % 2)
    return {"by_tag": shown, "private": private, "kept": sorted(kept)}


def _age(values: Mapping[str, str]) -> int | None:
    """Return whole years at the study: as told, else from the dates."""
    told = _AGE.fullmatch(values.get("PatientAge", "").upper())
    if told:
        return int(int(told[1]) / _A_YEAR[told[2]])
    try:
        born = datetime.datetime.strptime(values.get("PatientBirthDate", ""), "%Y%m%d")
        seen = datetime.datetime.strptime(values.get("StudyDate", ""), "%Y%m%d")
    except ValueError:
        return None
    years = seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
    return years if 0 <= years <= 130 else None
