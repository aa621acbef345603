"""Read a YAML 1.2 file into strict settings, with errors that name path, key and line.

YAML 1.1 readers take ``1e-6`` for text and ``no`` for false; ruamel.yaml reads 1.2. What is left
of YAML's guessing (``007`` is 7, ``1_000`` is 1000) meets strict types and becomes an error that
says "quote it". Messages never repeat a value: a database password may stand in it.
"""

from __future__ import annotations

import datetime
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synthgen._yaml_errors import Location, broken, explain, line_of
from synthgen.errors import ConfigError

__all__ = ["Location", "line_of", "parse", "plain", "read"]

T = TypeVar("T", bound=BaseModel)
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
    text = _text(path)
    _refuse_depth(text, path)
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem, step = broken(f"{error.context} {error.problem}")
        raise ConfigError(
            f"Expected YAML 1.2, but {problem}.", where=f"{path}{line}", next_step=step
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "position", None)
        line = f":{text.count(chr(10), 0, place) + 1}" if isinstance(place, int) else ""
        problem = "Expected YAML 1.2, but a character stands here that no text file has."
        step = "Take it out, or save the file anew as text."
        raise ConfigError(problem, where=f"{path}{line}", next_step=step) from None


def _refuse_depth(text: str, path: Path) -> None:
    """Refuse brackets in brackets that no config needs, before the parser spends minutes on them."""
    deep = re.search(r"(?:[\[{]\s*){50}", text)
    if deep:
        line = text.count("\n", 0, deep.start()) + 1
        problem = "Expected YAML 1.2, but brackets are nested too deep."
        step = "Check for a bracket that is not closed."
        raise ConfigError(problem, where=f"{path}:{line}", next_step=step)


def _text(path: Path) -> str:
    """Return the file's text."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(
            "Expected a file, found none.", where=str(path), next_step="Check the path."
        ) from None
    except IsADirectoryError:
        raise ConfigError(
            "Expected a file, got a folder.", where=str(path), next_step="Check the path."
        ) from None
    except (OSError, ValueError):
        step = "Check the path and its rights."
        raise ConfigError("Expected a readable file, got none.", where=str(path), next_step=step) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            "Expected UTF-8 text, got bytes that are none.",
            where=f"{path}:{line}",
            next_step="Save the file as UTF-8.",
        ) from None


def plain(node: Any) -> Any:
    """Return the parsed document as plain JSON values; dates become ISO text.

    Raises:
        ValueError: aliases make the document endless, or larger than `MAX_NODES`; or it holds a tag.
    """
    try:
        return _plain(node, itertools.count(1))
    except RecursionError:
        raise ValueError("a short document, but it is nested too deep. Remove YAML aliases.") from None


def _plain(node: Any, count: Iterator[int]) -> Any:
    if next(count) > MAX_NODES:
        raise ValueError("a short document, but it is too large. Remove YAML aliases.")
    if _is_tagged(node):
        raise ValueError("plain values, but one has a tag. Remove what begins with an exclamation mark.")
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


def _is_tagged(node: Any) -> bool:
    tag = str(getattr(getattr(node, "tag", None), "value", None) or "")
    return tag.startswith("!") or "python" in tag


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
        message, _, step = str(error).partition(". ")
        raise ConfigError(f"Expected {message}.", where=str(path), next_step=step) from None
    if not isinstance(content, dict):
        kind = {list: "a list", type(None): "an empty document"}.get(type(content), "a single value")
        raise ConfigError(
            f"Expected a mapping of keys to values, got {kind}.",
            where=str(path),
            next_step="Check that this is the right file, and that keys end with a colon.",
        )
    try:
        return model.model_validate_json(json.dumps(content))
    except ValidationError as error:
        raise explain(error, model, document, path=path, at=at) from None
