"""Turn REDCap's branching logic into hard rules, where the two languages agree.

A field that is shown only if a condition holds has no value where it does not: the rule is
``field is missing or condition``, and ``not box or condition`` for a box of a checkbox, which exports
0 when it is hidden. REDCap takes an empty field for an empty text, a rule for unknown; and and or keep
what is known to be false, so a rule is never stricter than the logic it comes from. Functions, smart
variables, other events and dates stay with a person.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from synthgen.schema.fields import Field, labels_of
from synthgen.schema.rules import parse_rule

_TOKEN = re.compile(
    r"""\s*(?:(?P<box>\[(?P<of>\w+)\((?P<code>[^()\[\]]+)\)\])|\[(?P<field>\w+)\]
    |(?P<op><>|!=|<=|>=|=|<|>)|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<number>-?\d+(?:\.\d+)?)(?![\w.])
    |(?P<word>and|or)\b|(?P<mark>[()]))""",
    re.VERBOSE | re.IGNORECASE,
)
_ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_RESERVED = {"implies", "and", "or", "not", "in", "is", "missing"}
_MAX_DEPTH = 15


class UntranslatableError(Exception):
    """The logic says something that a rule cannot."""


def rule_of(
    name: str, logic: str, fields: Mapping[str, Field], *, box: bool, beside: AbstractSet[str]
) -> str:
    """Return the rule that a field's branching logic amounts to.

    Args:
        name: the column that is shown only if the logic holds.
        logic: as REDCap writes it.
        fields: the modelled fields by name, with their domains as far as they are known.
        box: the column is a box of a checkbox.
        beside: columns that are filled in the same row. Of the others nothing may follow from an empty cell
            or a box that is not ticked.

    Raises:
        UntranslatableError: says why, in words that name no more than columns.
    """
    condition = _Parser(logic, fields, beside).condition()
    rule = f"not {_quoted(name)} or {condition}" if box else f"{_quoted(name)} is missing or {condition}"
    try:
        problem = parse_rule(rule).problem({key: labels_of(field) for key, field in fields.items()})
    except ValueError as error:
        raise UntranslatableError(str(error)) from None
    if problem:
        raise UntranslatableError(problem)
    return rule


def box_name(name: str, code: str) -> str:
    """Return the export's column of one box: a dash and a point become ``_``, other signs go.

    Example:
        >>> box_name("side", "-1"), box_name("side", "Left B")
        ('side____1', 'side___leftb')
    """
    return f"{name}___{re.sub('[^a-z0-9_]', '', re.sub('[-.]', '_', code.lower()))}"


class _Parser:
    def __init__(self, logic: str, fields: Mapping[str, Field], beside: AbstractSet[str]) -> None:
        self.fields = fields
        self.beside = beside
        self.tokens: list[tuple[str, str]] = []
        self.at = 0
        self.depth = 0
        position, logic = 0, logic.rstrip()
        while position < len(logic):
            match = _TOKEN.match(logic, position)
            if match is None:
                raise UntranslatableError("it uses a function or a smart variable")
            position = match.end()
            self.tokens.append(_token(match))

    def condition(self) -> str:
        text = self.chain("or")
        if self.at < len(self.tokens):
            raise UntranslatableError("it does not end where a condition ends; another event may be named")
        return text

    def chain(self, word: str) -> str:
        def inner() -> str:
            return self.chain("and") if word == "or" else self.atom()

        parts = [inner()]
        while self.peek() == ("word", word):
            self.take()
            parts.append(inner())
        return f" {word} ".join(parts)

    def atom(self) -> str:
        if self.peek() == ("mark", "("):
            self.take()
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise UntranslatableError("it nests too deep")
            inner = self.chain("or")
            if self.take() != ("mark", ")"):
                raise UntranslatableError("a bracket is not closed")
            self.depth -= 1
            return f"({inner})"
        kind, column = self.take()
        (sign_kind, sign), (value_kind, value) = self.take(), self.take()
        if kind != "column" or sign_kind != "op" or value_kind != "value":
            raise UntranslatableError("it does not compare a field with a value")
        if column not in self.fields:
            raise UntranslatableError(f"{column!r} is not modelled")
        if column not in self.beside and (value == "" or "___" in column):
            raise UntranslatableError(f"{column!r} may be empty in this row and filled in another")
        return _comparison(column, "!=" if sign == "<>" else sign, value, self.fields[column])

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1] if self.at <= len(self.tokens) else ("end", "")


def _token(match: re.Match[str]) -> tuple[str, str]:
    if match["box"]:
        return "column", box_name(match["of"], match["code"].strip())
    if match["field"]:
        return "column", match["field"]
    for kind in ("op", "mark", "word"):
        if match[kind]:
            return kind, match[kind].lower()
    return "value", next(match[kind] for kind in ("single", "double", "number") if match[kind] is not None)


def _comparison(column: str, sign: str, value: str, field: Field) -> str:
    """Return one comparison as an atom of a rule."""
    name = _quoted(column)
    if sign in ("=", "!=") and value == "":
        return f"{name} is missing" if sign == "=" else f"not {name} is missing"
    if field.type == "boolean":
        if sign not in ("=", "!=") or value not in ("0", "1"):
            raise UntranslatableError(f"{column!r} is yes or no")
        return name if (value == "1") == (sign == "=") else f"not {name}"
    if field.constraints.enum is not None:
        codes = [str(code) for code in field.constraints.enum]
        if sign in _ORDERS:
            codes = [code for code in codes if _holds(code, sign, value)]
            if not codes:
                raise UntranslatableError(f"no choice of {column!r} is so")
            return f"{name} in [{', '.join(map(_text, codes))}]"
        return f"{name} {'==' if sign == '=' else sign} {_text(value)}"
    if field.type in ("integer", "number") and re.fullmatch(r"-?\d+(\.\d+)?", value):
        return f"{name} {'==' if sign == '=' else sign} {value}"
    raise UntranslatableError(f"{column!r} is compared with a text or a date")


def _holds(code: str, sign: str, value: str) -> bool:
    try:
        return bool(_ORDERS[sign](float(code), float(value)))
    except ValueError:
        raise UntranslatableError("it asks for the order of codes that are no numbers") from None


def _text(value: str) -> str:
    if '"' in value:
        raise UntranslatableError("a code holds a quote")
    return f'"{value}"'


def _quoted(name: str) -> str:
    return f"`{name}`" if name in _RESERVED else name
