"""One image, from its file or its array, to a square of the declared size; or the reason why not.

A reason is a fixed text: it holds no value, no name, and no words of the decoder, which may quote the file.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from synthgen.files import limits
from synthgen.ingest.images.folder_files import Unusable as Unusable
from synthgen.ingest.images.folder_files import opened
from synthgen.schema.image_format import Images

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "TIFF")
_EIGHT, _SIXTEEN = (
    ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"),
    ("I;16", "I;16B", "I;16L"),
)
_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    SyntaxError,
    MemoryError,
    struct.error,
    zlib.error,
)
"""What Pillow is known to raise on damaged files."""

UNKNOWN, DAMAGED = "not a PNG, JPEG or TIFF image", "damaged"
LARGE, FRAMES = "more pixels than SYNTHGEN_LIMIT_IMAGE_PIXELS allows", "more than one frame"
LONG = "more bytes than SYNTHGEN_LIMIT_IMAGE_BYTES allows"
SCANS = "more scans than SYNTHGEN_LIMIT_IMAGE_SCANS allows"
TEXTS = "texts in its header that unpack to more than a megabyte"
NOTHING, CLOSED = "an empty file", "a file that this user may not read"
GONE = "a file that is not there, or a link to nowhere"
CHANNELS = "neither one nor three channels"
KIND = "values without a public range (floating point, 32 bits or signed)"
EMPTY = "no pixels"


def decode_file(path: Path, spec: Images, *, root: Path | None = None) -> np.ndarray:
    """Return one file as ``(channel, row, column)``.

    Args:
        path: the file.
        spec: the declared form.
        root: the folder that it was found in, which is not left; None if a person named the file.

    Raises:
        Unusable: with one of this module's reasons.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _own_bound(), opened(path, root) as stream, _picture(stream) as image:
                _require_small(image, stream)
                image.load()
                return _squared(_upright(image), spec)
        except UnidentifiedImageError:
            raise Unusable(UNKNOWN) from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise Unusable(LARGE) from None
        except PermissionError:
            raise Unusable(CLOSED) from None
        except FileNotFoundError:
            raise Unusable(GONE) from None
        except _BROKEN as error:
            raise Unusable(TEXTS if _has_long_texts(error) else DAMAGED) from None


def _has_long_texts(error: BaseException) -> bool:
    """Return whether Pillow refused compressed texts of a PNG file for their size."""
    return isinstance(error, ValueError) and ("MAX_TEXT_CHUNK" in str(error) or "text chunks" in str(error))


def _picture(stream: BufferedReader) -> Image.Image:
    size = os.fstat(stream.fileno()).st_size
    if not size:
        raise Unusable(NOTHING)
    if size > limits.current().image_bytes:
        raise Unusable(LONG)
    return Image.open(stream, formats=FORMATS)


def mode_of(path: Path, root: Path | None = None) -> str:
    """Return Pillow's name of a file's kind of pixels, by its header alone; empty where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _own_bound(), opened(path, root) as stream, _picture(stream) as image:
                return image.mode
        except (Unusable, *_BROKEN):
            return ""


@contextmanager
def _own_bound() -> Iterator[None]:
    """Let the declared limit alone decide how many pixels are too many, not Pillow's constant."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _require_small(image: Image.Image, stream: BufferedReader) -> None:
    """Refuse what takes more memory or time to decode than the limits allow; only the header was read.

    Raises:
        Unusable: with one of this module's reasons.
    """
    if image.width * image.height > limits.current().image_pixels:
        raise Unusable(LARGE)
    if image.format == "TIFF":
        if _has_second(image):
            raise Unusable(FRAMES)
    elif getattr(image, "n_frames", 1) != 1:
        raise Unusable(FRAMES)
    if image.format == "JPEG":
        place = stream.tell()
        stream.seek(0)
        scans = stream.read().count(_SCAN)
        stream.seek(place)
        if scans > limits.current().image_scans:
            raise Unusable(SCANS)


_SCAN = b"\xff\xda"
"""Begins each scan of a JPEG; inside of one, a byte 0xff is followed by 0."""


