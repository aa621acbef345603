"""Tell DICOM files from others, without the packages that read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from synthgen.errors import ConfigError
from synthgen.ingest.images.decode import SUFFIXES
from synthgen.ingest.images.folder_files import Unusable, opened

LOOKED_AT = 50


def looks_like_dicom(path: Path, *, declared: bool = False) -> bool:
    """Return whether a path names DICOM files: a DICOMDIR, or a folder in whose first files there is one.

    A folder with pictures among its first files is one of pictures, unless the schema speaks of DICOM.

    Args:
        path: a file or a folder.
        declared: the schema has `images.dicom`.
    """
    if path.is_file():
        return _has_preamble(path, None)
    if not path.is_dir():
        return False
    found = False
    for number, file in enumerate(tree(path)):
        if file.suffix.lower() in SUFFIXES and not declared:
            return False
        found = found or _has_preamble(file, path)
        if number >= LOOKED_AT:
            break
    return found


def tree(folder: Path) -> Iterator[Path]:
    """Yield every regular file below a folder, sorted, one folder at a time; no link to a folder is taken."""
    for place, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            file = Path(place) / name
            if file.is_file():
                yield file


def require_extra() -> None:
    """Check that the extra is installed.

    Raises:
        ConfigError: it is not.
    """
    if any(find_spec(name) is None for name in ("pydicom", "imagecodecs")):
        raise ConfigError(
            "DICOM files expect the packages pydicom and imagecodecs, found not both.",
            where="data.images",
            next_step='pip install "synthgen-medical[dicom]"',
        )


def _has_preamble(path: Path, root: Path | None) -> bool:
    try:
        with opened(path, root) as stream:
            return stream.read(132)[128:] == b"DICM"
    except (Unusable, OSError):
        return False
