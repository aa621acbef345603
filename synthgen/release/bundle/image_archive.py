"""Read a released archive of images back and check it: names, form, and nothing but pixels."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from synthgen.data.images import file_name
from synthgen.errors import DataError
from synthgen.files import archives
from synthgen.schema.image_format import Images
from synthgen.schema.schema import Schema

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = {b"IHDR", b"IDAT", b"IEND"}
_SLACK = 4096


def archive_problems(path: Path, schema: Schema, *, records: int) -> list[str]:
    """Return what is wrong with an archive of images; empty if nothing is.

    Checked are the names (fresh and sequential), that every file is a PNG of the declared size, depth and
    channels, and that no file carries anything but pixels.

    Args:
        path: a ZIP file.
        schema: the public schema.
        records: number of images that the privacy record states.

    Returns:
        sentences with counts.
    """
    spec = schema.images
    if spec is None or spec.size is None:
        return ["holds images, and the schema declares none"]
    try:
        with archives.open_zip(path) as archive:
            entries = archive.infolist()
            fresh = (file_name(i) for i in range(1, records + 1))
            same = len(entries) == records
            if not same or any(e.filename != name for e, name in zip(entries, fresh, strict=True)):
                return [
                    f"expected {records} images of fresh sequential names, found {len(entries)} or others"
                ]
            plain = all(not entry.comment and not entry.extra for entry in entries) and not archive.comment
            most = 2 * spec.channels * spec.size**2 + _SLACK
            wrong = sum(
                entry.file_size > most or not _is_picture(archive.read(entry), spec) for entry in entries
            )
    except DataError as error:  # beyond the limits
        return [f"{error.message} {error.next_step}"]
    except (zlib.error, *archives.BROKEN):
        return ["cannot be read as a ZIP archive"]
    problems = [] if plain else ["carries comments"]
    return problems + ([f"{wrong} files are no PNG images of the declared form"] if wrong else [])


def archived(path: Path, rows: Iterable[int]) -> np.ndarray:
    """Return images of a checked archive, ``(image, channel, row, column)``.

    Args:
        path: a ZIP file in which `archive_problems` found nothing.
        rows: positions of the images, from 0; at least one.
    """
    with archives.open_zip(path) as archive:
        stack = np.stack(
            [np.asarray(Image.open(io.BytesIO(archive.read(file_name(int(row) + 1))))) for row in rows]
        )
    return stack[:, None] if stack.ndim == 3 else np.moveaxis(stack, -1, 1)


def same_pixels(one: bytes, other: bytes) -> bool:
    """Return whether two PNG files hold nothing but the same pixels; the first is trusted.

    What packs them may be of another version, so equal pixels need not have equal bytes. Size and kind are
    compared before anything is decoded.
    """
    if one == other:
        return True
    end = len(_SIGNATURE) + 25  # signature and header chunk: size, depth, colour
    if one[:end] != other[:end] or not _chunks(other) <= _CHUNKS:
        return False
    try:
        with Image.open(io.BytesIO(other), formats=("PNG",)) as image:
            return image.tobytes() == Image.open(io.BytesIO(one)).tobytes()
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error):
        return False


def _is_picture(content: bytes, spec: Images) -> bool:
    if not content.startswith(_SIGNATURE) or not _chunks(content) <= _CHUNKS:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=("PNG",)) as image:
                grey = ("L",) if spec.bits == 8 else ("I;16", "I;16B", "I")
                modes = ("RGB",) if spec.channels == 3 else grey
                if image.size != (spec.size, spec.size) or image.mode not in modes:
                    return False
                image.load()  # its size is the declared one: no more memory is taken
                return True
    except (OSError, ValueError, SyntaxError, zlib.error, struct.error, Image.DecompressionBombError):
        return False


def _chunks(content: bytes) -> set[bytes]:
    """Return the kinds of chunks of a PNG file; what is cut, or lies behind the last, is a kind too."""
    found: set[bytes] = set()
    at = len(_SIGNATURE)
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        found.add(content[at + 4 : at + 8])
        at += 12 + length
    return found if at == len(content) else found | {b""}
