"""Hard clinical rules: a small, safe language, read by a parser and never by ``eval``.

    rule   := either ["implies" either]
    either := both ("or" both)*
    both   := atom ("and" atom)*
    atom   := "not" atom | "(" rule ")" | column | column "in" "[" value ("," value)* "]"
            | column "is" "missing" | column ("=" | "!=") text | sum (op sum)+
    sum    := part (("+" | "-") part)*
    part   := factor (("*" | "/") factor)*        one factor at most is not a number
    factor := number | date | column | "-" factor | "(" sum ")"
    op     := = | == | != | < | <= | > | >=

A bare column is a boolean. Two columns are compared (``diastolic < systolic``,
``start <= end <= start + 30``) or tied by a sum (``total = a + b - 2 * c``). ``column op number`` takes the
number as the column is counted (of a date: days from its origin, or from the date that it names by
``since``); everywhere else dates are days of one calendar, so ``end - start`` is a number of days, and a
date stands as ``2020-01-31``. A value that is not one word stands in quotes, a column that is not one word
in backquotes; the same sign inside is written twice. After ``==`` a bare word is a category where the column
has that category, else a column.

A comparison with a missing value is unknown, and a rule is violated only where it is known to be false
(Kleene's three values): a rule with a missing operand holds. An equation holds to the precision of its
result, the column that stands alone: of whole numbers to half of one, of ``decimals: 1`` to .05.
Rules come from medicine, not from looking at the data.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from synthgen.schema.rule_values import Linear, Node, Word, evaluate, flipped, text_of

__all__ = ["Domain", "Linear", "Node", "Rule", "parse_rule"]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"]|"")*"|'(?:[^']|'')*')|(?P<column>`(?:[^`]|``)+`)|(?P<op>==|!=|<=|>=|<|>|=)
    |(?P<date>\d{4}-\d{2}-\d{2}(?![\w.\-]))|(?P<mark>[()\[\],+*/\-])
    |(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w.]))|(?P<word>[^\W\d][\w.\-]*))""",
    re.VERBOSE,
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?")
_MAX_WORDS = 500
_MAX_DEPTH = 20
_WORDS = {"implies", "and", "or", "not", "in", "is", "missing"}
_ORDERS = ("<", "<=", ">", ">=")


@dataclass(frozen=True)
class Domain:
    """What a rule has to know of a column.

    Attributes:
        labels: its categories, None for a number or a date.
        step: distance of the values that it may take: 1 for whole numbers and dates, 0 for any number.
        origin: of a date, the days from 1970-01-01 to its origin; None for any other column.
        since: of a date that counts from another one, that one's name.
        minimum: public lower bound of a number.
        maximum: public upper bound of a number.
        required: whether a value is never missing.
    """

    labels: tuple[Any, ...] | None
    step: float = 0.0
    origin: float | None = None
    since: str | None = None
    minimum: float = -np.inf
    maximum: float = np.inf
    required: bool = False


