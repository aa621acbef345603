"""Feed readers with mutated files, in forked children bounded in memory and in seconds for each file.

    python -P tests/hostile/fuzz.py --count 10000 [--readers csv,dicom] [--seconds 60] [--json FILE]

A file is a reader's name and a number, from which it is made again: ``--first 1234 --count 1 --readers csv``
reads one again and prints its traceback. A reader may end with an error of the package of exit code 2 or 3,
or say what is wrong; an operation error (exit code 1) only where a database is damaged. All else is a fault.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

import mutators  # noqa: E402 - found beside this script, also under -P
import seeds  # noqa: E402

MEMORY = 6 * 2**30
"""Bytes of address space of a child."""
_MESSAGE = struct.Struct("<iid")


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        name: its name, and the folder of its seeds.
        files: glob pattern of the files that are mutated, below the seeds' folder.
        read: reads the mutated folder, given the mutated file.
        codes: exit codes that are right.
        most_files: files that may be mutated at once.
    """

    name: str
    files: str
    read: Callable[[Path, random.Random], Any]
    codes: tuple[int, ...] = (2, 3)
    most_files: int = 1


def read_config(path: Path, rng: random.Random) -> None:
    """Load a config with all that it names, and make its plan."""
    from synthgen.config.run_config import load_config
    from synthgen.pipeline.fit import make_plan

    loaded = load_config(path)
    if rng.random() < 0.1:
        make_plan(loaded)


def read_schema(path: Path, rng: random.Random) -> None:
    """Load a schema, and what is derived from it."""
    from synthgen.encode.table import Encoder
    from synthgen.pipeline.schema_confirmation import confirm
    from synthgen.schema.schema import load_schema

    schema = load_schema(path, complete=rng.random() < 0.7)
    schema.public().digest()
    if not schema.gaps():
        Encoder.of(schema)
    confirm(path, None)


def read_table(path: Path, rng: random.Random) -> None:
    """Check a table against its schema, or draft a schema from it."""
    from synthgen.ingest.schema_draft import from_file
    from synthgen.ingest.schema_draft.table_draft import NOTHING
    from synthgen.ingest.tables.file_form import written_as
    from synthgen.ingest.tables.table import read_table as read
    from synthgen.schema.schema import load_schema

    if rng.random() < 0.5:
        from_file.init(
            path, suggest=True, named=NOTHING, delimiter=",", encoding="utf-8", decimal=".", date_format=None
        )
        return
    schema = load_schema(path.parent / "schema.yaml")
    written_as(schema, path, delimiter=",", encoding="utf-8", decimal=".")
    read(path, schema)


def read_redcap(path: Path, rng: random.Random) -> None:
    """Draft a schema from a REDCap dictionary, with and without an export beside it."""
    from synthgen.ingest.schema_draft import redcap

    redcap.draft(path.parent / "dictionary.csv", table=rng.choice([None, path.parent / "export.csv"]))


def read_omop(path: Path, rng: random.Random) -> None:
    """Join the tables of an OMOP folder."""
    from synthgen.ingest.tables.omop import flatten

    flatten(path.parent, ["condition_201826", "measurement_3004249"])


def read_policy(path: Path, rng: random.Random) -> None:
    """Load a policy of the gate, and compare it with the shipped one."""
    from synthgen.release.gate.looser_policy import looser
    from synthgen.release.gate.policy import load_policy

    policy = load_policy(path)
    _ = policy.digest, policy.thresholds(), policy.margins(), looser(policy, load_policy("default"))


def read_pictures(path: Path, rng: random.Random) -> None:
    """Read a folder or an array file of images, or draft a schema from it."""
    from synthgen.ingest.images.read import read_images
    from synthgen.ingest.schema_draft import image_draft
    from synthgen.ingest.schema_draft.table_draft import NOTHING
    from synthgen.schema.schema import load_schema

    place = path if path.suffix == ".npz" else path.parent
    if rng.random() < 0.3:
        image_draft.draft(
            place, suggest=True, named=NOTHING, delimiter=",", encoding="utf-8", decimal=".", date_format=None
        )
        return
    read_images(place, load_schema(path.parent / "schema.yaml"))


def read_dicom(path: Path, rng: random.Random) -> None:
    """Read a DICOM header and a frame, as the decoding process does."""
    from synthgen.ingest.dicom import header as dicom_header
    from synthgen.ingest.dicom import pixels
    from synthgen.ingest.images.decode import Unusable
    from synthgen.schema.image_format import Dicom, Images

    try:
        header = dicom_header.read_header(path)
        frame = rng.randrange(header.frames)
        pixels.decode(path, frame, Images(size=8), Dicom())
    except Unusable as reason:
        if len(str(reason)) > 300:
            raise


