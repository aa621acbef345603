"""A PostgreSQL server for the tests that want one; they are skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "synthgen", "correct horse"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    own = shutil.which("initdb")
    if not found and own is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return found[-1].parent if found else Path(str(own)).resolve().parent


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Server:
    """A running server. `url` names one of its databases; `stop` and `start` are for faults."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder, self.port = programs, folder, _free_port()
        self.folder, self.data = folder, folder / "data"
        secret = folder / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:  # the server refuses to run as root
            for path in (folder, secret):
                shutil.chown(path, "postgres")
        flags = ["-D", str(folder / "data"), "-U", USER, "--pwfile", str(secret), "-A", "scram-sha-256"]
        self._call("initdb", *flags, "--no-sync", "-E", "UTF8", "--locale=C")

    def _call(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        with (self._folder / "log").open("a") as log:
            done = subprocess.run(command, stdout=log, stderr=log, cwd="/", timeout=120, check=False)
        assert done.returncode == 0, (self._folder / "log").read_text()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._folder}"
        self._call(
            "pg_ctl",
            "-D",
            str(self._folder / "data"),
            "-o",
            options,
            "-w",
            "-l",
            f"{self._folder}/log.pg",
            "start",
        )

    def stop(self) -> None:
        self._call("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "-w", "stop")

    def url(self, database: str = "postgres", *, user: str = USER, password: str = "") -> str:
        """Return a URL. The right password stands in PGPASSWORD, and the server is named in PGHOST."""
        secret = f":{password.replace(' ', '%20')}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{database}"

    def execute(
        self, statement: str, *values: object, database: str = "postgres"
    ) -> list[tuple[object, ...]]:
        """Run a statement with ``?`` for values, past the ledger."""
        import pg8000.dbapi

        place = {"host": "127.0.0.1", "port": self.port, "database": database}
        connection = pg8000.dbapi.connect(user=USER, password=PASSWORD, **place)
        connection.autocommit = True
        try:
            cursor = connection.cursor()
            cursor.execute(statement.replace("?", "%s"), values)
            return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
        finally:
            connection.close()

    def empty(self, database: str = "postgres") -> None:
        """Leave nothing in a database."""
        self.execute("DROP SCHEMA public CASCADE", database=database)
        self.execute("CREATE SCHEMA public", database=database)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    programs = _programs()
    pytest.importorskip("pg8000", reason="pg8000 is not installed (synthgen-medical[postgresql])")
    if os.geteuid() == 0 and (shutil.which("runuser") is None or not Path("~postgres").expanduser().is_dir()):
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres to run it as")
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as folder:
        server = Server(programs, Path(folder))
        server.start()
        named = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGPASSWORD": PASSWORD}
        try:
            with pytest.MonkeyPatch.context() as patch:
                for key, value in named.items():
                    patch.setenv(key, value)
                yield server
        finally:
            server.stop()


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep this user's settings and secret out of the tests, and theirs out of his home."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STATE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(folder / name.lower()))
        for key in ("PGHOST", "PGPORT", "PGPASSWORD", "PGSSLROOTCERT"):
            patch.delenv(key, raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def small_cohorts_may_run() -> Iterator[Any]:
    """Let cohorts run that are too small to be signed, as `--anyway` does, but with no deviation in records.

    Of the session, so that fixtures of modules can run cohorts too. Yields the real check.
    """
    from synthgen.pipeline import run as pipeline

    real = pipeline._precheck
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "_precheck", lambda *_, **__: [])
        yield real


@pytest.fixture(autouse=True)
def prechecks_where_marked(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, small_cohorts_may_run: Any
) -> None:
    """Let tests marked ``prechecks`` meet the real check (`synthgen.pipeline.prechecks`)."""
    if "prechecks" in request.keywords:
        monkeypatch.setattr("synthgen.pipeline.run._precheck", small_cohorts_may_run)
