"""Bring the records of a cohort whose rows belong together into order, and keep the first of each patient."""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable, history_order
from synthgen.errors import DataError
from synthgen.privacy.splits import first_records


def kept_in_order(table: RealTable, *, where: str = "") -> RealTable:
    """Return each patient's first ``max_records`` records, in the order that the schema names.

    Guarantee:
        which records are kept follows from the patient's own records alone.

    Args:
        table: canonical records. Sensitive.
        where: the table's path, for messages.

    Raises:
        DataError: a column that the schema calls static differs within a patient.
    """
    order = history_order(table.frame, table.units, table.schema)
    units = table.units[order]
    ordered = RealTable(table.schema, table.frame.iloc[order].reset_index(drop=True), units)
    kept = ordered.select(first_records(units, max_records=table.schema.unit.max_records))
    _require_static(kept, where)
    return kept


def _require_static(table: RealTable, where: str) -> None:
    found = [
        f"column {column.name!r}: {differ} patients with more than one value"
        for column in table.schema.columns
        if column.field.static and (differ := patients_who_differ(table.frame[column.name], table.units))
    ]
    if found:
        raise DataError(
            f"Expected static columns to be the same in all records of a patient, got {'; '.join(found)}.",
            where=where,
            next_step="Correct the table, or take `static: true` off the column.",
        )


def patients_who_differ(values: pd.Series, units: np.ndarray) -> int:
    """Return how many patients have more than one value, a missing one included. Sensitive."""
    codes, _ = pd.factorize(values, use_na_sentinel=False)
    pairs = pd.DataFrame({"unit": units, "value": codes}).drop_duplicates()
    return int((pairs["unit"].value_counts() > 1).sum())
