"""From stored values to greys: modality transform, then VOI LUT or window.

PS3.3 C.11.1 (modality), C.11.2 (value of interest) and C.7.6.3.1.5 (palettes). An attribute that is absent or
empty is not there, and the standard's default holds; one that cannot mean anything (a window of width 0, a
slope of 0) is not used and noted; one that cannot be read is a reason to leave the image out, which names it.
No note and no reason holds a value of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import _expand_segmented_lut

from synthgen.ingest.dicom.header import BROKEN
from synthgen.ingest.images.decode import Unusable

Note = Callable[[str], None]
NO_SLOPE = "RescaleSlope is 0, taken as 1"
NO_UNIT = "RescaleSlope is 0, so that the declared window has no unit"
NO_WINDOW = "WindowWidth is not above 0, so that WindowCenter and WindowWidth are not used"
FEWER_BITS = "LUTData uses fewer bits than LUTDescriptor says, and those in use count"
ONE_GREY = "VOILUTSequence shows one grey only and is not used"
NO_RANGE = "FloatPixelData without WindowWidth, and no window is declared"
BYTES, WORD = 8, 0xFFFF
_COLOURS = ("Red", "Green", "Blue")


@dataclass(frozen=True)
class Lut:
    """A lookup table.

    Attributes:
        entries: outputs, from 0.
        first: the first input; what lies below gives the first entry, what lies beyond the last entry.
        bits: of an output; the largest is ``2**bits - 1``.
        declared: bits of an output as the descriptor says.
    """

    entries: np.ndarray
    first: int
    bits: int
    declared: int

    @property
    def largest(self) -> int:
        """The largest output that could occur."""
        return int(2**self.bits - 1)

    def applied(self, values: np.ndarray) -> np.ndarray:
        """Return the entry of each value."""
        places = np.rint(np.nan_to_num(np.asarray(values, dtype=np.float64))) - self.first
        found: np.ndarray = self.entries[np.clip(places, 0, len(self.entries) - 1).astype(np.int64)]
        return found


@dataclass(frozen=True)
class Measured:
    """Values in the modality's units.

    Attributes:
        values: float64.
        low: the least that the stored bits could say; NaN of floating point, which has no such bound.
        high: the largest.
    """

    values: np.ndarray
    low: float
    high: float


@dataclass(frozen=True)
class Stored:
    """Values as they are stored.

    Attributes:
        values: integers, or floating point.
        bits: that are stored.
        signed: whether integers are.
        little: whether the file's words are little-endian.
    """

    values: np.ndarray
    bits: int
    signed: bool
    little: bool

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest value that the stored bits could say; NaN of floating point."""
        if self.values.dtype.kind == "f":
            return float("nan"), float("nan")
        half = 2.0 ** (self.bits - 1)
        low, high = (-half, half - 1) if self.signed else (0.0, 2 * half - 1)
        kinds = np.iinfo(self.values.dtype if self.values.dtype.kind in "iu" else np.uint8)
        return max(low, float(kinds.min)), min(high, float(kinds.max))


def greys(stored: Stored, source: Dataset, window: tuple[float, float] | None, note: Note) -> np.ndarray:
    """Return intensities from 0 to 1, before any inversion.

    Args:
        stored: a frame's values.
        source: the elements that turn them into greys.
        window: a declared centre and width, in the modality's units.
        note: receives what was not used, as a fixed text.

    Raises:
        Unusable: the reason names the attribute.
    """
    found = measured(stored, source, note, needs_unit=window is not None)
    if window is not None:
        return scaled(found.values, window[0] - window[1] / 2, window[0] + window[1] / 2)
    for lut in _luts(source, "VOILUTSequence", (found.low, found.high), stored.little, note):
        if lut.entries.min() < lut.entries.max():
            return scaled(lut.applied(found.values), 0.0, float(lut.largest))
        note(ONE_GREY)
    pair = _window(source, note)
    if pair is not None:
        return _windowed(found.values, *pair, _text(source, "VOILUTFunction").upper())
    if not found.low < found.high:
        raise Unusable(NO_RANGE)
    return scaled(found.values, found.low, found.high)


