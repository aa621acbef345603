"""What a config says of its data: a table, or images and the size they are brought to."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Literal

from pydantic import Field, model_validator

from synthgen.errors import ConfigError
from synthgen.schema.image_format import MOST_SIDE
from synthgen.schema.schema import Schema
from synthgen.settings import Settings

PARQUET = (".parquet", ".pq")
"""Endings of Parquet files; every other table is text."""


class TableSource(Settings):
    """A table and its schema."""

    path: str = Field(min_length=1)
    schema_path: str = Field(alias="schema", min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    date_format: str | None = None


class ImageSource(Settings):
    """A folder or an array file of images, their schema, and the table of their attributes.

    Attributes:
        size: pixels a side that every image is brought to. Public.
        table: the attributes' file, where it is not the only table in the folder, or the array file's own;
            of DICOM files, a table with a row a patient that is joined to them, or a folder of OMOP tables
            (see `synthgen.ingest.tables.omop`).
        patients: of DICOM files, a CSV that says whose they are: see `synthgen.ingest.dicom.patient_ids`.
        without_id: what becomes of DICOM files that name no patient. ``own`` takes each for a patient of its
            own, which voids the guarantee of whoever has several.
    """

    path: str = Field(min_length=1)
    schema_path: str = Field(alias="schema", min_length=1)
    size: int = Field(ge=1, le=MOST_SIDE)
    table: str | None = Field(default=None, min_length=1)
    patients: str | None = Field(default=None, min_length=1)
    without_id: Literal["error", "leave_out", "own"] = "error"
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    encoding: str = "utf-8"
    decimal: Literal[".", ","] = "."
    date_format: str | None = None


class DataSection(Settings):
    """What goes in: a table, or images."""

    table: TableSource | None = None
    images: ImageSource | None = None

    @model_validator(mode="after")
    def _one(self) -> DataSection:
        if (self.table is None) == (self.images is None):
            raise ValueError("expected a table or images, got both or neither")
        return self

    @property
    def source(self) -> TableSource | ImageSource:
        """Whichever is given."""
        found = self.table or self.images
        if found is None:
            raise ValueError("Expected a table or images.")
        return found


def require_formats(formats: Iterable[str], schema: Schema, *, where: str) -> None:
    """Refuse DICOM files of a table, and where nothing can write them, before anything is spent.

    Raises:
        ConfigError: says which.
    """
    if "dicom" not in formats:
        return
    if schema.images is None:
        raise ConfigError(
            "release.formats: expected csv or parquet, since a table has no images, got dicom.", where=where
        )
    if find_spec("pydicom") is None:
        raise ConfigError(
            "release.formats: dicom expects the package pydicom, found none.",
            where=where,
            next_step='pip install "synthgen-medical[dicom]"',
        )


def sized(schema: Schema, source: ImageSource | None, *, where: str) -> Schema:
    """Return a schema with the size of its images, or as it is if it is one of a table.

    Raises:
        ConfigError: images without a declared form, a form without images, or domains that are to be paid
            for.
    """
    if (source is None) != (schema.images is None):
        expected = "no `images`, since data.table names a table" if source is None else "`images`"
        raise ConfigError(
            f"Expected a schema with {expected}, got another.",
            where=where,
            next_step="A schema of images says `images: {channels: 1, bits: 8, file: COLUMN}`.",
        )
    if source is None or schema.images is None:
        return schema
    if schema.unit.is_linked:
        raise ConfigError(
            "unit.records: expected single, since linked records are for tables only.",
            where=where,
            next_step="Leave it out; a synthetic image is one image of an invented patient.",
        )
    if schema.paid:
        raise ConfigError(
            "Expected declared domains, since paid ones are for tables only.",
            where=where,
            next_step="Declare bounds and categories from public sources.",
        )
    declared = schema.images.model_copy(update={"size": source.size})
    return schema.model_copy(update={"images": declared})
