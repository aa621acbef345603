"""Fold blocks of pixels into channels, so that a picture of any size is a grid that costs little."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

GRID = 16


@dataclass(frozen=True)
class Folding:
    """How square pictures become grids of at most `GRID` places a side, and back.

    Attributes:
        size: pixels a side.

    Example:
        >>> Folding(28).fold, Folding(28).grid, Folding(128).fold
        (2, 14, 8)
    """

    size: int

    @property
    def fold(self) -> int:
        """How many pixels a side go into one place of the grid: a power of two."""
        fold = 1
        while -(-self.size // fold) > GRID:
            fold *= 2
        return fold

    @property
    def grid(self) -> int:
        """Places a side: an even number."""
        places = -(-self.size // self.fold)
        return places + places % 2

    def folded(self, images: Tensor) -> Tensor:
        """Return grids, "image channel row column", of images; edges are repeated where places are left."""
        before, after = self._missing()
        padded = functional.pad(images, (before, after) * 2, mode="replicate") if after else images
        return functional.pixel_unshuffle(padded, self.fold)

    def unfolded(self, grid: Tensor) -> Tensor:
        """Return the images of grids."""
        whole, before = functional.pixel_shuffle(grid, self.fold), self._missing()[0]
        return whole[:, :, before : before + self.size, before : before + self.size]

    def _missing(self) -> tuple[int, int]:
        short = self.grid * self.fold - self.size
        return short // 2, short - short // 2