def measured(stored: Stored, source: Dataset, note: Note, *, needs_unit: bool = False) -> Measured:
    """Return values in the modality's units: by its lookup table, else by slope and intercept.

    Raises:
        Unusable: the reason names the attribute; ``needs_unit`` refuses a slope of 0.
    """
    for lut in _luts(source, "ModalityLUTSequence", stored.ends, stored.little, note):
        return Measured(lut.applied(stored.values).astype(np.float64), 0.0, float(lut.largest))
    slope, intercept = _number(source, "RescaleSlope"), _number(source, "RescaleIntercept") or 0.0
    if slope == 0:
        if needs_unit:
            raise Unusable(NO_UNIT)
        note(NO_SLOPE)
    slope = slope or 1.0
    low, high = sorted(slope * end + intercept for end in stored.ends)
    return Measured(slope * stored.values.astype(np.float64) + intercept, low, high)


def palette(stored: Stored, dataset: Dataset) -> list[np.ndarray]:
    """Return red, green and blue of each stored value, from 0 to 1.

    Raises:
        Unusable: the reason names the attribute.
    """
    tables = [_colour(dataset, colour, stored) for colour in _COLOURS]
    largest = max(table.largest for table in tables)  # the colours share one depth
    return [scaled(table.applied(stored.values), 0.0, float(largest)) for table in tables]


def scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return values from ``low`` to ``high`` as intensities from 0 to 1; what is not a number is black."""
    return np.asarray(np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1), dtype=np.float32)


def numbers(dataset: Dataset, name: str) -> list[float | None]:
    """Return an attribute's numbers, None for each that is empty; an absent attribute has none.

    Raises:
        Unusable: it holds something else.
    """
    try:
        value = dataset.get(name)
        several = value if _is_several(value) else [value]
        texts = ["" if one is None else str(one).replace("\0", "").strip() for one in several]
        found = [None if not text else float(text) for text in texts]
    except BROKEN:
        raise Unusable(f"{name} is no number") from None
    if any(one is not None and not np.isfinite(one) for one in found):
        raise Unusable(f"{name} is no number")
    return [] if found == [None] else found


def _number(dataset: Dataset, name: str) -> float | None:
    return next(iter(numbers(dataset, name)), None)


def _text(dataset: Dataset, name: str) -> str:
    value = dataset.get(name)
    return "" if value is None else str(value).replace("\0", "").strip()


def _is_several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _window(source: Dataset, note: Note) -> tuple[float, float] | None:
    """Return the first centre and width that can be used; several are alternatives (C.11.2.1.2)."""
    centres, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
    for centre, width in zip(centres, widths, strict=False):
        if centre is None or width is None:
            continue
        if width > 0:
            return centre, width
        note(NO_WINDOW)
    return None


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Apply a file's own window: C.11.2.1.2 and C.11.2.1.3, from 0 to 1.

    A width below 1, which only ``LINEAR_EXACT`` and ``SIGMOID`` may have, is taken as it is.
    """
    if function == "SIGMOID":
        power = np.clip(-4 * (np.nan_to_num(values, nan=-np.inf) - centre) / width, -700, 700)
        return np.asarray(1 / (1 + np.exp(power)), dtype=np.float32)
    if function == "LINEAR_EXACT" or width < 1:
        return scaled(values, centre - width / 2, centre + width / 2)
    if width == 1:
        return np.asarray(values > centre - 0.5, dtype=np.float32)
    return scaled(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def _luts(source: Dataset, name: str, inputs: tuple[float, float], little: bool, note: Note) -> Iterator[Lut]:
    """Yield the lookup tables of a sequence; an item without a descriptor or without data is none."""
    try:
        items = list(source.get(name) or [])
    except BROKEN:
        raise Unusable(f"{name} cannot be read") from None
    for item in items:
        lut = _lut(item, "LUTDescriptor", "LUTData", name, inputs, little)
        if lut is not None:
            if lut.bits < lut.declared:
                note(FEWER_BITS)
            yield lut


def _lut(
    item: Dataset, descriptor: str, data: str, name: str, inputs: tuple[float, float], little: bool
) -> Lut | None:
    form, content = _descriptor(item, descriptor, name), _words(item, data, name, little)
    if not form or not content:
        return None
    n_entries = form[0] or WORD + 1
    if len(content) >= 2 * n_entries:
        entries = np.frombuffer(content, "<u2", n_entries)
    elif len(content) >= n_entries:  # two entries a word
        entries = np.frombuffer(content, np.uint8, n_entries)
    else:
        raise Unusable(f"{name}: {data} is shorter than {descriptor} says")
    # Entries of fewer bits than the descriptor says are common (12 in 16), and those of 8 are often padded to
    # 16 (C.11.2.1.1, note): what the entries use is what a file shows.
    bits = max(BYTES, int(entries.max()).bit_length())
    return Lut(entries.astype(np.int64), _first(form[1], n_entries, *inputs), bits, form[2])


def _descriptor(item: Dataset, descriptor: str, name: str) -> tuple[int, ...]:
    """Return entries, first input, and bits as they are stored, each as a word; empty if there is none."""
    try:
        value = item.get(descriptor)
        if isinstance(value, bytes):  # its representation could not be told from the file
            value = np.frombuffer(value, "<u2").tolist()
        found = [int(one) & WORD for one in value] if _is_several(value) else []
    except BROKEN:
        raise Unusable(f"{name}: {descriptor} cannot be read") from None
    if not found and value in (None, "", b"", []):
        return ()
    if len(found) != 3:
        raise Unusable(f"{name}: {descriptor} has not three values")
    return tuple(found)


def _words(item: Dataset, data: str, name: str, little: bool) -> bytes:
    """Return the bytes of words in little-endian order, in which packed entries follow each other."""
    try:
        if data not in item:
            return b""
        element = item[data]
        value = element.value
        if isinstance(value, bytes):
            swapped = not little and element.VR not in ("OB", "UN")
            return (
                np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes()
                if swapped
                else value
            )
        several = value if _is_several(value) else [] if value in (None, "") else [value]
        return np.array([int(one) & WORD for one in several], dtype="<u2").tobytes()
    except BROKEN:
        raise Unusable(f"{name}: {data} cannot be read") from None


def _first(word: int, n_entries: int, low: float, high: float) -> int:
    """Return the first input of a table, a word that is signed where inputs are.

    Files name the wrong representation often enough that a table which no input could reach is read the
    other way.
    """
    signed = word - WORD - 1 if word > WORD // 2 else word
    ways = (signed, word) if low < 0 else (word, signed)
    return next((way for way in ways if way <= high and way + n_entries - 1 >= low), ways[0])


def _colour(dataset: Dataset, colour: str, stored: Stored) -> Lut:
    stem = f"{colour}PaletteColorLookupTable"
    found = _lut(dataset, f"{stem}Descriptor", f"{stem}Data", stem, stored.ends, stored.little)
    found = found or _segmented(dataset, stem, stored)
    if found is None:
        raise Unusable(f"{stem}Data is absent")
    return found


def _segmented(dataset: Dataset, stem: str, stored: Stored) -> Lut | None:
    form, data = _descriptor(dataset, f"{stem}Descriptor", stem), f"Segmented{stem}Data"
    content = _words(dataset, data, stem, stored.little)
    if not form or not content:
        return None
    kind, size = ("H", 2) if form[2] > BYTES else ("B", 1)
    try:
        coded = np.frombuffer(content[: len(content) // size * size], f"<u{size}")
        entries = np.array(_expand_segmented_lut(tuple(coded.tolist()), f"<{kind}"), dtype=np.int64)
    except BROKEN:
        raise Unusable(f"{data} cannot be read") from None
    if not entries.size:
        raise Unusable(f"{data} cannot be read")
    bits = max(BYTES, int(entries.max()).bit_length())
    return Lut(entries, _first(form[1], len(entries), *stored.ends), bits, form[2])
