"""Put inputs into an order that their content alone decides, and name that content by a digest.

Metrics draw patients and rows by their place. In the order of the files another order would be another draw,
and so, at a threshold, another verdict; so records stand in the order of a hash of their patient's records.
Of linked records, which follow each other in time, a patient's own order is content and stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
import pandas as pd

from synthgen.data.images import RealImages, SyntheticImages
from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.evaluation.base import Inputs

Table = RealTable | SyntheticTable
AnyTable = TypeVar("AnyTable", RealTable, SyntheticTable)
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""The golden ratio of 2^64, odd, so that multiplication permutes integers (Knuth, volume 3, section 6.4)."""


def canonical(inputs: Inputs) -> Inputs:
    """Return the same inputs, all tables in the order of their content."""
    return replace(
        inputs,
        train=ordered(inputs.train),
        holdout=ordered(inputs.holdout),
        reference=ordered(inputs.reference),
        synthetic=ordered(inputs.synthetic),
    )


def ordered(table: AnyTable) -> AnyTable:
    """Return a table with its records in the order of their content.

    Patients that have the same records may change places, which nothing can see.
    """
    records = record_hashes(table)
    owners, patients = _patients(table, records)
    if table.schema.unit.is_linked:
        order = np.lexsort((owners, patients[owners]))
    else:
        order = np.lexsort((records, owners, patients[owners]))
    return table if (order[1:] > order[:-1]).all() else table.take(order)


def digest(table: Table) -> str:
    """Return the SHA-256 of a table's content in hex, whatever its order and the patients' names."""
    _, patients = _patients(table, record_hashes(table))
    text = f"{len(table)} records: ".encode() + np.sort(patients).astype("<u8").tobytes()
    return hashlib.sha256(text).hexdigest()


def digests(parts: Mapping[str, Table]) -> dict[str, str]:
    """Return the digest of each table by name."""
    return {name: digest(table) for name, table in parts.items()}


def record_hashes(table: Table) -> np.ndarray:
    """Return 64 bits of each record's values, pixels included; equal records have equal ones."""
    frame = pd.DataFrame(
        {
            name: column if isinstance(column.dtype, pd.CategoricalDtype) else column + 0.0  # no -0.0
            for name, column in table.frame.items()
        }
    )
    hashed: np.ndarray = np.zeros(len(frame), dtype=np.uint64)
    if len(frame.columns):
        hashed = pd.util.hash_pandas_object(frame, index=False).to_numpy(dtype=np.uint64)
    if isinstance(table, (RealImages, SyntheticImages)):
        pixels = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in table.pixels)
        hashed = np.asarray(hashed * MULTIPLIER + np.frombuffer(b"".join(pixels), dtype=np.uint64))
    return hashed


def _patients(table: Table, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each record's patient, and a hash of each patient's records."""
    units = table.units
    if units is None:
        return np.arange(len(records)), records
    owners = pd.factorize(np.asarray(units))[0]
    mixed: np.ndarray = records
    if table.schema.unit.is_linked:
        starts = pd.Series(owners).groupby(owners).cumcount().to_numpy(dtype=np.uint64)
        mixed = (records + starts + np.uint64(1)) * MULTIPLIER
    mixed = _mixed(mixed)
    patients = np.zeros(int(owners.max(initial=-1)) + 1, dtype=np.uint64)
    np.add.at(patients, owners, mixed)
    return owners, _mixed(patients)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Return a permutation of 64-bit integers whose sums say nothing of their terms.

    Source: Steele, Lea and Flood (2014), OOPSLA, the finaliser of SplitMix64.
    """
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(values ^ (values >> np.uint64(31)))
