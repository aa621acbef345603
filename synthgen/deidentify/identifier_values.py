"""Find columns that hold a person's identifiers by their cells; `identifier_names` judges their names.

Each pattern is precise rather than complete: a reminder, not proof. It fires on a share of the cells
and on a number of different values, so that a shared web address or one odd code is no alarm. Numbers
of bare digits (ids, codes, doses) count only with check digits: the chance that five random ones all
pass is below 1e-5 for each scheme. Dates are birth dates only if so many of them are too old for any
hospital's records. No library serves: one for phones needs a region, without which any eight digits
are a number somewhere, and the one for check digits is copyleft; the schemes below are public.

What is found depends on real cells, so it is for the steward only: column, kind and count, no value.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.deidentify import check_digits as digits

MOST = 0.5
ANY = 0.02
SAMPLE = 10_000
"""So many different cells of a column are looked at, evenly spaced; if a kind is found, all are counted."""
LONGEST = 200
"""Characters of a cell that are looked at."""
BEFORE_RECORDS = 1956
FIRST_YEAR = 1880
"""No hospital's events of today are older than `BEFORE_RECORDS`, and no patient than `FIRST_YEAR`."""


@dataclass(frozen=True)
class Found:
    """A column whose cells look like identifiers. Sensitive, like every exact count.

    Attributes:
        column: its name.
        kind: what they look like, such as ``e-mail address``.
        cells: records whose cell looks so.
    """

    column: str
    kind: str
    cells: int


@dataclass(frozen=True)
class Pattern:
    """A kind of identifier.

    Attributes:
        kind: what it is called.
        regex: searched in a cell without blanks around it.
        share: of the column's cells that must match.
        distinct: different matching cells there must be.
        spread: different cells for each matching record, at least; 1 says that all differ.
        check: a further test of the matching text, such as check digits.
    """

    kind: str
    regex: re.Pattern[str]
    share: float = MOST
    distinct: int = 5
    spread: float = 0.0
    check: Callable[[str], bool] | None = None

    def matches(self, text: str) -> bool:
        """Return whether a cell looks so."""
        match = self.regex.search(text[:LONGEST])
        return match is not None and (self.check is None or self.check(match.group()))


