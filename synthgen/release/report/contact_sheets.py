"""Contact sheets: images side by side as they are, without a title, a frame or a stretch of contrast.

A sheet of synthetic images may leave; sheets that show a real one are made from `RealSheets`, which the
internal edition alone is given.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthgen.data.images import intensities
from synthgen.data.tables import SyntheticTable
from synthgen.release.report.html import Html, element, join, paragraph
from synthgen.schema.schema import Schema

COLUMNS, ROWS, MOST_LABELS = 12, 3, 6
LEAST_SIDE = 56


@dataclass(frozen=True)
class RealSheets:
    """Real images for the steward's eyes. Sensitive.

    Attributes:
        schema: the images' public description.
        labels: for each sheet its words, such as ``label = 1``.
        sheets: for each sheet its images, ``(image, channel, row, column)``.
        pairs: synthetic images, each followed by the real one nearest to it, nearest pairs first.
    """

    schema: Schema
    labels: tuple[str, ...]
    sheets: tuple[np.ndarray, ...]
    pairs: np.ndarray


def synthetic_sheets(images: Any) -> Html:
    """Return sheets of the first synthetic images of each label.

    Args:
        images: a synthetic table with ``pixels``, in memory or in a bundle's archive; of these are
            taken those that are shown.
    """
    figures = [
        _figure(f"Synthetic, {words}", images.pixels[rows] if len(rows) else (), images.schema)
        for words, rows in by_label(images.schema, images).items()
    ]
    return join([paragraph("The first images as they were drawn, none chosen."), *figures])


def real_sheets(real: RealSheets) -> Html:
    """Return the sheets of real images, and the nearest pairs. For the internal edition alone."""
    figures = [
        _figure(f"Real, {words}", sheet, real.schema)
        for words, sheet in zip(real.labels, real.sheets, strict=True)
    ]
    told = paragraph(
        "Nearest pairs: each synthetic image is followed by the real training image that is nearest to it. "
        "A pair that shows one person is a copy.",
        class_="warning",
    )
    return join([*figures, told, _figure("Nearest pairs, synthetic then real", real.pairs, real.schema)])


def by_label(schema: Schema, images: SyntheticTable) -> dict[str, np.ndarray]:
    """Return for each category of the first label, in words, the first rows that a sheet shows."""
    most = COLUMNS * ROWS
    labels = [name for name in schema.with_role("label") if schema.column(name).kind == "category"]
    if not labels:
        return {"all": np.arange(min(len(images), most))}
    column = schema.column(labels[0])
    codes = images.frame[column.name].cat.codes.to_numpy()
    shown = list(enumerate(column.labels))[:MOST_LABELS]
    return {f"{column.name} = {label}": np.flatnonzero(codes == i)[:most] for i, label in shown}


def _figure(caption: str, images: np.ndarray | tuple[()], schema: Schema) -> Html:
    if isinstance(images, tuple) or not len(images):
        return paragraph(f"{caption}: none.")
    text = base64.b64encode(_png(_tiled(images), schema)).decode()
    words = f"{caption}: {len(images)} images"
    shown = element("img", src=f"data:image/png;base64,{text}", alt=words, class_="sheet")
    return element("figure", element("figcaption", words), shown, class_="wide")


def _tiled(images: np.ndarray) -> np.ndarray:
    """Return images in rows of `COLUMNS`, as ``(channel, row, column)``; small ones are enlarged whole."""
    n, channels, side, _ = images.shape
    scale = max(1, -(-LEAST_SIDE // side))
    rows = -(-n // COLUMNS)
    grid = np.zeros((rows * COLUMNS, channels, side, side), dtype=images.dtype)
    grid[:n] = images
    tiled = grid.reshape(rows, COLUMNS, channels, side, side).transpose(2, 0, 3, 1, 4)
    flat = tiled.reshape(channels, rows * side, COLUMNS * side)
    return np.asarray(flat.repeat(scale, axis=1).repeat(scale, axis=2))


def _png(sheet: np.ndarray, schema: Schema) -> bytes:
    from PIL import Image

    eight = np.rint(intensities(sheet, schema) * 255).astype(np.uint8)
    plain = eight[0] if len(eight) == 1 else np.moveaxis(eight, 0, -1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(plain)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
