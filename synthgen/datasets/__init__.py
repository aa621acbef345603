"""Small open cohorts shipped for the demo and the tests, each with its source and licence.

A cohort is a folder of this package: data, ``*.schema.yaml`` and ``SOURCE.md``.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from synthgen.errors import ConfigError


def names() -> tuple[str, ...]:
    """Return the names of the shipped cohorts.

    Example:
        >>> names()
        ('diabetes130', 'pneumoniamnist')
    """
    folders = Path(str(resources.files(__name__))).iterdir()
    return tuple(sorted(folder.name for folder in folders if (folder / "SOURCE.md").is_file()))


def path(name: str) -> Path:
    """Return the folder of a shipped cohort.

    Args:
        name: one of `names`.

    Raises:
        ConfigError: no cohort of that name is shipped; the known names are listed.
    """
    if name not in names():
        raise ConfigError(
            f"Expected one of {list(names())}, got {name!r}.", where="datasets", next_step="Correct the name."
        )
    return Path(str(resources.files(__name__))) / name
