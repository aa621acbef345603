"""Images as they pass from stage to stage: a table of attributes, and pixels in the same order.

Both are tables too, so that all that plans, parts, judges and writes a table serves a cohort of images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.schema.schema import Schema

PER_FOLDER = 1000
AT_ONCE = 2**22
"""Values that are held as numbers of 4 and 8 bytes at a time."""


@dataclass(frozen=True)
class RealImages(RealTable):
    """Real images with their attributes. Sensitive: never written, logged or saved.

    Attributes:
        pixels: ``(record, channel, row, column)``, of the schema's type and size.
    """

    pixels: np.ndarray = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pixels(self.pixels, self.schema, len(self.frame))

    def __repr__(self) -> str:
        return f"RealImages(columns={len(self.frame.columns)}, shape={self.pixels.shape[1:]})"

    def select(self, mask: np.ndarray) -> RealImages:
        """Return the records where the boolean mask (one a record) is true."""
        frame = self.frame[mask].reset_index(drop=True)
        return replace(self, frame=frame, units=self.units[mask], pixels=self.pixels[mask])

    def take(self, order: np.ndarray) -> RealImages:
        """Return the records at these places, in this order."""
        frame = self.frame.iloc[order].reset_index(drop=True)
        return replace(self, frame=frame, units=self.units[order], pixels=self.pixels[order])


@dataclass(frozen=True)
class SyntheticImages(SyntheticTable):
    """Synthetic images with their attributes: a drop-in for the input.

    Attributes:
        pixels: ``(record, channel, row, column)``, of the schema's type and size.
    """

    pixels: np.ndarray = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_pixels(self.pixels, self.schema, len(self.frame))

    def take(self, order: np.ndarray) -> SyntheticImages:
        """Return the records at these places, in this order."""
        units = None if self.units is None else self.units[order]
        frame = self.frame.iloc[order].reset_index(drop=True)
        return replace(self, frame=frame, units=units, pixels=self.pixels[order])

    @property
    def file_names(self) -> list[str]:
        """Name of each record's file, in folders of `PER_FOLDER`.

        Example:
            >>> file_name(1), file_name(2001)
            ('images/00000/S00000001.png', 'images/00002/S00002001.png')
        """
        return [file_name(self.first_id + i) for i in range(len(self))]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `to_pandas`: as of a table, and the one that names each record's image."""
        return [*super().columns, *self.schema.added_columns]

    def to_pandas(self) -> pd.DataFrame:
        """Return the attributes as the input had them, with the names of the synthetic files.

        Where the schema names no column for them, as of an array file, the last one is theirs.
        """
        names = pd.Series(self.file_names, dtype="object").astype("str")
        return super().to_pandas().assign(**{str(self.schema.file_column): names})

    def texts(self) -> pd.DataFrame:
        """Return all cells as text, with the names of the synthetic files."""
        names = pd.Series(self.file_names, dtype=object)
        return super().texts().assign(**{str(self.schema.file_column): names})


def file_name(number: int) -> str:
    """Return the path of the image of that sequential number, from 1, inside its folder or archive."""
    return f"images/{(number - 1) // PER_FOLDER:05d}/S{number:08d}.png"


def require_pixels(pixels: np.ndarray, schema: Schema, n_records: int) -> None:
    """Refuse pixels that are not what the schema declares.

    Raises:
        ValueError: names shapes and types, no value.
    """
    spec = schema.images
    if spec is None:
        raise ValueError("Expected a schema that declares images, got one of a table.")
    wanted = (n_records, *spec.shape)
    if pixels.shape != wanted or pixels.dtype != np.dtype(spec.dtype):
        raise ValueError(f"Expected {wanted} of {spec.dtype}, got {pixels.shape} of {pixels.dtype}.")


def intensities(pixels: np.ndarray, schema: Schema) -> np.ndarray:
    """Return values as float32 from 0 to 1, by the declared depth.

    Raises:
        ValueError: the schema declares no images.
    """
    if schema.images is None:
        raise ValueError("Expected a schema that declares images, got one of a table.")
    return np.asarray(pixels, dtype=np.float32) / np.float32(schema.images.largest)


def in_parts(pixels: np.ndarray) -> Iterator[slice]:
    """Yield the places of images, in parts of at most `AT_ONCE` values, or of one image."""
    n_images = max(1, AT_ONCE // max(1, int(np.prod(pixels.shape[1:]))))
    for start in range(0, len(pixels), n_images):
        yield slice(start, start + n_images)


def intensities_in_parts(pixels: np.ndarray, schema: Schema) -> Iterator[np.ndarray]:
    """Yield `intensities` part by part: those of all at once take four times the images."""
    return (intensities(pixels[rows], schema) for rows in in_parts(pixels))


def from_intensities(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Return values of the schema's type; what lies outside 0 to 1 is cut.

    Raises:
        ValueError: the schema declares no images.
    """
    if schema.images is None:
        raise ValueError("Expected a schema that declares images, got one of a table.")
    scaled = np.rint(np.clip(values, 0.0, 1.0) * schema.images.largest)
    return np.asarray(scaled, dtype=np.dtype(schema.images.dtype))
