"""Runs, models and bundles that somebody else made: links, devices and lies in them are refused."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import stat
import sys
from pathlib import Path

import numpy as np
import pytest

import synthgen
from synthgen.cli import app as cli
from synthgen.errors import ConfigError, DataError
from synthgen.pipeline.run_folder import RunFolder
from synthgen.privacy.ledger.answer_journal import Journal, _chained
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.bundle.bundle import verify_bundle
from tests.hostile import line

VERBS = {
    "run": "run run.yaml --output RUN --resume --anyway",
    "fit": "fit run.yaml --output RUN --resume --anyway",
    "sample": "sample RUN --records 10 -o more.csv --force",
    "evaluate": "evaluate RUN",
    "evaluate --public": "evaluate RUN --public epsilon=0.1",
    "release": "release RUN --output released --override test",
}
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.sendmsg")
SENT: list[str] = []
watching: list[bool] = []
SECRET = b"of the reader, and of nobody else"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its bundle, made under the umask that allows everything."""
    place = tmp_path_factory.mktemp("made")
    line.write_table(place)
    before, here = os.umask(0), Path.cwd()
    sys.addaudithook(lambda event, _: SENT.append(event) if watching and event in NETWORK else None)
    watching.append(True)
    try:
        os.chdir(place)
        for words in (
            "run run.yaml --output out --anyway",
            "release out --output bundle --override test",
            "sample out --records 10 -o more.csv",
            "verify bundle",
            "schema init t.csv -o drafted.yaml --suggest --unit patient",
        ):
            with pytest.raises(SystemExit) as stop:
                cli.main([*words.split(), "--quiet"])
            assert stop.value.code in (None, 0, 5)
    finally:
        watching.clear()
        os.chdir(here)
        os.umask(before)
    return place


def test_nothing_is_sent_by_a_run_and_what_follows(made: Path) -> None:
    assert SENT == []
    watching.append(True)
    try:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", 9), timeout=0.1).close()
    finally:
        watching.clear()
    assert SENT  # the hook would have seen it
    SENT.clear()


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    whole = tmp_path / "place"
    shutil.copytree(made, whole)
    state = whole / "out" / "internal" / "state.json"
    state.write_text(state.read_text().replace(str(made), str(whole)))
    (whole / "secret").write_bytes(SECRET)
    return whole


