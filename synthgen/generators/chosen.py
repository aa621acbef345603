"""Which generator a rule chose, beside the files of its model."""

from __future__ import annotations

from pathlib import Path

from synthgen.generators import model_files
from synthgen.generators.model_files import write_name

CHOICE = "choice.json"


def write_choice(folder: Path, name: str) -> None:
    """Write the chosen generator's key."""
    write_name(folder / CHOICE, name)


def read_choice(folder: Path) -> str:
    """Return what `write_choice` wrote.

    Raises:
        ConfigError: there is none.
    """
    with model_files.reading(folder, "a saved model that was chosen by rule"):
        name = str(model_files.meta(folder, CHOICE)["generator"])
        if name == "auto":
            raise ValueError("Expected a generator, got the rule that chooses one.")
        return name
