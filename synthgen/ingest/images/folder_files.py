"""Open the files of a folder of images without leaving it.

A folder that somebody else filled may hold links to files of other patients, which only the reader may open.
A link out of the folder is not followed, also where it is put there while the folder is read; a pipe is not
waited for.
"""

from __future__ import annotations

from io import BufferedReader
from pathlib import Path

from synthgen.errors import DataError
from synthgen.files.safe_files import open_beneath, open_plain

OUTSIDE = "a link that leads out of the folder, or no plain file"


class Unusable(Exception):  # noqa: N818 - an outcome, not an error
    """Carries the reason why an image cannot be used."""


def opened(path: Path, root: Path | None) -> BufferedReader:
    """Open a file for reading.

    Args:
        path: the file.
        root: the folder that it was found in; None if a person named the file itself.

    Raises:
        Unusable: the path leads out of the folder, or to something else than a plain file.
        OSError: the operating system refused.
    """
    try:
        return open_plain(path) if root is None else open_beneath(root, path.relative_to(root))
    except DataError:
        raise Unusable(OUTSIDE) from None
