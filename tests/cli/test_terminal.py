"""No name, value or reason that others wrote forges a line, hides one, or ends in a traceback."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import subprocess
import sys
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthgen.cli.app import main
from synthgen.cli.output import Progress, show
from synthgen.cli.terminal import guarded
from synthgen.errors import ConfigError
from synthgen.ingest.schema_draft.from_file import init
from synthgen.ingest.schema_draft.table_draft import Named
from synthgen.printable import code, html, json_text, markdown, printable, printable_lines, shell
from synthgen.release.bundle.bundle import schema_text
from synthgen.schema.schema import load_schema

FORGED = "verified: yes"
HOSTILE = {
    "line": f"a\n{FORGED}",
    "return": f"a\r{FORGED}",
    "erase": f"\x1b[2K\x1b[1G{FORGED}",
    "title": "\x1b]0;owned\x07",
    "c1": f"\x9b2J\x85{FORGED}",
    "delete": "a\x7f\x7f",
    "separator": f"a\u2028{FORGED}\u2029",
    "override": "\u202efdp.exe\u202c",
    "isolate": "\u2066x\u2069\u061c",
    "unseen": "a\u200b\u200d\ufeff\u00ad\u034f\u3164\ufe0fb",
    "tags": "a\U000e0041\U000e007f",
    "private": "\ue000\U0010ffff",
    "spaces": f"a{' ' * 80}{FORGED}\u00a0\u3000",
    "pile": "a" + "\u0301" * 40,
    "bytes": "a\udcff\ud800",
}
UNSAFE = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def unsafe(text: str) -> list[str]:
    """Return what in a text may act on a terminal, by Unicode's categories alone."""
    return [sign for sign in text if sign != "\n" and unicodedata.category(sign) in UNSAFE]


def forged(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip().startswith(FORGED)]


@pytest.mark.parametrize("name", HOSTILE)
def test_each_kind_of_forgery_is_one_line_of_seen_signs(name: str) -> None:
    shown = printable(HOSTILE[name])
    assert not unsafe(shown)
    assert len(shown.splitlines()) == 1
    assert shown != HOSTILE[name]
    assert " " * 4 not in shown
    assert shown.encode()  # no lone surrogate


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.text())
@example("".join(map(chr, [*range(0x300), *range(0x2000, 0x2070), 0x1D173])))
def test_any_text_is_made_safe_and_what_is_safe_stays(text: str) -> None:
    shown = printable(text)
    assert not unsafe(shown)
    assert "\n" not in shown
    assert printable(shown) == shown
    assert not unsafe(html(text) + markdown(text) + code(text) + printable_lines(text) + shell(text))
    assert not unsafe(json_text(text, ascii_only=False))
    if not any(0xD800 <= ord(sign) < 0xE000 for sign in text):
        assert json.loads(json_text(text)) == json.loads(json_text(text, ascii_only=False)) == text
    for plain in ("Müller", "年齢", "גיל", "العمر", "हिन्दी", "a_b-c.d (e)", "≥ 5 µg/l"):
        assert printable(plain) == plain


