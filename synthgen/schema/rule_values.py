"""What a rule's atoms are, and whether they hold: exactly for values, as a possibility for ranges of values.

Every atom is evaluated between two ends of its numbers, in Kleene's three values. Where both ends are the
value itself, exactly one of true, false and unknown is possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

Node = tuple[Any, ...]
Values = Mapping[str, Any] | pd.DataFrame
Three = tuple[np.ndarray, np.ndarray, np.ndarray]
"""For each record whether true, false and unknown are possible."""

_ORDERS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "==": "!=", "!=": "=="}
LEAST_MISS = 1e-6
"""Part of its columns' size that a comparison is missed by at least: a strict one may be missed by a tie."""
ROUNDING = 1e-9
"""Part of a sum's size that adding in floating point may lose."""


class Word(str):
    """A bare word after ``==``: a category or a column, which only a schema can tell."""

    __slots__ = ()


@dataclass(frozen=True)
class Linear:
    """A comparison of a weighted sum of columns with a number.

    Attributes:
        operator: ``<``, ``<=``, ``>``, ``>=``, ``==`` or ``!=``.
        terms: columns with their factors, none twice.
        constant: what the sum is compared with.
        dates: dates of the calendar with their factors, as the text names them; none once it is bound.
        result: the column that the others give, in an equation.
        slack: by how much an equation may be missed.
        finest: the smallest step among the columns' values; infinite where none has one.
    """

    operator: str
    terms: tuple[tuple[str, float], ...]
    constant: float
    dates: tuple[tuple[float, str], ...]
    result: str
    slack: float = 0.0
    finest: float = np.inf

    def rounding(self, size: np.ndarray) -> np.ndarray | float:
        """Return what is taken for a rounding error, of sums of that size: nothing where none is made."""
        factors = sorted(factor for _, factor in self.terms)
        if self.constant == 0.0 and factors == [-1.0, 1.0]:
            return 0.0
        if len(factors) == 1 and abs(factors[0]) == 1.0:
            return 0.0
        return np.minimum(ROUNDING * size, self.finest / 4.0)

    def negated(self) -> Linear:
        """Return the comparison that holds where this one is false."""
        return Linear(
            _NEGATED[self.operator],
            self.terms,
            self.constant,
            self.dates,
            self.result,
            self.slack,
            self.finest,
        )


def flipped(operator: str) -> str:
    """Return the operator with its sides exchanged."""
    return _FLIPPED[operator]


def evaluate(node: Node, low: Values, high: Values) -> Three:
    """Return whether a rule may be true, false, and unknown between two ends of its numbers."""
    kind = node[0]
    if kind == "not":
        true, false, unknown = evaluate(node[1], low, high)
        return false, true, unknown
    if kind in ("and", "or"):
        a, b = evaluate(node[1], low, high), evaluate(node[2], low, high)
        strong, weak = (1, 0) if kind == "and" else (0, 1)
        unknown = (a[2] & (b[2] | b[weak])) | (b[2] & a[weak])
        either, both = a[strong] | b[strong], a[weak] & b[weak]
        return (both, either, unknown) if kind == "and" else (either, both, unknown)
    if kind == "linear":
        return _linear(node[1], low, high)
    if kind == "missing":
        missing = _is_missing(low[node[1]])
        return missing, ~missing, np.zeros_like(missing)
    if kind == "same":
        return _same(node[1], low[node[2]], low[node[3]])
    if kind == "compare" and node[1] in _ORDERS:
        return _linear(Linear(node[1], ((node[2], 1.0),), float(node[3]), (), node[2]), low, high)
    column = node[2] if kind == "compare" else node[1]
    known = ~_is_missing(low[column])
    values = {"compare": node[3:], "in": node[-1], "true": (True,)}[kind]
    hits = np.zeros_like(known)
    for value in values:
        hits |= equals(low[column], value)
    if kind == "compare" and node[1] == "!=":
        hits = ~hits
    return known & hits, known & ~hits, ~known


def _linear(linear: Linear, low: Values, high: Values) -> Three:
    ends = [(factor * numbers(low[name]), factor * numbers(high[name])) for name, factor in linear.terms]
    least = np.sum([np.minimum(one, other) for one, other in ends], axis=0)
    most = np.sum([np.maximum(one, other) for one, other in ends], axis=0)
    size = abs(linear.constant) + np.sum([np.maximum(abs(one), abs(other)) for one, other in ends], axis=0)
    with np.errstate(invalid="ignore"):
        return _against(linear, least, most, linear.rounding(size))


