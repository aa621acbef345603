"""Guess a column's field from its cells, for a person to confirm. Nothing here is public yet.

What a guess shows (ranges, categories) was read off patients' records, so every field carries
``confirmed: false``, and `synthgen.schema` refuses to plan with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.ingest._canonical import text_of

MISSING = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", ".")
BOOLEANS = (
    ("true", "false"),
    ("True", "False"),
    ("TRUE", "FALSE"),
    ("yes", "no"),
    ("Yes", "No"),
    ("YES", "NO"),
    ("Y", "N"),
    ("1", "0"),
)
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y")
MAX_LISTED = 50
MIN_IDS = 30
"""So many records must all differ before a column is taken for an id: in a few, an age may."""


def missing_tokens(frame: pd.DataFrame) -> list[str]:
    """Return the usual texts for a missing value that occur in the table, the empty text always."""
    found = {text for name in frame.columns for text in _texts(frame[name]) if text in MISSING}
    return [token for token in MISSING if token in found or token == ""]


def field(raw: pd.Series, *, decimal: str, date_format: str | None) -> tuple[dict[str, Any], str]:
    """Return a field without its name, and what the person should look at.

    Args:
        raw: the column as `read_raw` returns it. Sensitive.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None tries common ones.
    """
    texts = sorted(_texts(raw) - set(MISSING))
    if not texts:
        return {"type": "string"}, "no value is there; set `role: drop`?"
    booleans = _boolean(texts)
    if booleans is not None:
        return booleans, ""
    numbers = _numbers(texts, decimal)
    if numbers is not None:
        return _numeric(numbers, all_differ=len(texts) == len(raw))
    dates = _dates(texts, date_format)
    if dates is not None:
        return dates
    if len(texts) == len(raw) >= MIN_IDS:
        return {"type": "string", "role": "id"}, "differs in every record, so it looks like an id"
    if len(texts) > MAX_LISTED:
        return {
            "type": "string"
        }, f"over {MAX_LISTED} categories; list the public ones, or set `categories: paid` or `role: drop`"
    return {"type": "string", "constraints": {"enum": texts}}, ""


def identifying(kind: str) -> tuple[dict[str, Any], str]:
    """Return the field of a column whose cells look like identifiers, none of them listed."""
    return {
        "type": "string",
        "role": "drop",
    }, f"its cells look like identifiers ({kind}); see `identifier: false`"


def _texts(raw: pd.Series) -> set[str]:
    try:
        return {text_of(cell) for cell in raw.dropna().unique()}
    except TypeError:  # nested Parquet values
        return set()


def _boolean(texts: list[str]) -> dict[str, Any] | None:
    for true, false in BOOLEANS:
        if set(texts) == {true, false}:
            plain = true.lower() == "true" or true == "1"
            return {"type": "boolean"} | ({} if plain else {"trueValues": [true], "falseValues": [false]})
    return None


def _numbers(texts: list[str], decimal: str) -> np.ndarray | None:
    series = pd.Series(texts, dtype=object)
    if decimal != ".":
        series = series.mask(series.str.contains(".", regex=False), "x").str.replace(
            decimal, ".", regex=False
        )
    values = pd.to_numeric(series, errors="coerce").to_numpy(float)
    return values if np.isfinite(values).all() else None


def _numeric(values: np.ndarray, *, all_differ: bool) -> tuple[dict[str, Any], str]:
    whole = bool((values == np.round(values)).all())
    if whole and all_differ and len(values) >= MIN_IDS:
        return {"type": "integer", "role": "id"}, "differs in every record, so it looks like an id"
    low, high = float(values.min()), float(values.max())
    limits = {"minimum": int(low), "maximum": int(high)} if whole else {"minimum": low, "maximum": high}
    return {"type": "integer" if whole else "number", "constraints": limits}, ""


def _dates(texts: list[str], date_format: str | None) -> tuple[dict[str, Any], str] | None:
    for form in (date_format,) if date_format else DATES:
        try:
            dates = pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce")
        except ValueError:
            continue
        if dates.notna().all():
            limits = {"minimum": dates.min().date().isoformat(), "maximum": dates.max().date().isoformat()}
            found = {"type": "date", "constraints": limits}
            hint = "day and month may be the other way round" if "/" in form else ""
            return found | ({} if form == DATES[0] else {"format": form}), hint
    return None
