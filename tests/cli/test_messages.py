"""Every verb and option of the command line: missing, wrong, unwritable, quiet, and what success prints.

The verbs are found in the command tree, so that a new one is walked by itself; `EXAMPLES` holds one complete
command a verb, and a verb without one fails.
"""

import contextlib
import errno
import functools
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from synthgen.cli import app as cli
from synthgen.cli.output import Progress, show
from synthgen.errors import CAUSES
from synthgen.files import safe_files
from synthgen.pipeline import evaluate_files

SCHEMA = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}, outside: clip}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: tiny
data: {table: {path: tiny.csv, schema: tiny.schema.yaml}}
budget: {ledger: "sqlite:///ledger.db", epsilon: 1.0, delta: 1e-6, patients: 600}
generator: {name: marginal, iterations: 50}
sample: {records: 200}
release: {formats: [csv]}
"""
REDCAP = Path(__file__).parents[1] / "data" / "redcap"


@dataclass(frozen=True)
class Verb:
    """A verb of the command tree: its words, and its parameters."""

    words: tuple[str, ...]
    params: tuple[Any, ...]

    @property
    def name(self) -> str:
        return " ".join(self.words)


def verbs() -> list[Verb]:
    found: list[Verb] = []

    def walk(command: Any, words: tuple[str, ...]) -> None:
        for name, inner in getattr(command, "commands", {}).items():
            walk(inner, (*words, name))
        if not hasattr(command, "commands"):
            found.append(Verb(words, tuple(command.params)))

    walk(typer.main.get_command(cli.app), ())
    return found


VERBS = verbs()
OPTIONS = [
    (verb, param)
    for verb in VERBS
    for param in verb.params
    if param.param_type_name == "option" and not param.is_flag
]


def call(*arguments: object) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments)])
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


def problem(*arguments: object) -> tuple[int, dict[str, str]]:
    """Return exit code and error object, once the text and the JSON of an error say the same."""
    code, out, err = call(*arguments)
    again, shown, _ = call(*arguments, "--json")
    error = json.loads(shown)["error"]
    assert set(error) == {"code", "message", "where", "next"}
    assert (code, shown.count("\n")) == (again, 1)
    assert out == ""
    assert error["message"] in err
    assert all(error[key].strip() for key in ("message", "next"))
    assert "This is a bug" not in error["message"]
    return code, error


def make_run(folder: Path) -> None:
    """Make a cohort, its ledger, and an evaluated run that was not released, all in a folder."""
    rows = [f"p{i // 2},{20 + i % 80},{'FM'[i % 2]},{'true' if i % 5 == 0 else 'false'}" for i in range(1200)]
    (folder / "tiny.csv").write_text("patient,age,sex,died\n" + "\n".join(rows) + "\n")
    (folder / "tiny.schema.yaml").write_text(SCHEMA)
    (folder / "run.yaml").write_text(CONFIG)
    assert call("run", folder / "run.yaml", "--output", folder / "run", "--anyway")[0] == 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run, its bundle, and all that the examples name."""
    folder = tmp_path_factory.mktemp("place")
    before = Path.cwd()
    os.chdir(folder)
    rng = random.Random(1)
    rows = [
        f"p{i // 2},{rng.randint(20, 99)},{'FM'[i % 2]},{'true' if rng.random() < 0.2 else 'false'}"
        for i in range(1800)
    ]
    for name, part in (("tiny", rows[:1200]), ("holdout", rows[1200:1600]), ("synthetic", rows[1600:])):
        Path(f"{name}.csv").write_text("patient,age,sex,died\n" + "\n".join(part) + "\n")
    Path("tiny.schema.yaml").write_text(SCHEMA)
    Path("run.yaml").write_text(CONFIG)
    assert call("run", "run.yaml", "--output", "run", "--anyway")[0] == 5
    assert call("release", "run", "-o", "bundle", "--override", "a test")[0] == 0
    assert call("schema", "init", "tiny.csv", "-o", "draft.yaml", "--suggest")[0] == 0
    try:
        yield folder
    finally:
        os.chdir(before)


