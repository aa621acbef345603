"""The values that pass from stage to stage: real records, which never leave, and synthetic ones, which may.

Both are frozen and hold columns in the canonical form of `synthgen.schema.schema`. They are different
types on purpose: what writes outward takes `SyntheticTable` only, so the type checker proves that
no real record is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from synthgen.errors import DataError
from synthgen.schema.file_dialect import Dialect, Formulas
from synthgen.schema.schema import Field, Schema, days

OTHERS = (
    "Add them to the schema, with `role: drop` if they are not to be modelled, or let it say `others: drop`."
)


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
            sizes = f"{len(self.frame)} records, {len(self.units)} units"
            raise ValueError(f"Expected one unit a record, got {sizes}.")

    def __repr__(self) -> str:
        return f"RealTable(columns={len(self.frame.columns)})"

    def __len__(self) -> int:
        return len(self.frame)

    def select(self, mask: np.ndarray) -> RealTable:
        """Return the records where the boolean mask (one a record) is true."""
        return replace(self, frame=self.frame[mask].reset_index(drop=True), units=self.units[mask])

    def take(self, order: np.ndarray) -> RealTable:
        """Return the records at these places, in this order."""
        return replace(self, frame=self.frame.iloc[order].reset_index(drop=True), units=self.units[order])

    def unit_codes(self) -> tuple[np.ndarray, int]:
        """Return an integer from 0 for each record's unit, and the number of units."""
        codes, names = pd.factorize(self.units)
        return codes.astype(np.int64), len(names)

    def unit_weights(self) -> np.ndarray:
        """Return 1/k for each record of a patient with k records here; the sum is the number of patients."""
        codes, n_units = self.unit_codes()
        return np.asarray(1.0 / np.bincount(codes, minlength=max(n_units, 1))[codes], dtype=float)


@dataclass(frozen=True)
class Cohort:
    """A cohort in its parts, disjoint by patient. Sensitive.

    Attributes:
        train: what the generator is fitted on.
        reference: what an attacker is assumed to own.
        holdout: what nobody has fitted on.
        counts: what ingest found.
        n_units: exact number of patients.
        digest: SHA-256 of the table's file.
    """

    train: RealTable
    reference: RealTable
    holdout: RealTable
    counts: Mapping[str, Any]
    n_units: int
    digest: str


