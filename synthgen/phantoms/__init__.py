"""Procedural images: a prior that no patient paid for. A file a family, from points of a cube to images."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from synthgen import plugins

PACKAGE = "synthgen.phantoms"


class Family(Protocol):
    """What a file of this package offers.

    Attributes:
        DIMENSION: length of a point.
    """

    DIMENSION: int

    def render(self, points: np.ndarray, size: int, *, rng: np.random.Generator) -> np.ndarray:
        """Draw one image a point: ``(image, parameter)`` in the unit cube to ``(image, size, size)``."""
        ...


def names() -> list[str]:
    """Return the names of the families."""
    return plugins.names(PACKAGE)


def family(name: str) -> Family:
    """Return a family by name."""
    found: Family = plugins.load(PACKAGE, name)
    return found
