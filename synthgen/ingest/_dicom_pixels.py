"""One frame of a DICOM file, from stored values to a square of the declared size.

The range of a picture is public or the file's own: a declared window, else the file's VOI LUT or window, else
the whole range of its stored bits. It is never taken from other patients' pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from synthgen import burned_in
from synthgen.image_spec import Dicom, Images
from synthgen.ingest import _dicom_codecs
from synthgen.ingest._decode import EMPTY, KIND, LARGE, MOST_PIXELS, Unusable, square
from synthgen.ingest._dicom_header import BROKEN, NO_IMAGE, quiet, read_dataset

UNDECODED = "pixels cannot be decoded"
BURNED_IN = "text-like regions in the pixels"
_INVERSE = ("MONOCHROME1",)
_GREY = ("MONOCHROME1", "MONOCHROME2")


def decode(path: Path, frame: int, spec: Images, dicom: Dicom) -> np.ndarray:
    """Return one frame as ``(channel, row, column)`` of the declared form.

    Raises:
        Unusable: with a fixed reason.
    """
    _dicom_codecs.register()
    with quiet():
        try:
            dataset = read_dataset(path, pixels=False, defer=False)
            planes = intensities(dataset, stored(path, dataset, frame), frame, dicom)
        except BROKEN:
            raise Unusable(UNDECODED) from None
    if str(dataset.get("Modality", "")).strip().upper() in dicom.screened and burned_in.has_text(planes):
        raise Unusable(BURNED_IN)
    return square(planes, spec)


def stored(path: Path, dataset: Dataset, frame: int) -> np.ndarray:
    """Return stored values, ``(row, column)`` or ``(row, column, colour)``; YBR is turned into RGB.

    Only this frame is read, so a file that ends too early gives the frames that it has.

    Raises:
        Unusable: too many pixels, or values without a range.
    """
    _require_small(dataset)
    try:
        values = np.asarray(pixel_array(path, index=frame))
    except BROKEN:  # a file without a transfer syntax, or without pixels
        whole = read_dataset(path, pixels=True)
        if not any(name in whole for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            raise Unusable(NO_IMAGE if "Rows" in whole else UNDECODED) from None
        values = np.asarray(pixel_array(whole, index=frame))
    if values.dtype.kind not in "iub":
        raise Unusable(KIND)
    return values


def intensities(dataset: Dataset, values: np.ndarray, frame: int, dicom: Dicom) -> list[np.ndarray]:
    """Return a frame's planes, one if it is grey and three if it is coloured, from 0 to 1.

    Args:
        dataset: the header.
        values: of `stored`.
        frame: which it is.
        dicom: may declare a window.

    Raises:
        Unusable: an unknown photometric interpretation.
    """
    kind = str(dataset.get("PhotometricInterpretation", "")).strip()
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(values, dataset)
        return _planes(coloured, _depth(coloured))
    if values.ndim == 3:
        return _planes(values, float(2 ** min(bits, 8 * values.dtype.itemsize) - 1))
    if kind and kind not in _GREY:
        raise Unusable(KIND)
    grey = _grey(values, dataset, dicom, bits, frame)
    if kind in _INVERSE:
        grey = np.where(_padding(values, dataset), np.float32(0), 1 - grey)
    return [grey]


def _grey(values: np.ndarray, dataset: Dataset, dicom: Dicom, bits: int, frame: int) -> np.ndarray:
    """Return grey intensities before any inversion."""
    source = _with_frame(dataset, frame)
    measured = np.asarray(apply_modality_lut(values, source), dtype=np.float64)
    if dicom.window is not None:
        centre, width = dicom.window
        return _scaled(measured, centre - width / 2, centre + width / 2)
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
    if "VOILUTSequence" in source and len(source.VOILUTSequence):
        shown = np.asarray(apply_voi_lut(apply_modality_lut(values, source), source), dtype=np.float64)
        top = source.VOILUTSequence[0].LUTDescriptor[2]
        return _scaled(shown, 0.0, float(2 ** int(top) - 1))
    if "WindowCenter" in source and "WindowWidth" in source:
        return _windowed(measured, source)
    kinds = np.iinfo(values.dtype)
    ends = np.clip(ends, kinds.min, kinds.max).astype(values.dtype)
    low, high = sorted(np.asarray(apply_modality_lut(ends, source), dtype=np.float64).tolist())
    return _scaled(measured, low, high)


def _windowed(measured: np.ndarray, source: Dataset) -> np.ndarray:
    """Apply a file's own window: PS3.3 C.11.2.1.2 and C.11.2.1.3, from 0 to 1."""
    centre, width = _first(source.WindowCenter), _first(source.WindowWidth)
    function = str(source.get("VOILUTFunction", "LINEAR")).strip().upper() or "LINEAR"
    if not (np.isfinite(centre) and np.isfinite(width) and width > 0):
        raise ValueError("window")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (measured - centre) / width, -700, 700))), np.float32)
    if function == "LINEAR_EXACT":
        return _scaled(measured, centre - width / 2, centre + width / 2)
    if width == 1:
        return np.asarray(measured > centre - 0.5, dtype=np.float32)
    return _scaled(measured, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def _with_frame(dataset: Dataset, frame: int) -> Dataset:
    """Return the elements that turn values into greys: an enhanced file keeps them a frame or shared."""
    if "PerFrameFunctionalGroupsSequence" not in dataset and "SharedFunctionalGroupsSequence" not in dataset:
        return dataset
    found = Dataset()
    for name in ("PixelRepresentation", "BitsStored", "BitsAllocated", "VOILUTFunction"):
        if name in dataset:
            found[name] = dataset[name]
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or [])[:1], *own[frame : frame + 1]]
    for group in groups:
        for name in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for item in (group.get(name) or [])[:1]:
                for element in item:
                    found[element.tag] = element
    return found


def _padding(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return where nothing was measured; black, also where the greys are inverse."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return np.zeros(values.shape, dtype=bool)
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, last if isinstance(last, int) else first))
    return np.asarray((values >= low) & (values <= high))


def _require_small(dataset: Dataset) -> None:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if rows < 1 or columns < 1:
        raise Unusable(EMPTY)
    if rows * columns > MOST_PIXELS:
        raise Unusable(LARGE)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not (np.isfinite(low) and np.isfinite(high) and high > low):
        raise ValueError("range")
    return np.asarray(np.clip((values - low) / (high - low), 0, 1), dtype=np.float32)


def _planes(values: np.ndarray, top: float) -> list[np.ndarray]:
    scaled = np.asarray(np.clip(values / np.float32(top), 0, 1), dtype=np.float32)
    return [scaled[..., band] for band in range(3)]


def _depth(values: np.ndarray) -> float:
    return float(np.iinfo(values.dtype).max)


def _first(value: Any) -> float:
    several = not isinstance(value, (int, float, str)) and hasattr(value, "__getitem__")
    return float(value[0] if several else value)
