"""How much a file may hold before it is refused: the declared limits of every reader.

A small file can ask for any amount of memory and time: compressed text, run lengths, a number in a header. So
each reader compares what a file declares with these limits before it decodes, and streams what declares
nothing. Beyond a limit the reader stops with exit code 3, or 2 for configs and schemas; the message names the
limit and the environment variable that raises it. A variable, and no key of a config: what another hospital
sends cannot raise the limits under which it is read.

The defaults let cohorts of hospitals through: hundreds of thousands of patients with hundreds of columns,
100,000 images of 256 pixels a side, DICOM series of 512 pixels a side.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from synthgen.errors import ConfigError, DataError, SynthgenError

PREFIX = "SYNTHGEN_LIMIT_"
"""Begins the name of each limit's environment variable; the rest is the limit's name in capitals."""
MIB = 2**20
LARGEST = 2**62


@dataclass(frozen=True)
class Limits:
    """The limits of all readers. `WORDS` says what each one counts.

    Attributes:
        config_bytes: of a config, schema or policy (YAML).
        config_depth: of lists and mappings in one another, in YAML.
        config_values: keys and values of a YAML document, with its aliases written out.
        schema_fields: columns of a schema.
        json_bytes: of a JSON file: a record, a run's state, a model's settings.
        json_depth: of lists and objects in one another, in JSON.
        text_bytes: of a card, report, list of checksums, or note.
        table_columns: columns of a table.
        table_rows: rows of a table.
        table_cells: rows times columns of a table.
        record_characters: characters of one record of a text table, however many lines it takes.
        expansion: bytes that each byte of a compressed file may become.
        free_bytes: bytes that a compressed file may become whatever its size.
        cells_per_byte: cells of a Parquet file for each of its bytes.
        free_cells: cells that a Parquet file may hold whatever its size.
        cell_bytes: of one cell of a Parquet file.
        archive_entries: files in a ZIP archive or an array file.
        folder_files: files in a folder.
        image_bytes: of one image file.
        image_pixels: of one image.
        image_scans: passes of a progressive JPEG over its image.
        images: images of an array file.
        free_images: images of an array file whatever its size.
        images_per_kilobyte: images of an array file for each 1024 of its bytes.
        dicom_header_bytes: of a DICOM header.
        dicom_inflated_bytes: of a deflated DICOM file.
        dicom_frames: frames of a DICOM file.
        dicom_tags: elements of a DICOM header that are reported.
        model_bytes: of a model's tensors.
        model_cells: cells of a grid, or entries of a layer, that a model asks for.
        model_nodes: parts of a model: columns, cliques, layers.
        events: privacy events of a record.
        sampled_events: different events of subsampled mechanisms, such as trainings by DP-SGD, of a record.
        event_steps: compositions within one event.
        problems: problems of a bundle that are listed.
        ledger_bytes: of a ledger's file, and of all its rows.
        ledger_rows: rows of a ledger.
    """

    config_bytes: int = 2 * MIB
    config_depth: int = 40
    config_values: int = 100_000
    schema_fields: int = 5_000
    json_bytes: int = 64 * MIB
    json_depth: int = 64
    text_bytes: int = 32 * MIB
    table_columns: int = 20_000
    table_rows: int = 200_000_000
    table_cells: int = 2_000_000_000
    record_characters: int = 8 * MIB
    expansion: int = 100
    free_bytes: int = 16 * MIB
    cells_per_byte: int = 40
    free_cells: int = 5_000_000
    cell_bytes: int = MIB
    archive_entries: int = 1_000_000
    folder_files: int = 2_000_000
    image_bytes: int = 512 * MIB
    image_pixels: int = 2**26
    image_scans: int = 200
    images: int = 2_000_000
    free_images: int = 20_000
    images_per_kilobyte: int = 64
    dicom_header_bytes: int = 32 * MIB
    dicom_inflated_bytes: int = 256 * MIB
    dicom_frames: int = 10_000
    dicom_tags: int = 5_000
    model_bytes: int = 8 * 2**30
    model_cells: int = 10_000
    model_nodes: int = 100_000
    events: int = 1_000
    sampled_events: int = 50
    event_steps: int = 1_000_000
    problems: int = 50
    ledger_bytes: int = 512 * MIB
    ledger_rows: int = 500_000


WORDS: Mapping[str, str] = {
    "config_bytes": "bytes in a config, schema or policy",
    "config_depth": "levels of lists and mappings in YAML",
    "config_values": "values in a YAML document",
    "schema_fields": "columns in a schema",
    "json_bytes": "bytes in a JSON file",
    "json_depth": "levels of lists and objects in JSON",
    "text_bytes": "bytes in a text file",
    "table_columns": "columns in a table",
    "table_rows": "rows in a table",
    "table_cells": "cells in a table",
    "record_characters": "characters in one record of a table",
    "expansion": "bytes for each byte of a compressed file",
    "free_bytes": "bytes in a compressed file of any size",
    "cells_per_byte": "cells for each byte of a Parquet file",
    "free_cells": "cells in a Parquet file of any size",
    "cell_bytes": "bytes in one cell",
    "archive_entries": "files in an archive",
    "folder_files": "files in a folder",
    "image_bytes": "bytes in an image file",
    "image_pixels": "pixels in an image",
    "image_scans": "scans in a progressive JPEG",
    "images": "images in an array file",
    "free_images": "images in an array file of any size",
    "images_per_kilobyte": "images for each kilobyte of an array file",
    "dicom_header_bytes": "bytes in a DICOM header",
    "dicom_inflated_bytes": "bytes in a deflated DICOM file",
    "dicom_frames": "frames in a DICOM file",
    "dicom_tags": "elements of a DICOM header in a report",
    "model_bytes": "bytes in a model's tensors",
    "model_cells": "cells in a model's grid or layer",
    "model_nodes": "parts in a model",
    "events": "privacy events in a record",
    "sampled_events": "different subsampled events in a record",
    "event_steps": "compositions in a privacy event",
    "problems": "listed problems of a bundle",
    "ledger_bytes": "bytes in a ledger",
    "ledger_rows": "rows in a ledger",
}
"""What each limit counts, as messages and docs/limits.md say it."""
OF_CONFIGS = ("config_bytes", "config_depth", "config_values", "schema_fields")
"""Limits of what a person writes: beyond them the exit code is 2."""


class TooLarge(DataError):  # noqa: N818 - an outcome, as BudgetExceeded
    """A file of data asks for more than a limit; nothing was decoded beyond it."""


class ConfigTooLarge(ConfigError):  # noqa: N818
    """A config, schema or policy asks for more than a limit."""


def variable(name: str) -> str:
    """Return the environment variable that raises a limit.

    Example:
        >>> variable("table_columns")
        'SYNTHGEN_LIMIT_TABLE_COLUMNS'
    """
    return PREFIX + name.upper()


_DEFAULTS = Limits()
_NAMES = {variable(field.name): field.name for field in dataclasses.fields(Limits)}
_known: tuple[tuple[tuple[str, str], ...], Limits] = ((), _DEFAULTS)


def current() -> Limits:
    """Return the limits, with those that the environment raises or lowers.

    Raises:
        ConfigError: a variable names no limit, or its value is no whole number above 0.
    """
    global _known
    given = tuple(sorted((key, text) for key, text in os.environ.items() if key.startswith(PREFIX)))
    if given != _known[0]:
        _known = (given, dataclasses.replace(_DEFAULTS, **{_limit_of(k): _amount(k, t) for k, t in given}))
    return _known[1]


def require(name: str, amount: float, *, where: str = "", most: float | None = None) -> None:
    """Refuse what is more than a limit.

    Args:
        name: the limit.
        amount: what the file declares, or what has come of it so far.
        where: path, and line where there is one.
        most: the limit's amount for this file where that depends on its size; None is the limit itself.

    Raises:
        TooLarge: it is more, in a file of data.
        ConfigTooLarge: it is more, in a config or schema.

    Example:
        >>> require("table_columns", 12)
        >>> require("table_columns", 60_000, where="labs.csv")
        Traceback (most recent call last):
        synthgen.files.limits.TooLarge: labs.csv: Expected at most 20,000 columns in a table, got 60,000. \
