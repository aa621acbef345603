"""Find the files of a DICOM cohort: a folder's tree, or what a DICOMDIR lists.

Paths never leave: folders and files of hospitals are often called by patient, date or accession number.
A file is spoken of by its number in this order and by the first digits of its content's SHA-256.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from synthgen.errors import DataError
from synthgen.ingest.dicom import header
from synthgen.ingest.images.dicom_detection import tree
from synthgen.ingest.images.folder_files import Unusable, opened

DICOMDIR = "DICOMDIR"


def find(path: Path) -> Iterator[Path | None]:
    """Yield files in a fixed order; None is a file that a DICOMDIR lists and that is not in its folder.

    Args:
        path: a folder, of which every file is yielded but DICOMDIR files, or a DICOMDIR.

    Raises:
        DataError: the DICOMDIR cannot be read.
    """
    if path.is_dir():
        yield from (file for file in tree(path) if not file.name.upper().startswith(DICOMDIR))
        return
    try:
        listed = header.listed_files(path)
    except Unusable:
        raise DataError(
            "Expected a DICOMDIR, got a file that is damaged or lists no files.",
            where=str(path),
            next_step="Name the folder instead: every file in it is looked at.",
        ) from None
    seen: set[Path] = set()
    for parts in listed:
        file = _inside(path.parent, parts)
        if file is None or file not in seen:
            yield file
        if file is not None:
            seen.add(file)


def called(number: int, path: Path | None, root: Path | None = None) -> str:
    """Return how a file is spoken of, in which nothing of its path or header shows.

    Args:
        number: of the file, from 1.
        path: the file; None if it is not there.
        root: the folder that it was found in.
    """
    if path is None:
        return f"file {number}, not there"
    try:
        with opened(path, root) as stream:
            return f"file {number}, sha256 {hashlib.file_digest(stream, 'sha256').hexdigest()[:12]}"
    except Unusable:
        return f"file {number}, not in the folder"
    except OSError:
        return f"file {number}, not readable"


def _inside(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """Return the file of these path components, upper or lower case, if it is there and in the folder."""
    if not parts or any(part in ("", ".", "..") or "/" in part or "\\" in part for part in parts):
        return None
    for change in (str, str.lower, str.upper):
        file = folder.joinpath(*(change(part) for part in parts))
        try:
            if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
                return file
        except (OSError, ValueError):
            return None
    return None
