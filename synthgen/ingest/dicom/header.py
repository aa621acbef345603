"""One DICOM header, read within bounds of bytes and memory, to the few values that a cohort needs.

Nothing here trusts a length in the file. A reason why a file cannot be used is a fixed text: pydicom's own
messages quote values, so they are neither shown nor logged.
"""

from __future__ import annotations

import io
import itertools
import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import UID

from synthgen.files import limits
from synthgen.ingest.images.folder_files import Unusable, opened

DEFER = 1024
IDS = ("PatientID", "IssuerOfPatientID", "StudyInstanceUID", "SOPInstanceUID")
KEPT = (
    "PatientSex",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "ViewPosition",
    "BodyPartExamined",
    "Laterality",
    "ImageLaterality",
    "Modality",
    "Manufacturer",
)
FORM = ("Rows", "Columns", "BitsAllocated")
IMAGE_CLASSES = ("Image Storage", "Enhanced US Volume Storage")
"""Words in the standard's name of a SOP class by which it is one of images: masks, plans, reports and maps
may have pixels too, and are none."""
DERIVED = frozenset(
    "ANN ASMT AU CTPROTOCOL DOC ECG EEG EMG EOG EPS FID HC HD IOL KER KO LEN M3D OPM OPV PLAN POS PR REG RESP"
    " RTDOSE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SMR SR SRF STAIN TEXTUREMAP VA"
    " XAPROTOCOL".split()
)
"""Modalities of objects that are no images, for files whose SOP class says nothing or something else."""
_FAMILIES = tuple(f"1.2.840.10008.5.1.4.1.1.{number}." for number in (9, 11, 66, 67, 68, 88, 104, 200, 201))
"""Waveforms, presentation states, segmentations, value maps, surfaces, reports, documents, displays."""
_META = 4096
_DEFLATED = "1.2.840.10008.1.2.1.99"
_TAGS = {
    name: Tag(name) for name in (*IDS, *KEPT, *FORM, "SOPClassUID", "BurnedInAnnotation", "NumberOfFrames")
}
_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")

NOT_DICOM, DAMAGED = "not a DICOM file", "damaged header"
NO_IMAGE, LONG = "no image in it", "header is too long (SYNTHGEN_LIMIT_DICOM_HEADER_BYTES)"
NO_PICTURE = "not an image"
FRAMES, FLAGGED = "more frames than SYNTHGEN_LIMIT_DICOM_FRAMES allows", "burned-in annotation flagged"
DIRECTORY = "a directory of files"

BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    LookupError,
    AssertionError,
    NotImplementedError,
    RuntimeError,  # RecursionError too: sequences nested without end
    MemoryError,
    struct.error,
    zlib.error,
    pydicom.errors.InvalidDicomError,
    pydicom.errors.BytesLengthException,
)
"""What pydicom and decoders are known to raise on damaged files."""


@dataclass(frozen=True)
class Header:
    """What is kept of a header, in memory only. Sensitive.

    Attributes:
        values: texts of `IDS` and `KEPT`, empty if there is none.
        frames: number of images.
        tags: every tag of the file, for the report of what is dropped.
    """

    values: dict[str, str]
    frames: int
    tags: tuple[int, ...]

    def __repr__(self) -> str:
        return "Header()"


def read_header(path: Path, *, root: Path | None = None) -> Header:
    """Read one file up to its pixels.

    Args:
        path: the file.
        root: the folder that it was found in, which is not left; None if a person named the file.

    Raises:
        Unusable: with one of this module's reasons.
    """
    with quiet():
        try:
            dataset = read_dataset(path, pixels=False, root=root)
            return _kept(dataset)
        except BROKEN:
            raise Unusable(DAMAGED) from None


def read_dataset(path: Path, *, pixels: bool, defer: bool = True, root: Path | None = None) -> Dataset:
    """Return a file's data set, with a transfer syntax even where the file names none.

    Args:
        path: the file.
        pixels: read on to the pixels; else no more than the limit `dicom_header_bytes` are read.
        defer: leave out long values before the pixels.
        root: see `read_header`.

    Raises:
        Unusable: it is no DICOM file, or too long.
    """
    with opened(path, root) as plain:
        stream = Bounded(plain, None if pixels else limits.current().dicom_header_bytes)
        _refuse_others(stream)
        _refuse_bombs(stream)
        dataset = pydicom.dcmread(
            stream,
            defer_size=DEFER if defer and not pixels else None,
            stop_before_pixels=not pixels,
            force=True,
        )
    if not hasattr(dataset, "file_meta"):
        raise Unusable(DAMAGED)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        kinds = {(True, True): "", (False, True): ".1", (False, False): ".2"}
        dataset.file_meta.TransferSyntaxUID = UID(f"1.2.840.10008.1.2{kinds[bool(implicit), bool(little)]}")
    return dataset


