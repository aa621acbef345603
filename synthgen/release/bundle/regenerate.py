"""Card, report and data package of a bundle: made from its record, schema and data, and from nothing else.

Whoever writes a bundle and whoever verifies it call the same functions on the same files, so what was not
made from them is found, byte by byte.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from synthgen.data.tables import SyntheticTable
from synthgen.release.bundle.datapackage import data_package
from synthgen.release.bundle.image_archive import archived, same_pixels
from synthgen.release.card import data_card
from synthgen.release.report import PublicContent, render_public
from synthgen.schema.schema import Schema

CARD, PACKAGE, REPORT = "card.md", "datapackage.json", "report.html"
_PICTURE = re.compile(rb'src="data:image/png;base64,([A-Za-z0-9+/=]*)"')
_PLACE = b'src="picture"'


@dataclass(frozen=True)
class ReleasedImages(SyntheticTable):
    """The attributes of released images, with pixels that are read from their archive when they are shown.

    Attributes:
        archive: a ZIP file in which `synthgen.release.bundle.image_archive.archive_problems` found nothing.
    """

    archive: Path = Path()

    @property
    def pixels(self) -> _Pixels:
        """The images, of which an array of positions gives those at these."""
        return _Pixels(self.archive)


@dataclass(frozen=True)
class _Pixels:
    archive: Path

    def __getitem__(self, rows: Iterable[int]) -> np.ndarray:
        return archived(self.archive, rows)


def made(
    data: Mapping[str, Path], table: SyntheticTable, *, schema: Schema, record: Mapping[str, Any]
) -> dict[str, str]:
    """Return the texts of a bundle that follow from the rest of it, by file name.

    Args:
        data: data files by name under ``data/``.
        table: the records of the first table among them, as they were read back.
        schema: the bundle's schema, as it was read back.
        record: the privacy record, with the digests of the data files.
    """
    archives = [path for name, path in sorted(data.items()) if name.endswith(".zip")]
    if schema.images is not None and archives and len(table):
        table = ReleasedImages(schema, table.frame, table.units, archive=archives[0])
    return {
        CARD: data_card(record, schema),
        REPORT: render_public(PublicContent(record, table)),
        PACKAGE: data_package(data, schema=schema, record=record),
    }


def first_table(names: Iterable[str]) -> str | None:
    """Return the data file whose records the report is made from; None if there is no table."""
    return next((name for name in sorted(names) if not name.endswith(".zip")), None)


def difference(expected: str, found: bytes) -> int | None:
    """Return the first line in which a file differs from what it should be; None if it does not.

    Pictures of images may be packed by another version of a library: of them the pixels are compared.
    """
    wanted = expected.encode()
    if wanted == found:
        return None
    mine, other = _PICTURE.findall(wanted), _PICTURE.findall(found)
    plain, seen = _PICTURE.sub(_PLACE, wanted), _PICTURE.sub(_PLACE, found)
    if plain != seen or len(mine) != len(other):
        lines = zip((*plain.split(b"\n"), None), (*seen.split(b"\n"), None), strict=False)
        return next((number for number, (one, two) in enumerate(lines, start=1) if one != two), 1)
    for one, two, place in zip(mine, other, _PICTURE.finditer(wanted), strict=True):
        if not same_pixels(_decoded(one), _decoded(two)):
            return wanted.count(b"\n", 0, place.start()) + 1
    return None


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""
