"""Show outcomes and progress to a person."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from synthgen.printable import printable
from synthgen.schema.completeness import UNCONFIRMED

OF_ROWS = "The protected unit is the ROW: a patient with several rows is not protected."
SURE = 0.95
"""Probability of a perfect generator to pass a gate from which on `plan` names the gate only if asked."""
_BAR = 24
_LINE_SECONDS = 30.0
"""Off a terminal, a step that takes long is named again this often."""
_DRAW_SECONDS = 0.1
"""On a terminal, the bar is drawn this often at most."""
_SURE_SECONDS, _SURE_PART = 2.0, 0.01
"""Time and part of a step from which on its time left is worth a guess."""
_COUNT = re.compile(r"(\d[\d,]*) of (\d[\d,]*)(?: (\w+))?")


class Progress:
    """Shows on stderr what is being done: a bar with rate and time left on a terminal, lines elsewhere.

    A step is a text and the part of it that is done, 0 to 1; a text such as ``sample: 400 of 1,000 records``
    says what is counted. Its name is what stands before the numbers.

    Args:
        stream: where to write. NO_COLOR and a dumb terminal are obeyed.
        quiet: show nothing.
        verbose: a line for every step with its time, also on a terminal.
        clock: seconds, for tests.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        quiet: bool = False,
        verbose: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._quiet, self._verbose, self._clock = stream, quiet, verbose, clock
        self._bar = stream.isatty() and os.environ.get("TERM") != "dumb" and not verbose
        self._name = ""
        self._start = self._shown = clock()
        self._from = 0.0

    def __call__(self, what: str, done: float) -> None:
        """Show a step; ``done`` below 0 is a notice."""
        if self._quiet:
            return
        if done < 0:
            self._clear()
            self._stream.write(f"Note: {printable(what)}\n")
            self._stream.flush()
            return
        what = printable(what)
        now, name = self._clock(), _COUNT.sub("", what).strip(" ,:")
        new = name != self._name or done < self._from
        if new:
            if self._verbose and self._name:
                self._stream.write(f"{self._name}: done in {_span(now - self._start)}\n")
            self._name, self._start, self._from = name, now, done
        pause = _DRAW_SECONDS if self._bar else _LINE_SECONDS
        if not new and done < 1.0 and now - self._shown < pause:
            return
        if not self._bar and not new and done >= 1.0:
            return
        self._shown = now
        if self._bar:
            self._draw(what, done, now)
        else:
            left = self._left(what, done, now)
            shown = f"{what}, {left}" if left else what
            self._stream.write(f"{shown}\n" if what != "done" else "")
        self._stream.flush()

    def _draw(self, what: str, done: float, now: float) -> None:
        if what == "done":
            self._clear()
            return
        part = min(done, 1.0)
        filled = round(_BAR * part)
        bold, plain = ("", "") if os.environ.get("NO_COLOR") else ("\x1b[1m", "\x1b[0m")
        left = self._left(what, part, now)
        text = f" {part:4.0%} {what if not left else f'{left}: {what}'}"
        width = max(shutil.get_terminal_size().columns - _BAR - 1, 10)
        self._stream.write(f"\r\x1b[2K{bold}{'#' * filled}{plain}{'.' * (_BAR - filled)}{text[:width]}")

    def _left(self, what: str, done: float, now: float) -> str:
        """Return rate and time left, where they are known well enough to say."""
        spent, gained = now - self._start, done - self._from
        if spent < _SURE_SECONDS or gained < _SURE_PART or done >= 1.0:
            return ""
        counted = _COUNT.search(what)
        rate = f"{100 * gained / spent:.2g} % a second"
        if counted:
            per_second = gained * int(counted[2].replace(",", "")) / spent
            unit = counted[3] or name_of_unit(self._name)
            rate = (
                f"{per_second:,.0f} {unit} a second"
                if per_second >= 10
                else f"{per_second:.2g} {unit} a second"
            )
        return f"{_span(spent * (1.0 - done) / gained)} left, {rate}"

    def _clear(self) -> None:
        if self._bar:
            self._stream.write("\r\x1b[2K")


def name_of_unit(name: str) -> str:
    """Return what a step counts, from its last word: ``fit: round`` counts rounds."""
    word = name.split()[-1].strip(":,") if name.split() else "step"
    return word if word.endswith("s") else f"{word}s"


