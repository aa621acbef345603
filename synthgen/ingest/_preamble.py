"""Tell DICOM files from others, without the packages that read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from synthgen.errors import ConfigError
from synthgen.ingest._decode import SUFFIXES

LOOKED_AT = 50


def looks_like_dicom(path: Path) -> bool:
    """Return whether a path names DICOM files: a DICOMDIR, or a folder in whose first files there is one.

    A folder with pictures among its first files is one of pictures.
    """
    if path.is_file():
        return _has_preamble(path)
    if not path.is_dir():
        return False
    found = False
    for number, file in enumerate(tree(path)):
        if file.suffix.lower() in SUFFIXES:
            return False
        found = found or _has_preamble(file)
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


def _has_preamble(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False
