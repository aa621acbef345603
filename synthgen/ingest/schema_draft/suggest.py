"""Guess a column's field from its cells, with the reason, for a person to confirm. Nothing here is public.

A guess keeps values: a text that is not surely a number stays text (001, a SNOMED code, NA for Namibia), and
a text is taken for a missing value only in the column where it can mean nothing else. What a guess shows
(ranges, categories) was read off patients' records, so every field carries ``confirmed: false``, and
`synthgen.schema.schema` refuses to plan with it. Reasons name shares coarsely, never counts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as made
from typing import Any

import numpy as np
import pandas as pd

from synthgen.deidentify.check_digits import snomed
from synthgen.deidentify.identifier_names import kind_of, words_of
from synthgen.errors import DataError
from synthgen.ingest.schema_draft.date_formats import Days, days_of
from synthgen.ingest.schema_draft.distinct_cells import SIGNS, WORDS, Cells, is_blank, means_missing
from synthgen.schema import code_systems

MAX_LISTED = 50
MIN_IDS = 30
"""So many records must all differ before a column is taken for an id: in a few, an age may."""
EXACT = 2**53
"""Whole numbers up to here are exact in floating point."""
MOST_DECIMALS = 9
MOST_CLASSES = 10
DIFFERS = "differs in every record, so it looks like an id"
WIDENED = "widened, since bounds need a range"
_PAIRS = (
    ("true", "false"),
    ("yes", "no"),
    ("y", "n"),
    ("t", "f"),
    ("ja", "nein"),
    ("j", "n"),
    ("oui", "non"),
    ("si", "no"),
    ("sí", "no"),
    ("sim", "não"),
    ("1", "0"),
    ("1.0", "0.0"),
)
"""Texts for true and false, whatever their capitals."""
_CODE_WORDS = frozenset(
    "code codes kode cod icd snomed sctid loinc rxnorm rxcui cpt hcpcs ndc cvx atc drg concept "
    "zip zipcode plz postcode postal upc ean gtin isbn".split()
)
_CODE_ENDS = ("code", "codes")
_ID_WORDS = frozenset("id ids nr no number num key uid uuid guid pk".split())
_PROTECTED = frozenset(
    "sex gender geschlecht sexe sexo genero race ethnicity ethnic age alter edad idade ethnie".split()
)
_LABELS = frozenset(
    "label target outcome class died death dead deceased mortality survived survival expire expired "
    "readmitted readmission "
    "verstorben deces muerte obito".split()
)
_LABELS_ALONE = frozenset({"class", "label", "target"})
"""Words that say so only where no other word stands with them: an insurance class is no outcome."""
_ALIVE = frozenset({"alive", "living", "lebend", "vivant", "vivo"})
_DEAD = frozenset({"dead", "deceased", "died", "expired", "verstorben"})
_SENTINELS = frozenset({"9", "99", "999", "9999", "99999", "999999", "888", "8888", "777", "7777"})
_NUMBER = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?")


TOKENS = ("", "?", "NA", "N/A", "NaN", "nan", "null", "NULL", ".")
"""Texts that are no identifier in any column."""


@dataclass(frozen=True)
class Suggestion:
    """A field without its name.

    Attributes:
        keys: the field's keys.
        reasons: why, and what a person should look at; without counts.
        days: of a date, how its cells are read.
    """

    keys: dict[str, Any]
    reasons: tuple[str, ...] = ()
    days: Days | None = made(default=None, compare=False)

    def because(self, *reasons: str) -> Suggestion:
        """Return the suggestion with further reasons."""
        return replace(self, reasons=(*self.reasons, *(reason for reason in reasons if reason)))

    def with_keys(self, **keys: Any) -> Suggestion:
        """Return the suggestion with further keys; constraints are joined."""
        joined = {**self.keys, **keys}
        if "constraints" in keys and "constraints" in self.keys:
            joined["constraints"] = {**self.keys["constraints"], **keys["constraints"]}
        return replace(self, keys=joined)

    @property
    def is_modelled(self) -> bool:
        """Whether generators would see the column."""
        return self.keys.get("role") not in ("id", "drop")


def suggest(
    raw: pd.Series, name: str, *, decimal: str = ".", date_format: str | None = None, has_unit: bool = True
) -> Suggestion:
    """Return a field, and the reasons for it.

    Args:
        raw: the column as `read_raw` returns it. Sensitive.
        name: its name, which decides where cells do not: codes, ids, roles.
        decimal: decimal sign of numbers in text.
        date_format: strptime format of dates in text; None tries common ones.
        has_unit: whether the table names patients, so that categories can be paid for.
    """
    cells = Cells.of(raw)
    if cells is None:
        return _dropped("nested or binary values: write a column for each")
    guess = _by_name(name, _Column(name, cells, raw, decimal, date_format, has_unit).guess())
    return _required(guess, cells) if guess.is_modelled else guess


def identifying(raw: pd.Series, kind: str | None, *, is_unit: bool) -> Suggestion:
    """Return the field of the patient's column, or of one with identifiers; no cell is listed.

    Args:
        raw: the column. Sensitive.
        kind: what its cells look like.
        is_unit: whether it names the patient.
    """
    texts = raw.dropna().astype("str")
    whole = bool(texts.str.fullmatch(r"0|[1-9]\d{0,14}").all())
    if is_unit:
        return Suggestion({"type": "integer" if whole else "string", "role": "id"}, ("the patient",))
    if kind == "record number":
        return Suggestion({"type": "string", "role": "id"}, ("its cells look like record numbers",))
    step = "if they are none, `role: feature` and `identifier: false`"
    return _dropped(f"its cells look like identifiers ({kind}); {step}")


def named(raw: pd.Series, guess: Suggestion, role: str) -> Suggestion:
    """Return a guess with the role that a person names; whole numbers of a few values become categories.

    Args:
        raw: the column. Sensitive.
        guess: what its cells and name say.
        role: ``label`` or ``protected``.

    Raises:
        DataError: the column holds ids, free text or identifiers, so that it cannot be modelled.
    """
    if not guess.is_modelled:
        raise DataError(
            "Expected a column that can be modelled, got ids, identifiers or free text.",
            where=f"--{role}",
            next_step="Name another column, or declare this one by hand.",
        )
    few = sorted({int(value) for value in numbers_of(raw, ".") if value == value} if _counts(guess) else ())
    tokens = {float(text) for text in guess.keys.get("missingValues", ()) if _parse(text, ".")}
    if role == "label" and 2 <= len(few) <= MOST_CLASSES and not tokens:
        required = {k: v for k, v in guess.keys["constraints"].items() if k == "required"}
        guess = guess.with_keys(constraints={}).because("a few whole numbers: categories")
        guess = replace(guess, keys={**guess.keys, "constraints": {"enum": few, **required}})
    return guess.with_keys(role=role).because("as named")


def _counts(guess: Suggestion) -> bool:
    return guess.keys["type"] == "integer" and "minimum" in guess.keys.get("constraints", {})


def numbers_of(raw: pd.Series, decimal: str) -> np.ndarray:
    """Return each record's number, NaN where it has none."""
    if pd.api.types.is_numeric_dtype(raw.dtype):
        return raw.to_numpy(dtype=float, na_value=np.nan)
    texts = raw.astype("str").str.strip()
    plain = texts if decimal == "." else texts.str.replace(decimal, ".", regex=False)
    return pd.to_numeric(plain, errors="coerce").to_numpy(float)


