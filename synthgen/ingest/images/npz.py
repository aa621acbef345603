"""Images in one ``.npz`` file, a few at a time: MedMNIST's layout, and plain ``images`` with named columns.

Keys are ``<split>_images`` with ``<split>_labels``, or ``images`` with any further array of as many entries.
Nothing is unpickled: an array of objects is refused. What cannot be read is said by the entry's name, its
type and its shape, before a pixel is read.
"""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pandas as pd

from synthgen.errors import DataError
from synthgen.files import archives, limits

CHUNK, CHUNK_BYTES = 64, 64 * 2**20
LAST_CODE_POINT = 0x10FFFF
IMAGES = "images"
SPLIT = "split"
STEP = "Write it with numpy.savez: arrays <split>_images and <split>_labels, or images and named columns."
WHOLE = "Copy the file anew; it is damaged."
ENCRYPTED = 1
_BROKEN = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    TypeError,
    SyntaxError,
    KeyError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
)
"""What damaged archives and headers are known to raise."""


@dataclass(frozen=True)
class Part:
    """One array of images with its columns.

    Attributes:
        key: name of the array in the file.
        columns: what stands beside each image, by column.
        shape: of the array.
        dtype: of the array.
        unused: entries of the file that are no column: not one value an image.
    """

    key: str
    columns: pd.DataFrame
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    unused: tuple[str, ...] = ()


def parts(path: Path, *, others: Literal["error", "drop"] = "error") -> list[Part]:
    """Return the arrays of images that a file holds, with their columns. Reads no pixel.

    A column is named as its key is, without the split; labels of one column are ``label``, of several
    ``label_0`` and so on; ``split`` is added where keys name one.

    Args:
        path: the file.
        others: ``drop`` leaves out entries that are no columns: a text, a scalar, another number of values.

    Raises:
        DataError: the file is none, or an entry cannot be used; names it.
    """
    where = str(path)
    if not path.is_file():
        raise DataError("Expected an .npz file, found none.", where=where, next_step="Check the path.")
    if not zipfile.is_zipfile(path):
        raise DataError(
            "Expected an .npz file, which is a ZIP archive, got other content.", where=where, next_step=STEP
        )
    try:
        with archives.open_zip(path) as archive:
            names = [info.filename for info in archive.infolist()]
            if any(info.flag_bits & ENCRYPTED for info in archive.infolist()):
                raise DataError(
                    "Expected plain arrays, got an encrypted archive.", where=where, next_step=STEP
                )
            keys = [name.removesuffix(".npy") for name in names if name.endswith(".npy")]
            _require_once(keys, where)
            found = [key for key in keys if key == IMAGES or key.endswith(f"_{IMAGES}")]
            if not found:
                step = f"It holds {keys}. {STEP}" if keys else STEP
                raise DataError(
                    f"Expected an array called {IMAGES}, found none.", where=where, next_step=step
                )
            return [_part(archive, key, keys, others, where) for key in found]
    except _BROKEN:
        raise DataError("Expected whole arrays, got a damaged file.", where=where, next_step=WHOLE) from None