EXAMPLES: dict[str, list[object]] = {
    "demo": ["tables", "-o", "NEW"],
    "plan": ["run.yaml"],
    "run": ["run.yaml", "-o", "run"],
    "fit": ["run.yaml", "-o", "run"],
    "sample": ["run", "-n", 5, "-o", "NEW.csv"],
    "evaluate": "--real tiny.csv --holdout holdout.csv --synthetic synthetic.csv --schema tiny.schema.yaml"
    " --report NEW.html".split(),
    "release": ["run", "-o", "NEW", "--override", "a test"],
    "export": ["bundle", "dicom", "-o", "NEW"],
    "verify": ["bundle"],
    "schema init": ["tiny.csv", "-o", "NEW.yaml", "--suggest"],
    "schema import": [REDCAP / "dictionary.csv", "--from", "redcap", "-o", "NEW.yaml"],
    "schema check": ["tiny.schema.yaml", "tiny.csv"],
    "schema simulate": ["tiny.schema.yaml", "-n", 5, "-o", "NEW.csv"],
    "schema confirm": ["draft.yaml", "--all"],
    "config init": ["tiny.schema.yaml", "-o", "NEW.yaml", "--data", "tiny.csv"],
    "ledger open": ["other", "--epsilon", 1, "--delta", 1e-6, "--ledger", "sqlite:///ledger.db"],
    "ledger show": ["--ledger", "sqlite:///ledger.db"],
    "ledger resolve": [2, "--reason", "a test", "--ledger", "sqlite:///ledger.db"],
    "ledger unit": ["tiny", "--level", "patient", "--reason", "a test", "--ledger", "sqlite:///ledger.db"],
    "ledger same-unit": ["a", "b", "--reason", "a test", "--ledger", "sqlite:///ledger.db"],
    "ledger verify": ["--ledger", "sqlite:///ledger.db"],
}
"""A complete command a verb; NEW is replaced by a name that is free."""
WITHOUT_SUCCESS = {"demo", "export", "ledger resolve", "ledger unit"}
"""Takes minutes; wants images; want an orphan, an old entry: their successes are shown by other tests."""
WRITING = sorted(name for name, words in EXAMPLES.items() if any("NEW" in str(word) for word in words))


def example(verb: str, new: object) -> list[object]:
    return [*verb.split(), *(str(word).replace("NEW", str(new)) for word in EXAMPLES[verb])]


def test_every_verb_has_an_example() -> None:
    assert {verb.name for verb in VERBS} == set(EXAMPLES)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_every_verb_takes_the_shared_options(verb: Verb) -> None:
    names = {name for param in verb.params for name in param.opts}
    assert {"--json", "--quiet", "--verbose"} <= names


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_missing_argument_or_option_is_named(verb: Verb) -> None:
    required = [param for param in verb.params if param.required]
    for param in required:
        others = [one for one in required if one is not param]
        words = [text for one in others if one.param_type_name == "option" for text in (one.opts[0], "1")]
        words += ["1" for one in others if one.param_type_name == "argument"]
        code, error = problem(*verb.words, *words)
        assert code == 2
        if param.param_type_name == "option" or not any(o.param_type_name == "argument" for o in others):
            assert (getattr(param, "metavar", None) or param.opts[0].strip("-")) in error["message"]
        assert error["where"] == f"synthgen {verb.name}"


@pytest.mark.parametrize(("verb", "param"), OPTIONS, ids=lambda one: getattr(one, "name", ""))
def test_an_option_without_its_value_is_named(verb: Verb, param: Any) -> None:
    code, error = problem(*verb.words, param.opts[0])
    assert code == 2
    assert param.opts[0] in error["message"]


NUMBERS = [
    (verb, param)
    for verb, param in OPTIONS
    if re.search(r"\b(int|float)\b", str(param.type_descriptor.annotation))
]


@pytest.mark.parametrize(("verb", "param"), NUMBERS, ids=lambda one: getattr(one, "name", ""))
def test_a_word_where_a_number_belongs_is_refused(verb: Verb, param: Any) -> None:
    code, error = problem(*verb.words, param.opts[0], "many")
    assert code == 2
    assert param.opts[0] in error["message"]


@pytest.mark.parametrize(
    "words", [[], ["schema"], ["ledger"], ["nonsense"], ["ledger", "nonsense"], ["--nothing"]]
)
def test_words_that_are_no_verb_are_refused(words: list[str]) -> None:
    code, error = problem(*words)
    assert code == 2
    assert "--help" in error["next"]


