"""What is written to a terminal: everything passes `synthgen.printable`, whoever writes it.

The command line makes each of its lines printable and writes it with `raw`. What others write while a verb
runs (a library's warning, a log line, a stray print) goes through `Guarded`, which escapes all but line ends.
The text of a library's warning may quote a cell, so its kind and place are shown in its stead.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from synthgen.printable import printable, printable_lines


class Guarded:
    """A stream of text that does nothing to the terminal, whatever is written into it."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write a text, escaped but for its line ends."""
        self.stream.write(printable_lines(text))
        return len(text)

    def writelines(self, lines: Iterator[str]) -> None:
        """Write texts, one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def raw(stream: Any) -> TextIO:
    """Return the stream behind a guarded one, for lines that are printable already and for bars."""
    return stream.stream if isinstance(stream, Guarded) else stream


@contextmanager
def guarded() -> Iterator[None]:
    """Guard stdout, stderr, warnings and logs of the process for as long as a verb runs."""
    before = sys.stdout, sys.stderr, warnings.showwarning
    for stream in before[:2]:
        if isinstance(stream, io.TextIOWrapper):  # any text can be written to any terminal
            stream.reconfigure(errors="backslashreplace")
    last = logging.lastResort
    formatter = None if last is None else last.formatter
    try:
        sys.stdout, sys.stderr = Guarded(before[0]), Guarded(before[1])
        warnings.showwarning = _warned
        if last is not None:
            last.setFormatter(_OneLine())
        yield
    finally:
        sys.stdout, sys.stderr, warnings.showwarning = before
        if last is not None:
            last.setFormatter(formatter)


def _warned(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
) -> None:
    text = f"{category.__name__} at {Path(filename).name}:{lineno}"
    if os.environ.get("SYNTHGEN_DEBUG"):
        text += f": {message}"
    sys.stderr.write(f"Note: {printable(text)}\n")
