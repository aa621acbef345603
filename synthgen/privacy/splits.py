"""Decide which part a patient belongs to, and which of a patient's records are kept.

Both are a keyed hash of the patient's id and nothing else. So they do not depend on any other
patient, on order, or on the run: with one patient less, everybody else stays where they were. A
seeded permutation is no substitute, because one patient less would change half of the training set.
The key is the cohort's, from the ledger; without it nobody can tell who was in which part.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

KEY_BYTES = 32


def new_key() -> bytes:
    """Return 32 bytes from the operating system: a cohort's key."""
    return secrets.token_bytes(KEY_BYTES)


def part_of(units: npt.NDArray[Any], *, key: bytes, shares: Mapping[str, float]) -> npt.NDArray[np.str_]:
    """Return the part of each unit.

    The first 53 bits of HMAC-SHA256(key, "part:" + unit) are a uniform number in [0, 1); the parts lie
    side by side on that interval in the order of ``shares``.

    Args:
        units: text id of the privacy unit of each record, " record". Sensitive.
        key: the cohort's key.
        shares: expected share of the units in each part; must sum to 1. Public.

    Returns:
        Name of each record's part, " record". All records of a unit have the same. Sensitive.

    Raises:
        ValueError: the shares do not sum to 1, are negative, or the key is short.

    Source: Bellare, Canetti and Krawczyk (1996), HMAC; a pseudorandom function of the id.

    Example:
        >>> part_of(np.array(["a", "a"]), key=bytes(32), shares={"train": 0.8, "holdout": 0.2}).tolist()
        ['train', 'train']
    """
    names = np.array(list(shares), dtype=np.str_)
    values = np.array(list(shares.values()), dtype=float)
    if len(names) == 0 or not (values >= 0).all() or abs(values.sum() - 1) > 1e-9:
        raise ValueError(f"Expected shares of at least 0 that sum to 1, got a sum of {values.sum():.6g}.")
    codes, distinct = _factorize(units)
    uniform = np.array(_uniforms(distinct, key, "part:"), dtype=float)
    # The last border is left out: rounding must not leave a gap below 1, and a part of share 0 stays empty.
    parts = np.searchsorted(np.cumsum(values)[:-1], uniform, side="right")
    last_used = int(np.flatnonzero(values > 0)[-1])
    return np.asarray(names[np.minimum(parts, last_used)][codes], dtype=np.str_)


def keep_records(units: npt.NDArray[Any], *, key: bytes, max_records: int) -> npt.NDArray[np.bool_]:
    """Return which records are kept, so that no unit has more than ``max_records``.

    A unit's records are numbered from 0 in the order in which they stand, and those whose
    HMAC-SHA256(key, "record:" + number + ":" + unit) is smallest are kept: a random subset that
    depends on the unit's own id and number of records alone.

    Args:
        units: text id of the privacy unit of each record, " record". Sensitive.
        key: the cohort's key.
        max_records: largest number of records of one unit, at least 1. Public.

    Returns:
        True for each record that is kept, " record". Sensitive.

    Raises:
        ValueError: ``max_records`` is below 1, or the key is short.

    Example:
        >>> keep_records(np.array(["a", "b", "a", "a"]), key=bytes(32), max_records=2).sum()
        np.int64(3)
    """
    if max_records < 1:
        raise ValueError(f"Expected max_records >= 1, got {max_records}.")
    _check_key(key)
    keep = np.ones(len(units), dtype=bool)
    if len(units) == 0:
        return keep
    codes, distinct = _factorize(units)
    counts = np.bincount(codes)
    order = np.argsort(codes, kind="stable")
    starts = np.cumsum(counts) - counts
    for code in np.flatnonzero(counts > max_records):
        rows = order[starts[code] : starts[code] + counts[code]]
        unit = distinct[code].encode()
        ranks = [_digest(key, f"record:{number}:".encode() + unit) for number in range(len(rows))]
        kept = sorted(range(len(rows)), key=ranks.__getitem__)[:max_records]
        keep[rows] = False
        keep[rows[kept]] = True
    return keep


def first_records(units: npt.NDArray[Any], *, max_records: int) -> npt.NDArray[np.bool_]:
    """Return which records are kept of linked ones: each unit's first ``max_records``, as they stand.

    They are consecutive, so that what follows what is real, and depend on the unit's own records alone.

    Args:
        units: text id of the privacy unit of each record, " record", in order of time. Sensitive.
        max_records: largest number of records of one unit, at least 1. Public.

    Returns:
        True for each record that is kept, " record". Sensitive.

    Raises:
        ValueError: ``max_records`` is below 1.

    Example:
        >>> first_records(np.array(["a", "b", "a", "a"]), max_records=2).tolist()
        [True, True, True, False]
    """
    if max_records < 1:
        raise ValueError(f"Expected max_records >= 1, got {max_records}.")
    codes, distinct = _factorize(units)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes, minlength=max(len(distinct), 1))
    keep = np.empty(len(units), dtype=bool)
    keep[order] = np.arange(len(units)) - np.repeat(np.cumsum(counts) - counts, counts) < max_records
    return keep


def _factorize(units: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return an integer from 0 for each record's unit, and the distinct units as text."""
    import pandas as pd

    if any(not isinstance(unit, str) for unit in units.tolist()):
        raise ValueError("Expected every unit id as text, got another type. Convert ids to text in ingest.")
    codes, distinct = pd.factorize(np.asarray(units, dtype=object))
    return codes.astype(np.int64), [str(unit) for unit in distinct]


def _uniforms(distinct: list[str], key: bytes, prefix: str) -> list[float]:
    _check_key(key)
    digests = (_digest(key, (prefix + unit).encode()) for unit in distinct)
    return [(int.from_bytes(digest[:8], "big") >> 11) * 2.0**-53 for digest in digests]


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)


def _check_key(key: bytes) -> None:
    if len(key) < KEY_BYTES:
        raise ValueError(
            f"Expected a key of at least {KEY_BYTES} bytes, got {len(key)}. Use the cohort's key."
        )
