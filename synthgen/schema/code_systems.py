"""Codes of diseases: a public hierarchy, so that thousands of codes need no list.

A code is reduced to its category, the first level that the classifications publish: three digits,
``V`` and two, or ``E`` and three in ICD-9-CM; a letter and two characters in ICD-10. The categories
follow from a rule and stand in the classification's order, so that neighbours belong together.
``prefix:N`` keeps a code's first N characters.
"""

from __future__ import annotations

import re
from functools import cache

PATTERN = re.compile(r"icd9|icd10|prefix:[1-9]\d?")
_ICD9 = re.compile(r"(E\d{3}|V\d{2}|\d{1,3}(?=\.|$)|\d{3})(\.?\d{0,2})")
_ICD10 = re.compile(r"([A-Z]\d[0-9A-Z])\.?[0-9A-Z]{0,4}")
_ICD10_LETTERED = ("C4A", "C7A", "C7B", "D3A", "M1A", "O9A", "Z3A")  # ICD-10-CM


@cache
def categories(codes: str) -> tuple[str, ...]:
    """Return the public categories in the classification's order; empty for ``prefix:N``.

    ICD-9-CM: 001-999, E000-E999, V01-V91. ICD-10: A00-Z99 and the lettered categories of ICD-10-CM.
    Some of them are not assigned; nothing is ever in them.

    Example:
        >>> len(categories("icd9")), categories("icd9")[249], categories("icd10")[:2]
        (2090, '250', ('A00', 'A01'))
    """
    if codes == "icd9":
        plain = [f"{number:03d}" for number in range(1, 1000)]
        external = [f"E{number:03d}" for number in range(1000)]
        return (*plain, *external, *(f"V{number:02d}" for number in range(1, 92)))
    if codes == "icd10":
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        plain = [f"{letter}{number:02d}" for letter in letters for number in range(100)]
        return tuple(sorted((*plain, *_ICD10_LETTERED)))
    return ()


def category(codes: str, text: str) -> str:
    """Return the category of a code as written in a file; a text that is no code comes back as it is.

    Example:
        >>> [category("icd9", text) for text in ("250.83", "25083", "8", "v5789", "E9091", "none")]
        ['250', '250', '008', 'V57', 'E909', 'none']
        >>> category("icd10", "e11.9"), category("prefix:4", "N02BE01")
        ('E11', 'N02B')
    """
    if codes.startswith("prefix:"):
        return text[: int(codes.removeprefix("prefix:"))]
    match = (_ICD9 if codes == "icd9" else _ICD10).fullmatch(text.strip().upper())
    if match is None:
        return text
    found = match[1]
    return found.zfill(3) if found.isdigit() else found


def in_order(codes: str, texts: set[str]) -> tuple[str, ...]:
    """Return codes of any length in the classification's order: each under its category."""
    return tuple(sorted(texts, key=lambda text: (category(codes, text), text)))
