"""Read a JSON file within limits, whoever wrote it: the one place that calls a JSON parser on a file.

Size, depth and the length of numbers are checked before anything is parsed. A key that stands twice, NaN and
infinity are refused, since two readers would understand them differently.
"""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NoReturn

from synthgen.files import limits, safe_files

DIGITS = 100
"""Digits of the longest number in one run; programs write no more than 25."""
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)  # to the end where none closes: never twice
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG = re.compile(f"[0-9]{{{DIGITS}}}")
_BRACKETS = re.compile(r"[\[\]{}]")


def read(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: the file is not UTF-8 text or not JSON, or holds a key twice, NaN, infinity or a number
            longer than `DIGITS`; the message names the problem and no value.
        limits.TooLarge: it is longer or deeper than the limits allow.
        DataError: it is a link, a pipe, a device or a folder.
        OSError: it cannot be read.
    """
    return parse(read_bytes(path, "json_bytes", links=False), where=str(path))


def read_bytes(path: Path, limit: str, *, links: bool = True) -> bytes:
    """Return a file's bytes, if they are no more than a limit allows.

    Args:
        path: the file.
        limit: name of the limit.
        links: follow a link, as for a file that a person names; else refuse it.

    Raises:
        DataError: it is a pipe, a device or a folder, or a link where none is followed.
        limits.TooLarge: they are more; for configs `limits.ConfigTooLarge`.
        OSError: the file cannot be read.
    """
    most = getattr(limits.current(), limit)
    opened = safe_files.open_plain if links else safe_files.open_without_links
    with opened(path) as stream:
        size = os.fstat(stream.fileno()).st_size  # a reader allocates what it is asked for
        content = stream.read(min(size, most) + 1)
        if len(content) > most:
            limits.refuse(limit, max(size, most + 1), where=str(path))
    return content


def write(path: Path, content: Any, *, private: bool, durable: bool = True, sort_keys: bool = True) -> None:
    """Write a JSON file so that a crash leaves the old one or the new one; see `safe_files.replacing`.

    Args:
        path: the file.
        content: JSON values, without NaN and infinity.
        private: readable by this user only.
        durable: force content and name to disk.
        sort_keys: order keys by name, else as they are.

    Raises:
        OperationError: the operating system refused.
    """
    text = json.dumps(content, indent=1, sort_keys=sort_keys, allow_nan=False)
    safe_files.write_bytes(path, f"{text}\n".encode(), private=private, durable=durable)


def parse(content: bytes | str, *, where: str = "") -> Any:
    """Return the content of a JSON text.

    Args:
        content: the text, or its bytes in UTF-8.
        where: the file, for the error of a limit.

    Raises:
        ValueError: see `read`.
        limits.TooLarge: it is deeper than the limits allow.

    Example:
        >>> parse('{"patients": 100}')
        {'patients': 100}
        >>> parse('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: Expected each key once, got one twice.
    """
    text = content.decode("utf-8") if isinstance(content, bytes) else content
    bare = _STRINGS.sub("", text)
    if _LONG.search(bare):
        raise ValueError(f"Expected numbers of fewer than {DIGITS} digits, got a longer one.")
    _require_depth(bare, where)
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"Expected JSON, got other text in line {error.lineno}.") from None
    except RecursionError:
        limits.refuse("json_depth", where=where)
    if _SURROGATE.search(text):
        _require_letters(found)
    return found


def _require_letters(found: Any) -> None:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("Expected text, got half a letter.") from None


def _require_depth(bare: str, where: str) -> None:
    most, depth = limits.current().json_depth, 0
    for bracket in _BRACKETS.finditer(bare):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > most:
            limits.refuse("json_depth", where=where)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("Expected each key once, got one twice.")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("Expected finite numbers, got one beyond the range of floats.")
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError("Expected finite numbers, got NaN or infinity.")