def images(path: Path, part: Part) -> Iterator[np.ndarray]:
    """Yield the images of a part one by one; at most `CHUNK` are in memory.

    Raises:
        DataError: the file is damaged.
    """
    each = int(np.prod(part.shape[1:], dtype=np.int64)) * part.dtype.itemsize
    native = part.dtype.newbyteorder("=")
    try:
        with archives.open_zip(path) as archive, archive.open(f"{part.key}.npy") as stream:
            _header(stream)
            left = part.shape[0]
            while left:
                n = min(CHUNK, left, max(1, CHUNK_BYTES // each))
                content = stream.read(n * each)
                yield from np.frombuffer(content, dtype=part.dtype).reshape(n, *part.shape[1:]).astype(native)
                left -= n
    except _BROKEN:
        raise DataError(
            "Expected whole arrays, got a damaged file.", where=str(path), next_step=WHOLE
        ) from None


def _part(archive: zipfile.ZipFile, key: str, keys: list[str], others: str, where: str) -> Part:
    prefix = key.removesuffix(IMAGES)
    shape, dtype = _form(archive, key, where)
    columns: dict[str, Any] = {SPLIT: np.full(shape[0], prefix.rstrip("_"))} if prefix else {}
    unused: list[str] = []
    for other in keys:
        if not other.startswith(prefix) or other == key or other.endswith(f"_{IMAGES}"):
            continue
        problem, values = _values(archive, other, shape[0])
        if problem:
            unused.append(other)
            if others == "error":
                raise DataError(
                    f"Expected one value for each image in every entry, but {other!r} {problem}.",
                    where=where,
                    next_step="Take it out of the file, or let the schema say `others: drop`.",
                )
            continue
        named = _columns(other.removeprefix(prefix), values)
        twice = sorted((set(named) & set(columns)) - {SPLIT})
        if twice:
            raise DataError(
                f"Expected each column once, but {other!r} gives {twice} again.", where=where, next_step=STEP
            )
        columns |= named
    return Part(key, pd.DataFrame(columns, index=range(shape[0])), shape, dtype, tuple(unused))


def _require_once(keys: list[str], where: str) -> None:
    twice = sorted(key for key, number in Counter(keys).items() if number > 1)
    if twice:
        raise DataError(f"Expected each array once, got {twice} twice.", where=where, next_step=STEP)


def _form(archive: zipfile.ZipFile, key: str, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of an array of images.

    Raises:
        DataError: says what is wrong with it.
    """
    shape, fortran, dtype = _header_of(archive, key)
    step = "Save it as uint8 or uint16 of (image, row, column) or (image, row, column, 3)."
    problem = ""
    if dtype.kind != "u" or dtype.itemsize > 2:
        problem = f"its values are {dtype.name}, not uint8 or uint16"
    elif len(shape) == 4 and shape[3] not in (1, 3):
        channels_first = " (channels come last; see numpy.moveaxis)" if shape[1] in (1, 3) else ""
        problem = f"its shape {shape} does not end in 1 or 3 channels{channels_first}"
    elif len(shape) not in (3, 4):
        problem = f"its shape is {shape}, not that of images one behind the other"
    elif not shape[0]:
        problem = "it holds no image"
    elif 0 in shape:
        problem = f"its images have no pixels, by the shape {shape}"
    elif fortran:
        problem = "it is stored column by column (Fortran order)"
        step = "Save numpy.ascontiguousarray(images)."
    if problem:
        raise DataError(
            f"Expected an array of images, but of {key!r} {problem}.", where=where, next_step=step
        )
    _require_few(shape[0], where)
    limits.require("image_pixels", shape[1] * shape[2], where=where)
    return shape, dtype


def _require_few(n_images: int, where: str) -> None:
    """Refuse more images than a file of that size can hold: a black one takes no bytes, but time each."""
    found = limits.current()
    limits.require("images", n_images, where=where)
    most = max(found.free_images, found.images_per_kilobyte * (Path(where).stat().st_size // 1024))
    limits.require("images_per_kilobyte", n_images, where=where, most=most)


def _values(archive: zipfile.ZipFile, key: str, n_images: int) -> tuple[str, np.ndarray]:
    """Return what is wrong with an entry as a column, or its values."""
    shape, _, dtype = _header_of(archive, key)
    problem = ""
    if dtype.hasobject:
        problem = "holds Python objects, which are not unpickled"
    elif not shape:
        problem = "is a single value"
    elif dtype.names is not None or dtype.kind in "cV":
        problem = f"holds values of a kind that is no column ({'records' if dtype.names else dtype.name})"
    elif shape[0] != n_images:
        problem = f"has {shape[0]} values for {n_images} images"
    elif len(shape) > 2 or 0 in shape:
        problem = f"has the shape {shape}"
    if problem:
        return problem, np.zeros(0)
    with archive.open(f"{key}.npy") as stream:
        values = np.asarray(np.lib.format.read_array(stream, allow_pickle=False))
    if dtype.kind == "U" and not _is_text(values):
        return "holds texts that are no Unicode", np.zeros(0)
    return "", np.char.decode(values, "utf-8", "replace") if dtype.kind == "S" else values


def _is_text(values: np.ndarray) -> bool:
    """Return whether all cells of a text array are code points; numpy reads any 4 bytes as one."""
    codes = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("=")))
    points = codes.reshape(-1).view(np.uint32) if codes.dtype.itemsize else np.zeros(0, dtype=np.uint32)
    return not bool(((points > LAST_CODE_POINT) | ((points >= 0xD800) & (points <= 0xDFFF))).any())


def _columns(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    name = "label" if name == "labels" else name
    if values.ndim == 2 and values.shape[1] != 1:
        return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
    return {name: values.reshape(len(values))}


def _header_of(archive: zipfile.ZipFile, key: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of an entry, if it is as long as they say.

    Raises:
        ValueError: it is not.
    """
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _header(stream)
        start = stream.tell()
    whole = start + math.prod(shape) * dtype.itemsize
    if not dtype.hasobject and whole != archive.getinfo(f"{key}.npy").file_size:
        raise ValueError("Expected as many values as the header says.")
    return shape, fortran, dtype


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        return read(stream)
    except tokenize.TokenError:  # no subclass of what damaged headers raise else
        raise ValueError("Expected the header of an array.") from None
