"""A run that somebody sent brings neither its config nor its ledger, and no password leaves through it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from synthgen.pipeline import fit as spending
from synthgen.pipeline import own_runs
from synthgen.privacy.ledger.ledger import Ledger
from tests.cli.test_messages import CONFIG, call, make_run
from tests.support.false_servers import FalseServer, query

SECRET = "hunter2-secret"  # noqa: S105


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hospital's folder with a cohort, its ledger, and an evaluated run."""
    folder = tmp_path_factory.mktemp("sent")
    make_run(folder)
    return folder


@pytest.fixture
def here(sent: Path, tmp_path: Path) -> Path:
    """A copy of that folder, at the hospital that made it."""
    shutil.copytree(sent, tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def gone(sent: Path) -> Iterator[None]:
    """The config is no longer where the run was made from it."""
    (sent / "run.yaml").rename(sent / "moved.yaml")
    yield
    (sent / "moved.yaml").rename(sent / "run.yaml")


@pytest.fixture
def received(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run's folder at another hospital: other users, another home, another folder."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert own_runs.seal({"runs": "of the other user"})
    monkeypatch.chdir(tmp_path)
    return here / "run"


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[FalseServer]:
    """A server that asks for the password, which lies in the environment."""
    pytest.importorskip("pg8000")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    server = FalseServer(query(3))
    yield server
    server.close()


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tables that were read."""
    found: list[str] = []
    monkeypatch.setattr(spending.ingest, "read_raw", lambda path, **_: found.append(str(path)))
    return found


def verbs(run: Path, *more: str) -> dict[str, tuple[object, ...]]:
    return {
        "evaluate": ("evaluate", run, *more),
        "public": ("evaluate", run, "--public", "epsilon=0.1", *more),
        "release": ("release", run, "-o", run.parent / "bundle", "--override", "a test", *more),
    }


VERBS = ("evaluate", "public", "release")


def with_state(run: Path, **source: object) -> None:
    path = run / "internal" / "state.json"
    state = json.loads(path.read_text())
    state["source"] |= source
    path.write_text(json.dumps(state))


@pytest.mark.parametrize("verb", VERBS)
def test_a_received_run_does_not_bring_its_ledger(received, verb, unread):
    before = {path: path.read_bytes() for path in received.parent.glob("*.db")}
    code, _, err = call(*verbs(received)[verb])
    assert code == 2
    assert "--ledger" in err
    assert "Traceback" not in err
    assert unread == []
    assert {path: path.read_bytes() for path in received.parent.glob("*.db")} == before
    assert not (received.parent / "bundle").exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_ledger_that_did_not_pay_for_a_received_run_refuses_it_before_a_record_is_read(
    received, verb, unread, tmp_path
):
    own = Ledger.connect("sqlite:///own.db", base=tmp_path)
    own.open_cohort("tiny", epsilon=1.0, delta=1e-6)
    head = own.head()
    code, _, err = call(*verbs(received, "--ledger", "sqlite:///own.db")[verb])
    assert code == 3
    assert "spend of this run" in err
    assert (unread, own.head()) == ([], head)


def test_who_names_the_ledger_that_paid_goes_on_with_a_received_run(received):
    """A steward releases what a researcher of the house made: his ledger has paid for it."""
    ledger = f"sqlite:///{received.parent / 'ledger.db'}"
    assert call(*verbs(received, "--ledger", ledger)["release"])[0] == 0
    assert (received.parent / "bundle" / "privacy_record.json").is_file()


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", ["config", "overrides", "a file of this machine"])
def test_a_changed_run_sends_no_password_and_opens_no_ledger(here, listening, verb, way, unread, monkeypatch):
    """Also at the hospital that made it: a folder that came back may have been changed."""
    run, url = here / "run", listening.url()
    evil = here / "evil.yaml"
    evil.write_text(CONFIG.replace("sqlite:///ledger.db", url))
    if way == "config":
        with_state(run, config=str(evil))
    elif way == "overrides":
        with_state(run, overrides=[f"budget.ledger={url}"], ledger_is_named=True)
    else:
        with_state(run, config="/proc/self/environ")
    code, out, err = call(*verbs(run)[verb])
    assert code == 2, err
    assert (listening.connections, unread) == (0, [])
    assert SECRET not in out + err


@pytest.mark.parametrize("verb", VERBS)
def test_a_changed_copy_of_the_config_sends_no_password(here, gone, listening, verb, unread):
    copy = here / "run" / "internal" / "source" / "config.yaml"
    copy.write_text(copy.read_text().replace("sqlite:///ledger.db", listening.url()))
    code, _, err = call(*verbs(here / "run")[verb])
    assert (code, listening.connections, unread) == (2, 0, []), err


def test_a_config_that_names_a_server_sends_no_password_to_it(here, listening):
    (here / "evil.yaml").write_text(CONFIG.replace("sqlite:///ledger.db", listening.url()))
    for verb in (("plan",), ("run", "-o", here / "r", "--anyway"), ("fit", "-o", here / "f", "--anyway")):
        code, out, err = call(verb[0], here / "evil.yaml", *verb[1:])
        assert listening.connections == 0
        assert SECRET not in out + err
        assert code == (0 if verb[0] == "plan" else 2)
    assert not (here / "r").exists()
    code, _, err = call(
        "run", here / "run.yaml", "-o", here / "r", "--anyway", "--set", f"budget.ledger={listening.url()}"
    )
    assert code == 2
    assert listening.connections >= 1  # the operator named it himself
    assert SECRET.encode() not in bytes(listening.got)
    assert "SCRAM" in err


def test_a_run_of_ones_own_goes_on_without_its_config(here, gone):
    run = here / "run"
    assert call("evaluate", run)[0] == 5  # from the copy
    assert call(*verbs(run)["release"])[0] == 0


def test_who_names_the_config_of_a_received_run_makes_it_his_own(received):
    assert call("evaluate", received)[0] == 2
    assert (
        call("run", received.parent / "run.yaml", "--output", received)[0] == 5
    )  # finished: nothing is done
    assert call("evaluate", received)[0] == 5


def test_sampling_a_received_run_needs_no_ledger_and_touches_none(received, tmp_path):
    for path in received.parent.glob("*.db"):
        path.unlink()
    assert call("sample", received, "-n", 5, "-o", tmp_path / "more.csv")[0] == 0
    assert not list(received.parent.glob("*.db"))


@pytest.mark.parametrize(
    "source",
    [
        [],
        {"config": 7, "overrides": []},
        {"config": "run.yaml", "overrides": [7]},
        {"config": "run.yaml", "overrides": "a=b"},
        {"config": "\0", "overrides": []},
        {"config": "run.yaml", "overrides": ["="]},
        None,
    ],
)
def test_a_state_without_a_readable_origin_is_refused(here, source):
    path = here / "run" / "internal" / "state.json"
    state = json.loads(path.read_text())
    for seal in (state["seal"], "", 7, "é" * 64):
        path.write_text(json.dumps({**state, "source": source, "seal": seal}))
        for verb, arguments in verbs(here / "run").items():
            code, _, err = call(*arguments)
            assert code in (2, 3), verb
            assert "bug" not in err


@pytest.mark.parametrize("way", ["config", "set", "ledger", "backup"])
def test_a_password_in_a_url_is_refused_and_repeated_nowhere(here, way, tmp_path):
    url = f"postgresql://synthgen:{SECRET}@127.0.0.1:1/ledger"
    (here / "with.yaml").write_text(CONFIG.replace("sqlite:///ledger.db", url))
    commands = {
        "config": [("run", here / "with.yaml", "-o", here / "r"), ("plan", here / "with.yaml")],
        "set": [("run", here / "run.yaml", "-o", here / "r", "--set", f"budget.ledger={url}")],
        "ledger": [
            ("ledger", "show", "--ledger", url),
            ("release", here / "run", "-o", here / "b", "--ledger", url),
            ("ledger", "open", "x", "--epsilon", 1, "--delta", 1e-6, "--ledger", url),
        ],
        "backup": [("ledger", "verify", "--ledger", f"sqlite:///{here / 'ledger.db'}", "--backup", url)],
    }
    for command in commands[way]:
        for more in ((), ("--json",), ("--verbose",)):
            code, out, err = call(*command, *more)
            assert code == 2, err
            assert "PGPASSWORD" in out + err
            assert SECRET not in out + err
    (here / "with.yaml").unlink()
    assert not [path for path in here.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_no_value_that_holds_a_ledger_shows_its_password(monkeypatch, tmp_path):
    from synthgen.config.run_config import BudgetSection
    from synthgen.privacy.ledger.store import Store

    pytest.importorskip("pg8000")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    url = f"postgresql://synthgen:{SECRET}@127.0.0.1:1/ledger"
    with pytest.raises(ValueError, match="PGPASSWORD") as caught:
        BudgetSection(ledger=url, epsilon=1.0, delta=1e-6)
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    import synthgen

    with pytest.raises(Exception, match="PGPASSWORD") as caught:
        synthgen.fit(tmp_path / "t.csv", schema=tmp_path / "s.yaml", epsilon=1.0, delta=1e-6, ledger=url)
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    shown: list[object] = []
    monkeypatch.setattr(
        Store, "_prepare", lambda self, create: shown.extend([self.place, vars(self), self._engine])
    )
    for asked in (url, "postgresql://synthgen@127.0.0.1:1/ledger"):
        store = Store(asked, base=None, create=False)
        assert store.place.server.password.get_secret_value() == SECRET
        shown += [
            store._engine.url,
            store._engine.url.render_as_string(hide_password=False),
            store.place.server,
        ]
    assert SECRET not in repr(shown) + str(shown)