def _required(guess: Suggestion, cells: Cells) -> Suggestion:
    """Add ``required`` where no record lacks a value."""
    tokens = guess.keys.get("missingValues", [""])
    if cells.nulls or cells.share([text for text in cells.counts.index if text in tokens or text == ""]):
        return guess
    return guess.with_keys(constraints={**guess.keys.get("constraints", {}), "required": True})


def _by_name(name: str, guess: Suggestion) -> Suggestion:
    """Return the guess with the role that its name speaks for."""
    kind = kind_of(name)
    if kind is not None and guess.keys.get("role") != "id":
        role = "id" if kind == "record number" else "drop"
        step = "if it identifies nobody, `role: feature` and `identifier: false`"
        plain = {"type": "date" if kind == "birth date" else guess.keys["type"], "role": role}
        return Suggestion(plain, (f"its name says {kind}; {step}",))
    if not guess.is_modelled:
        return guess
    words = set(words_of(name))
    if words & _PROTECTED and guess.keys["type"] != "date":
        return guess.with_keys(role="protected").because("protected by its name")
    return guess


def is_outcome(name: str, guess: Suggestion) -> bool:
    """Return whether a column's name and type say that it is what a study predicts."""
    keys = guess.keys
    values = {str(value).lower() for value in keys.get("constraints", {}).get("enum", ())}
    if not guess.is_modelled or "role" in keys or not (keys["type"] == "boolean" or 2 <= len(values) <= 10):
        return False
    words = set(words_of(name))
    named = bool(words & (_LABELS - _LABELS_ALONE)) or (bool(words) and words <= _LABELS_ALONE)
    return named or bool(values & _ALIVE and values & _DEAD)


