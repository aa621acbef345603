"""Say what is wrong with a YAML file: key, line, expected, got; never a value of the file."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from synthgen.errors import ConfigError

Location = tuple[int | str, ...]
_KEY_FIRST = re.compile(r"([A-Za-z]\w*(?:\.\w+)+): (.*)", re.DOTALL)
_TYPES = {
    "a valid array": "a list",
    "an object": "a mapping of keys to values",
    "a valid dictionary": "a mapping of keys to values",
    "a valid number": "a number, with a point and without quotes",
    "a valid integer": "a whole number without quotes",
    "a valid boolean": "true or false",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "a number above",
    "less than": "a number below",
}
_BROKEN = {
    "duplicate": ("a key appears twice", "Remove one of the two."),
    "single document": ("a second document begins here", "Keep one document; remove the line of dashes."),
    "undefined alias": (
        "an alias stands here without its anchor",
        "Quote a text that begins with an asterisk.",
    ),
    "cannot start any token": (
        "a sign stands here that begins no value",
        "Quote the text; indent with blanks, not tabs.",
    ),
}


def line_of(document: Any, location: Location) -> int | None:
    """Return the 1-based line of a key, or of its nearest known parent."""
    line: int | None = None
    node = document
    for key in location:
        marks = getattr(node, "lc", None)
        data = getattr(marks, "data", None)
        if marks is None or not isinstance(data, dict) or key not in data:
            break
        line = data[key][0] + 1
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            break
    return line


def explain(
    error: ValidationError, model: type[BaseModel], document: Any, *, path: Path, at: Location
) -> ConfigError:
    """Return the first problem with its key and line, in words that hold nothing of the file's values."""
    problems = error.errors(include_input=False, include_url=False)
    first = _telling(problems)
    words = _in_words(first["type"], first["msg"])
    location = _inside(document, tuple(first["loc"]))
    others = {_inside(document, tuple(problem["loc"])) for problem in problems} - {location}
    named = _KEY_FIRST.fullmatch(words)
    if named:  # a check of the whole document says itself which key it is about
        keys = [int(key) if key.isdigit() else key for key in named[1].split(".")]
        location, words = _inside(document, (*location, *keys)), named[2]
    line = line_of(document, location)
    key = ".".join((*map(str, at), *_named(document, location)))
    message = f"{key}: {words}" if key else words
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        like = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = f" Was {like[0]!r} meant?" if like else ""
        message = f"{key}: this key does not exist; expected one of {known}.{meant}"
    more = f" ({len(others)} more in this file)" if others else ""
    return ConfigError(
        message + more,
        where=f"{path}:{line}" if line else str(path),
        next_step="Correct the file and run again.",
    )


def _telling(problems: Sequence[Any]) -> Any:
    """Return the problem to name: the first, or the unknown key beside it if that one only misses a key.

    A misspelt key is two problems, and only the unknown key tells where to look.
    """
    first = problems[0]
    if first["type"] != "missing":
        return first
    beside = (p for p in problems if p["type"] == "extra_forbidden" and p["loc"][:-1] == first["loc"][:-1])
    return next(beside, first)


def _inside(document: Any, location: Location) -> Location:
    """Return the part of a location that lies in the document: pydantic appends the types it tried."""
    node = document
    for depth, key in enumerate(location):
        if not isinstance(node, dict) and not (isinstance(node, list) and isinstance(key, int)):
            return location[:depth]
        node = _child(node, key)
        if node is None:
            return location[: depth + 1]
    return location


def _child(node: Any, key: int | str) -> Any:
    try:
        return node[key]
    except (KeyError, IndexError, TypeError):
        return None


def _named(document: Any, location: Location) -> list[str]:
    """Return a location as words; an item of a list also by its name, such as ``fields 3 (age)``."""
    words: list[str] = []
    node = document
    for key in location:
        node = _child(node, key)
        name = node.get("name") if isinstance(node, dict) and isinstance(key, int) else None
        words.append(f"{key} ({name})" if isinstance(name, str) else str(key))
    return words


def _in_words(kind: str, message: str) -> str:
    """Return what pydantic says in this project's words: expected this, got another."""
    if kind == "string_type":
        return "expected text, got another type; quote it."
    if kind == "missing":
        return "expected this key, found none."
    if kind == "value_error":
        return message.removeprefix("Value error, ").rstrip(".") + "."
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        length = re.search(r"at (?:least|most) \d+ (?:item|character)s?", message)
        return f"expected {length[0] if length else 'another length'}, got another length."
    text = message.removeprefix("Input should be ").rstrip(".")
    for theirs, ours in _TYPES.items():
        text = text.replace(theirs, ours)
    got = "another type" if kind.endswith("_type") else "another value"
    return f"expected {text}, got {got}."


def broken(problem: str) -> tuple[str, str]:
    """Return what is wrong with a text that is not YAML, and what to do, without the text."""
    for part, found in _BROKEN.items():
        if part in problem:
            return found
    step = "Check brackets, quotes and colons in this line and the one before; indent with blanks, not tabs."
    return "the text is not YAML here", step


def _known_keys(model: type[BaseModel], parents: Location) -> list[str]:
    """Return the keys of the section that the location points into."""
    current: Any = model
    for part in parents:
        if isinstance(part, int) or not hasattr(current, "model_fields"):
            continue
        field = current.model_fields.get(part)
        if field is None:
            continue
        current = next(
            (
                kind
                for kind in _classes(field.annotation)
                if isinstance(kind, type) and issubclass(kind, BaseModel)
            ),
            current,
        )
    return sorted(field.alias or name for name, field in current.model_fields.items())


def _classes(annotation: Any) -> list[Any]:
    """Return the classes named anywhere in a type annotation."""
    arguments = getattr(annotation, "__args__", None)
    if not arguments:
        return [annotation]
    return [kind for argument in arguments for kind in _classes(argument)]