def listed_files(path: Path) -> list[tuple[str, ...]]:
    """Return the components of every path that a DICOMDIR lists.

    Raises:
        Unusable: it is none, is damaged, or lists nothing.
    """
    with quiet():
        try:
            with opened(path, None) as plain:
                stream = Bounded(plain, limits.current().dicom_header_bytes)
                records = pydicom.dcmread(stream).DirectoryRecordSequence
            found = [_parts(record.ReferencedFileID) for record in records if "ReferencedFileID" in record]
        except BROKEN:
            raise Unusable(DAMAGED) from None
    if not found:
        raise Unusable(DAMAGED)
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning, logging and validating: its texts quote the file."""
    logger, mode = logging.getLogger("pydicom"), config.settings.reading_validation_mode
    disabled = logger.disabled
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            logger.disabled = disabled
            config.settings.reading_validation_mode = mode


class Bounded(io.RawIOBase):
    """A file that hands out no more than it has, and no more than a bound in all.

    A damaged length of 4 GiB would else be allocated before the end of the file is met, and lengths that
    point backwards could be followed for ever.
    """

    def __init__(self, stream: Any, most: int | None) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)
        self._left = most

    def read(self, size: int = -1) -> bytes:
        """Return at most ``size`` bytes.

        Raises:
            Unusable: more was asked for in all than is allowed.
        """
        if not 0 <= size <= _META:
            rest = max(0, self._size - int(self._stream.tell()))
            size = rest if size < 0 else min(size, rest)
        if self._left is not None:
            self._left -= size + 8  # the seek counts too
            if self._left < 0:
                raise Unusable(LONG)
        content: bytes = self._stream.read(size)
        return content

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move on, or back."""
        return int(self._stream.seek(offset, whence))

    def progress(self) -> int:
        """Return the place."""
        return int(self._stream.tell())

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True


def _refuse_others(stream: Bounded) -> None:
    start = stream.read(132)
    stream.seek(0)
    if start[128:] != b"DICM" and (
        len(start) < 8 or start[:2] not in _GROUPS or start[3:4] not in b"\0\1\2\3\5\x10\x16\x18"
    ):
        raise Unusable(NOT_DICOM)


def _refuse_bombs(stream: Bounded) -> None:
    """Refuse a deflated file that inflates beyond bounds; pydicom would inflate it in one go."""
    start = stream.read(_META)
    stream.seek(0)
    if start[128:132] != b"DICM" or _DEFLATED.encode() not in start:
        return
    meta = _meta(stream)
    if str(meta.get("TransferSyntaxUID", "")) == _DEFLATED:
        inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while chunk := stream.read(2**16):
            while chunk:
                size += len(inflate.decompress(chunk, 2**20))
                chunk = inflate.unconsumed_tail
                if size > limits.current().dicom_inflated_bytes:
                    raise Unusable(LONG)
    stream.seek(0)


def _meta(stream: Bounded) -> Dataset:
    from pydicom.filereader import _read_file_meta_info, read_preamble

    read_preamble(stream, force=True)  # type: ignore[arg-type]
    return _read_file_meta_info(stream)  # type: ignore[arg-type]


def _kept(dataset: Dataset) -> Header:
    if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == "1.2.840.10008.1.3.10":
        raise Unusable(DIRECTORY)
    if len(dataset) == 0 and not dataset.preamble:
        raise Unusable(NOT_DICOM)
    _refuse_derived(dataset)
    absent = [name for name in FORM if not _text(dataset, name)]
    if absent:
        raise Unusable(NO_IMAGE if len(absent) == len(FORM) else f"{', '.join(absent)} absent or empty")
    if _text(dataset, "BurnedInAnnotation").upper() == "YES":
        raise Unusable(FLAGGED)
    values = {name: _text(dataset, name) for name in (*IDS, *KEPT)}
    tags = itertools.islice(dataset.keys(), limits.current().dicom_tags)
    return Header(values, _frames(dataset), tuple(map(int, tags)))


def _refuse_derived(dataset: Dataset) -> None:
    """Refuse segmentations, plans, reports, presentation states, maps and the like, by class or modality."""
    told = _text(dataset, "SOPClassUID") or str(dataset.file_meta.get("MediaStorageSOPClassUID", ""))
    uid = UID(told)
    name = "" if uid.is_private or uid.type != "SOP Class" else uid.name
    if not name and told.startswith(_FAMILIES):
        name = "a class that the standard added later"
    if name and not any(word in name for word in IMAGE_CLASSES):
        raise Unusable(f"{NO_PICTURE}: {name} (SOPClassUID)")
    modality = _text(dataset, "Modality").upper()
    if modality in DERIVED:
        raise Unusable(f"{NO_PICTURE}: {modality} (Modality)")


def _frames(dataset: Dataset) -> int:
    """Return the number of images; none, or 0, is one."""
    try:
        frames = int(float(_text(dataset, "NumberOfFrames") or 1)) or 1
    except BROKEN:
        raise Unusable("NumberOfFrames is no number") from None
    if not 0 < frames <= limits.current().dicom_frames:
        raise Unusable(FRAMES if frames > 0 else "NumberOfFrames is below 0")
    return frames


def _text(dataset: Dataset, name: str) -> str:
    tag = _TAGS[name]
    value = dataset[tag].value if tag in dataset else None
    if value is None:
        return ""
    several = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    text = "\\".join(str(one) for one in value) if several else str(value)
    return text.replace("\0", "").strip()


def _parts(value: Any) -> tuple[str, ...]:
    several = not isinstance(value, str)
    return tuple(str(part).strip() for part in (value if several else [value]))


__all__ = ["BROKEN", "Bounded", "Header", "listed_files", "quiet", "read_dataset", "read_header"]
