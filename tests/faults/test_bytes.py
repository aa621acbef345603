"""A flipped byte anywhere in a bundle or a ledger: verify ends with 3 and names the file or the entry."""

from __future__ import annotations

import json
import random
import shutil

import pytest

from synthgen.cli import app as cli
from synthgen.release.bundle.bundle import verify_bundle
from tests.faults.runs import Run


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def flips(content: bytes, n: int) -> list[bytes]:
    chance, found = random.Random(len(content)), []
    for at in {0, len(content) - 1, *(chance.randrange(len(content)) for _ in range(n))}:
        damaged = bytearray(content)
        damaged[at] ^= 1 << chance.randrange(8)
        found.append(bytes(damaged))
    return found


def test_a_flipped_byte_of_any_file_of_a_bundle_is_named(whole: Run, tmp_path, capsys):
    bundle = shutil.copytree(whole.folder / "bundle", tmp_path / "bundle")
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    assert len(files) == 7
    for path in files:
        name, content = path.relative_to(bundle).as_posix(), path.read_bytes()
        for damaged in flips(content, 12):
            path.write_bytes(damaged)
            named = {problem.file for problem in verify_bundle(bundle)}
            # A flipped digest shows as the file that it no longer fits, a flipped name as the missing one.
            assert name in named or (name == "checksums.sha256" and named)
        code, found = shown(capsys, "verify", str(bundle))
        assert (code, found["verified"]) == (3, False)
        path.write_bytes(content)
    assert shown(capsys, "verify", str(bundle))[0] == 0


def test_a_flipped_byte_of_any_row_of_a_ledger_ends_with_3_and_names_the_row(whole: Run, tmp_path, capsys):
    path = tmp_path / "ledger.db"
    shutil.copyfile(whole.folder / "ledger.db", path)
    content = path.read_bytes()
    for entry in whole.ledger().entries():
        at = content.index(entry.time.encode() + entry.cohort.encode() + entry.kind.encode())
        for offset in range(at, at + len(entry.time + entry.cohort + entry.kind), 9):
            damaged = bytearray(content)
            damaged[offset] ^= 128 if offset % 2 else 1  # also bytes that are no text any more
            path.write_bytes(damaged)
            code, found = shown(capsys, "ledger", "verify", "--ledger", f"sqlite:///{path}")
            assert code == 3
            assert any(problem["seq"] == entry.seq for problem in found["problems"])  # type: ignore[attr-defined]


def test_a_damaged_ledger_file_ends_with_3_and_names_the_file(whole: Run, tmp_path, capsys):
    path = tmp_path / "ledger.db"
    content = bytearray((whole.folder / "ledger.db").read_bytes())
    for offset, length in ((0, 1), (100, 1), (4096, 4), (0, len(content))):
        damaged = bytearray(content)
        damaged[offset : offset + length] = b"\xff" * length
        path.write_bytes(damaged)
        code, found = shown(capsys, "ledger", "verify", "--ledger", f"sqlite:///{path}")
        assert code == 3
        assert "ledger.db" in json.dumps(found)