def _whole(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(rf"^(?:{pattern})$", flags)


_STREET = r"street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|pl|terrace|way|close"
_STREET_FIRST = r"rue|avenue|chemin|calle|avenida|rua|via"
_STREET_LAST = r"stra(?:ß|ss)e|str\.|weg|platz|allee|gasse"
_TITLE = r"Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Herr|Frau|Mme|Mlle|Monsieur|Madame|Sr|Sra|Srta|Senhor|Senhora"
_PHONES = (
    r"\+[1-9]\d{0,2}(?:[ ./-]?\(?\d{1,5}\)?){2,5}",  # international
    r"00[1-9]\d{0,2}(?:[ ./]\(?\d{1,5}\)?){2,5}",
    r"(?:1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}",  # North America
    r"0\d{1,4}[ /]\d{3,8}(?:[ -]\d{1,6}){0,2}",  # with an area code, as in Germany and Britain
    r"0\d(?:[ .-]\d\d){4}",  # France
)
_WORD = r"[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]+(?:['’-]?[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ]+)*\d{0,3}"
PATTERNS = (
    Pattern("e-mail address", re.compile(r"[\w.+%-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b"), ANY, 3),
    Pattern("social security number", _whole(r"\d{3}-\d{2}-\d{4}|\d{3} \d{2} \d{4}"), ANY, 3),
    Pattern(
        "phone number",
        _whole("|".join(_PHONES)),
        ANY,
        3,
        check=lambda text: 9 <= sum(map(str.isdigit, text)) <= 16,
    ),
    Pattern("web or network address", _whole(r"(?:https?://|www\.)\S+", re.IGNORECASE), MOST, 20, 0.5),
    Pattern(
        "web or network address",
        _whole(r"\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F:]*:[0-9a-fA-F:]+"),
        check=digits.ip,
    ),
    Pattern(
        "bank account or card number",
        _whole(r"[A-Z]{2}\d{2}(?: ?[0-9A-Z]){11,30}"),
        ANY,
        3,
        check=digits.iban,
    ),
    Pattern("bank account or card number", _whole(r"[2-6]\d{3}(?:[ -]?\d){9,15}"), 0.9, 5, 0.1, digits.card),
    Pattern("health or national number", _whole(r"\d{3}[ -]?\d{3}[ -]?\d{4}"), 0.9, 5, 0.01, digits.nhs),
    Pattern("health or national number", _whole(r"[A-Z]\d{9}"), 0.9, 5, check=digits.kvnr),
    Pattern("health or national number", _whole(r"[XYZ]?\d{7,8}-?[A-Z]"), 0.9, 5, check=digits.dni),
    Pattern(
        "health or national number",
        _whole(r"[12] ?\d\d ?[0-2]\d ?\d[\dAB](?: ?\d{3}){2} ?\d\d"),
        0.9,
        5,
        0.01,
        digits.nir,
    ),
    Pattern("health or national number", _whole(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}"), 0.9, 5, 0.01, digits.cpf),
    Pattern("postcode", _whole(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[ABCEGHJ-NPR-TVXY]\d[A-Z] ?\d[A-Z]\d")),
    Pattern(
        "street address",
        _whole(
            rf"\d{{1,5}}[a-z]?,? .*\b(?:{_STREET})\b.*|.*(?:{_STREET_LAST}) \d+ ?[a-z]?\b.*"
            rf"|(?:\d+,? (?:bis |ter )?)?(?:{_STREET_FIRST}) .+",
            re.IGNORECASE,
        ),
        distinct=10,
        spread=0.2,
        check=lambda text: any(map(str.isdigit, text)),
    ),
    Pattern(
        "street address", _whole(rf"\d{{1,5}} {_WORD}(?: {_WORD})+(?: \w+ \d+)?"), distinct=30, spread=0.5
    ),
    Pattern("person's name", _whole(rf"(?:{_TITLE})\.? {_WORD}.*"), spread=0.2),
    Pattern(
        "name of a person or place",
        _whole(rf"{_WORD}(?:,? +(?:{_WORD}|[A-Z]\.|[A-Z]{{2,3}}|(?:von|van|de|der|da|di|la)\b)){{0,4}}"),
        0.9,
        50,
        0.2,
    ),
    Pattern("record number", _whole(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), distinct=30),
    Pattern("record number", _whole(r"[A-Z]{1,3}[ -]?\d{6,10}[A-Z]?"), distinct=30, spread=0.9),
    Pattern("device identifier", _whole(r"\(01\)\d{14}.*"), distinct=5),
)


def kind_in(cells: pd.Series, *, missing: Iterable[str] = ("",)) -> tuple[str, int] | None:
    """Return what identifier the cells of a column look like and in how many records, or None.

    Args:
        cells: a raw column: text, or native Parquet values. Sensitive.
        missing: texts that mean a missing value.
    """
    counts, tokens = _counts(cells), frozenset(missing)
    looked = _texts(counts.iloc[:: max(1, -(-len(counts) // SAMPLE))], tokens)
    for pattern in PATTERNS:
        if len(looked) and _fires(pattern, looked):
            texts = _texts(counts, tokens)
            return pattern.kind, int(texts[[pattern.matches(text) for text in texts.index]].sum())
    return ("birth date", int(_texts(counts, tokens).sum())) if len(looked) and _births(looked) else None


def find(frame: pd.DataFrame, columns: Iterable[str], tokens: Callable[[str], Sequence[str]]) -> list[Found]:
    """Return the columns whose cells look like identifiers.

    Args:
        frame: a raw table. Sensitive.
        columns: those to look at; one that is not in the table is passed over.
        tokens: the texts that mean missing in a column.
    """
    found = []
    for name in columns:
        if name in frame:
            seen = kind_in(frame[name], missing=tokens(name))
            if seen:
                found.append(Found(name, *seen))
    return found


def _counts(cells: pd.Series) -> pd.Series:
    """Return records by different cell; none of yes and no, of fractions, and of nested values."""
    none = pd.Series(dtype=int)
    if pd.api.types.is_bool_dtype(cells.dtype):
        return none
    if pd.api.types.is_float_dtype(cells.dtype) and (cells.dropna() % 1 != 0).any():
        return none
    try:
        return cells.value_counts(dropna=True, sort=False)
    except TypeError:
        return none


def _texts(counts: pd.Series, missing: frozenset[str]) -> pd.Series:
    """Return records by text of the cell, without what is missing."""
    texts = [_text(cell) for cell in counts.index]
    kept = [bool(text) and text not in missing for text in texts]
    found = pd.Series(counts.to_numpy(dtype=np.int64), index=pd.Index(texts, dtype=object))[kept]
    return found.groupby(level=0, sort=False).sum()


def _text(cell: Any) -> str:
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, (float, np.floating)):
        return str(int(cell)) if float(cell).is_integer() else ""
    if isinstance(cell, datetime.datetime):
        return cell.isoformat(" ")
    return str(cell)


def _fires(pattern: Pattern, texts: pd.Series) -> bool:
    """Return whether enough of the cells, and enough different ones, look so."""
    hits = texts[[pattern.matches(text) for text in texts.index]]
    n_distinct, n_records = len(hits), int(hits.sum())
    return (
        n_distinct >= pattern.distinct
        and n_records >= pattern.share * int(texts.sum())
        and n_distinct >= pattern.spread * n_records
    )


_DATE = re.compile(
    r"^(?:(\d{4})[-/]\d{1,2}[-/]\d{1,2}|\d{1,2}[./-]\d{1,2}[./-](\d{4}))(?:[T ]00:00(?::00)?.*)?$"
)


def _births(texts: pd.Series) -> bool:
    """Return whether the cells are days of which a tenth, of ten or more years, lie before all records."""
    found = [_DATE.match(text) for text in texts.index]
    years = np.array([int(match[1] or match[2]) if match else 0 for match in found])
    weights = texts.to_numpy(float)
    old = (years >= FIRST_YEAR) & (years < BEFORE_RECORDS)
    return bool(
        weights[years > 0].sum() >= 0.9 * weights.sum()
        and weights[old].sum() >= 0.1 * weights.sum()
        and len(set(years[old].tolist())) >= 10
    )