@dataclass(frozen=True)
class _Column:
    """A column that is being looked at."""

    name: str
    cells: Cells
    raw: pd.Series
    decimal: str
    date_format: str | None
    has_unit: bool

    def guess(self) -> Suggestion:
        present = self.cells.without([text for text in self.cells.counts.index if is_blank(text)])
        if not len(present.counts):
            return _dropped("no value is there")
        if self.cells.native == "boolean":
            return Suggestion({"type": "boolean"}, ("yes or no",))
        tokens = [text for text in self.cells.counts.index if means_missing(text)]
        rest = self.cells.without(tokens)
        found = self._boolean() or (self._typed(rest) if len(rest.counts) else None)
        if found is None:
            return self._text()
        return self._with_tokens(found, tokens if self.cells.native == "text" else [])

    def _with_tokens(self, guess: Suggestion, tokens: Collection[str]) -> Suggestion:
        """Declare the texts that mean a missing value in this column, the most frequent first."""
        own = self.cells.by_frequency(tokens)
        if not guess.is_modelled or not set(own) - {""} or "missingValues" in guess.keys:
            return guess
        shown = ", ".join(f"{text!r}" for text in own if text)
        share = _coarse(self.cells.share(own))
        listed = own if "" in own else [*own, ""]
        return guess.with_keys(missingValues=listed).because(f"{shown} means missing ({share} of the cells)")

    # Booleans ------------------------------------------------------------------------------------------

    def _boolean(self) -> Suggestion | None:
        """Return a boolean with its own spelling, if the cells are a pair and one missing token at most."""
        if self.cells.native not in ("text", "other"):
            return self._native_pair()
        tokens = [text for text in self.cells.counts.index if is_blank(text)]
        extra = [t for t in self.cells.counts.index if not is_blank(t) and _is_token(t)]
        texts = self.cells.without([*tokens, *extra]).texts
        if len(tokens) + len(extra) > 1 or len(texts) != 2:
            return None
        for true, false in _PAIRS:
            pair = next((p for p in (texts, texts[::-1]) if [t.lower() for t in p] == [true, false]), None)
            if pair is not None and (pair[0].isupper() == pair[1].isupper()):
                plain = pair == ["true", "false"]
                words = {} if plain else {"trueValues": [pair[0]], "falseValues": [pair[1]]}
                guess = Suggestion({"type": "boolean", **words}, (f"{pair[0]} or {pair[1]}",))
                return self._with_tokens(guess, [*tokens, *extra])
        return None

    def _native_pair(self) -> Suggestion | None:
        whole = self.cells.native in ("integer", "number") and set(self.cells.counts.index) == {"0", "1"}
        if not whole:
            return None
        return Suggestion({"type": "integer", "constraints": {"enum": [0, 1]}}, ("0 or 1, as numbers",))

    # Numbers and dates ---------------------------------------------------------------------------------

    def _typed(self, rest: Cells) -> Suggestion | None:
        """Return a number, a date, or the code that looks like one; None if the cells are other texts."""
        if len(rest.counts) == 1:
            return self._constant(rest)
        native_day = self.cells.native in ("date", "other")
        dates = days_of(self.raw, rest.texts, date_format=self.date_format, name=self.name, native=native_day)
        if dates is not None:
            return Suggestion(dates.keys, dates.reasons, dates)
        numbers = [_parse(text, self.decimal) for text in rest.texts]
        if any(number is None for number in numbers):
            return None
        parsed = [number for number in numbers if number is not None]
        reason = self._code(rest, parsed)
        if reason:
            return self._codes(rest, reason)
        return self._quantity(rest, parsed)

    def _constant(self, rest: Cells) -> Suggestion | None:
        """Return the field of one number or date in every record: a category, since bounds need a range."""
        text, why = rest.texts[0], "one value in every record"
        native = self.cells.native
        if native in ("date", "other"):
            days = days_of(self.raw, [text], date_format=self.date_format, name=self.name, native=True)
            if days is not None:
                return Suggestion(days.widened().keys, (*days.reasons, why, WIDENED), days)
        number = _parse(text, self.decimal)
        if number is None:
            dated = days_of(self.raw, [text], date_format=self.date_format, name=self.name, native=False)
            return None if dated is None else self._listed("string", [text], why)
        if native == "number":
            step = 10.0**-number.decimals
            limits = {"minimum": number.value, "maximum": round(number.value + step, number.decimals)}
            guess = Suggestion({"type": "number", "constraints": limits}, (why, WIDENED))
            return guess.with_keys(decimals=number.decimals)
        plain = number.whole and not (number.padded or number.decimals or number.exponent)
        if plain and abs(number.value) < EXACT and str(int(text)) == text:
            return self._listed("integer", [int(text)], why)
        return self._listed("string", [text], why)

    def _code(self, rest: Cells, numbers: Sequence[_Number]) -> str:
        """Return why digits are a code and no quantity, or the empty text."""
        if any(number.padded for number in numbers):
            return "leading zeros: a code, kept as text"
        if not all(number.whole and not number.decimals and not number.exponent for number in numbers):
            return ""
        if any(abs(number.value) >= 10**15 for number in numbers):
            return "longer than a number can hold exactly: a code"
        digits = [text.strip() for text in rest.texts]
        if len(digits) >= 5 and all(snomed(text) for text in digits):
            return "check digits of SNOMED CT: a code"
        if set(words_of(self.name)[-2:]) & _CODE_WORDS or self.name.lower().endswith(_CODE_ENDS):
            return "a code by its name"
        lengths = {len(text) for text in digits}
        if lengths == {max(lengths)} and max(lengths) >= 8 and len(digits) > 2:
            return f"always {max(lengths)} digits: a code"
        return "nine digits and more: a code" if min(lengths) >= 9 and len(digits) > 2 else ""

    def _codes(self, rest: Cells, reason: str) -> Suggestion:
        """Return the field of digits that are codes: text, or whole numbers where Parquet says so."""
        if self._all_differ(rest):
            kind = "integer" if self.cells.native in ("integer", "number") else "string"
            return Suggestion({"type": kind, "role": "id"}, (reason, DIFFERS))
        if self.cells.native in ("integer", "number"):
            values: list[Any] = sorted(int(float(text)) for text in rest.texts)
            return self._listed("integer", values, reason)
        by_icd = self._classified(rest, reason)
        return by_icd or self._listed("string", rest.texts, reason)

    def _classified(self, rest: Cells, reason: str = "") -> Suggestion | None:
        """Return a field of codes on a public hierarchy, where every cell is one and there are many."""
        if len(rest.counts) <= MAX_LISTED or self.cells.native != "text":
            return None
        words = set(words_of(self.name))
        for name, known in (("icd10", words & {"icd", "diagnosis", "diag", "dx"}), ("icd9", words)):
            texts = rest.texts
            lettered = sum(text[:1].isalpha() for text in texts)
            if name == "icd10" and lettered < len(texts):
                continue
            if name == "icd9" and not (words & {"icd", "diagnosis", "diag", "dx"}):
                continue
            listed = set(code_systems.categories(name))
            if known and all(code_systems.category(name, text) in listed for text in texts):
                why = f"codes of {name.upper()}, reduced to their public category"
                return Suggestion({"type": "string", "codes": name}, (reason, why) if reason else (why,))
        return None

    def _quantity(self, rest: Cells, numbers: Sequence[_Number]) -> Suggestion:
        whole = all(number.whole for number in numbers)
        low, high = min(n.value for n in numbers), max(n.value for n in numbers)
        if whole and self._all_differ(rest) and self._numbers_records(rest, low, high):
            return Suggestion({"type": "integer", "role": "id"}, (DIFFERS,))
        lengths = [len(text) for text in rest.texts]
        if whole and min(lengths) >= 5 and len(lengths) > MAX_LISTED and self._is_named_id():
            return Suggestion({"type": "integer", "role": "id"}, ("an id by its name and its digits",))
        apart = _apart(numbers)
        if whole and self.cells.native != "number" and max(abs(low), abs(high)) < EXACT:
            limits: dict[str, Any] = {"minimum": int(low), "maximum": int(high)}
            padded = any(number.decimals for number in numbers)
            shown = "whole numbers" + (", written without the point" if padded else "")
            return Suggestion({"type": "integer", "constraints": limits}, (shown, *apart))
        places = max(number.decimals for number in numbers)
        guess = Suggestion({"type": "number", "constraints": {"minimum": low, "maximum": high}})
        exact = places <= MOST_DECIMALS and max(abs(low), abs(high)) * 10.0**places < EXACT
        if any(number.exponent for number in numbers) or not exact:
            return guess.because("numbers", *apart)
        return guess.with_keys(decimals=places).because(_in_decimals(rest, places, self.decimal), *apart)

    def _all_differ(self, rest: Cells) -> bool:
        return len(rest.counts) == rest.n_records >= MIN_IDS

    def _is_named_id(self) -> bool:
        """Return whether the name says id: as its last word, or as its end, for cells that may be numbers."""
        words = words_of(self.name)
        named = kind_of(self.name) == "record number" or bool(words and words[-1] in _ID_WORDS)
        return named or self.name.lower().endswith("id")

    def _numbers_records(self, rest: Cells, low: float, high: float) -> bool:
        """Return whether whole numbers that all differ count records, by their name, range or length."""
        dense = high - low < 2 * len(rest.counts)
        lengths = {len(text) for text in rest.texts}
        return self._is_named_id() or dense or (len(lengths) == 1 and min(lengths) >= 5)

    # Texts ---------------------------------------------------------------------------------------------

    def _text(self) -> Suggestion:
        """Return a category, a code, an id or free text; only blanks and signs are taken for missing."""
        blanks = [text for text in self.cells.counts.index if text == ""]
        signs = [text for text in self.cells.counts.index if text in SIGNS]
        notes = []
        if len(signs) + len(blanks) > 1:  # two tokens cannot both come back: one is a category
            signs = [] if blanks else self.cells.by_frequency(signs)[:1]
        if not self.cells.without([*blanks, *signs]).present:  # a sign in every record is its only value
            signs = []
        rest = self.cells.without([*blanks, *signs])
        guess = self._of_texts(rest)
        words = [text for text in rest.texts if _is_token(text) or is_blank(text)]
        if words and guess.is_modelled:
            shown = ", ".join(f"{text!r}" for text in words)
            notes.append(f"{shown} kept as a category; if it means missing, move it to missingValues")
        return self._with_tokens(guess.because(*notes), [*blanks, *signs])

    def _of_texts(self, rest: Cells) -> Suggestion:
        if self.decimal == "." and _have_commas(rest):
            return self._listed("string", rest.texts, COMMA)
        if _is_free(rest):
            return _dropped("free text, which can hold anything of a person")
        if self._all_differ(rest):
            return Suggestion({"type": "string", "role": "id"}, (DIFFERS,))
        classified = self._classified(rest)
        if classified is not None:
            return classified
        single = not any(" " in text.strip() for text in rest.counts.index)
        if len(rest.counts) > MAX_LISTED and single and (self._is_named_id() or _are_labels(rest)):
            return Suggestion({"type": "string", "role": "id"}, ("looks like an id",))
        reason = "one value in every record" if len(rest.counts) == 1 else "a category"
        nearly = _nearly_numbers(rest, self.decimal)
        return self._listed("string", rest.texts, nearly or reason)

    def _listed(self, kind: str, values: Sequence[Any], reason: str) -> Suggestion:
        """Return a category whose values are listed, or paid for where they are many."""
        if len(values) <= MAX_LISTED:
            return Suggestion({"type": kind, "constraints": {"enum": list(values)}}, (reason,))
        many = f"over {MAX_LISTED} categories: list the public ones"
        if self.has_unit:
            paid = f"{many}, or let the budget pay for the frequent ones"
            return Suggestion({"type": kind, "categories": "paid"}, (reason, paid))
        step = f"{many}, or name the patient's column as unit and set `categories: paid`"
        return Suggestion({"type": kind, "role": "drop"}, (reason, step))


