"""What the images of a cohort are, as the schema declares it: nothing here may be read off the pixels."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Key
from pydantic import model_validator

from synthgen.settings import Settings

MOST_SIDE = 512


class Images(Settings):
    """The public form of every image of a cohort.

    An image is a square of ``size`` by ``size`` pixels whose values run from 0 to ``2**bits - 1``. The range
    follows from this declaration and from the type of a file, never from the least and the largest value
    found, which would be learnt for free.

    Attributes:
        file: the column, of role id, that names a record's image; None if the container holds them in order.
        channels: 1 for grey, 3 for red, green and blue.
        bits: depth of a value. Files of 8 bits are stretched to it, files of 16 bits hold it: a detector of
            12 bits is ``bits: 12``.
        fit: how an image that is no square becomes one: ``pad`` with black, or ``crop`` to its middle.
        size: pixels a side; the config's ``data.images.size`` says it.
    """

    file: str | None = None
    channels: Literal[1, 3] = 1
    bits: int = Key(default=8, ge=8, le=16)
    fit: Literal["pad", "crop"] = "pad"
    size: int | None = Key(default=None, ge=1, le=MOST_SIDE)

    @model_validator(mode="after")
    def _agree(self) -> Images:
        if self.channels == 3 and self.bits != 8:
            raise ValueError("images.bits: expected 8 for colour, since PNG files of more are not written")
        return self

    @property
    def largest(self) -> int:
        """The largest value: white."""
        return int(2**self.bits - 1)

    @property
    def dtype(self) -> Literal["uint8", "uint16"]:
        """Type of a stored value."""
        return "uint8" if self.bits == 8 else "uint16"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an image.

        Raises:
            ValueError: the size is not known yet.
        """
        if self.size is None:
            raise ValueError("Expected the images' size, got None. Take it from the config.")
        return self.channels, self.size, self.size
