"""What a cohort of images does against its schema: attributes, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

from synthgen.errors import ConfigError
from synthgen.ingest.images.read import read_images, too_many_left_out
from synthgen.ingest.tables.check import Violation, check_frame
from synthgen.schema.schema import Schema

WORD = "images"


def check_images(
    path: Path,
    schema: Schema,
    *,
    delimiter: str = ",",
    encoding: str = "utf-8",
    decimal: str = ".",
    date_format: str | None = None,
) -> list[Violation]:
    """Return every violation, by column; files that are left out, by reason, as information.

    Args:
        path: see `synthgen.ingest.images.read.read_images`.
        schema: declares the images' form.
        delimiter: of the table.
        encoding: of the table.
        decimal: of the table.
        date_format: of the table.

    Raises:
        DataError: the table cannot be read, or no image can be used.
        ConfigError: there is no table, or the schema declares no images.
    """
    if schema.images is None:
        raise ConfigError(
            "Expected a schema that declares images, since a folder or array file is checked.",
            where=str(path),
            next_step="Add `images: {file: COLUMN, channels: 1, bits: 8}` to it.",
        )
    small = schema.images.model_copy(update={"size": 1})
    raw = read_images(
        path,
        schema.model_copy(update={"images": small}),
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal,
    )
    found = check_frame(raw.frame, schema, path, decimal=decimal, date_format=date_format)
    left = sum(raw.report["quarantined"].values())
    many = too_many_left_out(left, len(raw.pixels), schema.images)
    found += [Violation(WORD, many, left)] if many else []
    for reason, count in raw.report["quarantined"].items():
        found.append(Violation(WORD, f"left out: {reason}", count, "information"))
    strays = int(raw.report["without_row"])
    if strays:
        found.append(Violation(WORD, "files without a row in the table, not used", strays, "information"))
    return found
