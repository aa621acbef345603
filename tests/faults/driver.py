"""Run the command line in a child process that is killed at a chosen step or moment.

Commands come as JSON lines on stdin: the command line's ``arguments``, and ``kill_at`` (number of a step) or
``kill_after`` (seconds) or neither. A step is every durable write and every draw of noise, before and after.
Answers go as JSON lines to stdout: the child's exit ``status`` (-9 if killed) and its ``seconds``.

A witness apart from the program keeps the truth: each draw, with its cost, is on disk before it happens.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import sklearn.ensemble  # noqa: F401 - imported once, here, and not by every child

from synthgen.cli import app as cli
from synthgen.pipeline import evaluate as judge  # noqa: F401
from synthgen.pipeline import run as pipeline  # noqa: F401
from synthgen.privacy import noise
from synthgen.privacy.ledger import reservation
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.marginal_queries import LATTICE

noise._opendp()


class Witness(noise._SystemNoise):
    """The system's noise, seen by a witness."""

    def __init__(self, place: Path) -> None:
        self._file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def _saw(self, rho: float) -> None:
        os.write(self._file, f"{rho!r}\n".encode())
        step("draw")

    def _gaussian(self, values: Any, sigma: float) -> Any:
        self._saw(LATTICE**2 / (2 * sigma**2))
        drawn = super()._gaussian(values, sigma)
        step("drawn")
        return drawn

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        self._saw(epsilon**2 / 8)
        drawn = super()._select(lattice, epsilon, units)
        step("drawn")
        return drawn


steps: list[str] = []
kill_at: int | None = None


def step(name: str) -> None:
    if len(steps) == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    steps.append(name)


def watched(name: str, call: Any) -> Any:
    def inner(*arguments: Any, **options: Any) -> Any:
        step(f"before {name}")
        done = call(*arguments, **options)
        step(f"after {name}")
        return done

    return inner


def child(command: dict[str, Any], log: Path) -> int:
    global kill_at
    kill_at = command.get("kill_at")
    os.environ.update(command.get("environment", {}))  # a ledger's server may have been started since
    noise.NoiseSource.system = staticmethod(lambda: Witness(Path(command["witness"])))
    os.fsync = watched("fsync", os.fsync)
    if command.get("unpaid"):  # a program with the mistake that the tests must notice
        reservation._pay_again = lambda ledger, *_, **__: ledger.orphans()[0].seq
    for name in ("reserve", "draw", "count", "void", "commit", "note"):
        setattr(Ledger, name, watched(name, getattr(Ledger, name)))
    with log.open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            cli.main(command["arguments"])
        except SystemExit as stop:
            Path(command["witness"]).with_suffix(".steps").write_text(json.dumps(steps))
            return int(stop.code or 0)
    return 99


def main() -> None:
    for line in sys.stdin:
        command = json.loads(line)
        start = time.monotonic()
        pid = os.fork()
        if not pid:
            code = 98
            try:
                code = child(command, Path(command["witness"]).with_suffix(".log"))
            finally:
                sys.stdout.flush()
                os._exit(code)
        after = command.get("kill_after")
        if after is not None:
            while time.monotonic() - start < after and not os.waitid(
                os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT
            ):
                time.sleep(0.005)
            os.kill(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status, "seconds": time.monotonic() - start}), flush=True)


if __name__ == "__main__":
    main()
