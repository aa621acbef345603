"""The whole line in a folder that somebody else filled: nothing of the folder runs, nothing is sent."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from synthgen.cli import app as cli
from tests.hostile import line

VERBS = {
    "schema init": "schema init t.csv -o drafted.yaml --suggest --unit patient --force",
    "schema check": "schema check dicom.schema.yaml dicom",
    "schema confirm": "schema confirm drafted.yaml --all",
    "schema simulate": "schema simulate t.schema.yaml -n 20 -o fake.csv --force",
    "schema import": "schema import dictionary.csv --from redcap -o imported.yaml",
    "config init": "config init t.schema.yaml --data t.csv -o drafted.config.yaml --force",
    "plan": "plan run.yaml",
    "run": "run run.yaml --anyway --output out",
    "fit": "fit run.yaml --anyway --output fitted --set budget.ledger=sqlite:///fitted.db",
    "sample": "sample out --records 50 -o more.csv --force",
    "evaluate": "evaluate out",
    "release": "release out --output bundle --override test",
    "verify": "verify bundle",
    "export": "export bundle dicom --output exported",
    "ledger open": "ledger open other --epsilon 1 --delta 1e-6 --ledger sqlite:///other.db",
    "ledger show": "ledger show --ledger sqlite:///ledger_tiny.db",
    "ledger verify": "ledger verify --ledger sqlite:///ledger_tiny.db",
    "ledger resolve": "ledger resolve 1 --reason test --ledger sqlite:///other.db",
    "ledger unit": "ledger unit other --level patient --column patient --reason test --ledger sqlite:///other.db",
    "ledger same-unit": "ledger same-unit other --reason test --ledger sqlite:///other.db",
    "demo": "demo tables --output demo",
}
"""One command of each verb; some of them are refused, after they have loaded what they need."""
PATHS = {"PATH": f":{os.environ['PATH']}"}
"""An empty part: the current folder, where a program of the name `lscpu` lies."""
OWN_PROGRAMS = re.compile(r'"[^"]*(synthgen|python[0-9.]*|lscpu|fc-list)"')
"""lscpu counts cores for joblib, fc-list finds fonts for matplotlib: both from absolute parts of PATH."""


def verbs(app, before=""):
    """Return the name of every verb."""
    import typer.main

    group = typer.main.get_command(app)
    found = []
    for name, command in group.commands.items():
        inner = getattr(command, "commands", {})
        found += [f"{name} {verb}" for verb in inner] if inner else [name]
    return found


def require_clean(done: line.Done, folder: Path, codes: tuple[int, ...]) -> None:
    assert done.code in codes, done.text
    assert "planted" not in done.text
    assert "Traceback" not in done.text
    assert not line.marks(folder), done.text
    assert not done.internet, done.internet[:3]
    assert all(OWN_PROGRAMS.match(program) for program in done.programs[1:]), done.programs


def test_every_verb_is_in_the_table():
    assert set(verbs(cli.app)) == set(VERBS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "work"
    place.mkdir()
    line.write_table(place)
    line.plant(place)
    (place / "matplotlibrc").write_bytes(b"backend: module://planted\nsvg.fonttype: \xff\n")
    return place


def test_nothing_of_the_folder_runs_and_nothing_is_sent_by_the_child_that_decodes(folder, tmp_path):
    pytest.importorskip("pydicom")
    line.write_dicom(folder)
    done = line.watched([*line.synthgen(), *VERBS["schema check"].split()], folder, tmp_path / "log", **PATHS)
    require_clean(done, folder, (0,))
    workers = [program for program in done.programs if "dicom.worker" in program]
    assert workers
    assert all("-P" in program for program in workers)


@pytest.mark.parametrize(
    "path", [":", pytest.param("", marks=pytest.mark.slow), pytest.param(".", marks=pytest.mark.slow)]
)
def test_python_minus_m_and_empty_parts_of_the_path_of_modules(folder, tmp_path, path):
    names = [path.name for path in folder.iterdir() if path.name in ("synthgen", "sitecustomize.py")]
    assert len(names) == 2  # what Python itself would load first is out of reach, and documented
    line.shutil.rmtree(folder / "synthgen")
    for name in ("sitecustomize.py", "usercustomize.py", "encodings.py", "site.py", "runpy.py"):
        (folder / name).unlink()
    command = [line.sys.executable, "-m", "synthgen", "plan", "run.yaml"]
    done = line.watched(command, folder, tmp_path / "log", PYTHONPATH=path and f"{path}:{path}")
    require_clean(done, folder, (0,))


def test_whoever_imports_matplotlib_first_it_reads_no_settings_of_the_folder(tmp_path):
    (tmp_path / "matplotlibrc").write_text("svg.hashsalt: planted\n")
    script = tmp_path / "synthgen"
    script.write_text(
        "import synthgen, importlib.util\nassert importlib.util.find_spec('matplotlib')\n"
        "import matplotlib\nprint(matplotlib.rcParams['svg.hashsalt'])\n"
    )
    done = line.subprocess.run(
        [line.sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None"


def test_the_guard_sees_a_connection_and_a_planted_module_of_a_child(folder, tmp_path, monkeypatch):
    script = tmp_path / "synthgen"
    script.write_text(
        "import socket, subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'json.tool', '--help'], capture_output=True)\n"
        "try:\n    socket.create_connection(('127.0.0.1', 9), timeout=1)\nexcept OSError:\n    pass\n"
    )
    for strace in {line.has_strace(), False}:
        monkeypatch.setattr(line, "has_strace", lambda known=strace: known)
        command = [line.sys.executable, str(script)] if strace else [str(script)]
        done = line.watched(command, folder, tmp_path / f"log{strace}")
        assert done.internet
        assert any("json.tool" in program for program in done.programs)
        if strace:  # the guard starts children with -P itself
            assert line.marks(folder)


@pytest.mark.slow
def test_nothing_of_the_folder_runs_and_nothing_is_sent_by_any_verb(folder, tmp_path):
    line.write_dicom(folder)
    (folder / "dictionary.csv").write_text("Variable / Field Name,Form Name,Field Type\nrecord_id,f,text\n")
    for verb, words in VERBS.items():
        done = line.watched([*line.synthgen(), *words.split()], folder, tmp_path / "log", **PATHS)
        require_clean(
            done, folder, (0, 5) if verb in ("run", "sample", "evaluate", "verify") else (0, 2, 3, 5)
        )
        if verb == "run":
            assert any(program.startswith('"lscpu"') for program in done.programs) or not line.has_strace()


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["embedding", "diffusion", "gan"])
def test_nothing_of_the_folder_runs_and_nothing_is_sent_by_images(folder, tmp_path, generator):
    line.write_images(folder, generator)
    for words in (
        "run images.yaml --anyway --output out",
        "sample out --records 20 -o more",
        "evaluate out",
        "release out --output bundle --override test",
        "verify bundle",
        "export bundle dicom --output exported",
    ):
        done = line.watched([*line.synthgen(), *words.split()], folder, tmp_path / "log")
        require_clean(done, folder, (0, 5))
