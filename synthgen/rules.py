"""Hard clinical rules: a small, safe language, read by a parser and never by ``eval``.

    rule  := either ["implies" either]
    either := both ("or" both)*
    both  := atom ("and" atom)*
    atom  := "not" atom | "(" rule ")" | column | column op value | column "in" "[" value ("," value)* "]"
            | column "is" "missing"
    op    := == | != | < | <= | > | >=

A bare column is a boolean. ``<`` and its like take a number (of a date: days from its origin).
A value that is not one word stands in quotes, a column in backquotes. A comparison with a missing
value is unknown, and a rule is violated only where it is known to be false (Kleene's three values).
Rules come from medicine, not from looking at the data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<column>`[^`]+`)|(?P<op>==|!=|<=|>=|<|>)|(?P<mark>[()\[\],])
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))|(?P<word>[^\W\d][\w.\-]*))""",
    re.VERBOSE,
)
_MAX_WORDS = 500
_MAX_DEPTH = 20
_WORDS = {"implies", "and", "or", "not", "in", "is", "missing"}
_ORDERS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
Node = tuple[Any, ...]


@dataclass(frozen=True)
class Rule:
    """A parsed rule.

    Attributes:
        text: the rule as the schema writes it.
        columns: the columns it speaks of.
        tree: nested tuples, operator first.
    """

    text: str
    columns: frozenset[str]
    tree: Node

    def violated(self, frame: Mapping[str, Any] | pd.DataFrame) -> np.ndarray:
        """Return, for each record, whether the rule is known to be false.

        Args:
            frame: canonical columns by name, all of one length; a frame or a mapping of arrays.

        Returns:
            boolean array, one a record.
        """
        true, known = _evaluate(self.tree, frame)
        return np.asarray(known & ~true, dtype=bool)

    def problem(self, domains: Mapping[str, tuple[Any, ...] | None]) -> str | None:
        """Return why the rule cannot mean what it says, or None: a misspelt category would never fire.

        Args:
            domains: the labels of each column, None for a number; columns that are not given are not checked.
        """
        for operator, column, values in _comparisons(self.tree):
            if column not in domains:
                continue
            labels = domains[column]
            if operator == "true":
                if labels != (False, True):
                    return f"a rule takes {column!r} for yes or no, but it is not boolean"
            elif operator in _ORDERS:
                if labels is not None and not any(type(label) is int for label in labels):
                    return f"a rule asks for the order of {column!r}, which is not a number"
            elif labels is None:
                if not all(isinstance(value, float) for value in values):
                    return f"a rule compares the number {column!r} with a value that is not a number"
            elif not {_text(value) for value in values} <= {_text(label) for label in labels}:
                return f"a rule compares {column!r} with a value that is not one of its categories"
        return None


def parse_rule(text: str) -> Rule:
    """Parse a rule.

    Raises:
        ValueError: the text is not in the language, or is too long or too deep; says where.

    Example:
        >>> sorted(parse_rule("died implies not readmitted").columns)
        ['died', 'readmitted']
    """
    parser = _Parser(text)
    tree = parser.rule()
    parser.end()
    return Rule(text, frozenset(parser.columns), tree)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.columns: set[str] = set()

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, *expected: str) -> str:
        kind, value = self.peek()
        if expected and (value not in expected or kind == "text"):
            raise ValueError(f"a rule expects {' or '.join(expected)} as word {self.at + 1}")
        self.at += 1
        return value

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise ValueError(f"a rule expects and, or, implies, or its end as word {self.at + 1}")

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise ValueError(f"a rule nests at most {_MAX_DEPTH} deep; write two rules")

    def rule(self) -> Node:
        left = self.chain("or")
        if self.peek() == ("word", "implies"):
            self.take()
            return ("or", ("not", left), self.chain("or"))
        return left

    def chain(self, word: str) -> Node:
        def inner() -> Node:
            return self.chain("and") if word == "or" else self.atom()

        node = inner()
        while self.peek() == ("word", word):
            self.take()
            node = (word, node, inner())
        return node

    def atom(self) -> Node:
        kind, value = self.peek()
        if (kind, value) == ("word", "not"):
            self.take()
            self.deeper()
            node = self.atom()
            self.depth -= 1
            return ("not", node)
        if value == "(" and kind == "mark":
            self.take()
            self.deeper()
            node = self.rule()
            self.take(")")
            self.depth -= 1
            return node
        if kind not in ("word", "column") or (kind == "word" and value in _WORDS):
            raise ValueError(f"a rule expects a column as word {self.at + 1}")
        self.take()
        self.columns.add(value)
        return self.condition(value)

    def condition(self, column: str) -> Node:
        kind, value = self.peek()
        if kind == "op":
            self.take()
            if value in _ORDERS and self.peek()[0] != "number":
                raise ValueError(f"a rule expects a number as word {self.at + 1}")
            return ("compare", value, column, self.value())
        if (kind, value) == ("word", "in"):
            self.take()
            self.take("[")
            values = [self.value()]
            while self.take(",", "]") == ",":
                values.append(self.value())
            return ("in", column, tuple(values))
        if (kind, value) == ("word", "is"):
            self.take()
            self.take("missing")
            return ("missing", column)
        return ("true", column)

    def value(self) -> str | float | bool:
        kind, value = self.peek()
        if kind not in ("text", "number", "word"):
            raise ValueError(f"a rule expects a value as word {self.at + 1}")
        self.take()
        if kind == "number":
            return float(value)
        if kind == "word" and value.lower() in ("true", "false"):
            return value.lower() == "true"
        return value


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    position = 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"a rule cannot be read at character {position + 1}")
        kind = str(match.lastgroup)
        value = match.group(kind)
        found.append((kind, value[1:-1] if kind in ("text", "column") else value))
        position = match.end()
        if len(found) > _MAX_WORDS:
            raise ValueError(f"a rule has at most {_MAX_WORDS} words; write two rules")
    return found