@dataclass(frozen=True)
class SyntheticTable:
    """Synthetic records: a drop-in for the input.

    Attributes:
        schema: the table's public description.
        frame: the modelled columns in canonical form, in the schema's order.
        units: number of each record's synthetic patient, from 1; None if each record is its own patient.
        first_id: the first of the sequential ids, so that shards of one table do not share any.
        rounded: of a table that was read, how many numbers had more decimals than declared, by column.
    """

    schema: Schema
    frame: pd.DataFrame
    units: np.ndarray | None = None
    first_id: int = 1
    rounded: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        if self.units is not None and len(self.frame) != len(self.units):
            sizes = f"{len(self.frame)} records, {len(self.units)} units"
            raise ValueError(f"Expected one unit a record, got {sizes}.")

    def __len__(self) -> int:
        return len(self.frame)

    def take(self, order: np.ndarray) -> SyntheticTable:
        """Return the records at these places, in this order."""
        units = None if self.units is None else self.units[order]
        return replace(self, frame=self.frame.iloc[order].reset_index(drop=True), units=units)

    @property
    def columns(self) -> list[str]:
        """Names of the columns of `to_pandas`: the input's order, ids included, dropped ones left out."""
        return [field.name for field in self.schema.fields if field.role != "drop"]

    def unit_weights(self) -> np.ndarray:
        """Return 1/k for each record of a synthetic patient with k records; 1 if each record is its own."""
        if self.units is None:
            return np.ones(len(self))
        codes, _ = pd.factorize(self.units)
        return np.asarray(1.0 / np.bincount(codes, minlength=1)[codes], dtype=float)

    def to_pandas(self) -> pd.DataFrame:
        """Return the table as the input had it: column order, types, labels, fresh sequential ids.

        A boolean with trueValues of its own and a moment with a format of its own are written as that text.
        """
        columns: dict[str, Any] = {}
        for field in self.schema.fields:
            if field.role == "id":
                columns[field.name] = self._fresh_ids(field)
            elif field.role != "drop":
                columns[field.name] = _typed(self.settled(field), field)
        return pd.DataFrame(columns)

    def texts(self) -> pd.DataFrame:
        """Return all cells as the schema's words, decimals and formats have them; a missing value is None."""
        columns: dict[str, Any] = {}
        for field in self.schema.fields:
            if field.role == "id":
                columns[field.name] = _text(self._fresh_ids(field))
            elif field.role != "drop":
                columns[field.name] = cell_texts(
                    self.settled(field), field, decimal=self.dialect.decimal_char
                )
        return pd.DataFrame(columns)

    def written_with(self, formulas: Formulas) -> Self:
        """Return the same records, whose text files keep formulas of spreadsheets or escape them."""
        if self.dialect.formulas == formulas:
            return self
        dialect = self.dialect.model_copy(update={"formulas": formulas})
        return replace(self, schema=self.schema.model_copy(update={"dialect": dialect}))

    @property
    def dialect(self) -> Dialect:
        """How the input is written; commas and UTF-8 where nothing is known of it."""
        return self.schema.dialect or Dialect()

    def settled(self, field: Field) -> pd.Series:
        """Return a column's values as they are written: days since another date as days from an origin.

        Numbers stand at the nearest value that the column can hold, since sums of two of them need not.
        """
        values = self.frame[field.name].reset_index(drop=True)
        if field.since is not None:
            start = self.schema.column(field.since).field
            values = values + self.frame[start.name].reset_index(drop=True)
            shift = days(start.origin, field.origin)
            return pd.Series(field.times.snapped(values.to_numpy(float) + shift))
        column = self.schema.column(field.name)
        return pd.Series(column.snapped(values.to_numpy(float))) if column.kind != "category" else values

    def _fresh_ids(self, field: Field) -> pd.Series:
        is_unit = self.units is not None and field.name == self.schema.unit.column
        first = self.first_id
        if self.units is not None and not is_unit:  # shards count patients, of whom each has so many rows
            first = 1 + (first - 1) * self.schema.unit.max_records
        numbers = pd.Series(
            self.units + first - 1 if is_unit and self.units is not None else first + np.arange(len(self)),
            dtype="int64",
        )
        return numbers if id_is_number(field, self.schema) else "S" + numbers.astype(str).str.zfill(8)


def history_order(frame: pd.DataFrame, units: np.ndarray, schema: Schema) -> np.ndarray:
    """Return the positions of records so that a patient's stand together, in the order of ``unit.order``.

    Patients keep the order of their first records. Records of the same time, and all where the schema names
    no time, keep the order in which they stand.

    Args:
        frame: canonical columns, one row a record.
        units: the patient of each record.
        schema: the table's public description.
    """
    codes, _ = pd.factorize(units)
    keys = [] if schema.unit.order is None else [frame[schema.unit.order].to_numpy(float)]
    return np.asarray(np.lexsort([*keys, codes]), dtype=np.int64)


def places(units: np.ndarray) -> np.ndarray:
    """Return the number of each record among its patient's, from 0, in the order in which they stand."""
    return np.asarray(pd.Series(units).groupby(units, sort=False).cumcount(), dtype=np.int64)


