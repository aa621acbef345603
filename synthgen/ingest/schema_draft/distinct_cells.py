"""The distinct cells of a column as text, with how many records hold each: what every guess starts from."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from synthgen.ingest.tables.canonical import text_of

Native = Literal["text", "boolean", "integer", "number", "date", "other"]

SIGNS = frozenset({"?", "-", "--", ".", "*", "…", "??"})
"""Texts without a letter that mean a missing value in every kind of column."""
WORDS = frozenset({"na", "n/a", "n.a.", "nan", "null", "none", "nil", "#n/a", "<na>", "#na", "nat"})
"""Texts that mean a missing value among numbers and dates; among texts NA may be Namibia."""
REASONS = frozenset(
    {
        "missing",
        "unknown",
        "unk",
        "not available",
        "not applicable",
        "not done",
        "not recorded",
        "not reported",
        "nd",
        "n.d.",
        "refused",
        "unbekannt",
        "keine angabe",
        "k.a.",
        "k. a.",
        "inconnu",
        "desconocido",
    }
)
"""Texts that say why there is no number."""


@dataclass(frozen=True)
class Cells:
    """One column's distinct cells. Sensitive.

    Attributes:
        counts: records by text, nulls left out.
        n_records: records of the table.
        nulls: records without any cell, as Parquet has them.
        native: what the file says the values are; text for CSV.
    """

    counts: pd.Series
    n_records: int
    nulls: int
    native: Native

    @classmethod
    def of(cls, raw: pd.Series) -> Cells | None:
        """Return a column's cells, or None if its values are nested or binary and no text."""
        try:
            found = raw.value_counts(dropna=True, sort=False)
        except TypeError:
            return None
        if any(isinstance(cell, (bytes, list, dict, tuple)) for cell in found.index[:100]):
            return None
        texts = pd.Series(
            found.to_numpy("int64"), index=pd.Index([text_of(cell) for cell in found.index], dtype=object)
        )
        counts = texts.groupby(level=0, sort=False).sum()
        return cls(counts, len(raw), int(raw.isna().sum()), _native(raw))

    @property
    def texts(self) -> list[str]:
        """The distinct texts, in order."""
        return sorted(self.counts.index)

    @property
    def present(self) -> int:
        """Records that have a cell."""
        return int(self.counts.sum())

    def share(self, texts: Collection[str]) -> float:
        """Return the share of all records whose cell is one of some texts."""
        return float(self.counts[self.counts.index.isin(list(texts))].sum()) / max(1, self.n_records)

    def without(self, texts: Collection[str]) -> Cells:
        """Return the cells with some texts taken for missing."""
        kept = self.counts[~self.counts.index.isin(list(texts))]
        gone = int(self.counts.sum() - kept.sum())
        return Cells(kept, self.n_records, self.nulls + gone, self.native)

    def by_frequency(self, texts: Collection[str]) -> list[str]:
        """Return those texts that occur, the most frequent first."""
        own = self.counts[self.counts.index.isin(list(texts))]
        return [str(text) for text in own.sort_values(ascending=False, kind="stable").index]


def _native(raw: pd.Series) -> Native:
    kinds = pd.api.types
    if kinds.is_bool_dtype(raw.dtype):
        return "boolean"
    if kinds.is_integer_dtype(raw.dtype):
        return "integer"
    if kinds.is_float_dtype(raw.dtype):
        return "number"
    if kinds.is_datetime64_any_dtype(raw.dtype) or isinstance(raw.dtype, pd.DatetimeTZDtype):
        return "date"
    if isinstance(raw.dtype, pd.CategoricalDtype):
        return _native(pd.Series(raw.cat.categories))
    first = next((cell for cell in raw if not pd.isna(cell)), "")
    return "text" if isinstance(first, str) else "other"


def is_blank(text: str) -> bool:
    """Return whether a text holds nothing but blanks."""
    return not text.strip()


def means_missing(text: str) -> bool:
    """Return whether a text among numbers or dates means a missing value."""
    plain = text.strip().lower()
    return not plain or plain in SIGNS or plain in WORDS or plain in REASONS
