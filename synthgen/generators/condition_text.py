"""Conditions as text: ``column=value``, read by the schema's own columns and categories.

* ``sex=F`` one category, ``race=A|B`` one of several, ``age=65..80`` an interval (``65..`` and ``..80`` have
  one end), ``weight=`` or a missing token: missing.
* The whole text after ``=`` is tried as a category first, so ``grade=A|B`` is the category ``A|B`` where the
  schema has it.
* A name or a value in double quotes is taken as it stands, with ``""`` for a quote inside:
  ``"col name"="A|B"``, ``race="A|B"|C``. Quoting wins, so every name and every category can be written.
* A text that fits several columns (``a=b=c`` with columns ``a`` and ``a=b``) is refused with its readings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synthgen.errors import ConfigError
from synthgen.generators.conditions import known_label
from synthgen.schema.schema import Column, Schema

WHERE = "--where"
_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")


def parse_where(where: str | Sequence[str], schema: Schema) -> dict[str, Any]:
    """Return conditions by column from their texts, as `generators.conditions` takes them.

    Args:
        where: one text, or several for different columns.
        schema: the table's public description.

    Raises:
        ConfigError: a text is no condition, names no column or no value of it, has several readings, or two
            texts name the same column.

    Example:
        >>> from synthgen.schema.schema import Field, Unit
        >>> field = Field(name="tumour grade", type="string", constraints={"enum": ("A", "A|B")})
        >>> parse_where('tumour grade=A|B', Schema(unit=Unit(level="row"), fields=(field,)))
        {'tumour grade': ['A|B']}
    """
    out: dict[str, Any] = {}
    for text in [where] if isinstance(where, str) else where:
        name, value = _parse(text, schema)
        if name in out:
            raise ConfigError(
                f"Expected one condition for each column, got two for {name!r}.",
                where=WHERE,
                next_step="Write alternatives as column=A|B.",
            )
        out[name] = value
    return out


def column_named(text: str, schema: Schema) -> str:
    """Return the name of a column that may stand in double quotes.

    Raises:
        ConfigError: there is no such column.
    """
    names = {column.name for column in schema.columns}
    quoted = _quoted(text.strip())
    if quoted is not None and quoted[1] == "" and quoted[0] in names:
        return quoted[0]
    return text if text in names else schema.column(text.strip()).name


def quote(text: str) -> str:
    """Return a name or a value so that a condition takes it as it stands.

    Example:
        >>> quote('a "b"|c')
        '"a ""b""|c"'
    """
    return '"' + text.replace('"', '""') + '"'


@dataclass(frozen=True)
class _Reading:
    """One way to read a condition: its column, and the text of its value."""

    column: Column
    value: str


def _parse(text: str, schema: Schema) -> tuple[str, Any]:
    readings = _readings(text, schema)
    if not readings:
        raise _no_column(text, schema)
    values: list[tuple[str, Any]] = []
    problems: list[ConfigError] = []
    for reading in readings:
        try:
            values.append((reading.column.name, _value(reading.column, reading.value, schema)))
        except ConfigError as error:
            problems.append(error)
    if not values:
        raise problems[0]
    if len(values) > 1:
        shown = " or ".join(f"{quote(r.column.name)}={r.value}" for r in readings)
        raise ConfigError(
            f"Expected a condition with one reading, got one that means {shown}.",
            where=WHERE,
            next_step="Write the column in double quotes, as shown.",
        )
    return values[0]


def _open_quote(text: str) -> ConfigError | None:
    """Return that a double quote is not closed, if it is not: quotes inside quotes are written twice."""
    if text.count('"') % 2 == 0:
        return None
    return ConfigError(
        "Expected each double quote closed, got one that is open.",
        where=WHERE,
        next_step='Write "col name"="A|B", a quote inside twice, and single quotes around the whole for '
        "the shell.",
    )


def _readings(text: str, schema: Schema) -> list[_Reading]:
    """Return the ways to part a text into a known column and a value; a quoted name leaves one."""
    columns = {column.name: column for column in schema.columns}
    quoted = _quoted(text.lstrip())
    if quoted is not None and quoted[0] in columns and quoted[1].lstrip().startswith("="):
        return [_Reading(columns[quoted[0]], quoted[1].lstrip()[1:])]
    found: dict[str, _Reading] = {}
    for place in (i for i, sign in enumerate(text) if sign == "="):
        left = text[:place]
        name = left if left in columns else left.strip()
        if name in columns:
            found.setdefault(name, _Reading(columns[name], text[place + 1 :]))
    return list(found.values())


def _no_column(text: str, schema: Schema) -> ConfigError:
    names = [column.name for column in schema.columns]
    if lacking := _open_quote(text):
        return lacking
    if "=" not in text:
        return ConfigError(
            "Expected a condition such as sex=F.", where=WHERE, next_step="Write column=value."
        )
    return ConfigError(
        f"Expected a condition on one of {names[:20]}, got {text.partition('=')[0].strip()!r}.",
        where=WHERE,
        next_step='Name a modelled column; "col name"="A|B" quotes a name and a value.',
    )


def _quoted(text: str) -> tuple[str, str] | None:
    """Return the content of the quotes that a text begins with, and what follows; None without quotes."""
    if not text.startswith('"'):
        return None
    at = 1
    while (end := text.find('"', at)) >= 0:
        if text[end : end + 2] != '""':
            return text[1:end].replace('""', '"'), text[end + 1 :]
        at = end + 2
    return None


def _value(column: Column, text: str, schema: Schema) -> Any:
    """Return a condition's value: a list of categories, an interval, or None for a missing one.

    Raises:
        ConfigError: the text is no value of the column.
    """
    quoted = _quoted(text.strip())
    alone = quoted[0] if quoted is not None and not quoted[1].strip() else None
    missing = alone is None and (not text.strip() or text.strip() in schema.tokens(column.field))
    if not column.labels:
        return None if missing else _interval(column, text, alone)
    whole = [alone] if alone is not None else []
    for one in (*whole, text, text.strip()):
        if known_label(column, one) is not None:
            return [one]
    if missing:
        return None
    parts = _parts(text)
    if len(parts) > 1 and all(known_label(column, part) is not None for part in parts):
        return parts
    between = _whole_numbers(column, text) if alone is None else []
    if between:
        return between
    labels = [str(label) for label in column.labels]
    raise _open_quote(text) or ConfigError(
        f"Column {column.name!r}: expected a category, or several with | between them, got another text.",
        where=WHERE,
        next_step=f'Choose from {labels[:20]}; "A|B" in double quotes is one category.',
    )


def _parts(text: str) -> list[str]:
    """Return the alternatives of a value: parted by | outside quotes, each quoted or plain."""
    out, rest = [], text
    while True:
        quoted = _quoted(rest.lstrip())
        if quoted is not None and (not quoted[1].strip() or quoted[1].lstrip().startswith("|")):
            part, rest = quoted[0], quoted[1].lstrip()
            bar, rest = rest[:1], rest[1:]
        else:
            part, bar, rest = rest.partition("|")
            part = part.strip()
        out.append(part)
        if not bar:
            return out


def _whole_numbers(column: Column, text: str) -> list[str]:
    """Return the categories that are whole numbers between two ends."""
    low, dots, high = (part.strip() for part in text.partition(".."))
    try:
        ends = (float(low) if low else -float("inf"), float(high) if high else float("inf"))
    except ValueError:
        return []
    numbers = [label for label in column.labels if type(label) is int and ends[0] <= label <= ends[1]]
    return [str(label) for label in numbers] if dots else []


def _interval(column: Column, text: str, quoted: str | None) -> tuple[Any, Any]:
    """Return both ends of a number's or a date's condition; an end that is left out is the public bound."""
    if quoted is None and "|" in text:
        raise ConfigError(
            f"Column {column.name!r}: expected one value or one interval such as 65..80, got alternatives.",
            where=WHERE,
            next_step="Draw each alternative by a call of its own.",
        )
    if quoted is None and (lacking := _open_quote(text)):
        raise lacking
    value = text.strip() if quoted is None else quoted.strip()
    low, dots, high = (part.strip() for part in value.partition(".."))
    if column.field.type in ("number", "integer") and any(_COMMA.fullmatch(part) for part in (low, high)):
        raise ConfigError(
            f"Column {column.name!r}: expected numbers with a decimal point, got a comma.",
            where=WHERE,
            next_step="Write conditions with a point, whatever the table has: "
            f"{column.name}={value.replace(',', '.')}",
        )
    if not dots:
        return value, value
    return low or column.minimum, high or column.maximum


def resolved(where: Mapping[str, Any] | str | Sequence[str] | None, schema: Schema) -> dict[str, Any]:
    """Return conditions by column, from texts or as they are."""
    if where is None:
        return {}
    return dict(where) if isinstance(where, Mapping) else parse_where(where, schema)