def call(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*words.split(), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def contents(folder: Path) -> dict[str, bytes | str]:
    """Return all files below a folder: their bytes, or what kind they are."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = path.relative_to(folder).as_posix()
        if not stat.S_ISDIR(mode):
            found[name] = path.read_bytes() if stat.S_ISREG(mode) else f"{stat.S_IFMT(mode):o}"
    return found


def strange(folder: Path, kind: str, secret: Path) -> None:
    """Put something into a run's folder that no run holds."""
    inside = folder / "internal"
    if kind == "partial":  # where earlier versions wrote first
        (inside / ".evaluation.json.partial").symlink_to(secret)
    elif kind == "link":
        (inside / "evaluation.json").unlink()
        (inside / "evaluation.json").symlink_to(secret)
    elif kind == "dangling":
        (inside / "report.html").unlink()
        (inside / "report.html").symlink_to(secret.with_name("none"))
    elif kind == "folder":
        shutil.move(folder / "public" / "model", secret.with_name("model"))
        (folder / "public" / "model").symlink_to(secret.with_name("model"))
    elif kind == "internal":
        shutil.move(inside, secret.with_name("elsewhere"))
        inside.symlink_to(secret.with_name("elsewhere"))
    elif kind == "hard":
        (inside / "audit.json").unlink()
        os.link(secret, inside / "audit.json")
    elif kind == "pipe":
        (inside / "state.json").unlink()
        os.mkfifo(inside / "state.json")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(folder / "public" / "model" / "s"))
    elif kind == "device":
        os.mknod(inside / "record.json.", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        os.chown(inside / "record.json", 54321, -1)


KINDS = ("partial", "link", "dangling", "folder", "internal", "hard", "pipe", "socket", "device", "owner")
OF_ROOT = ("device", "owner")


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_holds_anything_but_plain_files_of_ours_is_refused_by_every_verb(
    kind: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind in OF_ROOT and os.geteuid() != 0:
        pytest.skip("only root can make a device or give a file to another user")
    monkeypatch.chdir(place)
    strange(place / "out", kind, place / "secret")
    before = contents(place)
    for verb, words in VERBS.items():
        code, shown = call(words.replace("RUN", "out"), capsys)
        assert code == 3, (verb, shown)
        assert "plain files" in shown["error"]["message"], verb
    with pytest.raises(DataError):
        synthgen.load(place / "out")
    assert contents(place) == before
    (place / "alias").symlink_to(place / "out")
    with pytest.raises(DataError, match="found a link"):
        RunFolder.open(place / "alias")


def test_an_unchanged_copy_of_the_run_is_used(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for verb in ("run", "sample", "release"):
        code, shown = call(VERBS[verb].replace("RUN", "out"), capsys)
        assert code in (0, 5), shown
    assert call("verify bundle", capsys)[0] == 0


def test_under_any_umask_what_is_internal_is_the_owner_s_alone(made: Path) -> None:
    def mode(path: Path) -> int:
        return stat.S_IMODE(path.stat().st_mode)

    inside = made / "out" / "internal"
    assert mode(inside) == 0o700
    private = [*inside.iterdir(), made / "ledger_tiny.db", made / "drafted.yaml"]
    assert {path.name for path in private} >= {"state.json", "answers.journal", "report.html"}
    assert {mode(path) for path in private if not path.is_dir()} == {0o600}
    assert {mode(path) for path in private if path.is_dir()} <= {0o700}
    public = [path for root in ("out/public", "bundle") for path in (made / root).rglob("*")]
    assert len(public) > 10
    assert not any(mode(path) & 0o022 for path in (*public, made / "out", made / "out" / "public"))
    assert not list(made.rglob(".*.partial"))


def test_side_files_of_the_ledger_are_the_owner_s_alone(place: Path) -> None:
    before = os.umask(0)
    try:
        for mode in ("DELETE", "WAL"):
            connection = sqlite3.connect(place / "ledger_tiny.db")
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("CREATE TABLE other (a)")
            sides = list(place.glob("ledger_tiny.db-*"))
            assert sides
            assert {stat.S_IMODE(path.stat().st_mode) for path in sides} == {0o600}
            connection.rollback()
            connection.close()
    finally:
        os.umask(before)


@pytest.mark.parametrize("end", ["", "-journal", "-wal", "-shm"])
def test_a_ledger_is_no_link_and_its_journals_neither(place: Path, end: str) -> None:
    url = f"sqlite:///{place / 'ledger_tiny.db'}"
    target = place / f"ledger_tiny.db{end}"
    if not end:
        shutil.move(target, place / "moved.db")
    target.symlink_to(place / "moved.db" if not end else place / "secret")
    with pytest.raises(DataError, match="found a link"):
        Ledger.connect(url, base=None, create=False).cohorts()
    target.unlink()
    os.link(place / "secret", target)
    with pytest.raises(DataError, match="hard link"):
        Ledger.connect(url, base=None, create=False).cohorts()
    target.unlink()
    target.symlink_to(place / "none")
    with pytest.raises(DataError, match="found a link"):
        Ledger.connect(url, base=None).cohorts()
    assert (place / "secret").read_bytes() == SECRET
    assert not (place / "none").exists()


def _in_bundle(folder: Path, kind: str, secret: Path) -> str:
    name = {"link": "card.md", "hard": "data/t.csv", "pipe": "report.html"}.get(kind, "schema.yaml")
    data = next((folder / "data").iterdir())
    target = data if kind == "hard" else folder / name
    target.unlink() if kind != "owner" else os.chown(target, 54321, -1)
    if kind == "link":
        target.symlink_to(secret)
    elif kind == "hard":
        os.link(secret, target)
    elif kind == "pipe":
        os.mkfifo(target)
    elif kind == "device":
        os.mknod(target, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    return target.relative_to(folder).as_posix()


@pytest.mark.parametrize("kind", ["link", "hard", "pipe", "device", "owner"])
def test_a_bundle_of_anything_but_plain_files_of_ours_does_not_verify(kind: str, place: Path) -> None:
    if kind in OF_ROOT and os.geteuid() != 0:
        pytest.skip("only root can make a device or give a file to another user")
    name = _in_bundle(place / "bundle", kind, place / "secret")
    problems = verify_bundle(place / "bundle")
    assert any(problem.file == name for problem in problems), problems
    assert not any(SECRET.decode() in problem.message for problem in problems)
    if kind == "owner":
        os.chown(place / "bundle", 54321, -1)
        (problem,) = verify_bundle(place / "bundle")
        assert "another user" in problem.message


# Models that say what no generator writes


def _edit(folder: Path, change) -> None:
    path = folder / "model.json"
    meta = json.loads(path.read_text())
    text = change(meta)
    path.write_text(text if isinstance(text, str) else json.dumps(meta))


def _nodes(meta) -> list:
    return meta["nodes"]


BROKEN = {
    "own parent": lambda m: _nodes(m)[0].__setitem__(1, 0),
    "a cycle": lambda m: [_nodes(m)[0].__setitem__(1, len(_nodes(m)) - 1)],
    "a parent that comes later": lambda m: _nodes(m)[-1].__setitem__(1, len(_nodes(m))),
    "a parent below -1": lambda m: _nodes(m)[0].__setitem__(1, -2),
    "true as a parent": lambda m: _nodes(m)[-1].__setitem__(1, True),
    "a column twice in a node": lambda m: _nodes(m)[0][0].append(_nodes(m)[0][0][0]),
    "a node twice": lambda m: _nodes(m).append(_nodes(m)[-1]),
    "no nodes": lambda m: _nodes(m).clear(),
    "a column twice": lambda m: m["columns"].append(m["columns"][0]),
    "a column that is not there": lambda m: m["columns"].append("other"),
    "a separator of another column": lambda m: _nodes(m)[0][2].append("none"),
    "a key twice": lambda m: json.dumps(m).replace('"format"', '"format": 1, "format"'),
    "a key twice below": lambda m: json.dumps(m)[:-1] + ', "nodes": []}',
    "a list": lambda m: "[]",
    "no columns": lambda m: m.pop("columns"),
    "NaN": lambda m: json.dumps(m).replace('"fine_cells": ', '"fine_cells": NaN, "x": '),
    "text as cells": lambda m: m.__setitem__("fine_cells", "many"),
    "no cells": lambda m: m.__setitem__("fine_cells", -1),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_model_that_contradicts_itself_is_refused(what: str, place: Path) -> None:
    model = place / "out" / "public" / "model"
    synthgen.load(model)
    _edit(model, BROKEN[what])
    with pytest.raises((ConfigError, DataError)) as caught:
        synthgen.load(model)
    assert caught.value.exit_code in (2, 3)


@pytest.mark.parametrize("change", ["shape", "negative", "nan", "type", "missing", "text", "coarse"])
def test_a_model_of_impossible_numbers_is_refused(change: str, place: Path) -> None:
    from safetensors.numpy import load_file, save_file

    model = place / "out" / "public" / "model"
    tensors = load_file(model / "model.safetensors")
    table = tensors["node.0"]
    if change == "coarse":
        tensors["coarse.0"] = tensors["coarse.0"] + 10**9
    elif change == "missing":
        del tensors["node.0"]
    else:
        changed = {
            "shape": table[..., None],
            "negative": -table,
            "nan": table * np.nan,
            "type": table.astype(np.int64),
        }
        tensors["node.0"] = changed.get(change, table)
    save_file(tensors, model / "model.safetensors")
    if change == "text":
        (model / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ConfigError):
        synthgen.load(model)


@pytest.mark.parametrize("name", ["state.json", "evaluation.json", "record.json", "audit.json", "data.json"])
def test_a_key_twice_in_a_run_s_json_is_refused(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    path = place / "out" / "internal" / name
    text = path.read_text().lstrip()
    path.write_text('{"format": 2, "format": 2, "digest": "", "digest": "",' + text[1:])
    verb = "evaluate" if name in ("audit.json", "data.json", "state.json") else "release"
    code, shown = call(VERBS[verb].replace("RUN", "out"), capsys)
    assert code in (1, 2, 3), shown
    assert "bug" not in shown["error"]["message"]


@pytest.mark.parametrize(
    "text",
    [
        '{"kind": "bind", "kind": "bind", "plan": "", "data": ""}',
        '{"kind": "intent", "seq": 1}',
        '{"kind": "answer"}',
        "[1]",
        '{"kind": "intent", "seq": 0, "attempt": "x", "query": {}, "count": "y"}',
        "1" * 5000,
    ],
)
def test_a_journal_whose_hashes_fit_and_whose_lines_do_not_is_damaged(text: str, tmp_path: Path) -> None:
    path = tmp_path / "answers.journal"
    Journal(path).close()
    first = path.read_text().split("\n")[0]
    digest = first.partition(" ")[0]
    path.write_text(f"{first}\n{_chained(digest, text)} {text}\n")
    with pytest.raises(DataError, match="line 2 damaged"):
        Journal(path)