def _dropped(reason: str) -> Suggestion:
    return Suggestion({"type": "string", "role": "drop"}, (reason,))


def _is_token(text: str) -> bool:
    return text.strip().lower() in WORDS or text.strip() in SIGNS


def _coarse(share: float) -> str:
    """Return a share in words that no exact count follows from."""
    for limit, words in ((0.01, "under 1 %"), (0.1, "under a tenth"), (0.3, "some"), (0.6, "about half")):
        if share < limit:
            return words
    return "most"


# Numbers as text -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Number:
    """A number as a text writes it."""

    value: float
    whole: bool
    decimals: int
    padded: bool
    exponent: bool


def _parse(text: str, decimal: str) -> _Number | None:
    """Return the number that a text writes, None if it writes none."""
    plain = text.strip()
    if decimal != ".":
        if "." in plain:
            return None
        plain = plain.replace(decimal, ".")
    match = _NUMBER.fullmatch(plain) if plain.isascii() else None
    if match is None or not (match[2] or match[3]):
        return None
    value = float(plain)
    if not math.isfinite(value):
        return None
    padded = len(match[2]) > 1 and match[2].startswith("0")
    return _Number(value, value == round(value), len(match[3] or ""), padded, match[4] is not None)


def _apart(numbers: Sequence[_Number]) -> tuple[str, ...]:
    """Return a reason to look at the ends: a number such as 999 or -1 that stands apart may mean missing."""
    values = np.unique([number.value for number in numbers])
    if len(values) < 4:
        return ()
    found = []
    low, high = values[0], values[-1]
    if f"{high:g}" in _SENTINELS and high - values[-2] > values[-2] - low:
        found.append(f"{high:g}")
    if low < 0 <= values[1] and (f"{-low:g}" in _SENTINELS or low == -1):
        found.append(f"{low:g}")
    return tuple(f"{text} stands apart: if it means missing, add it to missingValues" for text in found)


