"""The peers of `marginal`: each in an environment of its own, its rows kept in `scripts/results/peers.json`.

A row is one fit of one peer on one table at one epsilon. Peers take minutes and do not change, so a
row is measured once and kept with machine, date, load and versions; `bench_tabular.py` shows it beside
ours and repeats one, to show whether the machine is comparable.
"""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import _machine
import pandas as pd

LIMIT = 300  # seconds a fit
KEPT = Path(__file__).parent / "results" / "peers.json"
CACHE = Path(__file__).parent.parent / ".bench"
PEERS = {
    "sn-mst": "SmartNoise MST",
    "sn-aim": "SmartNoise AIM",
    "dpmm-mst": "dpmm MST",
    "dpmm-aim": "dpmm AIM",
    "sn-dpctgan": "SmartNoise DPCTGAN",
    "sn-patectgan": "SmartNoise PATECTGAN",
    "mostly": "MOSTLY AI engine",
}
DEEP = ("sn-dpctgan", "sn-patectgan", "mostly")  # on mixed columns; the others on the 20 public bins
REQUIREMENTS = {
    "sn": ("torch==2.13.0", "smartnoise-synth==1.0.8", "packaging"),
    "dpmm": ("torch==2.13.0", "dpmm==0.1.9"),
    "mostly": ("torch==2.13.0", "mostlyai-engine==2.7.3"),
}
UNWANTED = {"mostly": ("torchvision", "torchaudio")}  # come with it and do not load beside that torch
ONE_THREAD = {
    name: "1"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
}
OUT_OF_TIME = 75

Row = dict[str, Any]


def interpreter(peer: str) -> Path | None:
    """Return the Python of a peer's environment, made on the first call; None if it cannot be made."""
    family = peer.partition("-")[0]
    python, why = environment(family, REQUIREMENTS[family], UNWANTED.get(family, ()))
    if why:
        print(f"{PEERS[peer]} is left out, it could not be installed: {why}", file=sys.stderr, flush=True)
    return python


def environment(
    family: str, requirements: tuple[str, ...], unwanted: tuple[str, ...] = ()
) -> tuple[Path | None, str]:
    """Return the Python of an environment of its own, made on the first call, or why it cannot be made."""
    folder = CACHE / family
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements) + "\n"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python, ""
    print(f"installing {' '.join(requirements)} (once)", file=sys.stderr, flush=True)
    try:
        venv.create(folder, clear=True, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*command, *requirements], capture_output=True, text=True, check=True)
        if unwanted:
            remove = [str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *unwanted]
            subprocess.run(remove, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return None, str(getattr(error, "stderr", None) or error).strip().splitlines()[-1]
    stamp.write_text(wanted, encoding="utf-8")
    return python, ""


def measure(
    peer: str,
    table: str,
    epsilon: float,
    *,
    delta: float,
    bench: Path,
    score: Callable[[str, pd.DataFrame], Row],
) -> Row | None:
    """Fit one peer once and score what it draws; None if it cannot be installed."""
    python = interpreter(peer)
    if python is None:
        return None
    row: Row = {"peer": peer, "table": table, "epsilon": epsilon, "delta": delta, "fits": 1}
    row |= {"date": _machine.today(), "machine": _machine.facts(), "threads": 1, "limit_seconds": LIMIT}
    row["load_start"] = _machine.load()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "drawn.csv"
        done = _run(python, [peer, table, str(epsilon), str(delta), str(LIMIT), str(bench), str(out)], folder)
        row |= {"load_end": _machine.load(), "status": _status(done)}
        if done.returncode in (0, OUT_OF_TIME):
            said = json.loads(done.stdout.splitlines()[-1])
            row |= {
                key: round(value, 2) if isinstance(value, float) else value for key, value in said.items()
            }
        if done.returncode == 0:
            row |= score(table, pd.read_csv(out, low_memory=False))
    return row


def _run(python: Path, arguments: list[str], folder: str) -> subprocess.CompletedProcess[str]:
    """Run the worker on one thread, in an empty folder: some peers leave files behind."""
    command = [str(python), str(Path(__file__).with_name("_peer_worker.py")), *arguments]
    settings = os.environ | ONE_THREAD
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=settings)


def _status(done: subprocess.CompletedProcess[str]) -> str:
    """Say how a fit ended; of an error only its kind, since its text may hold paths."""
    if done.returncode == 0:
        return "scored"
    if done.returncode == OUT_OF_TIME:
        return f"nothing after {LIMIT} s"
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return f"failed: {last.partition(':')[0]}"


def kept(place: Path | None = None) -> list[Row]:
    """Return the rows that were kept, the peers' if no other file is named."""
    place = place or KEPT
    return list(json.loads(place.read_text(encoding="utf-8"))["rows"]) if place.exists() else []


def keep(row: Row, place: Path | None = None) -> None:
    """Write a row, in the place of an earlier one of the same peer, table and epsilon."""
    place = place or KEPT
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = sorted([row, *(old for old in kept(place) if _key(old) != _key(row))], key=_key)
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps({"format": 1, "rows": rows}, indent=1) + "\n", encoding="utf-8")
        partial.replace(place)


def find(rows: Iterable[Row], table: str, epsilon: float) -> list[Row]:
    """Return the rows of a table and epsilon."""
    return [row for row in rows if (row["table"], row["epsilon"]) == (table, epsilon)]


def _key(row: Row) -> tuple[str, float, str]:
    return row["table"], row["epsilon"], row["peer"]
