"""A file that somebody changed in any way ends in a ledger or in an error that names what to do.

Bytes are changed in ledgers of each version, and rows are rewritten with a chain that holds, as somebody who
knows this program would. No traceback, at most 60 seconds and 6 GiB a file.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dp_accounting import dp_event as e

from synthgen import errors
from synthgen.errors import SynthgenError
from synthgen.privacy.ledger.hash_chain import GENESIS, digest
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit, Position
from synthgen.privacy.ledger.state import fingerprint
from tests.support.ledgers import RHO, opened

SECONDS, MEMORY = 60, 6 * 2**30
DATA = Path(__file__).parent / "data"
VALUES: list[Any] = [
    None,
    True,
    0,
    -1,
    7,
    10**18,
    10**400,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\udcff\x1b[2J\u202e",
    "x" * 100_000,
    [],
    [[]],
    {},
    {"class": "GaussianDpEvent"},
    ["icu"],
]
TEXTS = [
    "",
    "null",
    "7",
    "[]",
    "{}",
    '"x"',
    "NaN",
    "[" * 100_000,
    '{"a":' * 5_000 + "1" + "}" * 5_000,
    '{"entry":' + "9" * 5_000 + "}",
    '{"entry":3,"entry":4}',
    '{"event":{"class":"ZCDpEvent","rho":NaN,"xi":0.0}}',
]


def spend(ledger: Ledger, cohort: str, rho: float = RHO / 9, key: str = "") -> int:
    unit = LedgerUnit("patient", "pid", 4)
    return ledger.reserve(cohort, e.ZCDpEvent(rho), purpose="fit", run="r", key=key, unit=unit)


def ledgers_of(folder: Path) -> dict[str, bytes]:
    """Ledgers of each version, as bytes."""
    made = {}
    ledger = opened(Ledger.connect("sqlite:///v3.db", base=folder), "icu", "ward")
    number = spend(ledger, "icu", key="k")
    ledger.draw(number, counted=True)
    ledger.count(number, Position(), Position(1, "x" * 64))
    ledger.note("icu")
    ledger.draw(spend(ledger, "ward"))
    ledger.commit(number, detail={"model": "d" * 64})
    waiting = spend(ledger, "icu")
    ledger.draw(waiting, counted=True)
    made["v3"] = (folder / "v3.db").read_bytes()
    for version in ("v1", "v2"):
        connection = sqlite3.connect(folder / f"{version}.db")
        connection.executescript((DATA / f"ledger_{version}.sql").read_text())
        connection.close()
        made[version] = (folder / f"{version}.db").read_bytes()
    return made


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes, blocks or pages."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at, length = rng.randrange(len(data)), rng.choice([1, 2, 4, 8, 64, 512])
        kind = rng.randrange(9)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            data[at : at + length] = rng.randbytes(min(length, len(data) - at))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        elif kind == 6:  # a page in another's place
            pages = max(1, len(data) // 4096)
            a, b = (4096 * rng.randrange(pages) for _ in range(2))
            data[a : a + 4096] = data[b : b + 4096]
        elif kind == 7:
            data[rng.randrange(min(100, len(data)))] = rng.randrange(256)
        else:  # the head of a page: its kind, cells and pointers
            page = 4096 * rng.randrange(max(1, len(data) // 4096)) + rng.choice([0, 100])
            place = page + rng.randrange(40)
            if place < len(data):
                data[place] = rng.randrange(256)
        if not data:
            return b""
    return bytes(data)


def rewritten(path: Path, rng: random.Random) -> None:
    """Change rows and keys, and make the chain anew so that it holds."""
    connection = sqlite3.connect(path)
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    rows = [list(row) for row in connection.execute("SELECT * FROM entries ORDER BY seq")]
    for _ in range(rng.choice([1, 1, 2, 5])):
        row = rng.choice(rows)
        content = json.loads(row[4])
        kind = rng.randrange(7)
        if kind == 0:
            row[4] = rng.choice(TEXTS)
        elif kind == 1:
            row[4] = text_of(
                {**content, rng.choice([*content, "entry", "event", "draws"]): rng.choice(VALUES)}
            )
        elif kind == 2:
            row[4] = text_of({k: v for k, v in content.items() if rng.random() < 0.7})
        elif kind == 3:
            row[rng.choice([1, 2, 3])] = rng.choice(
                [v for v in VALUES if isinstance(v, str)] + [7, b"\xff", 1.5]
            )
        elif kind == 4:
            row[3] = rng.choice(
                ["cap", "reserve", "commit", "draw", "void", "version", "unit", "close", "model"]
            )
        elif kind == 5:
            rows.insert(rng.randrange(len(rows)), list(row))
        else:
            rows.remove(row) if len(rows) > 1 else None
        if rng.random() < 0.3:
            key = rng.choice(["", "zz", "0" * 64, "g" * 64, "\udcff"])
            connection.execute("UPDATE cohort_keys SET key = ?", (key.encode("utf-8", "surrogateescape"),))
            for cap in rows:
                with_key(cap, fingerprint(key))
        if any(not isinstance(row[4], str) or not is_object(row[4]) for row in rows):
            break
    previous, last = rows[0][5] if rows[0][5] in GENESIS.values() else GENESIS[3], None
    connection.execute("DELETE FROM entries")
    for seq, row in enumerate(rows, 1):
        row[0], row[5] = seq, previous
        try:
            row[6] = digest(*row[:6])
        except (TypeError, ValueError):
            row[6] = "0" * 64
        previous, last = row[6], seq
        values = [v.encode("utf-8", "surrogateescape") if is_odd(v) else v for v in row]
        connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", values)
    connection.execute("UPDATE head SET value = ?", (f"{last}:{previous}",))
    connection.commit()
    connection.close()


def text_of(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def is_odd(value: object) -> bool:
    return isinstance(value, str) and not value.isascii()


def with_key(row: list[Any], shown: str) -> None:
    if row[3] == "cap" and isinstance(row[4], str) and is_object(row[4]):
        row[4] = text_of({**json.loads(row[4]), "key": shown})


def use(folder: Path) -> str:
    """Use a ledger in every way. Returns how it ended; anything but a `SynthgenError` gets through."""
    ended = "opened"
    steps: list[Callable[[Ledger], object]] = [
        lambda ledger: ledger.verify(),
        lambda ledger: ledger.verify(head="9" * 5000 + ":x"),
        lambda ledger: [ledger.spent(name) for name in ledger.cohorts()],
        lambda ledger: [ledger.cohort(name).key for name in ledger.cohorts()],
        lambda ledger: (ledger.orphans(), ledger.releases(), ledger.fits("r"), ledger.looks("icu")),
        lambda ledger: spend(ledger, "icu", RHO / 1000),
        lambda ledger: ledger.count(9, Position(), Position(1, "y" * 64)),
        lambda ledger: ledger.open_cohort("new", epsilon=1.0, delta=1e-6),
    ]
    try:
        ledger = Ledger.connect("sqlite:///ledger.db", base=folder)
    except SynthgenError:
        return "refused"
    for step in steps:
        try:
            step(ledger)
        except SynthgenError as error:
            ended = "answered with errors" if error.exit_code in (1, 2, 3, 4) else "another code"
    return ended


def cases(number: int, seed: int, bases: dict[str, bytes]) -> Iterator[tuple[int, str]]:
    """Use mutated ledgers one by one; yields the number of each and how it ended."""
    for i in range(number):
        rng = random.Random(f"{seed}.{i}")
        with tempfile.TemporaryDirectory() as name:
            path = Path(name) / "ledger.db"
            base = bases[rng.choice(["v3", "v3", "v2", "v1"])]
            if rng.random() < 0.4:
                path.write_bytes(base)
                rewritten(path, rng)
            else:
                path.write_bytes(mutated(base, rng))
            path.chmod(0o600)
            yield i, use(Path(name))


def run_all(number: int, seed: int) -> dict[str, Any]:
    """Use mutated ledgers within bounds of time and memory; a failure names the case."""
    with tempfile.TemporaryDirectory() as name:
        bases = ledgers_of(Path(name))
    ended: dict[str, int] = {}
    slowest, before = 0.0, time.monotonic()
    signal.alarm(SECONDS)
    for i, how in cases(number, seed, bases):
        signal.alarm(SECONDS)
        slowest, before = max(slowest, time.monotonic() - before), time.monotonic()
        ended[how] = ended.get(how, 0) + 1
        del i
    signal.alarm(0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"files": number, **ended, "slowest_seconds": round(slowest, 2), "peak_gib": round(peak, 2)}


CHILD = (
    "import json, resource, sys\n"
    "resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))\n"
    "from tests.privacy.ledger.test_ledger_mutations import run_all\n"
    "print(json.dumps(run_all(int(sys.argv[1]), int(sys.argv[2]))))\n"
)


def in_child(number: int, seed: int) -> dict[str, Any]:
    root = Path(errors.__file__).parents[1]
    command = [sys.executable, "-W", "ignore", "-c", CHILD.format(memory=MEMORY), str(number), str(seed)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    print(found)
    return found


def test_200_mutated_ledgers_end_in_an_answer_or_a_reason():
    found = in_child(200, seed=17)
    assert found["files"] == 200
    assert found["refused"] > 20  # the mutations do change what is read
    assert "another code" not in found
    assert found.get("opened", 0) + found.get("answered with errors", 0) > 20


@pytest.mark.slow
def test_10000_mutated_ledgers_end_in_an_answer_or_a_reason():
    found = in_child(10_000, seed=18)
    assert found["files"] == 10_000
    assert "another code" not in found


def test_a_small_file_does_not_become_many_rows(tmp_path):
    """Pages that name each other's children: a tree of a few pages with more rows than the file has bytes."""
    ledger = opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    for _ in range(120):
        ledger.note("icu")
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    ((root,),) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE type = 'table' AND name = 'entries'"
    )
    connection.close()
    data = bytearray(path.read_bytes())
    page = data[4096 * (root - 1) : 4096 * root]
    assert page[0] == 5  # an inner page of a table
    cells = int.from_bytes(page[3:5], "big")
    first = int.from_bytes(page[12:14], "big")
    for i in range(cells):  # every child is the first one
        cell = 4096 * (root - 1) + int.from_bytes(page[12 + 2 * i : 14 + 2 * i], "big")
        data[cell : cell + 4] = page[first : first + 4]
    path.write_bytes(data)
    began = time.monotonic()
    with pytest.raises(SynthgenError):
        Ledger.connect("sqlite:///ledger.db", base=tmp_path).cohorts()
    with pytest.raises(SynthgenError, match="damaged"):
        Ledger.connect("sqlite:///ledger.db", base=tmp_path).verify()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(("limit", "amount"), [("LEDGER_BYTES", 4096), ("LEDGER_ROWS", 2)])
