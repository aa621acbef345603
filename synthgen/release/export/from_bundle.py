"""Read the synthetic images of a bundle back, to write them in another format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synthgen.data.images import SyntheticImages
from synthgen.errors import ConfigError, DataError
from synthgen.release.bundle.data_checks import FORMATS, checked
from synthgen.release.bundle.image_archive import archived
from synthgen.release.bundle.verify import SCHEMA, record_of, verify_bundle
from synthgen.release.export.dicom import write_dicom
from synthgen.schema.schema import load_schema


def export(bundle: Path, kind: str, output: Path, *, modality: str | None) -> dict[str, Any]:
    """Write a bundle's images in a format of hospitals.

    Raises:
        ConfigError: another format, or the bundle holds no images.
        DataError: the bundle does not verify.
    """
    if kind != "dicom":
        raise ConfigError("Expected the format dicom, got another.", where="synthgen export")
    return {"bundle": str(bundle), **write_dicom(read_images(bundle), output, modality=modality)}


def read_images(bundle: Path) -> SyntheticImages:
    """Return the images of a bundle with their attributes.

    Raises:
        ConfigError: there is no bundle, or it holds no images.
        DataError: it does not verify.
    """
    if not (bundle / SCHEMA).is_file():
        raise ConfigError("Expected the folder of a bundle, found none.", where=str(bundle))
    problems = verify_bundle(bundle)
    if problems:
        raise DataError(
            f"Expected a bundle that verifies, got {len(problems)} problems.",
            where=str(bundle),
            next_step="Run `synthgen verify` to see them.",
        )
    schema = load_schema(bundle / SCHEMA)
    tables = [path for end in FORMATS for path in sorted((bundle / "data").glob(f"*.{end}*"))]
    archives = sorted((bundle / "data").glob("*.zip"))
    if schema.images is None or not tables or not archives:
        raise ConfigError("Expected a bundle of images, got one of a table.", where=str(bundle))
    table = checked(tables[0], schema, records=record_of(bundle)["data"]["files"][tables[0].name])[1]
    if table is None:
        raise DataError("Expected a bundle that verifies, found it changed meanwhile.", where=str(bundle))
    pixels = archived(archives[0], range(len(table)))
    images = schema.images.model_copy(update={"size": pixels.shape[-1]})
    sized = schema.model_copy(update={"images": images})
    return SyntheticImages(sized, table.frame, pixels=pixels.astype(images.dtype))
