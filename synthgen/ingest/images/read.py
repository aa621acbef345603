"""From a folder or an array file to images of one size with their raw attributes, one image at a time.

A file that is broken or odd is left out with a reason and never stops the run; whether one is left out
depends on its own content alone, so neighbouring cohorts differ by one patient's images as before. What is
left out is counted for the steward. Memory holds one decoded source image and the cohort at its target size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from synthgen.data.tables import texts_of
from synthgen.errors import ConfigError, DataError
from synthgen.ingest.images import decode as _decode
from synthgen.ingest.images import npz
from synthgen.ingest.images.decode import Unusable
from synthgen.ingest.tables.table import formulas_of, read_raw
from synthgen.schema.image_format import Images
from synthgen.schema.schema import Schema

TABLES = (".csv", ".parquet", ".pq")
NO_FILE = "no file of that name"
UNKNOWN = -1


@dataclass(frozen=True)
class RawImages:
    """What was read. Sensitive.

    Attributes:
        frame: raw attributes of the images that can be used, all of the schema's columns.
        pixels: ``(record, channel, row, column)`` in the declared form.
        report: counts for the internal report: ``images``, ``quarantined`` by reason, ``without_row``.
        quarantined: name and reason of each image that was left out. Never leaves.
    """

    frame: pd.DataFrame
    pixels: np.ndarray
    report: Mapping[str, Any]
    quarantined: tuple[tuple[str, str], ...]

    def __repr__(self) -> str:
        return f"RawImages(shape={self.pixels.shape[1:]})"


def read_images(
    path: Path,
    schema: Schema,
    *,
    table: Path | None = None,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
) -> RawImages:
    """Read a cohort of images.

    Args:
        path: a folder of PNG, JPEG or TIFF files, or an ``.npz`` file (see `synthgen.ingest.images.npz`).
        schema: declares the images' form and, where a table names them, the column that does.
        table: the table of attributes, CSV or Parquet; None is the only one that lies in the folder, or, of
            an ``.npz`` file, its own columns.
        delimiter: of a CSV table.
        encoding: of a CSV table.
        decimal: of a CSV table.

    Raises:
        ConfigError: there is no table, or the schema does not say which column names the files.
        DataError: the table or the array file cannot be read, or no image can be used.
    """
    spec = schema.images
    if spec is None or spec.size is None:
        raise ConfigError(
            "Expected a schema that declares images, found none.",
            next_step="Add `images: {channels: 1, bits: 8}`.",
        )
    attributes = None if table is None else _table(table, delimiter, encoding, decimal, schema)
    if path.is_dir():
        if attributes is None:
            attributes = _table(only_table(path), delimiter, encoding, decimal, schema)
        return _collect(_of_folder(path, attributes, spec, str(path)), attributes, spec, str(path))
    frame, images = _of_npz(path, attributes, spec, schema.others)
    return _collect(images, frame, spec, str(path))


Found = Iterator[tuple[int, str, Callable[[], np.ndarray]]]
"""Row of the attributes (`UNKNOWN` if none), name, and what decodes the image or raises `Unusable`."""


def _collect(found: Found, frame: pd.DataFrame, spec: Images, where: str) -> RawImages:
    pixels = np.empty((len(frame), *spec.shape), dtype=np.dtype(spec.dtype))
    rows: list[int] = []
    left: list[tuple[str, str]] = []
    strays = 0
    for row, name, decode in found:
        if row == UNKNOWN:
            strays += 1
            continue
        try:
            pixels[len(rows)] = decode()
            rows.append(row)
        except Unusable as reason:
            left.append((name, str(reason)))
    if not rows:
        require_enough(Counter(reason for _, reason in left), 0, spec, where=where)
    order = np.argsort(
        rows, kind="stable"
    )  # pixels stand in the order of their rows already in all but folders
    if not np.array_equal(order, np.arange(len(rows))):
        pixels[: len(rows)] = pixels[order]
    report = {
        "images": len(rows),
        "quarantined": dict(sorted(Counter(reason for _, reason in left).items())),
        "without_row": strays,
    }
    kept = frame.iloc[np.sort(rows)]
    return RawImages(kept, pixels[: len(rows)], report, tuple(left))


def too_many_left_out(left: int, used: int, spec: Images) -> str:
    """Return what is wrong where more images are left out than the schema allows; empty where not."""
    if left <= spec.most_left_out * (left + used):
        return ""
    allowed = f"images.most_left_out: {spec.most_left_out:g}"
    return f"{left} of {left + used} images are left out, a larger share than allowed ({allowed})"


def require_enough(left: Mapping[str, int], used: int, spec: Images, *, where: str) -> None:
    """Refuse a cohort none of whose images can be used, or of which too many cannot.

    Args:
        left: images that were left out, by reason.
        used: images that can be used.
        spec: the declared form, with the largest share that may be left out.
        where: the cohort's path, for the message.

    Raises:
        DataError: lists reasons with their counts.
    """
    reasons = "; ".join(f"{reason}: {count}" for reason, count in sorted(left.items()))
    problem = too_many_left_out(sum(left.values()), used, spec)
    if used and not problem:
        return
    found = f"got none ({reasons})" if not used else f"but {problem}: {reasons}"
    raise DataError(
        f"Expected images that can be used, {found}.",
        where=where,
        next_step="Correct the files, the table or the column that names them. Where they are rightly left"
        " out, raise `images: {most_left_out: SHARE}` in the schema. No budget was spent.",
    )


def _of_folder(folder: Path, frame: pd.DataFrame, spec: Images, where: str) -> Found:
    if spec.file is None or spec.file not in frame.columns:
        raise ConfigError(
            "images.file: expected the column that names each record's file, found none.",
            where=where,
            next_step="Name it in the schema's `images: {file: COLUMN}`, and give it `role: id`.",
        )
    known = index_of(folder)
    named = [known.get(name, []) for name in names_in(frame[spec.file])]
    used = [files[0] for files in named if files]
    _require_one_each(sum(len(files) > 1 for files in named) + len(used) - len(set(used)), where)
    for row, (name, files) in enumerate(zip(names_in(frame[spec.file]), named, strict=True)):
        decode = (
            partial(_decode.decode_file, files[0], spec, root=folder) if files else partial(_refuse, NO_FILE)
        )
        yield row, name, decode
    every = {path for paths in known.values() for path in paths}
    for path in sorted(every - set(used)):
        yield UNKNOWN, path.name, partial(_refuse, NO_FILE)


def names_in(values: pd.Series) -> list[str]:
    """Return the names in a column of any type as text; a missing one is empty."""
    texts = [text.strip().replace("\\", "/") for text in texts_of(values)]
    return [text.removeprefix("./") for text in texts]


def _require_one_each(twice: int, where: str) -> None:
    """Refuse names that fit several images, and images that several records name.

    Leaving such a record out would depend on another patient's file or row, and an image of two patients is
    protected for neither.
    """
    if twice:
        raise DataError(
            f"Expected one image a record and one record an image, got {twice} records that break it.",
            where=where,
            next_step="Name files by their path in the folder; list each once. No budget was spent.",
        )


def _refuse(reason: str) -> np.ndarray:
    raise Unusable(reason)


def index_of(folder: Path) -> dict[str, list[Path]]:
    """Return image files by every name that a table may use: path, file name, with or without ending."""
    exact: dict[str, list[Path]] = {}
    loose: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _decode.SUFFIXES or not path.is_file():
            continue
        relative = path.relative_to(folder)
        exact[relative.as_posix()] = [path]
        names = {path.name, path.stem, relative.with_suffix("").as_posix()} - {relative.as_posix()}
        for name in names:
            loose.setdefault(name, []).append(path)
    return {**loose, **exact}


def _of_npz(
    path: Path, attributes: pd.DataFrame | None, spec: Images, others: Literal["error", "drop"]
) -> tuple[pd.DataFrame, Found]:
    found = npz.parts(path, others=others)
    own = pd.concat([part.columns for part in found], ignore_index=True)
    places: list[int] = list(range(len(own)))
    if attributes is not None:
        if spec.file is None or spec.file not in own.columns or spec.file not in attributes.columns:
            raise ConfigError(
                "images.file: expected a column that is in the table and in the array file, found none.",
                where=str(path),
                next_step="Name the column of image ids in the schema's `images: {file: COLUMN}`.",
            )
        places = _places(own[spec.file], attributes[spec.file], str(path))
        own = attributes

    def walk() -> Found:
        number = 0
        for part in found:
            for image in npz.images(path, part):
                decode = partial(_decode.decode_array, _grey(image), spec)
                yield places[number], f"image {number + 1}", decode
                number += 1
        lost = sorted(set(range(len(own))) - set(places))
        for row in lost:
            yield row, f"row {row + 1}", partial(_refuse, NO_FILE)

    return own, walk()


def _grey(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image


def _places(names: pd.Series, wanted: pd.Series, where: str) -> list[int]:
    """Return the row of the table that speaks of each image."""
    images, rows = names_in(names), names_in(wanted)
    filled = [name for name in rows if name]
    _require_one_each(len(images) - len(set(images)) + len(filled) - len(set(filled)), where)
    known = {name: row for row, name in enumerate(rows) if name}
    return [known.get(name, UNKNOWN) for name in images]


def _table(path: Path, delimiter: str, encoding: str, decimal: str, schema: Schema) -> pd.DataFrame:
    said = formulas_of(schema)
    return read_raw(path, delimiter=delimiter, encoding=encoding, decimal=decimal, formulas=said)


def only_table(folder: Path) -> Path:
    """Return the only table of a folder.

    Raises:
        ConfigError: there is none, or there are several.
        DataError: it is a link that leads out of the folder.
    """
    tables = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES]
    if len(tables) != 1:
        raise ConfigError(
            f"data.images.table: expected the table of attributes, found {len(tables)} in the folder.",
            where=str(folder),
            next_step="Name it as data.images.table.",
        )
    if not tables[0].resolve().is_relative_to(folder.resolve()):
        raise DataError(
            "Expected a table in the folder, found a link that leads out of it.",
            where=str(folder),
            next_step="Name the table itself as data.images.table.",
        )
    return tables[0]