def misses(
    node: Node, low: Values, high: Values, scales: Mapping[str, float], *, wanted: bool = True
) -> np.ndarray:
    """Return by how much records miss a rule between two ends of their numbers: 0 exactly where it may hold.

    Args:
        node: the rule.
        low: columns by name; of a number its smallest value.
        high: the same with the largest values.
        scales: by column the size of its values, which a miss is measured in.
        wanted: whether it is to hold, or its contrary.

    Returns:
        For each record the miss of the nearest alternative; 1 for categories that do not fit.
    """
    kind = node[0]
    if kind == "not":
        return misses(node[1], low, high, scales, wanted=not wanted)
    if kind in ("and", "or"):
        a, b = (misses(child, low, high, scales, wanted=wanted) for child in node[1:])
        return np.asarray(np.minimum(a, b) if (kind == "or") == wanted else np.maximum(a, b))
    true, false, unknown = evaluate(node, low, high)
    fits = unknown | (true if wanted else false)
    if kind != "linear":
        return np.where(fits, 0.0, 1.0)
    linear: Linear = node[1] if wanted else node[1].negated()
    ends = [(factor * numbers(low[name]), factor * numbers(high[name])) for name, factor in linear.terms]
    least = np.sum([np.minimum(one, other) for one, other in ends], axis=0) - linear.constant
    most = np.sum([np.maximum(one, other) for one, other in ends], axis=0) - linear.constant
    size = max([1e-300, *(abs(factor) * scales.get(name, 1.0) for name, factor in linear.terms)])
    above, below = np.nan_to_num(np.maximum(least, 0.0)), np.nan_to_num(np.maximum(-most, 0.0))
    far = {"<": above, "<=": above, ">": below, ">=": below, "==": above + below, "!=": 0.0 * above}
    return np.asarray(np.where(fits, 0.0, LEAST_MISS + far[linear.operator] / size))


def _against(linear: Linear, least: np.ndarray, most: np.ndarray, rounding: np.ndarray | float) -> Three:
    """Return what comparing a sum between ``least`` and ``most`` may give; NaN is unknown."""
    operator, constant = linear.operator, linear.constant
    unknown = np.isnan(least) | np.isnan(most)
    if operator in ("==", "!="):
        room = linear.slack + rounding
        near = (least <= constant + room) & (most >= constant - room)
        far = (least < constant - room) | (most > constant + room)
        true, false = (near, far) if operator == "==" else (far, near)
        return true & ~unknown, false & ~unknown, unknown
    if operator in (">", ">="):
        least, most, constant, operator = -most, -least, -constant, _FLIPPED[operator]
    if operator == "<":
        true, false = least < constant - rounding, most >= constant - rounding
    else:
        true, false = least <= constant + rounding, most > constant + rounding
    return true & ~unknown, false & ~unknown, unknown


def _same(operator: str, left: Any, right: Any) -> Three:
    """Compare two categories by their texts."""
    known = ~_is_missing(left) & ~_is_missing(right)
    one, other = _texts(left), _texts(right)
    hits = np.asarray(one == other, dtype=bool)
    hits = hits if operator == "==" else ~hits
    return known & hits, known & ~hits, ~known


def _is_missing(values: Any) -> np.ndarray:
    return np.asarray(pd.isna(values), dtype=bool)


def numbers(values: Any) -> np.ndarray:
    """Return values as numbers; a category that is none, and a missing value, is NaN."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        categorical = pd.Categorical(values)
        labels = pd.to_numeric(pd.Series(list(categorical.categories), dtype=object), errors="coerce")
        return np.asarray(np.append(labels.to_numpy(float), np.nan)[categorical.codes])
    array = np.asarray(values)
    if array.dtype.kind in "fiu":
        return array.astype(float)
    return np.asarray(pd.to_numeric(pd.Series(array), errors="coerce").to_numpy(float))


def _texts(values: Any) -> np.ndarray:
    """Return values as texts."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        categorical = pd.Categorical(values)
        texts = np.array([*map(text_of, categorical.categories), ""], dtype=object)
        return np.asarray(texts[categorical.codes])
    return np.array([text_of(value) for value in np.asarray(values, dtype=object)], dtype=object)


def text_of(value: Any) -> str:
    """Return a value as text, so that label 3, text "3" and number 3.0 are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def equals(values: Any, value: str | float | bool) -> np.ndarray:
    """Compare by text, as `text_of` writes it; a category is compared once, not once a record."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        categorical = pd.Categorical(values)
        hits = [text_of(label) == text_of(value) for label in categorical.categories]
        return np.asarray(np.append(np.array(hits, dtype=bool), False)[categorical.codes])
    array = np.asarray(values)
    if array.dtype.kind in "fiu":
        same = not isinstance(value, (str, bool))
        return np.asarray(array == value) if same else np.zeros(len(array), dtype=bool)
    return np.array([text_of(one) == text_of(value) for one in array.tolist()], dtype=bool)
