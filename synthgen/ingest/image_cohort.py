"""A cohort of images in its parts: read, ids taken off, judged by the schema, parted by patient.

Only a holder of a reservation calls this, as `synthgen.pipeline.fit` does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from synthgen.config.data_section import ImageSource
from synthgen.config.run_config import ResolvedConfig
from synthgen.data.images import RealImages
from synthgen.data.tables import Cohort, RealTable
from synthgen.deidentify import table as deidentify
from synthgen.errors import ConfigError, SynthgenError
from synthgen.ingest.fingerprint import source_digest
from synthgen.ingest.images.read import RawImages, read_images, require_enough
from synthgen.ingest.tables import table as ingest
from synthgen.privacy.splits import keep_records, part_of
from synthgen.schema.schema import Schema

Tell = Callable[[str, float], None]


def _quiet(what: str, done: float) -> None:
    """Report nothing."""


def read(
    loaded: ResolvedConfig, *, key: bytes, shares: Mapping[str, float], progress: Tell = _quiet
) -> Cohort:
    """Read the images and their attributes, strip them, and part their patients.

    Args:
        loaded: the config, of ``data.images``.
        key: the cohort's key.
        shares: expected share of the patients in each part.
        progress: called with how far the reading is.

    Raises:
        DataError: attributes do not keep to the schema, or no image can be used.
        ConfigError: see `synthgen.ingest.images.read.read_images` and `synthgen.ingest.dicom.cohort.read`.
    """
    source = loaded.config.data.images
    if source is None:
        raise SynthgenError("Expected a config of images, got one of a table.")
    raw = _raw(loaded, source, key, progress)
    where = str(loaded.table)
    stripped = deidentify.strip(raw.frame, loaded.schema, where=where)
    table, report = ingest.canonical(
        stripped.frame,
        stripped.units,
        loaded.schema,
        decimal=source.decimal,
        date_format=source.date_format,
        where=where,
    )
    units = table.units if stripped.units is not None else image_units(table, raw.pixels)
    whole = RealImages(table.schema, table.frame, units, pixels=raw.pixels)
    kept = keep_records(units, key=key, max_records=loaded.schema.unit.max_records)
    parts = part_of(units, key=key, shares=shares)
    pieces = {name: whole.select(kept & (parts == name)) for name in ("train", "reference", "holdout")}
    counts = {**report.to_json(), **raw.report, "quarantined_files": [list(item) for item in raw.quarantined]}
    counts["units"] = len(set(units.tolist()))
    return Cohort(**pieces, counts=counts, n_units=counts["units"], digest=source_digest(loaded.sources))


def image_units(table: RealTable, pixels: np.ndarray) -> np.ndarray:
    """Name each record of a row-level cohort by its pixels and attributes, so that no name depends on others.

    Args:
        table: canonical attributes, whose own names are made of the attributes alone. Sensitive.
        pixels: one image a record. Sensitive.

    Returns:
        One text a record: a SHA-256, then ``#`` and its place among identical records.
    """
    alone = [str(unit).partition("#")[0] for unit in table.units]
    names = [
        hashlib.sha256(name.encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        for name, image in zip(alone, pixels, strict=True)
    ]
    seen: dict[str, int] = {}
    numbered = []
    for name in names:
        numbered.append(f"{name}#{seen.get(name, 0)}")
        seen[name] = seen.get(name, 0) + 1
    return np.array(numbered, dtype=object)


def is_dicom(path: Path, schema: Schema) -> bool:
    """Return whether a path names DICOM files.

    Raises:
        ConfigError: it does, and the extra is not installed.
    """
    if path.is_file() and path.suffix == ".npz":
        return False
    from synthgen.ingest.images.dicom_detection import looks_like_dicom, require_extra

    if not looks_like_dicom(path, declared=schema.images is not None and schema.images.dicom is not None):
        return False
    require_extra()
    return True


def _raw(loaded: ResolvedConfig, source: ImageSource, key: bytes, progress: Tell) -> RawImages:
    if is_dicom(loaded.table, loaded.schema):
        from synthgen.ingest.dicom import cohort

        most = loaded.schema.unit.max_records
        return cohort.read(
            loaded.table,
            loaded.schema,
            source,
            base=loaded.base,
            keep=lambda units: keep_records(units, key=key, max_records=most),
            progress=progress,
        )
    if source.patients is not None:
        raise ConfigError(
            "data.images.patients: expected DICOM files, for which it says whose they are, found others.",
            where=str(loaded.table),
        )
    raw = read_images(
        loaded.table,
        loaded.schema,
        table=None if source.table is None else loaded.base / source.table,
        delimiter=source.delimiter,
        encoding=source.encoding,
        decimal=source.decimal,
    )
    if loaded.schema.images is not None:
        left, used = raw.report["quarantined"], len(raw.pixels)
        require_enough(left, used, loaded.schema.images, where=str(loaded.table))
    return raw
