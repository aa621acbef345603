"""Read a YAML 1.2 file into strict settings, with errors that name path, key and line.

YAML 1.1 readers take ``1e-6`` for text and ``no`` for false; ruamel.yaml reads 1.2. What is left
of YAML's guessing (``007`` is 7, ``1_000`` is 1000) meets strict types and becomes an error that
says "quote it". Messages never repeat a value: a database password may stand in it.
"""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synthgen.errors import ConfigError

T = TypeVar("T", bound=BaseModel)
Location = tuple[int | str, ...]
MAX_NODES = 200_000


def read(path: Path) -> Any:
    """Parse a YAML 1.2 file and keep the line of every key.

    Raises:
        ConfigError: the file is missing, is not UTF-8 text, or is not YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        return yaml.load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ConfigError(
            "Expected a file, found none.", where=str(path), next_step="Check the path."
        ) from error
    except (OSError, UnicodeDecodeError):
        raise ConfigError("Expected a readable UTF-8 text file.", where=str(path)) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = "a key appears twice" if "duplicate" in str(error.problem) else "the text is not YAML here"
        raise ConfigError(f"Expected YAML 1.2, but {problem}.", where=f"{path}{line}") from None
    except (YAMLError, ValueError, RecursionError):
        raise ConfigError("Expected YAML 1.2.", where=str(path)) from None


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


def plain(node: Any) -> Any:
    """Return the parsed document as plain JSON values; dates become ISO text.

    Raises:
        ValueError: aliases make the document endless, or larger than `MAX_NODES`.
    """
    try:
        return _plain(node, itertools.count(1))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _plain(node: Any, count: Iterator[int]) -> Any:
    if next(count) > MAX_NODES:
        raise ValueError("too large")
    if isinstance(node, dict):
        return {str(key): _plain(value, count) for key, value in node.items()}
    if isinstance(node, (list, tuple, set)):
        return [_plain(value, count) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, (datetime.date, datetime.datetime)):
        return node.isoformat()
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node)
    return str(node)


def parse(model: type[T], document: Any, *, path: Path, at: Location = ()) -> T:
    """Validate a parsed document against a settings class.

    Args:
        model: the settings class.
        document: what `read` returned, or a part of it.
        path: the file, for messages.
        at: where ``document`` sits in the file, for messages.

    Raises:
        ConfigError: with path, line and key of the first problem, and the keys that exist.
    """
    try:
        content = plain(document)
    except ValueError as error:
        raise ConfigError(
            f"Expected a short document, but it is {error}.",
            where=str(path),
            next_step="Remove YAML aliases.",
        ) from None
    if not isinstance(content, dict):
        raise ConfigError("Expected a mapping of keys to values.", where=str(path))
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise _explain(error, model, document, path=path, at=at) from None


def _explain(
    error: ValidationError, model: type[BaseModel], document: Any, *, path: Path, at: Location
) -> ConfigError:
    problems = error.errors(include_input=False, include_url=False)
    first = problems[0]
    location = _inside(document, tuple(first["loc"]))
    line = line_of(document, location)
    key = ".".join((*map(str, at), *_named(document, location))) or "(top)"
    message = f"{key}: {_in_words(first['type'], first['msg'])}"
    if first["type"] == "extra_forbidden":
        message = f"{key}: this key does not exist; expected one of {_known_keys(model, location[:-1])}."
    others = {_inside(document, tuple(problem["loc"])) for problem in problems} - {location}
    more = f" ({len(others)} more in this file)" if others else ""
    return ConfigError(
        message + more,
        where=f"{path}:{line}" if line else str(path),
        next_step="Correct the file and run again.",
    )


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
    if kind == "string_type":
        return "expected text, got another type; quote it."
    if kind == "missing":
        return "expected this key, found none."
    return message.removeprefix("Value error, ").rstrip(".") + "."


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
