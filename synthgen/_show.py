"""Show outcomes and progress to a person."""

from __future__ import annotations

import os
from typing import Any, TextIO

_BAR = 24


class Progress:
    """Tells what is being done on stderr: a bar on a terminal, a line a step elsewhere.

    Args:
        stream: where to write. NO_COLOR is obeyed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar = stream.isatty()
        self._last = ""

    def __call__(self, what: str, done: float) -> None:
        """Show a step; ``done`` below 0 is a notice."""
        if done < 0:
            self._clear()
            self._stream.write(f"Note: {what}\n")
        elif self._bar:
            filled = round(_BAR * min(done, 1.0))
            bold, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", "\x1b[0m")
            self._stream.write(f"\r\x1b[2K{bold}{'#' * filled}{plain}{'.' * (_BAR - filled)} {what}")
            if what == "done":
                self._clear()
        elif what != self._last:
            self._stream.write(f"{what}\n")
        self._last = what
        self._stream.flush()

    def _clear(self) -> None:
        if self._bar:
            self._stream.write("\r\x1b[2K")


def show(outcome: dict[str, Any], *, color: bool) -> str:
    """Return an outcome as text: the verdict with its reasons first, then the rest as indented lines."""
    lines: list[str] = []
    if "verdict" in outcome:
        lines.append(f"Verdict: {outcome['verdict']}")
        lines += [f"  [{r['head']}] {r['severity']}: {r['message']}" for r in outcome["reasons"]]
    if outcome.get("unit") == "row":
        red = ("\x1b[31m", "\x1b[0m") if color and not os.environ.get("NO_COLOR") else ("", "")
        lines.append(
            f"{red[0]}The protected unit is the ROW: a patient with several rows is not protected.{red[1]}"
        )
    for key, value in outcome.items():
        if key not in ("verdict", "reasons", "heads", "results", "entries"):
            lines += _lines(key, value, 0)
    for entry in outcome.get("entries", []):
        of = f" of {entry['content']['entry']}" if "entry" in entry["content"] else ""
        lines.append(f"{entry['seq']:>5} {entry['time']} {entry['cohort']} {entry['kind']}{of}")
    return "\n".join(lines) + "\n"


def _lines(key: str, value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict):
        return [f"{pad}{key}:", *(line for k, v in value.items() for line in _lines(str(k), v, depth + 1))]
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        rows = [
            ", ".join(f"{k}={_text(v)}" for k, v in item.items() if v not in (None, "")) for item in value
        ]
        return [f"{pad}{key}:", *(f"{pad}  - {row}" for row in rows)]
    return [f"{pad}{key}: {_text(value)}"]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