def read_model(path: Path, rng: random.Random) -> None:
    """Load a saved model and draw from it."""
    import numpy as np

    from synthgen.generators.saved_model import load_model

    model, _, _ = load_model(_root(path, "RUN") / "public" / "model")
    model.sample(20, rng=np.random.default_rng(0))


def read_run(path: Path, rng: random.Random) -> None:
    """Open a run, and read what it says of itself."""
    from synthgen.pipeline import evaluate as judge
    from synthgen.pipeline import run as pipeline
    from synthgen.pipeline.run_folder import RunFolder

    root = _root(path, "RUN")
    folder = RunFolder.open(root)
    _ = folder.state, folder.changes, folder.done("fit")
    if rng.random() < 0.5:
        _ = folder.drawn
    else:
        pipeline.reload(root)
    judge.stored(folder)


def read_bundle(path: Path, rng: random.Random) -> None:
    """Verify a bundle, with checksums made anew so that its content is read."""
    from synthgen.release.bundle import verify

    root = _root(path, "BUNDLE")
    if rng.random() < 0.8:
        (root / verify.CHECKSUMS).write_bytes(verify.checksums(root).encode())
    for problem in verify.verify_bundle(root):
        if not problem.message or "\x1b" in problem.message:
            raise AssertionError("Expected words that may be printed.")


def read_ledger(path: Path, rng: random.Random) -> None:
    """Connect to a ledger, list it, check it, and ask for a spend."""
    from dp_accounting import dp_event

    from synthgen.errors import BudgetExceeded
    from synthgen.privacy.ledger.ledger import Ledger
    from synthgen.privacy.ledger.units import LedgerUnit

    unit = LedgerUnit("patient", "pid", 1)
    ledger = Ledger.connect(f"sqlite:///{path}", create=False)
    ledger.verify()
    for name in ledger.cohorts():
        ledger.spent(name)
        _ = ledger.remaining(name), ledger.looks(name), ledger.releases(name), ledger.orphans()
        with contextlib.suppress(BudgetExceeded):
            ledger.reserve(name, dp_event.ZCDpEvent(1e-6), purpose="fit marginal", run="r", unit=unit)


READERS = (
    Reader("config", "config/*.yaml", read_config),
    Reader("schema", "schema/schema.yaml", read_schema),
    Reader("csv", "csv/table.*", read_table),
    Reader("parquet", "parquet/*.parquet", read_table),
    Reader("redcap", "redcap/*.csv", read_redcap),
    Reader("omop", "omop/*.csv", read_omop),
    Reader("policy", "policy/*.yaml", read_policy),
    Reader("npz", "npz/*.npz", read_pictures),
    Reader("images", "images/*.*g", read_pictures),
    Reader("tiff", "images/*.tif*", read_pictures),
    Reader("dicom", "dicom/*.dcm", read_dicom),
    Reader("model", "run/RUN/public/model/*", read_model, most_files=2),
    Reader("run", "run/RUN/internal/*", read_run, most_files=2),
    Reader("bundle", "bundle/BUNDLE/**/*", read_bundle, most_files=2),
    Reader("ledger", "run/ledger.db", read_ledger, codes=(1, 2, 3, 4)),
)


@dataclass
class Outcome:
    """What a reader made of its files."""

    reader: str
    files: int = 0
    accepted: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_file: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        refused = ", ".join(f"exit {code}: {n:,}" for code, n in sorted(self.refused.items()))
        return (
            f"{self.reader:8} {self.files:>7,} mutated files, {self.accepted:,} read, "
            f"refused {refused or 'none'}; faults {len(self.faults)}; "
            f"slowest {self.slowest:.1f} s (file {self.slowest_file}); {self.seconds:.0f} s in all"
        )


