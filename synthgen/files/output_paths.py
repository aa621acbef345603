"""Files that are to be written: refused before any work where they cannot be. `safe_files` writes them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from synthgen.errors import ConfigError, OperationError

TABLES = (".csv", ".parquet", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zst", ".csv.zip")
"""Endings of tables that are written."""
DESCRIPTIONS = (".yaml", ".yml")
"""Endings of schemas and configs."""
PAGES = (".html", ".htm")
"""Endings of reports."""


def require_file(path: Path, endings: Sequence[str], *, force: bool = True, where: str = "--output") -> None:
    """Refuse a file that cannot be written, before any work.

    Args:
        path: the file to write.
        endings: those that are known.
        force: whether a file that is there may be overwritten.
        where: the option that named it.

    Raises:
        ConfigError: another ending, a folder, or a file that is there and is to be kept.
        OperationError: the operating system would refuse it.
    """
    if not path.name.lower().endswith(tuple(endings)):
        known = " or ".join(endings)
        got = f"{path.suffix!r}" if path.suffix else "none"
        raise ConfigError(
            f"Expected a file that ends in {known}, got the ending {got}.",
            where=where,
            next_step=f"Name a file such as {path.stem or 'output'}{endings[0]}.",
        )
    require_place(path, where=where)
    if path.is_dir():
        raise ConfigError(
            "Expected a file to write, found a folder.", where=where, next_step="Name a file in it."
        )
    if path.exists() and not force:
        raise ConfigError(
            "Expected no file, found one, which would be overwritten.",
            where=where,
            next_step="Choose another name, or add --force.",
        )


_FILES = (
    *(*TABLES, *DESCRIPTIONS, *PAGES),
    *(".xlsx", ".xls", ".ods", ".tsv", ".txt", ".json", ".jsonl", ".feather", ".arrow", ".sas7bdat", ".sav"),
    *(
        ".dta",
        ".rds",
        ".rdata",
        ".db",
        ".sqlite",
        ".zip",
        ".gz",
        ".bz2",
        ".xz",
        ".zst",
        ".tar",
        ".7z",
        ".npz",
    ),
    *(".npy", ".h5", ".hdf5", ".pkl", ".pt", ".safetensors", ".dcm", ".png", ".jpg", ".jpeg", ".tif"),
    *(".tiff", ".pdf", ".docx", ".md", ".xml"),
)


def require_folder(path: Path, *, where: str = "--output") -> None:
    """Refuse a folder that cannot be written, or whose name is a file's, before any work.

    Raises:
        ConfigError: the name ends as a file's does, or is one.
        OperationError: the operating system would refuse it.
    """
    if path.suffix.lower() in _FILES and not path.is_dir():
        raise ConfigError(
            f"Expected a folder, got a file's ending {path.suffix!r}.",
            where=where,
            next_step="Name a folder, without an ending.",
        )
    require_place(path, where=where)
    if path.exists() and not path.is_dir():
        raise ConfigError("Expected a folder, found a file.", where=where, next_step="Name another folder.")


def require_place(path: Path, *, where: str = "--output") -> None:
    """Refuse a path that the operating system would refuse to write to: rights, disk, names.

    Raises:
        ConfigError: it is an option, whose predecessor lacks its value.
        OperationError: with the cause and what to do.
    """
    if path.name.startswith("--") and len(path.parts) == 1:
        raise ConfigError(
            f"Expected a path, got the option {path.name}.",
            where=where,
            next_step=f"Give {where} its value first; write ./{path.name} if that is meant.",
        )
    try:
        above = path
        while not above.exists():
            above = above.parent
        if above != path and not above.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder")
        folder = path if path.is_dir() else above
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, "read-only")
        inside = folder if folder.is_dir() else folder.parent  # files are replaced, not written over
        if not os.access(inside, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "no rights")
        longest = os.pathconf(inside, "PC_NAME_MAX")
        if len(os.fsencode(path.name)) > longest:
            raise OSError(errno.ENAMETOOLONG, "too long")
    except OSError as error:
        raise OperationError.of(error, "write there", where=where) from error
    except ValueError as error:  # a zero byte in the name
        raise ConfigError("Expected a path, got one with a zero byte.", where=where) from error
