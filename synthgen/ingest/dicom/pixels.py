"""One frame of a DICOM file, from stored values to a square of the declared size.

The range of a picture is public or the file's own: a declared window, else the file's VOI LUT or window, else
the whole range of its stored bits (`grey_values`). It is never taken from other patients' pixels. Pixels
that are not as high as wide are made so first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from synthgen import burned_in_text
from synthgen.files import limits
from synthgen.ingest.dicom import codecs
from synthgen.ingest.dicom.grey_values import Note, Stored, greys, numbers, palette, scaled
from synthgen.ingest.dicom.header import BROKEN, NO_IMAGE, quiet, read_dataset
from synthgen.ingest.images.decode import EMPTY, KIND, LARGE, Unusable, square
from synthgen.ingest.images.folder_files import opened
from synthgen.schema.image_format import Dicom, Images

UNDECODED = "PixelData cannot be decoded"
SHORT = "PixelData is shorter than Rows, Columns and BitsAllocated say"
NO_SPACING = "a pixel's spacing is not above 0, so that its aspect is taken as 1"
FLAT = "hardly any contrast: the picture uses less than a twentieth of the greys"
BURNED_IN = "text-like regions in the pixels"
_FLAT, _MOST_ASPECT = 0.05, 100.0
_GREY = ("", "MONOCHROME1", "MONOCHROME2")
_COLOUR = ("", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_ALLOCATED = (1, 8, 16, 32, 64)
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")


def _quietly(text: str) -> None:
    """Note nothing."""


def decode(
    path: Path, frame: int, spec: Images, dicom: Dicom, note: Note = _quietly, *, root: Path | None = None
) -> np.ndarray:
    """Return one frame as ``(channel, row, column)`` of the declared form.

    Args:
        path: the file.
        frame: which of its images.
        spec: the declared form.
        dicom: how values become greys.
        note: receives what was not used of the header, and what looks odd, each as a fixed text.
        root: the folder that the file was found in, which is not left; None if a person named the file.

    Raises:
        Unusable: with a fixed reason, which names the attribute where it is one.
    """
    codecs.register()
    with quiet():
        try:
            dataset = read_dataset(path, pixels=False, defer=False, root=root)
            planes = intensities(dataset, stored(path, dataset, frame, root=root), frame, dicom, note)
            aspect = _aspect(_of_frame(dataset, frame), note)
        except BROKEN:
            raise Unusable(UNDECODED) from None
    if str(dataset.get("Modality", "")).strip().upper() in dicom.screened and burned_in_text.has_text(planes):
        raise Unusable(BURNED_IN)
    if max(float(np.ptp(plane)) for plane in planes) < _FLAT:
        note(FLAT)
    return square(planes, spec, aspect=aspect)


def stored(path: Path, dataset: Dataset, frame: int, *, root: Path | None = None) -> np.ndarray:
    """Return stored values, ``(row, column)`` or ``(row, column, colour)``; YBR is turned into RGB.

    Only this frame is read, so a file that ends too early gives the frames that it has. Bits beyond those
    stored, such as overlays, are cut off.

    Raises:
        Unusable: too many pixels, or an attribute that says what cannot be.
    """
    _require_form(dataset)
    shift = _shift(dataset)
    try:
        with opened(path, root) as stream:
            values = np.asarray(pixel_array(stream, index=frame, correct_unused_bits=not shift))
    except BROKEN:  # a file without a transfer syntax, without an attribute, or without pixels
        whole = read_dataset(path, pixels=True, root=root)
        _require_pixels(whole)
        try:
            values = np.asarray(pixel_array(whole, index=frame, correct_unused_bits=not shift))
        except BROKEN:
            raise Unusable(_why(whole)) from None
    if values.dtype.kind not in "iubf":
        raise Unusable(KIND)
    return _shifted(values, dataset, shift) if shift else values


def intensities(
    dataset: Dataset, values: np.ndarray, frame: int, dicom: Dicom, note: Note = _quietly
) -> list[np.ndarray]:
    """Return a frame's planes, one if it is grey and three if it is coloured, from 0 to 1.

    Args:
        dataset: the header.
        values: of `stored`.
        frame: which it is.
        dicom: may declare a window.
        note: receives what was not used, as a fixed text.

    Raises:
        Unusable: the reason names the attribute.
    """
    kind = _photometric(dataset)
    bits = int(_integer(dataset, "BitsStored") or _integer(dataset, "BitsAllocated") or 8)
    little = bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
    frame_values = Stored(values, bits, _integer(dataset, "PixelRepresentation") == 1, little)
    if kind == "PALETTE COLOR":
        return palette(frame_values, dataset)
    if values.ndim == 3:
        if kind not in _COLOUR or values.shape[2] != 3:
            raise Unusable("PhotometricInterpretation is of no kind that is read")
        low, high = frame_values.ends
        if not low < high:
            raise Unusable(KIND)
        return [scaled(values[..., band], low, high) for band in range(3)]
    if kind not in _GREY:
        raise Unusable("PhotometricInterpretation is of no kind that is read")
    grey = greys(frame_values, _of_frame(dataset, frame), dicom.window, note)
    if kind == "MONOCHROME1":
        grey = 1 - grey
    return [np.where(_padding(values, dataset), np.float32(0), grey)]


def _of_frame(dataset: Dataset, frame: int) -> Dataset:
    """Return the elements that turn a frame's values into greys.

    An enhanced file keeps them a frame or shared, in macros; one that lacks a macro may still have the plain
    elements.
    """
    found = Dataset()
    found.update({dataset[name].tag: dataset[name] for name in _PLAIN if name in dataset})
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    for group in [*(dataset.get("SharedFunctionalGroupsSequence") or [])[:1], *own[frame : frame + 1]]:
        for macro, names in _MACROS.items():
            for item in (group.get(macro) or [])[:1]:
                for name in names:
                    if name in found:
                        del found[name]
                for element in item:
                    found[element.tag] = element
    return found


_MACROS = {
    "PixelValueTransformationSequence": ("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope"),
    "FrameVOILUTSequence": ("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    "PixelMeasuresSequence": _SPACINGS,
}
_PLAIN = tuple(name for names in _MACROS.values() for name in names)


def _aspect(source: Dataset, note: Note) -> float:
    """Return the height of a pixel over its width, from the first attribute that says it (C.7.6.3.1.7)."""
    for name in _SPACINGS:
        sizes = numbers(source, name)
        if len(sizes) < 2 or sizes[0] is None or sizes[1] is None:
            continue
        high, wide = sizes[0], sizes[1]
        if high > 0 and wide > 0 and 1 / _MOST_ASPECT <= high / wide <= _MOST_ASPECT:
            return high / wide
        note(NO_SPACING)
    return 1.0


def _padding(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return where nothing was measured: black, whatever the greys (C.7.5.1.1.2)."""
    ends = [_integer(dataset, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first, last = ends[0], ends[1] if ends[1] is not None else ends[0]
    if first is None or last is None or values.dtype.kind == "f":
        return np.zeros(values.shape, dtype=bool)
    first, last = (_represented(end, values) for end in (first, last))
    low, high = sorted((first, last))
    return np.asarray((values >= low) & (values <= high))


def _represented(value: int, values: np.ndarray) -> int:
    """Return a word in the representation of the pixels, where a file gives it in the other one."""
    all_words = 1 << 8 * values.dtype.itemsize
    if values.dtype.kind == "i":
        return value - all_words if value >= all_words // 2 else value
    return value + all_words if value < 0 else value


def _require_form(dataset: Dataset) -> None:
    rows, columns = _integer(dataset, "Rows") or 0, _integer(dataset, "Columns") or 0
    if rows < 1 or columns < 1:
        raise Unusable(EMPTY)
    if rows * columns > limits.current().image_pixels:
        raise Unusable(LARGE)
    allocated, stored_bits = _integer(dataset, "BitsAllocated"), _integer(dataset, "BitsStored")
    if allocated not in _ALLOCATED:
        raise Unusable("BitsAllocated is not 1, 8, 16, 32 or 64")
    if stored_bits is not None and not 1 <= stored_bits <= allocated:
        raise Unusable("BitsStored is not from 1 to BitsAllocated")
    if _integer(dataset, "SamplesPerPixel") not in (None, 1, 3):
        raise Unusable("SamplesPerPixel is not 1 or 3")
    if _integer(dataset, "PixelRepresentation") not in (None, 0, 1):
        raise Unusable("PixelRepresentation is not 0 or 1")


def _require_pixels(whole: Dataset) -> None:
    """Refuse a file without pixels; fill in what follows from the rest where an attribute is empty."""
    there = [name for name in _PIXELS if name in whole]
    if not there:
        raise Unusable(NO_IMAGE)
    if not any(whole[name].value for name in there):
        raise Unusable(f"{there[0]} is empty")
    colours = _integer(whole, "SamplesPerPixel") or 1
    usual = {
        "SamplesPerPixel": 1,
        "BitsStored": whole.BitsAllocated,
        "HighBit": int(whole.BitsAllocated) - 1,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2" if colours == 1 else "RGB",
        **({"PlanarConfiguration": 0} if colours > 1 else {}),
    }
    for name, value in usual.items():
        if whole.get(name) in (None, ""):
            setattr(whole, name, value)


def _why(whole: Dataset) -> str:
    """Return why pixels cannot be decoded: what the file says of them, in the standard's words alone."""
    syntax = UID(str(whole.file_meta.TransferSyntaxUID))
    if syntax.is_private or syntax.name == str(syntax) or not syntax.is_transfer_syntax:
        return "TransferSyntaxUID is none of the standard's"
    if syntax.is_encapsulated:
        return f"{UNDECODED} ({syntax.name})"
    samples, frames = _integer(whole, "SamplesPerPixel") or 1, _integer(whole, "NumberOfFrames") or 1
    expected = whole.Rows * whole.Columns * samples * frames * whole.BitsAllocated / 8
    found = max(len(whole[name].value or b"") for name in _PIXELS if name in whole)
    return SHORT if found < expected else UNDECODED


def _shift(dataset: Dataset) -> int:
    """Return by how many bits values stand above the lowest: `HighBit` is not that of today's standard."""
    syntax = dataset.file_meta.TransferSyntaxUID
    bits, high = _integer(dataset, "BitsStored"), _integer(dataset, "HighBit")
    if bits is None or high is None or (syntax.is_encapsulated and syntax != RLELossless):
        return 0
    return max(0, high + 1 - bits) if high < (_integer(dataset, "BitsAllocated") or 0) else 0


def _shifted(values: np.ndarray, dataset: Dataset, shift: int) -> np.ndarray:
    """Return values that stood above the lowest bits; a signed one keeps its sign."""
    above = 8 * values.dtype.itemsize - int(dataset.BitsStored) - shift
    return np.asarray((values << above) >> (above + shift), dtype=values.dtype)


def _photometric(dataset: Dataset) -> str:
    value = dataset.get("PhotometricInterpretation")
    return "" if value is None else str(value).replace("\0", "").strip().upper()


def _integer(dataset: Dataset, name: str) -> int | None:
    """Return an attribute's first whole number, None if it is absent or empty.

    Raises:
        Unusable: it is no whole number.
    """
    found = next(iter(numbers(dataset, name)), None)
    if found is not None and found != int(found):
        raise Unusable(f"{name} is no whole number")
    return None if found is None else int(found)


__all__ = ["decode", "intensities", "stored"]