def _comparisons(node: Node) -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Yield (operator, column, values) of every atom; ``missing`` fits any column and is left out."""
    if node[0] in ("not", "and", "or"):
        for child in node[1:]:
            yield from _comparisons(child)
    elif node[0] == "compare":
        yield node[1], node[2], (node[3],)
    elif node[0] == "in":
        yield "in", node[1], node[2]
    elif node[0] == "true":
        yield "true", node[1], ()


def _evaluate(node: Node, frame: Mapping[str, Any] | pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return (true, known) for each record, in Kleene's logic."""
    kind = node[0]
    if kind == "not":
        true, known = _evaluate(node[1], frame)
        return known & ~true, known
    if kind in ("and", "or"):
        a, ka = _evaluate(node[1], frame)
        b, kb = _evaluate(node[2], frame)
        if kind == "or":
            return a | b, (a | b) | (ka & kb)
        false = (ka & ~a) | (kb & ~b)
        return a & b, (a & b) | false
    if kind == "missing":
        missing = np.asarray(pd.isna(frame[node[1]]), dtype=bool)
        return missing, np.ones_like(missing)
    column = node[2] if kind == "compare" else node[1]
    known = ~np.asarray(pd.isna(frame[column]), dtype=bool)
    if kind == "true":
        return known & _equals(frame[column], True), known
    if kind == "in":
        hits = np.zeros_like(known)
        for value in node[2]:
            hits |= _equals(frame[column], value)
        return known & hits, known
    return _compare(node[1], frame[column], node[3], known)


def _compare(
    operator: str, values: Any, value: str | float | bool, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (true, known) for a comparison; a category without a number has no order and is unknown."""
    if operator in ("==", "!="):
        same = _equals(values, value)
        return known & (same if operator == "==" else ~same), known
    with np.errstate(invalid="ignore"):
        numbers = pd.to_numeric(pd.Series(np.asarray(values)), errors="coerce").to_numpy(float)
        known = known & ~np.isnan(numbers)
        return np.asarray(known & _ORDERS[operator](numbers, float(value)), dtype=bool), known


def _text(value: Any) -> str:
    """Return a value as text, so that label 3, text "3" and number 3.0 are the same."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _equals(values: Any, value: str | float | bool) -> np.ndarray:
    """Compare by text, as `_text` writes it; a category is compared once, not once a record."""
    if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
        categorical = pd.Categorical(values)
        hits = [_text(label) == _text(value) for label in categorical.categories]
        return np.asarray(np.array([*hits, False])[categorical.codes])  # code -1, missing, takes the last
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        same = [not pd.isna(cell) and _text(cell) == _text(value) for cell in array.tolist()]
        return np.array(same, dtype=bool)
    if isinstance(value, (str, bool)):
        return np.zeros(len(array), dtype=bool)
    return np.asarray(array.astype(float) == float(value))
