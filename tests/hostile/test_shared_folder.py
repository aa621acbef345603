# ruff: noqa: S103 - folders for everybody are what is tested
"""Two users in one folder: nothing of the one is overwritten or read on behalf of the other.

The tests drop privileges in child processes: the reader, who works with synthgen, is one user, and the
attacker, who prepares the folder, another. The reader's secret can be opened by the reader alone, so
whatever of it moved would have moved by the reader's own hand.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from synthgen.cli import file_commands as files
from synthgen.errors import DataError, SynthgenError
from synthgen.files import json_file, safe_files
from synthgen.generators import saved_model
from synthgen.generators.marginal import (
    config,  # noqa: F401 - loaded before the child
    mechanism,  # noqa: F401 - loaded before the child
)
from synthgen.ingest.images import decode
from synthgen.ingest.images import read as images
from synthgen.ingest.images.folder_files import Unusable
from synthgen.pipeline.run_folder import RunFolder
from synthgen.privacy.ledger.answer_journal import Journal
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.bundle.bundle import verify_bundle
from synthgen.schema.image_format import Images
from tests.hostile import line

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two other users")
READER, ATTACKER = 54321, 54322
SECRET = b"of the reader, and of nobody else"
SECONDS = 30


def as_user(user: int, work: Callable[[], object]) -> str:
    """Do something as another user in a child process; return the error's name and text, or nothing."""
    end, begin = os.pipe()
    child = os.fork()
    if child == 0:  # the child must not come back into the test runner
        try:
            os.close(end)
            signal.alarm(SECONDS)
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.umask(0o022)
            work()
            text = ""
        except SynthgenError as error:
            text = f"{type(error).__name__}: {error.message}"
        except BaseException as error:
            text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        os.write(begin, text.encode("utf-8", "replace")[:60_000])
        os._exit(0)
    os.close(begin)
    with os.fdopen(end, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    assert os.WIFEXITED(status), f"the child was ended by signal {os.WTERMSIG(status)}: it hung"
    return text


@pytest.fixture(scope="module", autouse=True)
def loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Load all that the children use, whose users may not open this interpreter's own folders."""
    place = tmp_path_factory.mktemp("loaded") / "everybody"
    place.mkdir()
    line.write_table(place.parent)
    for work in _writers(place).values():
        work()


@pytest.fixture(params=[0o777, 0o1777], ids=["everybody may rename", "sticky"])
def shared(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that everybody may write to, and in it one of the reader's own with a secret."""
    with tempfile.TemporaryDirectory(prefix="shared", dir="/tmp") as text:
        place = Path(text)
        os.chmod(place, 0o755)
        folder = place / "everybody"
        folder.mkdir()
        os.chmod(folder, request.param)
        own = place / "reader"
        own.mkdir(mode=0o700)
        (own / "secret").write_bytes(SECRET)
        (own / "secret").chmod(0o600)
        os.chown(own, READER, READER)
        os.chown(own / "secret", READER, READER)
        yield folder


def secret_of(shared: Path) -> Path:
    return shared.parent / "reader" / "secret"


def plant(shared: Path, name: str, kind: str) -> None:
    """Put something of the attacker's where the reader is about to write."""
    path, secret = shared / name, secret_of(shared)
    if kind == "link":
        path.symlink_to(secret)
    elif kind == "link to nowhere":
        path.symlink_to(secret.with_name("new"))
    elif kind == "link to a folder":
        path.symlink_to(secret.parent)
    elif kind == "hard link":
        os.link(secret, path)
        return  # it keeps its owner
    elif kind == "pipe":
        os.mkfifo(path, 0o666)
    elif kind == "folder":
        path.mkdir(mode=0o777)
        (path / "kept").write_bytes(b"attacker's")
    else:
        path.write_bytes(b"attacker's")
        path.chmod(0o666)
    os.chown(path, ATTACKER, ATTACKER, follow_symlinks=False)


def snapshot(shared: Path) -> dict[str, object]:
    """Return what the attacker has in the folder and the reader's own folder."""
    found: dict[str, object] = {}
    for path in sorted(shared.parent.rglob("*")):
        status = path.lstat()
        plain = stat.S_ISREG(status.st_mode)
        if status.st_uid == ATTACKER or path.is_relative_to(secret_of(shared).parent):
            found[str(path)] = (status.st_mode, status.st_uid, path.read_bytes() if plain else b"")
    return found


KINDS = ("link", "link to nowhere", "link to a folder", "hard link", "pipe", "folder", "file")


def _writers(shared: Path) -> dict[str, Callable[[], object]]:
    """Return each way in which a verb writes or makes something at a name that the reader chose."""
    schema = shared.parent / "t.schema.yaml"
    return {
        "out.csv": lambda: files.schema_simulate(schema, 5, shared / "out.csv", seed=0),
        "out.parquet": lambda: files.schema_simulate(schema, 5, shared / "out.parquet", seed=0),
        "out.yaml": lambda: files.schema_init(
            shared.parent / "t.csv", shared / "out.yaml", suggest=True, dialect={}, force=True
        ),
        "out.json": lambda: json_file.write(shared / "out.json", {}, private=True),
        "ledger.db": lambda: Ledger.connect(f"sqlite:///{shared / 'ledger.db'}", base=None).open_cohort(
            "tiny", epsilon=1.0, delta=1e-6
        ),
        "answers.journal": lambda: Journal(shared / "answers.journal").close(),
        "run": lambda: RunFolder.create(shared / "run", digest="d", source={}, resume=True).note("a", 1),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_another_user_is_overwritten_whatever_lies_at_the_name(kind: str, shared: Path) -> None:
    line.write_table(shared.parent)
    work = _writers(shared)
    for name in work:
        plant(shared, name, kind)
        for odd in (f".{name}.partial", f"{name}-journal", f"{name}.new", f".{name}.tmp"):
            if kind != "folder":
                plant(shared, odd, "link")
    before = snapshot(shared)
    for name, one in work.items():
        said = as_user(READER, one)
        assert "Traceback" not in said, said
        if kind in ("pipe", "folder", "file") and name != "run":
            assert said, f"{name}: another user's {kind} was taken"
    after = snapshot(shared)
    sticky = bool(shared.stat().st_mode & stat.S_ISVTX)
    gone = {path for path in before if path not in after}
    # Where everybody may rename, a name that is only a link may be taken from the attacker.
    assert all(before[path][0] & stat.S_IFMT(0o170000) == stat.S_IFLNK for path in gone)  # type: ignore[index]
    assert not (gone and sticky)
    assert {path: content for path, content in after.items() if path in before} == {
        path: content for path, content in before.items() if path in after
    }
    assert secret_of(shared).read_bytes() == SECRET
    assert not secret_of(shared).with_name("new").exists()
    for path in shared.rglob("*"):
        if not path.is_symlink() and path.is_file() and path.lstat().st_nlink == 1:
            assert SECRET not in path.read_bytes()


def test_what_is_private_cannot_be_opened_by_others(shared: Path) -> None:
    line.write_table(shared.parent)
    for one in _writers(shared).values():
        assert not as_user(READER, one)

    def look() -> None:
        opened = []
        private = ("ledger.db", "answers.journal", "out.yaml", "out.json", "run/internal/state.json")
        for name in private:
            try:
                (shared / name).read_bytes()
                opened.append(name)
            except PermissionError:
                continue
        if opened:
            raise ValueError(f"opened {opened}")
        (shared / "out.csv").read_bytes()  # synthetic, for everybody

    assert not as_user(ATTACKER, look)


def test_the_folder_may_be_exchanged_while_a_file_is_written(shared: Path) -> None:
    (shared / "sub").mkdir()
    os.chown(shared / "sub", READER, READER)
    if shared.stat().st_mode & stat.S_ISVTX:
        os.chmod(shared, 0o777)  # else the attacker cannot rename it
    ready, exchanged = shared.parent / "ready", shared.parent / "exchanged"
    os.chmod(shared.parent, 0o777)

    def write() -> None:
        with safe_files.replacing(shared / "sub" / "secret", private=True) as stream:
            ready.touch()
            while not exchanged.exists():
                time.sleep(0.01)
            stream.write(b"new")

    def exchange() -> None:
        while not ready.exists():
            time.sleep(0.01)
        os.rename(shared / "sub", shared / "moved")
        (shared / "sub").symlink_to(secret_of(shared).parent)
        exchanged.touch()

    attacker = threading.Thread(target=lambda: as_user(ATTACKER, exchange))
    attacker.start()
    said = as_user(READER, write)
    attacker.join()
    assert not said
    assert secret_of(shared).read_bytes() == SECRET
    assert (shared / "moved" / "secret").read_bytes() == b"new"


def test_a_run_that_others_may_write_to_is_closed_before_it_is_used(shared: Path) -> None:
    run = shared / "run"
    assert not as_user(READER, lambda: RunFolder.create(run, digest="d", source={}, resume=True))
    for folder in (run, run / "public"):
        os.chmod(folder, 0o777)
    assert not as_user(READER, lambda: RunFolder.open(run))

    def exchange() -> None:
        for change in (
            lambda: os.rename(run / "internal", run / "old"),
            lambda: (run / "public" / "model").symlink_to(secret_of(shared).parent),
            lambda: (run / "x").write_bytes(b""),
        ):
            with pytest.raises(PermissionError):
                change()

    assert not as_user(ATTACKER, exchange)


def test_a_run_of_another_user_or_with_a_file_of_another_user_is_not_used(shared: Path) -> None:
    for user, name in ((ATTACKER, "theirs"), (READER, "ours")):
        made = shared / name
        assert not as_user(user, lambda made=made: RunFolder.create(made, digest="d", source={}, resume=True))
    os.chmod(shared / "theirs" / "internal", 0o777)
    os.chmod(shared / "theirs" / "internal" / "state.json", 0o666)
    (shared / "ours" / "public" / "planted").write_bytes(b"")
    os.chown(shared / "ours" / "public" / "planted", ATTACKER, ATTACKER)
    for name in ("theirs", "ours"):
        run = shared / name
        for work in (
            lambda run=run: RunFolder.open(run),
            lambda run=run: RunFolder.create(run, digest="d", source={}, resume=True),
            lambda run=run: saved_model.load_model(saved_model.model_folder(run)),
        ):
            said = as_user(READER, work)
            assert "another user" in said, said
    said = as_user(READER, lambda: (_ for _ in ()).throw(ValueError(verify_bundle(shared / "theirs"))))
    assert "another user" in said


def test_a_journal_that_another_user_left_next_to_a_ledger_is_not_played_back(shared: Path) -> None:
    ledger = shared / "ledger.db"
    url = f"sqlite:///{ledger}"

    def spend() -> None:
        Ledger.connect(url, base=None).open_cohort("tiny", epsilon=1.0, delta=1e-6)

    assert not as_user(READER, spend)
    before = ledger.read_bytes()
    hot = shared.parent / "hot.db"
    shutil.copyfile(ledger, hot)
    with sqlite3.connect(hot) as connection:  # a journal of an unfinished change, as a crash leaves it
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE other AS SELECT hex(zeroblob(100000)) AS a")
        shutil.copyfile(f"{hot}-journal", f"{ledger}-journal")
        connection.rollback()
    os.chown(f"{ledger}-journal", ATTACKER, ATTACKER)
    os.chmod(f"{ledger}-journal", 0o666)
    said = as_user(READER, lambda: Ledger.connect(url, base=None).cohorts())
    assert "another user" in said
    assert ledger.read_bytes() == before


def test_links_that_change_while_images_are_read_never_lead_out_of_the_folder(shared: Path) -> None:
    folder, secret = shared / "scans", shared.parent / "reader" / "secret.png"
    folder.mkdir()
    os.chmod(folder, 0o777)
    spec = Images(channels=1, bits=8, size=4)
    for path, grey in ((shared / "good.png", 10), (secret, 250)):
        Image.fromarray(np.full((4, 4), grey, np.uint8)).save(path)
    os.chown(secret, READER, READER)
    secret.chmod(0o600)
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            for make in (
                lambda: (folder / "new").symlink_to(secret),
                lambda: shutil.copyfile(shared / "good.png", folder / "new"),
                lambda: (folder / "new").symlink_to(folder / "other.png"),
            ):
                make()
                os.replace(folder / "new", folder / "1.png")

    shutil.copyfile(shared / "good.png", folder / "other.png")
    shutil.copyfile(shared / "good.png", folder / "1.png")

    def read() -> None:
        good = refused = 0
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            try:
                pixels = decode.decode_file(folder / "1.png", spec, root=folder)
                good += 1
                if pixels.max() > 20:
                    raise ValueError("the secret was read")
            except (Unusable, OSError):
                refused += 1
        if not good or not refused:
            raise ValueError(f"{good} read, {refused} refused: nothing was tried")
        if images.index_of(folder) and not folder.is_dir():
            raise ValueError

    attacker = threading.Thread(target=exchange)
    attacker.start()
    try:
        said = as_user(READER, read)
    finally:
        stop.set()
        attacker.join()
    assert not said


def test_a_link_that_is_put_there_after_the_path_was_checked_is_not_followed(shared: Path) -> None:
    folder, other = shared / "scans", shared / "scans" / "other"
    (folder / "sub").mkdir(parents=True)
    for path in (folder, folder / "sub"):
        os.chmod(path, 0o777)
    for path in (folder / "1.png", folder / "sub" / "secret"):
        path.write_bytes(b"a picture")
        path.chmod(0o666)
    secret = secret_of(shared)
    real = Path.resolve

    def exchanging(what: Path, by: Path, to: Path) -> Callable[[], object]:
        def resolve(path: Path, strict: bool = False) -> Path:
            found = real(path, strict)
            if path.name == by.name:  # it was looked at: now exchange it
                os.rename(what, other)
                what.symlink_to(to)
            return found

        def read() -> None:
            Path.resolve = resolve  # type: ignore[assignment,method-assign]
            with safe_files.open_beneath(folder, by.relative_to(folder)) as stream:
                raise ValueError(stream.read())

        return read

    said = as_user(READER, exchanging(folder / "1.png", folder / "1.png", secret))
    assert said.startswith("DataError: Expected a plain file, found a link"), said
    shutil.move(other, shared / "was")
    said = as_user(READER, exchanging(folder / "sub", folder / "sub" / "secret", secret.parent))
    assert said.startswith("NotADirectoryError"), said


def test_a_shard_or_a_note_that_another_user_left_is_not_taken_as_ours(shared: Path) -> None:
    from synthgen.sampling.draw import is_written

    name = "part-00000-of-00002.parquet"
    for kind in ("file", "link", "pipe", "hard link"):
        plant(shared, name, kind)
        said = as_user(READER, lambda: is_written(shared / name))
        assert said.startswith(DataError.__name__), (kind, said)
        (shared / name).unlink()


def test_the_search_would_find_a_writer_that_follows_links(shared: Path) -> None:
    plant(shared, "out.csv", "link")
    before = snapshot(shared)
    assert not as_user(READER, lambda: (shared / "out.csv").write_bytes(b"written through the link"))
    assert snapshot(shared) != before
