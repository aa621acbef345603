"""Which generator a rule chose, beside the files of its model."""

from __future__ import annotations

import json
from pathlib import Path

from synthgen.errors import ConfigError

CHOICE = "choice.json"


def write_choice(folder: Path, name: str) -> None:
    """Write the chosen generator's key."""
    (folder / CHOICE).write_text(json.dumps({"generator": name}) + "\n", encoding="utf-8")


def read_choice(folder: Path) -> str:
    """Return what `write_choice` wrote.

    Raises:
        ConfigError: there is none.
    """
    try:
        return str(json.loads((folder / CHOICE).read_text(encoding="utf-8"))["generator"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError("Expected a saved model that was chosen by rule.", where=str(folder)) from error
