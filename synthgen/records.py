"""The values that pass from stage to stage: real records, which never leave, and synthetic ones, which may.

Both are frozen and hold columns in the canonical form of `synthgen.schema`. They are different
types on purpose: what writes outward takes `SyntheticTable` only, so the type checker proves that
no real record is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synthgen.schema import Schema


@dataclass(frozen=True)
class RealTable:
    """Real records. Sensitive: never written, logged or saved.

    Attributes:
        schema: the table's public description.
        frame: the modelled columns in canonical form, in the schema's order.
        units: the privacy unit of each record, as text; of a row-level table a hash of the record.
    """

    schema: Schema
    frame: pd.DataFrame
    units: np.ndarray

    def __post_init__(self) -> None:
        if len(self.frame) != len(self.units):
            raise ValueError(f"Expected one unit a record, got {len(self.frame)} records, {len(self.units)} units.")

    def __repr__(self) -> str:
        return f"RealTable(columns={len(self.frame.columns)})"

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, mask: np.ndarray) -> RealTable:
        """Return the records where the boolean mask (one a record) is true."""
        return replace(self, frame=self.frame[mask].reset_index(drop=True), units=self.units[mask])

    def unit_codes(self) -> tuple[np.ndarray, int]:
        """Return an integer from 0 for each record's unit, and the number of units."""
        codes, names = pd.factorize(self.units)
        return codes.astype(np.int64), len(names)

    def unit_weights(self) -> np.ndarray:
        """Return 1/k for each record of a patient with k records here; the sum is the number of patients."""
        codes, n_units = self.unit_codes()
        return np.asarray(1.0 / np.bincount(codes, minlength=max(n_units, 1))[codes], dtype=float)


@dataclass(frozen=True)
class SyntheticTable:
    """Synthetic records: a drop-in for the input.

    Attributes:
        schema: the table's public description.
        frame: the modelled columns in canonical form, in the schema's order.
    """

    schema: Schema
    frame: pd.DataFrame

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `to_pandas`: the input's order, ids included, dropped ones left out."""
        return [field.name for field in self.schema.fields if field.role != "drop"]

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as the input had it: column order, types, labels, fresh sequential ids."""
        columns: dict[str, Any] = {}
        for field in self.schema.fields:
            if field.role == "id":
                columns[field.name] = _fresh_ids(field.type, len(self))
            elif field.role != "drop":
                columns[field.name] = _typed(self.frame[field.name], self.schema, field.name)
        return pd.DataFrame(columns)


def _fresh_ids(kind: str, n: int) -> pd.Series:
    numbers = pd.Series(np.arange(1, n + 1, dtype=np.int64))
    return numbers if kind in ("integer", "number") else "S" + numbers.astype(str).str.zfill(8)


def _typed(values: pd.Series, schema: Schema, name: str) -> pd.Series:
    """Return a canonical column in the type that the schema names."""
    field = schema.column(name).field
    if field.type == "boolean":
        return values.astype("boolean")
    if field.type == "integer":
        return pd.to_numeric(values.astype("object")).astype("Int64") if _all_numbers(values) else values.astype("str")
    if field.type == "date":
        origin = pd.Timestamp(field.origin)
        return origin + pd.to_timedelta(values.round(), unit="D")
    return values.astype("str").where(values.notna(), None) if field.type == "string" else values.astype(float)


def _all_numbers(values: pd.Series) -> bool:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return all(isinstance(label, (int, np.integer)) for label in values.cat.categories)
    return True
