"""From a folder of DICOM files, or a DICOMDIR, to images of one size: headers first, pixels of what is kept.

A file that is broken, odd or not an image is left out with a reason and never stops the run; whether one is
left out depends on its own patient's files alone. Memory holds a few texts a file, one decoded image, and the
kept images at their target size. Nothing here logs, and no reason holds a value or a path.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.errors import DataError
from synthgen.ingest.dicom import files as dicom_files
from synthgen.ingest.dicom import patient_ids
from synthgen.ingest.dicom.header import DIRECTORY, NO_IMAGE, NO_PICTURE, NOT_DICOM, Header, read_header
from synthgen.ingest.dicom.worker import Decoder
from synthgen.ingest.images.decode import Unusable
from synthgen.schema.image_format import Dicom, Images

__all__ = ["DicomIndex", "Frame", "folder_of", "index", "intended", "read_pixels", "summary"]

Tell = Callable[[str, float], None]
GONE, REPEATED = "listed in the DICOMDIR and not there", "the same instance again"
NO_ID = "no patient"
_SELECTED = {"modality": ("Modality",), "view": ("ViewPosition",), "body_part": ("BodyPartExamined",)}
_EVERY = 200


@dataclass(frozen=True)
class Frame:
    """One image of a file. Sensitive.

    Attributes:
        number: of its file, from 1, in the order of the folder.
        path: its file.
        frame: which of the file's images, from 0.
        values: texts of its header.
    """

    number: int
    path: Path
    frame: int
    values: Mapping[str, str]

    def __repr__(self) -> str:
        return "Frame()"


@dataclass(frozen=True)
class DicomIndex:
    """Which images there are and whose. Sensitive.

    Attributes:
        frames: every image that may be used, in the order of the files.
        units: the patient of each.
        tags: in how many used files each tag stands.
        files: files that were looked at.
        not_selected: files that the schema does not ask for, by what it asks of.
        quarantined: what was left out, spoken of without its name, and why.
    """

    frames: tuple[Frame, ...]
    units: np.ndarray
    tags: Mapping[int, int]
    files: int
    not_selected: Mapping[str, int]
    quarantined: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"DicomIndex(files={self.files})"


def index(
    path: Path,
    dicom: Dicom,
    *,
    patients: Path | None = None,
    without: patient_ids.Without = "error",
    skip: tuple[Path, ...] = (),
    progress: Tell = lambda what, done: None,
) -> DicomIndex:
    """Read the headers of a cohort, one file at a time.

    Args:
        path: a folder or a DICOMDIR.
        dicom: what is asked for.
        patients: a mapping, see `synthgen.ingest.dicom.patient_ids.units_of`.
        without: what becomes of images that name no patient.
        skip: files in the folder that are no images and are known: tables.
        progress: called with the part done, from 0 to 1.

    Raises:
        DataError: no image can be used, or images do not say whose they are.
        ConfigError: the mapping cannot be used.
    """
    root = folder_of(path)
    known, names = {file.resolve() for file in skip}, {file.name for file in skip}
    found: list[tuple[int, Path, Header]] = []
    left: list[tuple[str, str]] = []
    passed: Counter[str] = Counter()
    number, total = 0, sum(1 for _ in dicom_files.find(path))
    for file in dicom_files.find(path):
        if file is not None and file.name in names and file.resolve() in known:
            continue
        number += 1
        if number % _EVERY == 0:
            progress("ingest: index", number / total)
        try:
            header = _header(file, root)
        except Unusable as reason:
            left.append((dicom_files.called(number, file, root), str(reason)))
            continue
        reason_not = _not_asked_for(header.values, dicom)
        if reason_not or file is None:
            passed[reason_not] += 1
        else:
            found.append((number, file, header))
    units = _units(found, path, patients, without)
    return _indexed(found, units, dicom, number, passed, left, path)


def read_pixels(
    frames: tuple[Frame, ...],
    spec: Images,
    dicom: Dicom,
    *,
    root: Path | None = None,
    progress: Tell = lambda what, done: None,
    notes: Counter[str] | None = None,
) -> tuple[np.ndarray, np.ndarray, tuple[tuple[str, str], ...]]:
    """Decode images, one at a time, in a process that may fail.

    Args:
        frames: which.
        spec: the declared form.
        dicom: how values become greys.
        root: the folder that their files lie in, which is not left; None if a person named each file.
        progress: called with the part done, from 0 to 1.
        notes: receives of how many images which part of the header was not used.

    Returns:
        Pixels of those that can be used, ``(record, channel, row, column)``; which these are; and what was
        left out, spoken of without its name, with the reason.
    """
    pixels = np.empty((len(frames), *spec.shape), dtype=np.dtype(spec.dtype))
    good = np.zeros(len(frames), dtype=bool)
    left: list[tuple[str, str]] = []
    n = 0
    with Decoder(spec, dicom, root) as decoder:
        for place, one in enumerate(frames):
            if place % _EVERY == 0:
                progress("ingest: pixels", place / len(frames))
            try:
                pixels[n] = decoder.decode(one.path, one.frame)
                good[place] = True
                n += 1
            except Unusable as reason:
                left.append((dicom_files.called(one.number, one.path, root), str(reason)))
        if notes is not None:
            notes.update(decoder.notes)
    return pixels[:n], good, tuple(left)


def intended(reason: str) -> bool:
    """Return whether a file that was left out for this reason was meant to be an image of the cohort.

    Other files of the folder, objects that are no images, repeated ones, and those that name no patient where
    the config leaves such out, were not.
    """
    others = (NOT_DICOM, DIRECTORY, NO_IMAGE, REPEATED, NO_ID)
    return reason not in others and not reason.startswith(NO_PICTURE)


def folder_of(path: Path) -> Path:
    """Return the folder that the files of a cohort lie in."""
    return path if path.is_dir() else path.parent


def _header(file: Path | None, root: Path) -> Header:
    if file is None:
        raise Unusable(GONE)
    return read_header(file, root=root)


def _not_asked_for(values: Mapping[str, str], dicom: Dicom) -> str:
    """Return what of a file the schema does not ask for; empty if it does."""
    for name, keywords in _SELECTED.items():
        asked = {text.upper() for text in getattr(dicom, name)}
        if asked and not any(values[keyword].upper() in asked for keyword in keywords):
            return name
    return ""


def _units(
    found: list[tuple[int, Path, Header]], path: Path, patients: Path | None, without: patient_ids.Without
) -> np.ndarray:
    root = folder_of(path)
    files = [file.relative_to(root).as_posix() for _, file, _ in found]
    values = [header.values for _, _, header in found]
    return patient_ids.units_of(values, files, table=patients, without=without)


def _indexed(
    found: list[tuple[int, Path, Header]],
    units: np.ndarray,
    dicom: Dicom,
    files: int,
    passed: Counter[str],
    left: list[tuple[str, str]],
    path: Path,
) -> DicomIndex:
    frames: list[Frame] = []
    owners: list[str] = []
    tags: Counter[int] = Counter()
    seen: set[tuple[str, str]] = set()
    for (number, file, header), unit in zip(found, units.tolist(), strict=True):
        instance = (unit, header.values["SOPInstanceUID"])
        reason = NO_ID if not unit else REPEATED if instance[1] and instance in seen else ""
        if reason:
            left.append((dicom_files.called(number, file, folder_of(path)), reason))
            continue
        seen.add(instance)
        tags.update(header.tags)
        for frame in _chosen(header.frames, dicom):
            frames.append(Frame(number, file, frame, header.values))
            owners.append(unit)
    if not frames:
        reasons = dict(Counter(reason for _, reason in left))
        raise DataError(
            f"Expected images that can be used, got none: {reasons}, not asked for {dict(passed)}.",
            where=str(path),
            next_step="Correct the folder or the schema's images.dicom; no budget was spent.",
        )
    return DicomIndex(tuple(frames), np.array(owners, dtype=object), tags, files, passed, tuple(left))


def _chosen(n_frames: int, dicom: Dicom) -> Iterator[int]:
    if dicom.frames == "each":
        yield from range(n_frames)
    else:
        yield 0 if dicom.frames == "first" else n_frames // 2


def summary(found: DicomIndex, left: tuple[tuple[str, str], ...], used: int) -> dict[str, Any]:
    """Return counts for the internal report."""
    reasons = Counter(reason for _, reason in (*found.quarantined, *left))
    return {
        "files": found.files,
        "images": used,
        "quarantined": dict(sorted(reasons.items())),
        "not_selected": dict(found.not_selected),
    }
