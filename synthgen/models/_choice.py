"""Which generator a rule chose, beside the files of its model."""

from __future__ import annotations

from pathlib import Path

from synthgen.models import _stored
from synthgen.models._stored import write_name

CHOICE = "choice.json"


def write_choice(folder: Path, name: str) -> None:
    """Write the chosen generator's key."""
    write_name(folder / CHOICE, name)


def read_choice(folder: Path) -> str:
    """Return what `write_choice` wrote.

    Raises:
        ConfigError: there is none.
    """
    with _stored.reading(folder, "a saved model that was chosen by rule"):
        name = str(_stored.meta(folder, CHOICE)["generator"])
        if name == "auto":
            raise ValueError("Expected a generator, got the rule that chooses one.")
        return name
