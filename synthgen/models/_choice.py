"""Which generator a rule chose, beside the files of its model."""

from __future__ import annotations

from pathlib import Path

from synthgen.errors import ConfigError
from synthgen.models._stored import read_name, write_name

CHOICE = "choice.json"


def write_choice(folder: Path, name: str) -> None:
    """Write the chosen generator's key."""
    write_name(folder / CHOICE, name)


def read_choice(folder: Path) -> str:
    """Return what `write_choice` wrote.

    Raises:
        ConfigError: there is none.
    """
    try:
        return read_name(folder / CHOICE)
    except (OSError, ValueError) as error:
        raise ConfigError("Expected a saved model that was chosen by rule.", where=str(folder)) from error