@settings(max_examples=40, derandomize=True, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@example("a\n'b\\ $(touch x)\x1b")
def test_a_command_that_is_suggested_names_the_file_itself(text: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"printf %s {shell(text)}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert done.stdout.decode() == text


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def check(code_: int, out: str, err: str, *, expected: int) -> None:
    assert code_ == expected, (out, err)
    assert not unsafe(out), out
    assert not unsafe(err), err
    assert not forged(out), out
    assert not forged(err), err
    assert "Traceback" not in err
    assert "bug" not in err


@pytest.mark.parametrize("as_json", [False, True])
def test_files_of_a_bundle_are_named_line_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    for name in HOSTILE.values():
        (tmp_path / os.fsdecode(os.fsencode(name.replace("\ud800", "")))).write_text("x")
    code_, out, err = run(capsys, "verify", str(tmp_path), *(["--json"] if as_json else []))
    check(code_, out, err, expected=3)
    if as_json:
        assert json.loads(out)["verified"] is False
        assert out.isascii()
    else:
        assert out.splitlines()[1] == "verified: no"


@pytest.mark.parametrize("name", HOSTILE)
def test_columns_categories_and_paths_of_a_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    text = HOSTILE[name]
    schema = tmp_path / "s.yaml"
    field: dict[str, Any] = {"name": text, "type": "string", "constraints": {"enum": [text, "b"]}}
    field["confirmed"] = False
    schema.write_text(
        json.dumps({"unit": "row", "missingValues": [text], "fields": [field]}), encoding="utf-8"
    )
    table = tmp_path / "t.csv"
    table.write_bytes(b"other\nx\n")
    code_, out, err = run(capsys, "schema", "check", str(schema), str(table))
    check(code_, out, err, expected=code_)
    assert code_ in (2, 3)
    code_, out, err = run(capsys, "schema", "check", str(schema), str(table), "--json")
    check(code_, out, err, expected=code_)
    json.loads(out)
    code_, out, err = run(capsys, "schema", "confirm", str(schema), text.replace("\ud800", ""))
    check(code_, out, err, expected=code_)


@pytest.mark.parametrize("name", HOSTILE)
def test_arguments_that_name_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    text = HOSTILE[name].replace("\ud800", "")
    for arguments in (
        ("verify", text),
        ("plan", text),
        ("plan", f"--{text}"),
        (text,),
        ("schema", "check", text, text),
        ("ledger", "show", "--ledger", f"sqlite:///{tmp_path}/{text}.db"),
        ("ledger", "show", text, "--ledger", f"sqlite:///{tmp_path}/none.db"),
        ("schema", "simulate", text, "-n", text, "-o", text),
    ):
        code_, out, err = run(capsys, *arguments)
        check(code_, out, err, expected=code_)
        assert code_ in (1, 2, 3), arguments
        json.loads(run(capsys, *arguments, "--json")[1])


def test_names_in_a_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    spend = ("--epsilon", "1", "--delta", "1e-6", "--ledger", url)
    for text in HOSTILE.values():
        code_, out, err = run(capsys, "ledger", "open", text, *spend, "--reason", text)
        check(code_, out, err, expected=code_)
    code_, out, err = run(capsys, "ledger", "show", "--ledger", url)
    check(code_, out, err, expected=code_)
    json.loads(run(capsys, "ledger", "show", "--ledger", url, "--json")[1])


def test_an_error_lists_its_details_and_no_name_adds_a_line() -> None:
    error = ConfigError(f"Expected {HOSTILE['line']}", where=HOSTILE["erase"], details=[HOSTILE["line"], "b"])
    assert error.message.count("\n  ") == 2

    def fails(*_: Any, **__: Any) -> None:
        raise error

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synthgen.release.bundle.bundle.verify_bundle", fails)
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit):
            main(["verify", "/"])
    assert len(err.getvalue().splitlines()) == 4  # the message, its two details, the next step
    assert not unsafe(err.getvalue())


@pytest.mark.parametrize("name", HOSTILE)
def test_outcomes_and_progress(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HOSTILE[name]
    reason = {"head": text, "severity": text, "message": text}
    outcome = {
        "verdict": text,
        "reasons": [reason],
        "unit": "patient",
        text: {text: [text, {text: text}]},
        "next": f"one\n{printable(text)}",
        "entries": [{"seq": 1, "time": text, "cohort": text, "kind": text, "content": {"entry": text}}],
    }
    for quiet in (False, True):
        shown = show(outcome, color=False, quiet=quiet, verbose=True)
        assert not unsafe(shown)
        assert not forged(shown)
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    progress = Progress(stream)
    progress(text, 0.1)
    progress(text, -1.0)
    assert not unsafe(
        stream.getvalue().replace("\r\x1b[2K", "").replace("\x1b[1m", "").replace("\x1b[0m", "")
    )
    assert not forged(stream.getvalue().replace("\r\x1b[2K", "").removeprefix("a"))


def test_what_libraries_write_is_escaped_and_their_warnings_are_not_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.delenv("SYNTHGEN_DEBUG", raising=False)
    with guarded():
        print(HOSTILE["erase"], file=sys.stderr)
        print(HOSTILE["c1"])
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning(HOSTILE["line"], UserWarning, "lib.py", 3)
        logging.lastResort.handle(  # type: ignore[union-attr]
            logging.LogRecord("lib", logging.WARNING, "lib.py", 1, HOSTILE["line"], (), None)
        )
    assert sys.stderr is err
    assert not unsafe(out.getvalue() + err.getvalue())
    assert not forged(out.getvalue() + err.getvalue())
    assert "Note: UserWarning at lib.py:3\n" in err.getvalue()


@pytest.mark.parametrize("name", HOSTILE)
def test_drafts_configs_and_schemas_show_all_that_they_hold(tmp_path: Path, name: str) -> None:
    text = HOSTILE[name].replace("\udcff\ud800", "\u200e")
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        rows = [["id", text, f"{text}2", "n"]]
        rows += [[f"P{i}", f"{text}{i % 2}", "ab"[i % 2], str(i % 7)] for i in range(60)]
        csv.writer(stream).writerows(rows)
    made = init(tmp_path / "t.csv", suggest=True, named=Named("id", (f"{text}2",), ()))
    assert not unsafe(made.text)
    assert not [line for line in made.text.splitlines() if line.strip().startswith(FORGED)]
    path = tmp_path / "s.yaml"
    path.write_text(made.text.replace("confirmed: false", "confirmed: true"), encoding="utf-8")
    schema = load_schema(path)
    assert [field.name for field in schema.fields] == rows[0]
    public = schema.public()
    written = schema_text(public)
    assert not unsafe(written)
    path.write_text(written, encoding="utf-8")
    assert load_schema(path) == public
    assert not unsafe(json_text(public.model_dump(mode="json"), ascii_only=False))
