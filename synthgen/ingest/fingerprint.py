"""Name the content of files and folders by a digest, so that changed data are noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import DataError
from synthgen.files import safe_files


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with safe_files.open_plain(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def saved_digest(folder: Path | None) -> str:
    """Return the digest of a saved model: of all its files' names and contents; empty if there is none."""
    return source_digest((folder,)) if folder is not None and folder.is_dir() else ""


def source_digest(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of what a run reads: of one file its own, else of all files' names and contents."""
    if len(paths) == 1 and paths[0].is_file():
        return file_digest(paths[0])
    whole = hashlib.sha256()
    for number, root in enumerate(paths):
        files = [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())
        for path in files:
            name = path.relative_to(root).as_posix()
            content = file_digest(path) if path == root else _digest_inside(root, name)
            whole.update(json.dumps([number, name, content]).encode())
    return whole.hexdigest()


def _digest_inside(root: Path, name: str) -> str:
    """Return the SHA-256 of a folder's file; empty for a link out of the folder, which is not read."""
    try:
        with safe_files.open_beneath(root, name) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except DataError:
        return ""
