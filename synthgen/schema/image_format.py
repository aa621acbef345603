"""What the images of a cohort are, as the schema declares it: nothing here may be read off the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import Field as Key
from pydantic import model_validator

from synthgen.settings import Settings

MOST_SIDE = 512
MOST_LEFT_OUT = 0.1
FILE_COLUMN = "image_file"
"""Names each record's image in a synthetic table whose schema names no column for it."""

Attribute = Literal[
    "PatientSex",
    "PatientAge",
    "ViewPosition",
    "BodyPartExamined",
    "Laterality",
    "Modality",
    "Manufacturer",
]
"""What a DICOM header may give to a cohort, each in a coarse public form. Nothing else of it is kept."""

USUAL: dict[str, Attribute] = {
    "sex": "PatientSex",
    "age": "PatientAge",
    "view": "ViewPosition",
    "body_part": "BodyPartExamined",
    "laterality": "Laterality",
    "modality": "Modality",
    "manufacturer": "Manufacturer",
}
"""Columns of these names, and of the attributes' own, are filled from headers if nothing else is said."""


class Dicom(Settings):
    """How DICOM files become images and columns, and which attributes they are written with. All public.

    Attributes:
        attributes: column of the schema and the attribute that fills it; empty takes columns called as in
            `USUAL`, or as an attribute is.
        modality: files of these only (``CR``, ``DX``, ...); empty takes every one.
        view: files of these view positions only (``PA``, ...); empty takes every one.
        body_part: files of these body parts only (``CHEST``, ...); empty takes every one.
        window: centre and width of a fixed window in the modality's units, such as ``[-600, 1500]`` HU; None
            takes the one in each file, else the range that the file declares.
        frames: which frames of a file are records of its patient.
        screened: modalities whose pixels are looked through for burned-in text.
    """

    attributes: dict[str, Attribute] = Key(default_factory=dict)
    modality: tuple[str, ...] = ()
    view: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()
    window: tuple[float, float] | None = None
    frames: Literal["each", "first", "middle"] = "each"
    screened: tuple[str, ...] = ("US", "SC", "XA")

    @model_validator(mode="after")
    def _agree(self) -> Dicom:
        if self.window is not None and not self.window[1] > 0:
            raise ValueError("images.dicom.window: expected a centre and a width above 0")
        if len(set(self.attributes.values())) < len(self.attributes):
            raise ValueError("images.dicom.attributes: expected each attribute once")
        return self

    def columns(self, names: Iterable[str]) -> dict[str, Attribute]:
        """Return the columns that headers fill, of those of that name."""
        if self.attributes:
            return dict(self.attributes)
        known: dict[str, Attribute] = {**USUAL, **{name: name for name in USUAL.values()}}
        return {name: known[name] for name in names if name in known}


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
        most_left_out: the largest share of the images that may be left out as unusable. Beyond it the cohort
            is refused before anything is spent: what is left would be another cohort than the declared one.
        dicom: how DICOM files are read and written; None is the usual way.
    """

    file: str | None = None
    channels: Literal[1, 3] = 1
    bits: int = Key(default=8, ge=8, le=16)
    fit: Literal["pad", "crop"] = "pad"
    size: int | None = Key(default=None, ge=1, le=MOST_SIDE)
    most_left_out: float = Key(default=MOST_LEFT_OUT, ge=0, le=1)
    dicom: Dicom | None = None

    @model_validator(mode="after")
    def _agree(self) -> Images:
        if self.channels == 3 and self.bits != 8:
            raise ValueError("images.bits: expected 8 for colour, since PNG files of more are not written")
        return self

    def check(self, *, roles: Mapping[str, str | None], unit: str | None) -> None:
        """Refuse columns that the schema has not, or not in that role.

        Args:
            roles: role of each of the schema's fields.
            unit: the column that names the patient.

        Raises:
            ValueError: names the key.
        """
        if self.file is not None and (roles.get(self.file) != "id" or self.file == unit):
            raise ValueError("images.file: expected a field with `role: id` that is not the unit's column")
        filled = {} if self.dicom is None else self.dicom.attributes
        if any(roles.get(name, "drop") in ("id", "drop") for name in filled):
            raise ValueError("images.dicom.attributes: expected columns that are modelled, got others")

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
