"""Whose privacy is protected, and whether a synthetic patient's rows belong together."""

from __future__ import annotations

from typing import Literal

from pydantic import Field as Key
from pydantic import model_validator

from synthgen.settings import Settings


class Unit(Settings):
    """Whose privacy is protected: the patient, or, asked for by name, the row.

    Attributes:
        column: the column that names the patient.
        max_records: records of a patient that may be used.
        level: ``row`` protects rows, not patients.
        records: ``single``: a synthetic row is one record of a random patient. ``linked``: the rows of a
            synthetic patient belong together, in their order, and the first ``max_records`` are used.
        order: of linked records, the column of time that they are ordered by; None keeps the file's order.
    """

    column: str | None = None
    max_records: int = Key(default=1, ge=1, le=256)
    level: Literal["patient", "row"] = "patient"
    records: Literal["single", "linked"] = "single"
    order: str | None = None

    @property
    def is_linked(self) -> bool:
        """Whether the rows of a synthetic patient belong together."""
        return self.records == "linked"

    @model_validator(mode="after")
    def _agree(self) -> Unit:
        if self.level == "patient" and not self.column:
            raise ValueError(
                "unit needs the column that names the patient, or `level: row` if each row is a patient"
            )
        if self.level == "row" and (self.column or self.max_records != 1):
            raise ValueError("a row-level unit has no column and one record")
        if self.is_linked and self.max_records < 2:
            raise ValueError("linked records need the patient's column and max_records of 2 or more")
        if self.order is not None and not self.is_linked:
            raise ValueError("order is for `records: linked`")
        return self