Check that this is the right file; if it is, set SYNTHGEN_LIMIT_TABLE_COLUMNS=60000.
    """
    limit = getattr(current(), name) if most is None else most
    if amount > limit:
        refuse(name, amount, where=where, most=limit)


def refuse(name: str, amount: float | None = None, *, where: str = "", most: float | None = None) -> NoReturn:
    """Raise the error of a limit.

    Args:
        name: the limit.
        amount: what the file declares; None where it was read no further than the limit.
        where: path, and line where there is one.
        most: see `require`.

    Raises:
        TooLarge: always, for a file of data.
        ConfigTooLarge: always, for a config or schema.
    """
    limit = getattr(current(), name)
    shown = limit if most is None else most
    got = "more" if amount is None or amount > LARGEST else f"{int(amount):,}"
    asked = "a higher number" if amount is None or amount > LARGEST else f"{int(amount)}"
    if most is not None and most != limit:
        asked = "a higher number"
    kind: type[SynthgenError] = ConfigTooLarge if name in OF_CONFIGS else TooLarge
    words = WORDS[name]
    if most is not None and most != limit:
        words = f"{words.split(' for each ')[0]} from a file of this size ({limit:,} {words})"
    raise kind(
        f"Expected at most {int(shown):,} {words}, got {got}.",
        where=where,
        next_step=f"Check that this is the right file; if it is, set {variable(name)}={asked}.",
    )


def expanded(size: int) -> int:
    """Return how many bytes a compressed file of that size may become."""
    limits = current()
    return max(limits.free_bytes, limits.expansion * size)


def _limit_of(key: str) -> str:
    if key in _NAMES:
        return _NAMES[key]
    like = difflib.get_close_matches(key, _NAMES, n=1)
    raise ConfigError(
        "Expected the name of a limit in an environment variable, got another name.",
        where=key if key.isascii() and key.isprintable() else PREFIX,
        next_step=f"Use {like[0]}." if like else "docs/limits.md lists them.",
    )


def _amount(key: str, text: str) -> int:
    plain = text.replace("_", "")
    if not (plain.isascii() and plain.isdigit()) or not 0 < len(plain) < 20 or not 0 < int(plain) <= LARGEST:
        raise ConfigError(
            "Expected a whole number above 0 as a limit, got another value.",
            where=key,
            next_step=f"Set it as {key}=1000000.",
        )
    return int(plain)
