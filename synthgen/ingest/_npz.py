"""Images in one ``.npz`` file, a few at a time: MedMNIST's layout, and plain ``images`` with named columns.

Keys are ``<split>_images`` with ``<split>_labels``, or ``images`` with any further array of as many entries.
Nothing is unpickled: an array of objects is refused.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from synthgen.errors import DataError

CHUNK = 64
IMAGES = "images"
SPLIT = "split"
STEP = "Write it with numpy.savez: arrays <split>_images and <split>_labels, or images and named columns."


@dataclass(frozen=True)
class Part:
    """One array of images with its columns.

    Attributes:
        key: name of the array in the file.
        columns: what stands beside each image, by column.
        shape: of the array.
        dtype: of the array.
    """

    key: str
    columns: pd.DataFrame
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def parts(path: Path) -> list[Part]:
    """Return the arrays of images that a file holds, with their columns. Reads no pixel.

    A column is named as its key is, without the split; labels of one column are ``label``, of several
    ``label_0`` and so on; ``split`` is added where keys name one.

    Raises:
        DataError: the file is none, or its arrays do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            found = [key for key in keys if key == IMAGES or key.endswith(f"_{IMAGES}")]
            return [_part(archive, key, keys) for key in found]
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise DataError(
            f"Expected an .npz file of plain arrays, got one that cannot be read ({type(error).__name__}).",
            where=str(path),
            next_step=STEP,
        ) from None


def images(path: Path, part: Part) -> Iterator[np.ndarray]:
    """Yield the images of a part one by one; at most `CHUNK` are in memory.

    Raises:
        DataError: the file is damaged.
    """
    each = int(np.prod(part.shape[1:], dtype=np.int64)) * part.dtype.itemsize
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{part.key}.npy") as stream:
            _header(stream)
            left = part.shape[0]
            while left:
                n = min(CHUNK, left)
                content = stream.read(n * each)
                yield from np.frombuffer(content, dtype=part.dtype).reshape(n, *part.shape[1:])
                left -= n
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError):
        raise DataError(
            "Expected whole arrays, got a damaged file.", where=str(path), next_step=STEP
        ) from None


def _part(archive: zipfile.ZipFile, key: str, keys: list[str]) -> Part:
    prefix = key.removesuffix(IMAGES)
    with archive.open(f"{key}.npy") as stream:
        shape, fortran, dtype = _header(stream)
    colours = len(shape) == 4 and shape[3] in (1, 3)
    if fortran or not (len(shape) == 3 or colours) or dtype not in (np.uint8, np.uint16):
        raise ValueError("images")
    columns: dict[str, Any] = {SPLIT: np.full(shape[0], prefix.rstrip("_"))} if prefix else {}
    for other in keys:
        if other.startswith(prefix) and other != key and not other.endswith(f"_{IMAGES}"):
            columns |= _columns(other.removeprefix(prefix), _small(archive, other), shape[0])
    return Part(key, pd.DataFrame(columns, index=range(shape[0])), shape, dtype)


def _columns(name: str, values: np.ndarray, n: int) -> dict[str, np.ndarray]:
    if len(values) != n or values.ndim > 2:
        raise ValueError("columns")
    name = "label" if name == "labels" else name
    if values.ndim == 2 and values.shape[1] != 1:
        return {f"{name}_{i}": values[:, i] for i in range(values.shape[1])}
    return {name: values.reshape(n)}


def _small(archive: zipfile.ZipFile, key: str) -> np.ndarray:
    with archive.open(f"{key}.npy") as stream:
        return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    return shape, fortran, dtype.newbyteorder("=") if dtype.isnative else dtype
