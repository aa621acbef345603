"""Hard clinical rules: a small, safe language, read by a parser and never by ``eval``.

    rule  := either ["implies" either]
    either := both ("or" both)*
    both  := atom ("and" atom)*
    atom  := "not" atom | "(" rule ")" | column | column op value | column "in" "[" value ("," value)* "]"
            | column "is" "missing"
    op    := == | != | < | <= | > | >=

A bare column is a boolean. A comparison with a missing value is unknown, and a rule is violated
only where it is known to be false (Kleene's three values).
Rules come from medicine, not from looking at the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"[^"]*"|'[^']*')|(?P<column>`[^`]+`)|(?P<op>==|!=|<=|>=|<|>)|(?P<mark>[()\[\],])
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))|(?P<word>[^\W\d][\w.\-]*))""",
    re.VERBOSE,
)
_WORDS = {"implies", "and", "or", "not", "in", "is", "missing"}
_COMPARE = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
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

    def violated(self, frame: Mapping[str, Any]) -> np.ndarray:
        """Return, for each record, whether the rule is known to be false.

        Args:
            frame: canonical columns by name, all of one length.

        Returns:
            boolean array, one a record.
        """
        true, known = _evaluate(self.tree, frame)
        return np.asarray(known & ~true, dtype=bool)


def parse_rule(text: str) -> Rule:
    """Parse a rule.

    Raises:
        ValueError: the text is not in the language; says where.

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
        self.columns: set[str] = set()

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self, *expected: str) -> str:
        kind, value = self.peek()
        if expected and value not in expected:
            raise ValueError(f"a rule expects {' or '.join(expected)} as word {self.at + 1}")
        self.at += 1
        return value

    def end(self) -> None:
        if self.peek()[0] != "end":
            raise ValueError(f"a rule expects and, or, implies, or its end as word {self.at + 1}")

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
            return ("not", self.atom())
        if value == "(" and kind == "mark":
            self.take()
            node = self.rule()
            self.take(")")
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
    return found


def _evaluate(node: Node, frame: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
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
    if node[1] in ("==", "!="):
        same = _equals(frame[column], node[3])
        return known & (same if node[1] == "==" else ~same), known
    with np.errstate(invalid="ignore"):
        numbers = pd.to_numeric(pd.Series(np.asarray(frame[column])), errors="coerce").to_numpy(float)
        return known & _COMPARE[node[1]](numbers, float(node[3])), known


def _equals(values: Any, value: str | float | bool) -> np.ndarray:
    """Compare by text, so that label 3, text "3" and number 3.0 are the same."""
    series = pd.Series(np.asarray(values, dtype=object))
    numbers = pd.api.types.is_numeric_dtype(np.asarray(values)) and not isinstance(value, (str, bool))
    if numbers:
        return np.asarray(series.astype(float) == float(value), dtype=bool)
    wanted = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return np.asarray(series.map(lambda v: isinstance(v, (str, int, bool, np.generic)) and str(v) == wanted), dtype=bool)