@dataclass(frozen=True)
class Rule:
    """A parsed rule.

    Attributes:
        text: the rule as the schema writes it.
        columns: the columns that it needs.
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
        return ~self.possible(frame, frame)

    def possible(
        self, low: Mapping[str, Any] | pd.DataFrame, high: Mapping[str, Any] | pd.DataFrame
    ) -> np.ndarray:
        """Return, for each record, whether the rule may hold somewhere between two ends of its numbers.

        Args:
            low: columns by name; of a number its smallest value, NaN where it is missing.
            high: the same with the largest values; categories and missing values as in ``low``.

        Returns:
            boolean array: False only where every choice of values breaks the rule.
        """
        true, _, unknown = evaluate(self.tree, low, high)
        return np.asarray(true | unknown, dtype=bool)

    def bound(self, domains: Mapping[str, Domain]) -> Rule:
        """Return the rule as a schema's columns make it: words become categories or columns, dates days.

        Args:
            domains: what is known of each column; one that is left out is not checked.

        Raises:
            ValueError: the rule cannot mean what it says, such as a misspelt category, which would never
                fire; the message says why.
        """
        tree = _bind(self.tree, domains)
        return Rule(self.text, frozenset(_columns(tree)), tree)

    def problem(self, domains: Mapping[str, tuple[Any, ...] | None]) -> str | None:
        """Return why the rule cannot mean what it says, or None.

        Args:
            domains: the labels of each column, None for a number; columns that are not given are not checked.
        """
        try:
            self.bound({name: Domain(labels) for name, labels in domains.items()})
        except ValueError as error:
            return str(error)
        return None


def parse_rule(text: str) -> Rule:
    """Parse a rule.

    Raises:
        ValueError: the text is not in the language, or is too long or too deep; says where.

    Example:
        >>> sorted(parse_rule("died implies not readmitted").columns)
        ['died', 'readmitted']
        >>> sorted(parse_rule("total = ward + 2 * theatre").columns)
        ['theatre', 'total', 'ward']
    """
    parser = _Parser(text)
    tree = parser.rule()
    parser.end()
    return Rule(text, frozenset(_columns(tree)), tree)


@dataclass
class _Sum:
    """A linear expression while it is read."""

    terms: dict[str, float] = field(default_factory=dict)
    constant: float = 0.0
    dates: tuple[tuple[float, str], ...] = ()

    def plus(self, other: _Sum, sign: float) -> _Sum:
        terms = dict(self.terms)
        for name, factor in other.terms.items():
            terms[name] = terms.get(name, 0.0) + sign * factor
        dates = (*self.dates, *((sign * factor, day) for factor, day in other.dates))
        return _Sum(terms, self.constant + sign * other.constant, dates)

    def times(self, factor: float) -> _Sum:
        return _Sum().plus(self, factor)

    @property
    def is_number(self) -> bool:
        return not self.terms and not self.dates

    @property
    def column(self) -> str | None:
        """The one column that this is, alone and once."""
        name = next(iter(self.terms), None)
        alone = len(self.terms) == 1 and not self.dates and self.constant == 0.0
        return name if alone and name is not None and self.terms[name] == 1.0 else None


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0

    def peek(self) -> tuple[str, str]:
        return self.token(self.at)

    def token(self, at: int) -> tuple[str, str]:
        return self.tokens[at] if at < len(self.tokens) else ("end", "")

    def take(self, *expected: str) -> str:
        kind, value = self.peek()
        if expected and (value not in expected or kind in ("text", "column")):
            raise ValueError(f"a rule expects {' or '.join(expected)} as word {self.at + 1}")
        self.at += 1
        return value

    def mark(self, *signs: str) -> bool:
        kind, value = self.peek()
        return kind == "mark" and value in signs

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
        if self.peek() == ("word", "not"):
            self.take()
            self.deeper()
            node = self.atom()
            self.depth -= 1
            return ("not", node)
        if self.mark("(") and not self.is_sum():
            self.take()
            self.deeper()
            node = self.rule()
            self.take(")")
            self.depth -= 1
            return node
        start = self.at
        left = self.sum()
        if self.peek()[0] == "op":
            return self.comparisons(left)
        if left.column is None or self.at != start + 1:
            raise ValueError(f"a rule expects a comparison as word {self.at + 1}")
        return self.condition(left.column)

    def is_sum(self) -> bool:
        """Return whether the bracket that opens here holds a sum: what follows its end goes on with one."""
        depth, at = 0, self.at
        while at < len(self.tokens):
            kind, value = self.tokens[at]
            if kind == "mark":
                depth += (value == "(") - (value == ")")
            if depth == 0:
                break
            at += 1
        kind, value = self.token(at + 1)
        return kind == "op" or (kind == "mark" and value in "+-*/")

    def sum(self) -> _Sum:
        out = self.part()
        while self.mark("+", "-"):
            sign = 1.0 if self.take() == "+" else -1.0
            out = out.plus(self.part(), sign)
        return out

    def part(self) -> _Sum:
        out = self.factor()
        while self.mark("*", "/"):
            times, place = self.take() == "*", self.at + 1
            other = self.factor()
            if times and out.is_number:
                out, other = other, out
            if not other.is_number:
                raise ValueError(
                    f"a rule multiplies and divides by numbers only, got a column as word {place}"
                )
            if not times and other.constant == 0.0:
                raise ValueError(f"a rule divides by zero as word {place}")
            out = out.times(other.constant if times else 1.0 / other.constant)
        return out

    def factor(self) -> _Sum:
        kind, value = self.peek()
        if kind == "mark" and value in "(-":
            self.take()
            self.deeper()
            out = self.sum() if value == "(" else self.factor().times(-1.0)
            if value == "(":
                self.take(")")
            self.depth -= 1
            return out
        what = (
            "a column or a number" if self.at and self.token(self.at - 1)[0] in ("op", "mark") else "a column"
        )
        if kind not in ("word", "column", "number", "date") or (kind == "word" and value in _WORDS):
            raise ValueError(f"a rule expects {what} as word {self.at + 1}")
        self.take()
        if kind == "number":
            return _Sum(constant=float(value))
        if kind == "date":
            return _Sum(dates=((1.0, value),))
        return _Sum({value: 1.0})

    def comparisons(self, left: _Sum) -> Node:
        """Read one comparison, or a chain such as ``a <= b < c``: all of it holds."""
        node: Node | None = None
        while self.peek()[0] == "op":
            operator = self.take()
            operator = "==" if operator == "=" else operator
            kind, value = self.peek()
            if kind == "text" or self.is_word(operator, left):
                self.take()
                one: Node = _with_text(operator, left, value if kind == "text" else Word(value), self.at)
                right = None
            else:
                right = self.sum()
                one = _compared(operator, left, right)
            node = one if node is None else ("and", node, one)
            if right is None:
                break
            left = right
        if node is None:
            raise ValueError(f"a rule expects a comparison as word {self.at + 1}")
        return node

    def is_word(self, operator: str, left: _Sum) -> bool:
        """Return whether a bare word after == or != stands alone, so that it may be a category."""
        kind, value = self.peek()
        if kind != "word" or value in _WORDS or operator in _ORDERS or left.column is None:
            return False
        kind, value = self.token(self.at + 1)
        return not (kind == "mark" and value in "+-*/")

    def condition(self, column: str) -> Node:
        kind, value = self.peek()
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
        sign = 1.0
        if self.mark("-"):
            self.take()
            sign = -1.0
        kind, value = self.peek()
        if kind not in ("text", "number", "word", "date") or (sign < 0 and kind != "number"):
            raise ValueError(f"a rule expects a value as word {self.at + 1}")
        self.take()
        return sign * float(value) if kind == "number" else _literal(value, quoted=kind == "text")


def _literal(value: str, *, quoted: bool) -> str | bool:
    if not quoted and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value


def _with_text(operator: str, left: _Sum, value: str, place: int) -> Node:
    """Return the comparison of a column with a quoted text or a bare word."""
    if operator in _ORDERS or left.column is None:
        if _DATE.fullmatch(value) and not isinstance(value, Word):
            return _compared(operator, left, _Sum(dates=((1.0, value),)))
        raise ValueError(f"a rule expects a column or a number as word {place}")
    if isinstance(value, Word):
        literal = _literal(value, quoted=False)
        return ("compare", operator, left.column, literal if isinstance(literal, bool) else value)
    return ("compare", operator, left.column, value)


def _compared(operator: str, left: _Sum, right: _Sum) -> Node:
    """Return the comparison of two sums; of a column and a number in the form that has always been."""
    if right.column is not None and left.is_number:
        left, right, operator = right, left, flipped(operator)
    if left.column is not None and right.is_number:
        return ("compare", operator, left.column, right.constant)
    moved = left.plus(right, -1.0)
    terms = tuple((name, factor) for name, factor in moved.terms.items() if factor != 0.0)
    if not terms:
        raise ValueError("a rule compares a column with itself, or no column at all")
    alone = [name for name in (left.column, right.column) if name is not None]
    result = next(
        (name for name in (*alone, *(n for n, f in terms if abs(f) == 1.0)) if name in dict(terms)), None
    )
    return ("linear", Linear(operator, terms, -moved.constant, moved.dates, result or terms[0][0]))


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
        if kind in ("text", "column"):
            value = value[1:-1].replace(2 * value[0], value[0])
        found.append((kind, value))
        position = match.end()
        if len(found) > _MAX_WORDS:
            raise ValueError(f"a rule has at most {_MAX_WORDS} words; write two rules")
    return found


def _columns(node: Node) -> Iterator[str]:
    """Yield the columns of every atom."""
    if node[0] in ("not", "and", "or"):
        for child in node[1:]:
            yield from _columns(child)
    elif node[0] == "linear":
        yield from (name for name, _ in node[1].terms)
    elif node[0] == "same":
        yield from node[2:]
    else:
        yield node[2] if node[0] == "compare" else node[1]


def _bind(node: Node, domains: Mapping[str, Domain]) -> Node:
    kind = node[0]
    if kind in ("not", "and", "or"):
        return (kind, *(_bind(child, domains) for child in node[1:]))
    if kind == "linear":
        return _bind_linear(node[1], domains)
    column = node[2] if kind == "compare" else node[1]
    domain = domains.get(column)
    if domain is None or kind == "missing":
        return node
    if kind == "true":
        if domain.labels != (False, True):
            raise ValueError(f"a rule takes {column!r} for yes or no, but it is not boolean")
        return node
    if kind == "in":
        return _bind_in(column, node[2], domain, domains)
    return _bind_compare(node, domain, domains)


def _bind_in(column: str, values: tuple[Any, ...], domain: Domain, domains: Mapping[str, Domain]) -> Node:
    if domain.labels is not None:
        _require_labels(column, values, domain.labels)
        return ("in", column, values)
    out: Node | None = None
    for value in values:
        one = _bind_compare(("compare", "==", column, value), domain, {**domains, column: domain})
        out = one if out is None else ("or", out, one)
    return out or ("in", column, values)


def _bind_compare(node: Node, domain: Domain, domains: Mapping[str, Domain]) -> Node:
    _, operator, column, value = node
    other = domains.get(value) if isinstance(value, Word) else None
    labels = domain.labels
    if labels is None:
        if isinstance(value, float):
            return ("linear", Linear(operator, ((column, 1.0),), value, (), column))
        if isinstance(value, str) and domain.origin is not None and _DATE.fullmatch(value):
            return _bind_linear(Linear(operator, ((column, 1.0),), 0.0, ((-1.0, value),), column), domains)
        if other is None:
            raise ValueError(f"a rule compares the number {column!r} with a value that is not a number")
        return _bind_linear(Linear(operator, ((column, 1.0), (str(value), -1.0)), 0.0, (), column), domains)
    if operator in _ORDERS:
        if not _has_order(domain):
            raise ValueError(f"a rule asks for the order of {column!r}, which is not a number")
        return node
    if other is not None and text_of(value) not in {text_of(label) for label in labels}:
        return _bind_linear(Linear(operator, ((column, 1.0), (str(value), -1.0)), 0.0, (), column), domains)
    _require_labels(column, (value,), labels)
    return node


def _require_labels(column: str, values: tuple[Any, ...], labels: tuple[Any, ...]) -> None:
    if not {text_of(value) for value in values} <= {text_of(label) for label in labels}:
        raise ValueError(f"a rule compares {column!r} with a value that is not one of its categories")


def _has_order(domain: Domain) -> bool:
    return domain.labels is None or any(type(label) is int for label in domain.labels)


def _bind_linear(linear: Linear, domains: Mapping[str, Domain]) -> Node:
    """Return a comparison of sums in the units of the canonical columns: days from each date's own origin."""
    names = [name for name, _ in linear.terms]
    known = [name for name in names if name in domains]
    if len(names) == len(known) == 2 and linear.operator in ("==", "!=") and not linear.dates:
        plain = sorted(factor for _, factor in linear.terms) == [-1.0, 1.0] and linear.constant == 0.0
        if plain and all(domains[name].labels is not None for name in names):
            return ("same", linear.operator, *names)
    for name in known:
        if not _has_order(domains[name]):
            what = "asks for the order of" if linear.operator in _ORDERS else "calculates with"
            raise ValueError(f"a rule {what} {name!r}, which is not a number")
    terms: dict[str, float] = {}
    constant, calendar = linear.constant, 0.0
    for factor, day in linear.dates:
        constant -= factor * _days(day)
        calendar += factor
    for name, factor in linear.terms:
        base = domains[name].since if name in domains else None
        for part in (name,) if base is None else (name, base):
            terms[part] = terms.get(part, 0.0) + factor
            if part in domains and domains[part].origin is not None:
                calendar += factor
                constant -= factor * (domains[part].origin or 0.0)
    if calendar != 0.0:
        raise ValueError("a rule mixes dates and numbers: compare a date with a date, or subtract two dates")
    kept = tuple((name, factor) for name, factor in terms.items() if factor != 0.0)
    if not kept:
        raise ValueError("a rule compares a column with itself, or no column at all")
    steps = [domains[name].step for name, _ in kept if name in domains and domains[name].step > 0]
    result = linear.result if linear.result in dict(kept) else kept[0][0]
    slack = domains[result].step / 2.0 if result in domains else 0.0
    return ("linear", Linear(linear.operator, kept, constant, (), result, slack, min(steps, default=np.inf)))


def _days(text: str) -> float:
    try:
        moment = datetime.datetime.fromisoformat(text) - datetime.datetime(1970, 1, 1)
        return moment / datetime.timedelta(days=1)
    except ValueError:
        raise ValueError("a rule names a date that is not in the calendar") from None
