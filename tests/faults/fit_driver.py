"""Fit in a child process, and keep what a ``kill -9`` at each durable write would have left on disk.

Commands come as JSON lines on stdin: ``folder`` (with ``run.yaml``), ``arguments`` of the command line, and
``snapshots``, a folder or nothing. A point is each durable write (an fsync, a change of name, a call of the
ledger that writes), before and after it. At each, everything that the fit has written so far is copied: a
kill -9 loses no page of a file, so that the copy is what the next process would find. An answer is the
child's exit ``status``.

A witness apart from the program writes down, in the folder and before it happens, each draw of noise: the
number of the query in its fit, or ``unkept`` once in each process that draws noise which is not stored.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning  # noqa: F401 - imported once, here, and not by every child
import torch

from synthgen.privacy import accountant


def roughly(event_of: Any, *, epsilon: float, delta: float, **_: Any) -> float:
    """Calibrate to a factor of two, in a hundredth of the time."""
    noise = 0.5
    while accountant.get_epsilon([event_of(noise)], delta, adaptive=True) > epsilon:
        noise *= 2
    return noise


if __name__ == "__main__":  # only in a process of its own, and before a generator imports it
    accountant.calibrate_noise = roughly

from synthgen.cli import app as cli  # noqa: E402
from synthgen.config.run_config import load_config  # noqa: E402
from synthgen.pipeline import run as pipeline  # noqa: E402, F401
from synthgen.pipeline.fit import make_plan  # noqa: E402
from synthgen.privacy import noise  # noqa: E402
from synthgen.privacy.ledger import reservation  # noqa: E402
from synthgen.privacy.ledger.answer_journal import Journal  # noqa: E402
from synthgen.privacy.ledger.ledger import Ledger  # noqa: E402

WRITES = ("reserve", "draw", "count", "void", "commit", "write_off", "note_model")
KEPT = ("run", "ledger.db", "witness")


class Witness(noise._SystemNoise):
    """The operating system's noise, seen by a witness."""

    query = "none"

    def __init__(self, place: Path) -> None:
        self._file = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._unkept = False

    def _write(self, text: str) -> None:
        os.write(self._file, f"{text}\n".encode())

    def _gaussian(self, values: Any, sigma: float) -> Any:
        self._write(Witness.query)
        return super()._gaussian(values, sigma)

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        self._write(Witness.query)
        return super()._select(lattice, epsilon, units)

    def _not_stored(self) -> None:
        if not self._unkept:
            self._write("unkept")
        self._unkept = True

    def _words(self, size: int) -> Any:
        self._not_stored()
        return super()._words(size)

    def _normal(self, size: int) -> Any:
        self._not_stored()
        return super()._normal(size)


def free(ledger: Ledger, journal: Journal, *_: Any) -> Any:
    """Go on under the reservation that is there, whatever was drawn under it."""
    return reservation._Found(journal, ledger.keyed(journal.id)[journal.id])


def child(command: dict[str, Any]) -> int:
    folder, snapshots = Path(command["folder"]), command.get("snapshots")
    os.chdir(folder)
    if command.get("free"):  # a program with the mistake that the tests must notice
        Journal.freeze = lambda self: None  # type: ignore[method-assign]
        Journal.give_up = lambda self: None  # type: ignore[method-assign]
        Journal.frozen = property(lambda self: True)  # type: ignore[method-assign, assignment]
        reservation._current = free  # type: ignore[assignment]
    taken = 0

    def point(name: str) -> None:
        nonlocal taken
        if snapshots is None:
            return
        copy = Path(snapshots) / f"{taken:04d} {name}"
        copy.mkdir(parents=True)
        for part in KEPT:
            if (folder / part).is_dir():
                shutil.copytree(folder / part, copy / part)
            elif (folder / part).exists():
                shutil.copyfile(folder / part, copy / part)
        taken += 1

    def watched(name: str, call: Any) -> Any:
        def inner(*arguments: Any, **options: Any) -> Any:
            point(f"before {name}")
            done = call(*arguments, **options)
            point(f"after {name}")
            return done

        return inner

    witness = Witness(folder / "witness")
    noise.NoiseSource.system = staticmethod(lambda: witness)  # type: ignore[method-assign, assignment]
    real = Journal.answer

    def answer(self: Journal, query: dict[str, Any], draw: Any) -> Any:
        Witness.query = str(self._next)
        return real(self, query, draw)

    Journal.answer = answer  # type: ignore[method-assign]
    for name in WRITES:
        setattr(Ledger, name, watched(f"ledger {name}", getattr(Ledger, name)))
    os.fsync = watched("fsync", os.fsync)
    Path.replace = watched("rename", Path.replace)  # type: ignore[method-assign]
    with (folder / "log").open("w") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
        try:
            cli.main(command["arguments"])
        except SystemExit as stop:
            return int(stop.code or 0)
    return 99


def main() -> None:
    torch.set_num_threads(1)
    noise._opendp()
    planned = set()
    for line in sys.stdin:
        command = json.loads(line)
        if command["kind"] not in planned:  # noise is calibrated once, here, and not by every child
            make_plan(load_config(Path(command["folder"]) / "run.yaml"), patients=1000)
            planned.add(command["kind"])
        pid = os.fork()
        if not pid:
            code = 98
            try:
                code = child(command)
            finally:
                sys.stdout.flush()
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps({"status": status}), flush=True)


if __name__ == "__main__":
    main()