def test_a_ledger_beyond_a_limit_is_refused_with_the_limit(tmp_path, monkeypatch, limit, amount):
    opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "a", "b", "c")
    monkeypatch.setenv(f"SYNTHGEN_LIMIT_{limit}", str(amount))
    with pytest.raises(SynthgenError, match="ledger") as caught:
        Ledger.connect("sqlite:///ledger.db", base=tmp_path).cohorts()
    assert caught.value.exit_code == 3
    assert f"SYNTHGEN_LIMIT_{limit}" in str(caught.value)


def test_a_ledger_that_another_process_holds_is_refused_in_time(tmp_path):
    from synthgen.privacy.ledger.store import Store

    opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    holder = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(SynthgenError, match="locked") as caught:
        Store("sqlite:///ledger.db", base=tmp_path, create=False, busy_seconds=0.2)
    holder.close()
    assert caught.value.exit_code == 1


def test_a_sparse_file_as_large_as_a_disk_is_refused_at_once(tmp_path):
    path = tmp_path / "ledger.db"
    opened(Ledger.connect("sqlite:///ledger.db", base=tmp_path), "icu")
    with path.open("r+b") as stream:
        stream.truncate(2**40)
    began = time.monotonic()
    with pytest.raises(SynthgenError, match="bytes in a ledger"):
        Ledger.connect("sqlite:///ledger.db", base=tmp_path)
    assert time.monotonic() - began < 5