def require_columns(
    names: Iterable[str],
    schema: Schema,
    *,
    where: str,
    ids: Literal["required", "optional"] = "required",
) -> None:
    """Refuse a table whose columns are not the schema's.

    Args:
        names: the table's columns.
        schema: its public description.
        where: the table's path, for the message.
        ids: ``optional`` also accepts a table without the id and dropped columns, such as a synthetic one.

    Raises:
        DataError: names the columns that lack and, unless it drops them, those that the schema does not know.
    """
    got = list(names)
    known = [field.name for field in schema.fields] + list(schema.added_columns)
    needed = [f.name for f in schema.fields if ids == "required" or f.role not in ("id", "drop")]
    missing = [name for name in needed if name not in got]
    unknown = [] if schema.others == "drop" else [name for name in got if name not in known]
    if not set(known) & set(got):  # the first line may be a patient's record: name nothing of it
        raise DataError(
            f"Expected the schema's columns in the first line, got none of them in {len(got)} columns.",
            where=where,
            next_step="Check the delimiter, and that the first line holds the column names.",
        )
    if missing:
        raise DataError(
            f"Expected the schema's columns, found no {missing}.",
            where=where,
            next_step="Add the columns to the table, or take them out of the schema.",
        )
    if unknown:
        raise DataError(
            f"Expected the schema's columns only, also found {unknown}.",
            where=where,
            next_step=OTHERS,
        )


def unit_texts(values: pd.Series, schema: Schema) -> np.ndarray:
    """Return the privacy unit of each record as text; a blank or missing one is the empty text.

    Blanks around an id are cut: taking one patient for two would break the guarantee, taking two
    for one would not.
    """
    column = next(field for field in schema.fields if field.name == schema.unit.column)
    texts = pd.Series(texts_of(values), index=values.index, dtype=object).str.strip()
    blank = texts.isin([token.strip() for token in schema.tokens(column)])
    return np.asarray(texts.mask(blank, ""), dtype=object)


def texts_of(values: pd.Series) -> list[str]:
    """Return a column's cells as text: a missing one is empty, and a whole number has no decimals."""
    if pd.api.types.is_float_dtype(values.dtype):  # integers with gaps, as Parquet writers hold them
        whole = values.notna() & (values % 1 == 0)
        values = values.astype(object).mask(whole, values.where(whole).astype("Int64").astype(object))
    return values.astype(object).where(values.notna(), "").astype(str).tolist()


def id_is_number(field: Field, schema: Schema) -> bool:
    """Return whether an id is a number: by its type, or by that of the input's Parquet column."""
    stored = "" if schema.dialect is None else schema.dialect.storage.get(field.name, "")
    return field.type in ("integer", "number") or stored.removeprefix("u").startswith("int")


def _typed(values: pd.Series, field: Field) -> pd.Series:
    """Return a canonical column in the type that its field names."""
    if field.type == "boolean":
        defaults = type(field).model_fields["true_values"].default
        return values.astype("boolean") if field.true_values == defaults else cell_texts(values, field)
    if field.type == "integer":
        return values.astype(object).astype("Int64") if _all_numbers(values) else _text(values)
    if field.is_moment:
        return cell_texts(values, field) if field.format else field.times.native(values.to_numpy(float))
    return _text(values) if field.type == "string" else values.astype(float)


def cell_texts(values: pd.Series, field: Field, *, decimal: str = ".") -> pd.Series:
    """Return the text of each canonical value, None where it is missing.

    Args:
        values: a canonical column; a date with ``since`` in days from its own origin.
        field: the column as the schema writes it.
        decimal: decimal sign of numbers.
    """
    if field.type == "boolean":
        return _text(values.map({True: field.true_values[0], False: field.false_values[0]}))
    if field.is_moment:
        return pd.Series(field.times.write(values.to_numpy(float)), dtype=object)
    if isinstance(values.dtype, pd.CategoricalDtype):
        return _text(values)
    numbers = values.to_numpy(float) + 0.0  # no -0
    if field.type == "integer" or (field.decimals is not None and field.decimals <= 0):
        form = ".0f"
    else:
        form = "" if field.decimals is None else f".{field.decimals}f"
    texts = [None if math.isnan(number) else format(number, form) for number in numbers.tolist()]
    plain = texts if decimal == "." else [text and text.replace(".", decimal) for text in texts]
    return pd.Series(plain, dtype=object)


def _text(values: pd.Series) -> pd.Series:
    return values.astype(object).astype("str").astype(object).where(values.notna(), None)


def _all_numbers(values: pd.Series) -> bool:
    if isinstance(values.dtype, pd.CategoricalDtype):
        return all(isinstance(label, (int, np.integer)) for label in values.cat.categories)
    return True