def _in_decimals(rest: Cells, places: int, decimal: str) -> str:
    """Return in words how many decimals numbers have, and if a few have more than most."""
    each = np.array(
        [number.decimals for number in map(lambda t: _parse(t, decimal), rest.counts.index) if number]
    )
    usual = int(np.quantile(np.repeat(each, rest.counts.to_numpy()), 0.9, method="higher"))
    shown = f"numbers of {places} decimal{'s' * (places != 1)} at most"
    return shown if usual == places else f"{shown}, nine in ten of {usual}"


def _are_labels(rest: Cells) -> bool:
    """Return whether words with digits hardly come back, such as record numbers."""
    digits = all(any(map(str.isdigit, text)) for text in rest.counts.index)
    return digits and len(rest.counts) > 0.5 * rest.present and len({len(t) for t in rest.counts.index}) <= 3


def _nearly_numbers(rest: Cells, decimal: str) -> str:
    """Return what keeps a text column from being numbers, if nearly all of its cells are."""
    known = {text: _parse(text, decimal) is not None for text in rest.texts}
    share = rest.counts[[known[text] for text in rest.counts.index]].sum() / max(1, rest.present)
    others = [text for text in rest.texts if not known[text]]
    if share >= 0.9 and len(rest.counts) > 5 and others:
        shown = ", ".join(f"{text!r}" for text in others) if len(others) <= 3 else "some cells"
        return f"numbers, but for {shown}: clean them, or name them in missingValues, to model numbers"
    return ""


def _have_commas(rest: Cells) -> bool:
    """Return whether all cells are numbers if a comma is the decimal sign, and some need it."""
    commas = any("," in text for text in rest.texts)
    return commas and all(re.fullmatch(r"[+-]?\d+(?:,\d+)?", text.strip()) for text in rest.texts)


COMMA = "numbers with a decimal comma: draft anew with --decimal ,"


def _is_free(rest: Cells) -> bool:
    """Return whether texts are sentences rather than categories: long, of several words, hardly repeated."""
    texts = rest.counts.index
    weights = rest.counts.to_numpy(float)
    if any("\n" in text or len(text) > 200 for text in texts):
        return True
    several = float(np.average([len(text.split()) for text in texts], weights=weights))
    long = float(np.average([len(text) for text in texts], weights=weights))
    varied = len(texts) / max(1, rest.present)
    if len(texts) == rest.present >= MIN_IDS:
        return float(np.average([" " in text.strip() for text in texts], weights=weights)) > 0.5
    many = len(texts) > MAX_LISTED or (varied > 0.5 and len(texts) >= 5)
    return many and varied > 0.2 and (several >= 4 or long > 40)