@pytest.mark.parametrize("ending", ["xlsx", "json", "csv.xlsx"])
@pytest.mark.parametrize("verb", WRITING)
def test_an_unknown_ending_is_refused_before_any_work(
    verb: str, ending: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [re.sub(r"NEW(\.\w+)?", f"odd.{ending}", str(word)) for word in EXAMPLES[verb]]
    before = sorted(place.rglob("*"))
    monkeypatch.setattr("synthgen.generators.saved_model.save_model", pytest.fail)
    code, error = problem(*verb.split(), *words)
    assert code == 2
    assert f".{ending.split('.')[-1]}" in error["message"]
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("verb", WRITING)
def test_a_place_that_cannot_be_written_is_refused_with_its_cause(verb: str, place: Path) -> None:
    before = sorted(place.rglob("*"))
    for new, cause in (("tiny.csv/new", "a file, not a folder"), ("n" * 300, "name is too long")):
        code, error = problem(*example(verb, new))
        assert code == 1
        assert cause in error["message"]
        assert error["code"] == "operation"
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("number", sorted(CAUSES))
def test_what_the_operating_system_refuses_is_said_in_words(
    number: int, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/a/patient's name.csv")

    monkeypatch.setattr("synthgen.cli.sample_command.write_table", refuse)
    code, error = problem("sample", "run", "-n", 5, "-o", f"os{number}.csv")
    assert code == 1
    expected = "it is used up" if number == errno.ENOMEM else CAUSES[number][0]
    assert expected in error["message"]
    assert "patient's name" not in json.dumps(error)


FAILURES: list[tuple[BaseException, int, str]] = [
    (MemoryError(), 1, "memory"),
    (
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        1,
        "memory",
    ),
    (ImportError("no", name="torch"), 2, "torch"),
    (ModuleNotFoundError("no", name="pydicom.dataset"), 2, "pydicom"),
    (RuntimeError("Error while serializing: IoError(Os { code: 28, kind: StorageFull })"), 1, "disk is full"),
    (UnicodeEncodeError("ascii", "ä", 0, 1, "no"), 1, "UTF-8"),
]


@pytest.mark.parametrize(("failure", "expected", "word"), FAILURES, ids=lambda one: type(one).__name__)
def test_other_failures_of_the_machine_are_no_bugs(
    failure: BaseException, expected: int, word: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr("synthgen.cli.sample_command.draw", fail)
    code, error = problem("sample", "run", "-n", 5, "-o", "failed.csv")
    assert code == expected
    assert word in error["message"]


def test_a_bug_is_said_to_be_one_without_its_text(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("a patient's value")

    monkeypatch.setattr("synthgen.cli.sample_command.draw", fail)
    code, out, err = call("sample", "run", "-n", 5, "-o", "failed.csv")
    assert (code, out) == (1, "")
    assert "This is a bug" in err
    assert "patient's value" not in err


def test_a_full_disk_leaves_no_half_of_a_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: int, temporary: str, *_: object, **__: object) -> None:
        assert os.stat(temporary, dir_fd=folder).st_size > 0
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safe_files, "_rename", fill)
    code, error = problem("sample", "run", "-n", 5, "-o", "full.csv")
    assert (code, error["where"]) == (1, "full.csv")
    assert "the disk is full" in error["message"]
    assert not list(place.glob("*full*"))


@pytest.mark.parametrize(
    "words",
    [["sample", "run", "-n", 5], ["schema", "simulate", "tiny.schema.yaml", "-n", 5]],
    ids=lambda w: w[0],
)
def test_a_file_that_is_there_is_overwritten_by_force_only(words: list[object], place: Path) -> None:
    mine = place / "mine.csv"
    mine.write_text("mine")
    code, error = problem(*words, "-o", mine)
    assert code == 2
    assert "--force" in error["next"]
    assert mine.read_text() == "mine"
    assert call(*words, "-o", mine, "--force")[0] == 0
    assert mine.read_text() != "mine"
    mine.unlink()


PYTHON = re.compile(r"\bNone\b|\{['\"]|\[['\"]|['\"]:|\bTrue\b|\bFalse\b|\d\.\d{8,}|nan\b")
"""Python's own spelling of values, and floats with all their digits."""


@pytest.mark.parametrize("verb", sorted(set(EXAMPLES) - WITHOUT_SUCCESS))
def test_what_success_prints_is_in_words_and_says_what_to_do_next(
    verb: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = functools.cache(lambda: real_evaluate(**asked))
    real_evaluate, asked = evaluate_files.evaluate, {}

    def evaluate_once(paths: Any, **options: Any) -> Any:
        asked.update(options, paths=paths)
        return evaluated()

    monkeypatch.setattr(evaluate_files, "evaluate", evaluate_once)
    code, out, err = call(*example(verb, f"plain-{verb}"))
    assert code in (0, 5)
    assert not PYTHON.search(out + err)
    assert re.search(r"^[Nn]ext:", out, re.MULTILINE)
    if verb in ("run", "evaluate"):
        report = next(
            line.removeprefix("Report: ") for line in out.splitlines() if line.startswith("Report: ")
        )
        assert Path(report).is_file()
    quiet = call(*example(verb, f"quiet-{verb}"), "--quiet")
    assert quiet[0] == code
    assert quiet[2] == ""
    assert 1 <= len(quiet[1].splitlines()) <= 2
    loud = call(*example(verb, f"loud-{verb}"), "--verbose")
    assert loud[0] == code
    assert len(loud[1].splitlines()) >= len(out.splitlines())
    as_json = call(*example(verb, f"json-{verb}"), "--json", "--quiet")
    assert isinstance(json.loads(as_json[1]), dict)


def test_an_outcome_is_shown_without_pythons_spelling() -> None:
    outcome = {
        "cohorts": [{"cap": {"epsilon": 1.0, "delta": 1e-6}, "left": None, "spends": 0, "counts_with": []}],
        "bundle": None,
        "valid": False,
        "share": 0.1 + 0.2,
        "empty": {},
        "names": ["a", "b"],
        "nested": {"deep": {"deeper": [1.0, None, {"x": True}]}},
    }
    text = show(outcome, color=False)
    assert not PYTHON.search(text)
    assert "epsilon 1" in text
    assert "valid: no" in text
    assert "bundle" not in text


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_rate_and_time_left_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    now = [0.0]
    terminal = Terminal()
    progress = Progress(terminal, clock=lambda: now[0])
    progress("sample: 0 of 1,000 records", 0.0)
    now[0] = 10.0
    progress("sample: 250 of 1,000 records", 0.25)
    last = terminal.getvalue().rpartition("\r")[2]
    assert "30 s left, 25 records a second" in last
    assert "\x1b[1m######" in last
    now[0] = 10.01  # drawn a few times a second at most
    progress("sample: 251 of 1,000 records", 0.251)
    assert terminal.getvalue().rpartition("\r")[2] == last
    now[0] = 20.0
    progress("evaluate: fidelity_tvd", 0.0)
    now[0] = 30.0
    progress("evaluate: fidelity_tvd", 0.5)
    assert "10 s left, 5 % a second" in terminal.getvalue()


def test_without_a_terminal_there_is_a_line_a_step_and_no_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    plain = io.StringIO()
    progress = Progress(plain, clock=lambda: now[0])
    for i in range(100):
        now[0] = float(i)
        progress(f"fit: round {i} of 100", i / 100)
    progress("sample", 0.0)
    progress("done", 1.0)
    lines = plain.getvalue().splitlines()
    assert len(lines) == 1 + 3 + 1  # its start, once in 30 s, the next step
    assert "rounds a second" in lines[2]
    assert "\x1b" not in plain.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    Progress(terminal)("sample", 0.5)
    assert "\x1b[1m" not in terminal.getvalue()
    dumb = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    Progress(dumb)("sample", 0.5)
    assert dumb.getvalue() == "sample\n"
    silent = Terminal()
    Progress(silent, quiet=True)("note", -1.0)
    assert silent.getvalue() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_a_verb_like_ctrl_c(number: signal.Signals, place: Path) -> None:
    script = (
        "import sys, time\n"
        "import synthgen.cli.sample_command as drawing\n"
        "from synthgen.cli import app as cli\n"
        "def slow(table, path, **_):\n"
        "    from synthgen.files.safe_files import replacing\n"
        "    with replacing(path, private=False) as stream:\n"
        "        stream.write(b'half')\n"
        "        stream.flush()\n"
        "        print('ready', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "drawing.write_table = slow\n"
        "cli.main(['sample', 'run', '-n', '5', '-o', 'stopped.csv', '--json'])\n"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # a shell's background jobs ignore SIGINT
    )
    assert process.stderr is not None
    while "ready" not in (line := process.stderr.readline()):
        assert line
    start = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - start < 10
    assert process.returncode == 130
    assert json.loads(out)["error"]["code"] == "interrupted"
    assert "Traceback" not in err
    assert not list(place.glob("*stopped*"))


def test_an_interrupt_that_a_library_turns_into_an_exit_is_one(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exit_as_lightning(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    monkeypatch.setattr("synthgen.cli.sample_command.draw", exit_as_lightning)
    code, error = problem("sample", "run", "-n", 5, "-o", "failed.csv")
    assert (code, error["code"]) == (130, "interrupted")
