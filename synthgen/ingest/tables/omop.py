"""Flatten a folder of OMOP tables to one row a person: what a schema names, and nothing else.

``person`` gives its own columns. ``condition_<concept>`` says whether ``condition_occurrence`` has that
concept, ``measurement_<concept>`` is the latest value of ``measurement``, empty if there is none. Each cell
follows from its own person's records alone, so a patient moves one row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from synthgen.errors import ConfigError, DataError
from synthgen.ingest.tables.table import read_raw

PERSON, CONDITION, MEASUREMENT = "person", "condition_occurrence", "measurement"
ID = "person_id"
ENDINGS = (".csv", ".csv.gz", ".parquet")
_DERIVED = re.compile(r"(condition|measurement)_(\d+)")


def flatten(folder: Path, names: Sequence[str], *, decimal: str = ".") -> pd.DataFrame:
    """Return one row a person with `ID` and those of the columns that OMOP tables can fill.

    Args:
        folder: holds ``person`` and, where columns ask for them, ``condition_occurrence`` and
            ``measurement``, as CSV or Parquet.
        names: columns that are asked for; others of the tables are not read.
        decimal: decimal sign of numbers in text.

    Raises:
        DataError: a table or a column of the standard is not there, or a person has several rows.
    """
    asked = {name: match for name in names if (match := _DERIVED.fullmatch(name))}
    people = _read(folder, PERSON, decimal)
    _require(people, (ID,), folder)
    people[ID] = _ids(people[ID])
    twice = int(people[ID].duplicated().sum())
    if twice:
        raise DataError(f"Expected one row a person, got {twice} rows more.", where=str(folder / PERSON))
    out = people[[ID, *(name for name in names if name in people.columns and name != ID)]].copy()
    for name, match in asked.items():
        if name not in out:
            add = _condition if match[1] == "condition" else _measurement
            out[name] = add(folder, match[2], decimal).reindex(out[ID]).to_numpy()
    for name, match in asked.items():
        if match[1] == "condition":
            out[name] = out[name].eq("true").map({True: "true", False: "false"})
        else:
            out[name] = out[name].where(out[name].notna(), "")
    return out.reset_index(drop=True)


def _condition(folder: Path, concept: str, decimal: str) -> pd.Series:
    table = _read(folder, CONDITION, decimal)
    _require(table, (ID, "condition_concept_id"), folder)
    found = table[_ids(table["condition_concept_id"]) == concept]
    return pd.Series("true", index=_ids(found[ID]).drop_duplicates(), dtype=object)


def _measurement(folder: Path, concept: str, decimal: str) -> pd.Series:
    table = _read(folder, MEASUREMENT, decimal)
    _require(table, (ID, "measurement_concept_id", "measurement_date", "value_as_number"), folder)
    filled = table["value_as_number"].notna() & (table["value_as_number"].astype(str).str.strip() != "")
    found = table[(_ids(table["measurement_concept_id"]) == concept) & filled]
    found = found.assign(**{ID: _ids(found[ID]), "day": found["measurement_date"].astype(str)})
    last = found.sort_values("day", kind="stable").drop_duplicates(ID, keep="last")
    return pd.Series(last["value_as_number"].to_numpy(), index=last[ID].to_numpy(), dtype=object)


def _read(folder: Path, name: str, decimal: str) -> pd.DataFrame:
    found = [folder / f"{name}{end}" for end in ENDINGS if (folder / f"{name}{end}").is_file()]
    if len(found) != 1:
        raise ConfigError(
            f"Expected one OMOP table {name!r} as CSV or Parquet, found {len(found)}.",
            where=str(folder),
            next_step="Export it, or name a flat table as data.images.table.",
        )
    frame = read_raw(found[0], decimal=decimal)
    return frame.rename(columns={column: str(column).lower() for column in frame.columns})


def _require(frame: pd.DataFrame, columns: tuple[str, ...], folder: Path) -> None:
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise DataError(f"Expected OMOP's columns, found no {lacking}.", where=str(folder))


def _ids(values: pd.Series) -> pd.Series:
    """Return ids as text, also those that Parquet holds as numbers."""
    if pd.api.types.is_float_dtype(values.dtype):
        values = values.astype("Int64")
    return values.astype(str).str.strip()
