"""Read a YAML 1.2 file into strict settings, with errors that name path, key and line.

YAML 1.1 readers take ``1e-6`` for text and ``no`` for false; ruamel.yaml reads 1.2. What is left
of YAML's guessing (``007`` is 7, ``1_000`` is 1000) meets strict types and becomes an error that
says "quote it". Messages never repeat a value: a database password may stand in it.
"""

from __future__ import annotations

import datetime
import io
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synthgen.errors import ConfigError, DataError
from synthgen.files import limits
from synthgen.files.json_file import read_bytes
from synthgen.files.yaml_errors import Location, broken, explain, line_of

__all__ = ["Location", "line_of", "parse", "plain", "read", "value"]

T = TypeVar("T", bound=BaseModel)


def read(path: Path) -> Any:
    """Parse a YAML 1.2 file and keep the line of every key.

    The text is composed into nodes first, whose depth and number are limited; values are made from them only
    then, since keys that are mappings themselves would take a time that doubles with each level.

    Raises:
        ConfigError: the file is missing, is not UTF-8 text, is not YAML, or is larger or deeper than the
            limits allow.
    """
    return _load(_text(path), str(path))


def value(text: str, *, where: str) -> Any:
    """Return a value that was written as YAML on the command line.

    Raises:
        ConfigError: it is not YAML.
    """
    limits.require("config_bytes", len(text), where=where)
    return _load(text, where)


def _load(text: str, where: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    _refuse_depth(text, where)
    yaml = YAML(typ="rt")
    yaml.allow_duplicate_keys = False
    try:
        constructor, parser = yaml.get_constructor_parser(io.StringIO(text))
        try:
            node = constructor.composer.get_single_node()
            if node is None:
                return None
            _require_plain(node, where)
            return constructor.construct_document(node)
        finally:
            parser.dispose()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem, step = broken(f"{error.context} {error.problem}")
        raise ConfigError(
            f"Expected YAML 1.2, but {problem}.", where=f"{where}{line}", next_step=step
        ) from None
    except RecursionError:
        limits.refuse("config_depth", where=where)
    except (YAMLError, *_BROKEN) as error:
        place = getattr(error, "position", None)
        line = f":{text.count(chr(10), 0, place) + 1}" if isinstance(place, int) else ""
        problem = "Expected YAML 1.2, but a character or value stands here that no text file has."
        step = "Take it out, or save the file anew as text."
        raise ConfigError(problem, where=f"{where}{line}", next_step=step) from None


_BROKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError)
"""What ruamel.yaml is known to raise on texts that are not YAML, beside its own errors."""


def _require_plain(root: Any, where: str) -> None:
    """Refuse nodes that no config needs: too many, too deep, keys that are no texts, numbers without end.

    Raises:
        ConfigError: with the line.
    """
    depth_limit, most = limits.current().config_depth, limits.current().config_values
    known: set[int] = set()
    left = [(root, 1)]
    while left:
        node, depth = left.pop()
        at = f"{where}:{node.start_mark.line + 1}"
        if depth > depth_limit:
            limits.refuse("config_depth", where=at)
        if isinstance(node.value, str):
            _require_short(node, at)
            continue
        if id(node) in known:  # an alias
            continue
        known.add(id(node))
        is_mapping = bool(node.value) and isinstance(node.value[0], tuple)
        if is_mapping and any(not isinstance(key.value, str) for key, _ in node.value):
            raise ConfigError(
                "Expected keys that are texts, got a list or a mapping as a key.",
                where=at,
                next_step="Check brackets and question marks in this line and the one before.",
            )
        parts = [part for pair in node.value for part in pair] if is_mapping else node.value
        left += [(part, depth + 1) for part in parts]
        if len(left) + len(known) > most:
            limits.refuse("config_values", where=at)


def _require_short(node: Any, at: str) -> None:
    """Refuse a number of more digits than any value has: turning it into one takes a time that squares."""
    if node.style is None and len(node.value) > DIGITS and _NUMBER.fullmatch(node.value):
        raise ConfigError(
            f"Expected numbers of at most {DIGITS} characters, got a longer one.",
            where=at,
            next_step="Shorten it, or quote it if it is a text.",
        )


DIGITS = 100
_NUMBER = re.compile(r"[-+]?[0-9][0-9a-fA-FxXoO_.:eE+-]*")


def _refuse_depth(text: str, where: str) -> None:
    """Refuse values and brackets in brackets that no config needs before a parser spends minutes on them."""
    most = limits.current().config_values
    if _about_values(text) > most:  # to compose 100,000 values takes 10 seconds
        limits.refuse("config_values", where=where)
    deep = re.search(rf"(?:[\[{{]\s*+){{{limits.current().config_depth}}}", text)
    if deep:
        line = text.count("\n", 0, deep.start()) + 1
        problem = "Expected YAML 1.2, but brackets are nested too deep."
        step = "Check for a bracket that is not closed."
        raise ConfigError(problem, where=f"{where}:{line}", next_step=step)


def _about_values(text: str) -> int:
    r"""Return about how many keys and values a YAML text has: a comma or a line's end follows each value.

    Examples:
        >>> _about_values("a: 1\nb: [1, 2, 3]\n# note\n"), _about_values('{"a":1}\n')
        (6, 2)
    """
    ends = text.count(",") + text.count("\n") - len(_NO_VALUE.findall(text))
    return ends + text.count(": ") + text.count(":\n") + text.count('":')


_NO_VALUE = re.compile(r"(?m)^[ \t]*(?:#.*)?\n")


def _text(path: Path) -> str:
    """Return the file's text."""
    try:
        content = read_bytes(path, "config_bytes")
    except FileNotFoundError:
        raise ConfigError(
            "Expected a file, found none.", where=str(path), next_step="Check the path."
        ) from None
    except DataError as error:  # a folder, a pipe or a device: of a config that is the command's fault
        raise ConfigError(error.message, where=error.where, next_step=error.next_step) from None
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
        ValueError: aliases make the document endless, or larger than `config_values`; or it holds a tag.
    """
    try:
        return _plain(node, itertools.count(1))
    except RecursionError:
        raise ValueError("a short document, but it is nested too deep. Remove YAML aliases.") from None


def _plain(node: Any, count: Iterator[int]) -> Any:
    if next(count) > limits.current().config_values:
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