def _has_second(image: Image.Image) -> bool:
    """Return whether a TIFF has a second frame; to count a million of them takes minutes."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def decode_array(array: np.ndarray, spec: Images) -> np.ndarray:
    """Return one image of an array file as ``(channel, row, column)``.

    Args:
        array: uint8 or uint16, ``(row, column)`` or ``(row, column, 3)``.
        spec: the declared form.

    Raises:
        Unusable: with one of this module's reasons.
    """
    if array.dtype not in (np.uint8, np.uint16):
        raise Unusable(KIND)
    if 0 in array.shape:
        raise Unusable(EMPTY)
    if array.shape[0] * array.shape[1] > limits.current().image_pixels:
        raise Unusable(LARGE)
    planes = [array] if array.ndim == 2 else [array[..., i] for i in range(array.shape[2])]
    if array.dtype == np.uint8:
        image = Image.merge("RGB", [Image.fromarray(p) for p in planes]) if len(planes) == 3 else None
        return _squared(image or Image.fromarray(planes[0]), spec)
    return _finished([_deep(plane, spec) for plane in planes], spec)


def square(planes: list[np.ndarray], spec: Images, *, aspect: float = 1.0) -> np.ndarray:
    """Return planes of intensities, from 0 to 1, as ``(channel, row, column)`` of the declared form.

    Args:
        planes: one if the image is grey, three if it is coloured.
        spec: the declared form.
        aspect: height of a source pixel over its width.

    Raises:
        Unusable: there are no pixels, or too many, or planes do not fit the declared channels.
    """
    if not planes or 0 in planes[0].shape:
        raise Unusable(EMPTY)
    if planes[0].size > limits.current().image_pixels:
        raise Unusable(LARGE)
    images = [Image.fromarray(np.asarray(plane, np.float32)) for plane in planes]
    return _finished([_resized(image, spec, aspect) for image in images], spec)


def _upright(image: Image.Image) -> Image.Image:
    turned = ImageOps.exif_transpose(image)
    return image if turned is None else turned


def _squared(image: Image.Image, spec: Images) -> np.ndarray:
    if image.mode in _SIXTEEN:
        return _finished([_deep(np.asarray(image), spec)], spec)
    if image.mode == "I" and image.format == "PNG":  # a grey PNG of 16 bits, as older Pillow reads it
        return _finished([_deep(np.asarray(image), spec)], spec)
    if image.mode not in _EIGHT:
        raise Unusable(KIND)
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
    grey = image.mode in ("1", "L") or spec.channels == 1
    plain = image.convert("L" if grey else "RGB")
    return _finished([_resized(band, spec) / np.float32(255) for band in plain.split()], spec)


def _deep(plane: np.ndarray, spec: Images) -> np.ndarray:
    """Return a plane of 16 bits as intensities; a declared depth of 8 takes the type's whole range."""
    top = np.float32(spec.largest if spec.bits > 8 else 65535)
    values = np.minimum(plane.astype(np.float32), top) / top
    return _resized(Image.fromarray(values), spec)


def _resized(image: Image.Image, spec: Images, aspect: float = 1.0) -> np.ndarray:
    """Return a band as a float32 square: the area's mean where it shrinks, linear where it grows.

    Args:
        image: one band.
        spec: the declared form.
        aspect: height of a source pixel over its width: the square's own pixels are as high as wide.
    """
    size = int(spec.size or 0)
    wide, high = float(image.width), image.height * aspect
    if spec.fit == "crop":
        side = min(wide, high)
        columns, rows = max(1, round(side)), max(1, round(side / aspect))
        left, top = (image.width - columns) // 2, (image.height - rows) // 2
        image = image.crop((left, top, left + columns, top + rows))
        target = (size, size)
    else:
        scale = size / max(wide, high)
        target = (min(size, max(1, round(wide * scale))), min(size, max(1, round(high * scale))))
    for resized in ((target[0], image.height), target):  # an axis may grow while the other shrinks
        if resized != image.size:
            shrinks = resized[0] < image.width or resized[1] < image.height
            image = image.resize(resized, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)
    square = np.zeros((size, size), dtype=np.float32)
    row, column = (size - target[1]) // 2, (size - target[0]) // 2
    square[row : row + target[1], column : column + target[0]] = np.asarray(image, dtype=np.float32)
    return square


def _finished(planes: list[Any], spec: Images) -> np.ndarray:
    """Return planes of intensities in the declared channels, type and depth."""
    stacked = np.stack(planes)
    if len(planes) == 3 and spec.channels == 1:
        stacked = np.tensordot(np.array([0.299, 0.587, 0.114], dtype=np.float32), stacked, axes=1)[None]
    elif len(planes) == 1 and spec.channels == 3:
        stacked = np.repeat(stacked, 3, axis=0)
    elif len(planes) != spec.channels:
        raise Unusable(CHANNELS)
    whole = np.rint(np.clip(stacked, 0.0, 1.0) * spec.largest)
    return np.asarray(whole, dtype=np.dtype(spec.dtype))