def one(reader: Reader, seed_folder: Path, number: int) -> int:
    """Make a mutated file again and read it; return 0 if it was accepted, else the exit code.

    Number 0 is a seed as it is, which has to be read.
    """
    from synthgen.errors import SynthgenError

    rng = random.Random(f"{reader.name} {number}")
    with tempfile.TemporaryDirectory(prefix="hostile") as temporary:
        top = reader.files.split("/")[0]
        shutil.copytree(seed_folder / top, Path(temporary) / top)
        listed = sorted(path for path in Path(temporary).glob(reader.files) if path.is_file())
        chosen = rng.sample(listed, min(len(listed), rng.randint(1, reader.most_files)))
        for path in chosen if number else ():
            path.write_bytes(mutators.for_name(path.name)(path.read_bytes(), rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reader.read(chosen[0], rng)
        except SynthgenError as error:
            if not number:
                raise AssertionError("Expected the seed to be read.") from error
            _require_words(error, reader)
            return error.exit_code
    return 0


def _require_words(error: Any, reader: Reader) -> None:
    if error.exit_code not in reader.codes:
        raise AssertionError(f"exit code {error.exit_code}: {type(error).__name__}") from error
    text = str(error)
    if "This is a bug" in text or "Traceback" in text or not error.message or len(text) > 20_000:
        raise AssertionError("Expected a message of a few lines.") from error


def fuzz(reader: Reader, seed_folder: Path, *, first: int, count: int, seconds: float) -> Outcome:
    """Read mutated files in children; one that dies or stalls is followed by another."""
    found, at, last = Outcome(reader.name), first, first + count
    started = time.monotonic()
    while at < last:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            _child(reader, seed_folder, at, last, write_end)
        os.close(write_end)
        at = _watched(found, child, read_end, at, last, seconds)
        os.close(read_end)
    found.seconds = time.monotonic() - started
    return found


def _child(reader: Reader, seed_folder: Path, first: int, last: int, pipe: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for number in range(first, last):
        begun = time.monotonic()
        try:
            code, text = one(reader, seed_folder, number), b""
        except BaseException as error:
            frames = traceback.format_exception(error)
            code, text = -1, "".join(frames)[-3000:].encode("utf-8", "backslashreplace")
        os.write(pipe, _MESSAGE.pack(code, len(text), time.monotonic() - begun) + text)
    os._exit(0)


def _watched(found: Outcome, child: int, pipe: int, at: int, last: int, seconds: float) -> int:
    """Count a child's answers; return the number of the file that the next child begins with."""
    while True:
        ready, _, _ = select.select([pipe], [], [], seconds)
        head = os.read(pipe, _MESSAGE.size) if ready else b""
        if len(head) < _MESSAGE.size:
            if not ready:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if at == last:
                return at
            how = "hung" if not ready else f"died (status {status})"
            found.faults.append(f"{found.reader} {at}: {how}")
            found.files += 1
            return at + 1
        code, size, took = _MESSAGE.unpack(head)
        text = b""
        while len(text) < size:
            text += os.read(pipe, size - len(text))
        found.files += 1
        if took > found.slowest:
            found.slowest, found.slowest_file = took, at
        if took > seconds:
            found.faults.append(f"{found.reader} {at}: took {took:.0f} s")
        elif code < 0:
            found.faults.append(f"{found.reader} {at}: {text.decode()}")
        elif code:
            found.refused[code] += 1
        else:
            found.accepted += 1
        at += 1


def _root(path: Path, name: str) -> Path:
    return next(parent for parent in path.parents if parent.name == name)


def make_seeds(folder: Path) -> None:
    """Write the seeds, if they are not there, in a child: its threads stay its own."""
    if folder.exists():
        return
    child = os.fork()
    if child == 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder.mkdir()
            try:
                seeds.make(folder)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise SystemExit("Expected seeds, got an error.")


def load() -> None:
    """Import what readers import, once, before children are forked; none of it starts a thread."""
    import numpy as np
    import pandas as pd
    import pyarrow.parquet  # noqa: F401

    from synthgen import api  # noqa: F401
    from synthgen.ingest.dicom import pixels  # noqa: F401
    from synthgen.ingest.schema_draft import image_draft  # noqa: F401
    from synthgen.ingest.tables import check  # noqa: F401
    from synthgen.pipeline import evaluate as judge  # noqa: F401
    from synthgen.pipeline import run as pipeline  # noqa: F401
    from synthgen.privacy.ledger import (
        ledger,  # noqa: F401
        store,  # noqa: F401
    )
    from synthgen.release.bundle import (
        bundle,  # noqa: F401
        verify,  # noqa: F401
    )
    from synthgen.release.record import recompute_claims  # noqa: F401

    pd.DataFrame({"a": np.zeros(1)})


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--readers", default=",".join(reader.name for reader in READERS))
    parser.add_argument("--seeds", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    names = asked.readers.split(",")
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="hostile") as temporary:
        folder = asked.seeds or Path(temporary) / "seeds"
        make_seeds(folder)
        load()
        for reader in READERS:
            if reader.name in names:
                found = fuzz(reader, folder, first=asked.first, count=asked.count, seconds=asked.seconds)
                print(found, flush=True)
                for text in found.faults[:3]:
                    print(text, file=sys.stderr, flush=True)
                outcomes.append(found)
    if asked.json:
        asked.json.write_text(json.dumps([{**vars(one), "refused": dict(one.refused)} for one in outcomes]))
    return int(any(found.faults for found in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