def _span(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> _span(4.2), _span(130), _span(9000)
        ('4 s', '2 min', '2.5 h')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def show(outcome: Mapping[str, Any], *, color: bool, quiet: bool = False, verbose: bool = False) -> str:
    """Return an outcome as text: the verdict with its reasons first, then the rest as indented lines.

    Args:
        outcome: what a verb returned, as JSON values.
        color: red for what must not be overlooked; NO_COLOR is obeyed.
        quiet: the first lines only.
        verbose: the figures of the four heads too.
    """
    lines: list[str] = []
    if "verdict" in outcome:
        lines.append(f"Verdict: {outcome['verdict']}")
        if not quiet:
            lines += [
                f"  [{r['head']}] {r['severity']}: {r['message']}" for r in _rates_at_once(outcome["reasons"])
            ]
    if outcome.get("unit") == "row":
        lines.append(OF_ROWS)
    if quiet:
        return _written(lines or _first(outcome), color=color)
    hidden = ("verdict", "reasons", "results", "entries", "gates") + (() if verbose else ("heads",))
    for key, value in outcome.items():
        if key not in hidden:
            lines += _lines(key, _waiting_at_once(value) if key == "violations" else value, 0)
    lines += _gates(outcome.get("gates", []), verbose=verbose)
    for entry in outcome.get("entries", []):
        of = f" of {entry['content']['entry']}" if "entry" in entry["content"] else ""
        lines.append(f"{entry['seq']:>5} {entry['time']} {entry['cohort']} {entry['kind']}{of}")
    return _written(lines, color=color)


def _gates(gates: Sequence[Mapping[str, Any]], *, verbose: bool) -> list[str]:
    """Return what each gate can tell at the declared sizes; only those that may stop a perfect generator."""
    shown = [gate for gate in gates if verbose or (gate["passes"] is not None and gate["passes"] < SURE)]
    if not shown:
        return [f"gates: a perfect generator passes each with probability {SURE} or more"] if gates else []
    lines = ["gates, at a perfect generator:"]
    for gate in shown:
        if gate["half_width"] is None:
            known = "too few patients" if gate["passes"] == 0 else "not known beforehand"
            lines.append(f"  - {gate['title']}, {gate['bound']}: {known}")
            continue
        lines.append(
            f"  - {gate['title']}, {gate['bound']}: passes with probability {gate['passes']:.2f}, known to "
            f"plus or minus {gate['half_width']:.2g} with {gate['patients']:,} patients; harm of "
            f"{gate['refuses']:.2g} is refused in 4 of 5"
        )
    return lines


def _written(lines: Sequence[str], *, color: bool) -> str:
    """Return lines as they may stand on a terminal: each is one, whatever names and values it holds."""
    red = ("\x1b[31m", "\x1b[0m") if color and not os.environ.get("NO_COLOR") else ("", "")
    return "".join(
        f"{red[0]}{line}{red[1]}\n" if line is OF_ROWS else f"{printable(line)}\n" for line in lines
    )


def _rates_at_once(reasons: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return reasons with one line, the strongest, for all warnings of true positive rates."""
    rates = [r for r in reasons if r["severity"] == "warn" and ".beyond_claim_" in r["metric"]]
    if len(rates) < 2:
        return list(reasons)
    strongest = max(rates, key=lambda r: _figure(r["message"]))
    joined = {
        **strongest,
        "message": f"{len(rates)} true positive rates of attacks beyond the claim; the strongest: "
        f"{strongest['message']}",
    }
    return [joined if r is rates[0] else r for r in reasons if r is rates[0] or r not in rates]


def _figure(message: str) -> float:
    """Return the first figure after a message's title."""
    found = re.search(r": (?:[^:;]*? )??(-?\d+(?:\.\d+)?(?:e-?\d+)?)", message)
    return float(found[1]) if found else float("-inf")


def _waiting_at_once(violations: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return violations with one line for all columns that no person has confirmed."""
    waiting = [str(one["column"]) for one in violations if one["rule"] == UNCONFIRMED]
    if len(waiting) < 2:
        return list(violations)
    others = [one for one in violations if one["rule"] != UNCONFIRMED]
    return [f"{len(waiting)} columns: {UNCONFIRMED}: {', '.join(waiting)}", *others]


def _first(outcome: Mapping[str, Any]) -> list[str]:
    """Return the start of an outcome without a verdict: the first key that says something, in two lines."""
    shown = [line for key, value in outcome.items() for line in _lines(str(key), value, 0)]
    return shown[: 2 if shown and shown[0].endswith(":") else 1]


def _lines(key: str, value: Any, depth: int) -> list[str]:
    """Return one key in words; what has no value is left out."""
    pad, name = "  " * depth, key.replace("_", " ")
    if value is None or value == "":
        return []
    if key == "next" and isinstance(value, str) and "\n" in value:  # commands, one a line, of printable words
        first, *rest = value.split("\n")
        return [f"{pad}next: {first}", *(f"{pad}{line}" for line in rest)]
    if isinstance(value, Mapping):
        inner = [line for k, v in value.items() for line in _lines(str(k), v, depth + 1)]
        return [f"{pad}{name}:", *inner] if inner else []
    if _is_list(value) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return [f"{pad}{name}:", *(f"{pad}  - {text}" for item in value if (text := _text(item)))]
    if _is_list(value) and value and sum(len(str(item)) for item in value) > 80:
        return [f"{pad}{name}:", *(f"{pad}  - {_text(item)}" for item in value)]
    return [f"{pad}{name}: {_text(value)}"]


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: Any) -> str:
    """Return a JSON value in words, without Python's own spelling of it.

    Example:
        >>> _text({"cap": {"epsilon": 1.0}, "left": None, "of": [0.1 + 0.2, True]})
        'cap epsilon 1, of 0.3, yes'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping) and set(value) == {"because", "do"}:
        return f"{value['because']} {value['do']}".strip()
    if isinstance(value, Mapping):
        held = ((str(k).replace("_", " "), v) for k, v in value.items() if v is not None and v != "")
        return ", ".join(f"{name} {_text(inner)}" for name, inner in held)
    if _is_list(value):
        return ", ".join(_text(item) for item in value) or "none"
    return str(value)
