"""Write synthetic images as users read them: PNG files beside a table, an archive, or an array file.

Files hold pixels and nothing else: no time, no name, no comment. Everything here is post-processing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synthgen.data.images import SyntheticImages
from synthgen.data.table_files import file_name
from synthgen.data.tables import SyntheticTable
from synthgen.files.safe_files import replacing, sync_disk, write_bytes
from synthgen.generators.base import ImageModel
from synthgen.sampling.draw import draw, is_written, of_shard, write_table
from synthgen.schema.schema import Schema

ARCHIVE = "zip"
EPOCH = (1980, 1, 1, 0, 0, 0)


def png(image: np.ndarray) -> bytes:
    """Return one image, ``(channel, row, column)`` of uint8 or grey uint16, as a PNG file."""
    plain = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_cohort(table: SyntheticTable, folder: Path, name: str, formats: Iterable[str]) -> None:
    """Write a table in each format, and beside it the archive of its images, if it has any."""
    for kind in formats:
        write_table(table, folder / file_name(name, kind, table))
    if isinstance(table, SyntheticImages):
        write_archive(table, folder / f"{name}.{ARCHIVE}")


def write_archive(images: SyntheticImages, path: Path) -> None:
    """Write all images into one ZIP file, named as the table names them; the same images give the same bytes.

    Raises:
        OperationError: the disk refused; no partial file is left.
    """
    with (
        replacing(path, "write images", private=False) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, image in zip(images.file_names, images.pixels, strict=True):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, png(image))


def write_array(images: SyntheticImages, path: Path) -> None:
    """Write one ``.npz`` file: ``images`` as ``(record, row, column[, 3])``, and an array a column.

    Raises:
        OperationError: the disk refused; no partial file is left.
    """
    plain = images.pixels[:, 0] if images.pixels.shape[1] == 1 else np.moveaxis(images.pixels, 1, -1)
    columns: dict[str, np.ndarray] = {}
    frame = images.to_pandas().drop(
        columns=list(images.schema.added_columns)
    )  # the place says which is whose
    for name, values in frame.items():
        numbers = values.dtype.kind in "iufb" and not values.isna().any()
        columns[str(name)] = (
            values.to_numpy() if numbers else values.astype("string").fillna("").to_numpy(str)
        )
    content: dict[str, Any] = {**columns, "images": plain}
    with (  # numpy.savez takes no column named `file`
        replacing(path, "write images", private=False) as stream,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, values in content.items():
            info = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(values), allow_pickle=False)


def write_shards(
    model: ImageModel, schema: Schema, n_records: int, folder: Path, *, shards: int, seed: int, **options: Any
) -> list[Path]:
    """Write tables of attributes, and below them ``images/`` with one PNG file a record.

    A shard's table is written after its images; a shard whose table is there is left alone, and each depends
    on seed and number alone.

    Returns:
        The tables: ``attributes.csv``, or one a shard.
    """
    paths: list[Path] = []
    each, rest = divmod(n_records, shards)
    first = 1
    for shard in range(shards):
        own = of_shard(options, shard, shards)
        n = each + int(shard < rest)
        ending = "" if shards == 1 else f"-{shard:05d}-of-{shards:05d}"
        path = folder / f"attributes{ending}.csv"
        if not is_written(path):
            drawn: Any = draw(model, schema, n, seed=seed, shard=shard, **own)
            drawn = replace(drawn, first_id=first)
            for name, image in _files(drawn):
                write_bytes(folder / name, image, "write images", private=False, durable=False)
            sync_disk(folder)
            write_table(drawn, path, first=first)
        paths.append(path)
        first += n
    return paths


def _files(images: SyntheticImages) -> Iterator[tuple[str, bytes]]:
    for name, image in zip(images.file_names, images.pixels, strict=True):
        yield name, png(image)
