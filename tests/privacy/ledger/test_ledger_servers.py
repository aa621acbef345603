"""A password goes to servers that the operator named, encrypted, and is never sent itself."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import time
from pathlib import Path

import pytest

from synthgen.errors import ConfigError, OperationError, SynthgenError
from synthgen.privacy.ledger import location as place
from synthgen.privacy.ledger import server as servers
from synthgen.privacy.ledger.ledger import Ledger
from tests.support.false_servers import (
    Scram,
    certificate,
    dribbling,
    false_server,
    flooding,
    query,
    silent,
    tls_of,
)

SECRET = "hunter2-secret"  # noqa: S105
MD5 = hashlib.md5(f"{SECRET}synthgen".encode(), usedforsecurity=False).hexdigest()


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    """A password in the environment, and no server that the operator named."""
    pytest.importorskip("pg8000")
    monkeypatch.setenv("PGPASSWORD", SECRET)
    for name in ("PGHOST", "PGPORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(servers, "CONNECT_SECONDS", 1.5)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """Write this user's settings."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "own"))

    def write(text: str) -> Path:
        path = place.settings_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def far(monkeypatch):
    """Let loopback servers count as another machine's."""
    monkeypatch.setattr(place.Endpoint, "is_local", property(lambda self: False))


def refused(url: str, *, named: bool = True, kind: type[SynthgenError] = ConfigError) -> SynthgenError:
    """Return the error of a ledger that is not opened, in time and without a secret in it."""
    began = time.monotonic()
    with pytest.raises(SynthgenError) as caught:
        Ledger.connect(url, named=named)
    assert time.monotonic() - began < 15
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {error.args}"
        error = error.__cause__ or error.__context__
    assert isinstance(caught.value, kind), caught.value
    assert caught.value.exit_code in (1, 2, 3)
    return caught.value


def assert_kept(server) -> None:
    """The server got neither the password nor a hash that it could be guessed from."""
    got = bytes(server.got)
    assert SECRET.encode() not in got
    assert MD5.encode() not in got
    assert b"md5" not in got


# Who is named


def test_a_server_that_only_a_config_names_is_not_even_spoken_to():
    with false_server(query(3)) as server:
        error = refused(server.url(), named=False)
        time.sleep(0.2)
        assert (server.connections, bytes(server.got)) == (0, b"")
    assert "named yourself" in error.message
    assert "ledger_hosts" in error.next_step


@pytest.mark.parametrize(
    "way", ["PGHOST", "PGHOST and PGPORT", "settings", "settings without port", "another port", "case"]
)
def test_a_server_is_named_by_the_environment_or_by_own_settings(monkeypatch, settings, way):
    with false_server(query(3)) as server:
        ways = {
            "PGHOST": ({"PGHOST": "127.0.0.1"}, ""),
            "PGHOST and PGPORT": ({"PGHOST": "other,127.0.0.1", "PGPORT": f"1,{server.port}"}, ""),
            "settings": ({}, f"ledger_hosts: ['127.0.0.1:{server.port}']\n"),
            "settings without port": ({}, "ledger_hosts: ['127.0.0.1']\n"),
            "another port": ({}, "ledger_hosts: ['127.0.0.1:1']\n"),
            "case": ({}, f"ledger_hosts: ['LOCALHOST:{server.port}']\n"),
        }
        environment, text = ways[way]
        for key, value in environment.items():
            monkeypatch.setenv(key, value)
        if text:
            settings(text)
        url = server.url().replace("127.0.0.1", "localhost") if way == "case" else server.url()
        error = refused(url, named=False)
        spoken = way in ("PGHOST and PGPORT", "settings", "case")
        assert ("named yourself" in error.message) is not spoken  # a bare host is one on the usual port
        assert bool(server.connections) is spoken
        assert_kept(server)


@pytest.mark.parametrize("fault", ["file", "folder", "owner", "unknown key", "no YAML", "no list"])
def test_settings_that_others_may_write_or_that_are_not_valid_are_refused(settings, fault, tmp_path):
    texts = {"unknown key": "password: x\n", "no YAML": "[", "no list": "ledger_hosts: 127.0.0.1\n"}
    path = settings(texts.get(fault, "ledger_hosts: ['127.0.0.1:1']\n"))
    if fault == "file":
        path.chmod(0o666)
    if fault == "folder":
        path.parent.chmod(0o777)
    if fault == "owner":
        if os.geteuid():
            pytest.skip("only root can give a file to another user")
        os.chown(path, 65534, 65534)
    error = refused("postgresql://synthgen@127.0.0.1:1/ledger", named=False)
    assert str(path) in error.where
    assert SECRET not in str(error)


def test_a_link_in_the_place_of_the_settings_is_checked_where_it_leads(settings, tmp_path):
    path = settings("ledger_hosts: []\n")
    shared = tmp_path / "shared.yaml"
    shared.write_text("ledger_hosts: ['127.0.0.1:1']\n")
    shared.chmod(0o666)
    path.unlink()
    path.symlink_to(shared)
    assert "chmod go-w" in refused("postgresql://synthgen@127.0.0.1:1/ledger", named=False).next_step


# What a URL may say


@pytest.mark.parametrize(
    "rest",
    [
        "?sslmode=disable&passfile=/tmp/x",
        "?passfile=/tmp/x",
        "?service=mine",
        "?hostaddr=10.0.0.1",
        "?host=evil.example",
        "?host=/tmp&host=/var",
        "?password=hunter2",
        "?sslcert=/x&sslkey=/y",
        "?sslrootcert=/dev/null",
        "?krbsrvname=postgres",
        "?gssencmode=prefer",
        "?options=-csearch_path%3Devil",
        "?application_name=x",
        "?target_session_attrs=any",
        "?sslmode=allow",
        "?sslmode=require&sslmode=disable",
        "?unix_sock=/tmp/x",
        "?ssl_context=true",
        "?user=root",
        "?connect_timeout=1000000",
    ],
)
def test_no_option_of_a_url_names_secrets_or_other_hosts(rest):
    with false_server(query(3)) as server:
        error = refused(server.url(rest))
        assert server.connections == 0
    assert "hunter2" not in str(error)


ODD = [
    "postgresql://synthgen@/",
    "postgresql://synthgen@h:0/d",
    "postgresql://synthgen@h:99999/d",
    "postgresql://synthgen@h:" + "9" * 5000 + "/d",
    "postgresql://synthgen@h,i/d",
    "postgresql://synthgen@h%00x/d",
    "postgresql://synthgen@ho st/d",
    "postgresql://synthgen@[fe80::1%25eth0]/d",
    "postgresql://synthgen@[::1/d",
    "postgresql://synthgen%00options%00-cx@h/d",
    "postgresql://synthgen@h/d%0Ax",
    "postgresql://synthgen@h/" + "d" * 5000,
    "postgresql+psycopg2://u@h/d",
    "postgresql+asyncpg://u@h/d",
    "postgres://u:hunter2@h/d",
    "sqlite+aiosqlite:///l.db",
    "sqlite+pysqlcipher://:hunter2@/l.db",
    "sqlite://host/l.db",
    "sqlite://u:hunter2@/l.db",
    "sqlite:///l.db?mode=memory&uri=true",
    "sqlite:///l.db?timeout=x",
    "sqlite:///l.db?uri=true&vfs=none",
    "sqlite:///",
    "sqlite:///file:x?mode=memory",
    "sqlite:///a%00b.db",
    "sqlite:///a\0b.db",
    "oracle://u:hunter2@h/d",
    "http://127.0.0.1/",
    "file:///etc/passwd",
    "://",
    "\n",
    "\udcff",
    "x" * 100_000,
    "sqlite:///" + "a/" * 3000,
]


@pytest.mark.parametrize("url", ODD, ids=range(len(ODD)))
def test_an_odd_url_is_refused_with_a_reason_and_without_a_trace(url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = refused(url, kind=SynthgenError)
    assert "hunter2" not in str(error)
    assert error.exit_code in (1, 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["", ".", "folder", "pipe", "/dev/zero", "/dev/null", "/proc/self/mem", "text", "n" * 300, "empty"],
)
def test_what_is_no_file_of_a_ledger_is_refused_and_left_alone(name, tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text").write_bytes(b"a" * 10_000)
    (tmp_path / "empty").write_bytes(b"")
    for create in (True, False):
        began = time.monotonic()
        if name == "empty" and create:
            Ledger.connect(f"sqlite:///{name}", base=tmp_path, create=True)
            (tmp_path / "empty").write_bytes(b"")
            continue
        with pytest.raises(SynthgenError):
            Ledger.connect(f"sqlite:///{name}", base=tmp_path, create=create)
        assert time.monotonic() - began < 10
    assert (tmp_path / "text").read_bytes() == b"a" * 10_000


# What a server may ask for


@pytest.mark.parametrize(
    "ask",
    {
        "the password": query(3),
        "md5": query(5, b"salt"),
        "kerberos": query(2),
        "gss": query(7),
        "sspi": query(9),
        "unknown": query(99),
        "nothing": query(0),
        "scram sha 1": query(10, b"SCRAM-SHA-1\0\0"),
        "no mechanism": query(10, b"\0"),
        "continuation first": query(11, b"r=x,s=x,i=4096"),
        "proof first": query(12, b"v=x"),
        "few iterations": Scram("i=1"),
        "endless iterations": Scram("i=2000000000"),
        "iterations that are no number": Scram("i=x"),
        "another nonce": Scram("nonce"),
        "no proof": Scram("no proof"),
        "false proof": Scram("false proof"),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_server_gets_neither_password_nor_hash_whatever_it_asks_for(ask):
    with false_server(ask[1]) as server:
        error = refused(server.url())
        assert server.connections == 1
        assert_kept(server)
    assert "SCRAM" in error.message or "proves who it is" in error.message


@pytest.mark.parametrize(
    "speak",
    [
        silent,
        dribbling,
        flooding,
        lambda talk: talk.connection.sendall(b"R\x7f\xff\xff\xff"),
        lambda talk: talk.connection.sendall(b"R\xff\xff\xff\xff"),
        lambda talk: talk.connection.sendall(b"?\0\0\0\x04"),
        lambda talk: talk.connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        lambda talk: talk.send(b"R", b""),
        lambda talk: talk.send(b"E", b"\xff\xff\0\0"),
        lambda talk: talk.send(b"S", b"client_encoding\0none\0"),
        lambda talk: None,
    ],
    ids=[
        "silent",
        "dribble",
        "flood",
        "2 GB",
        "negative",
        "kind",
        "http",
        "short",
        "error",
        "encoding",
        "close",
    ],
)
def test_a_server_that_does_not_answer_or_answers_anything_ends_in_time(speak):
    with false_server(speak) as server:
        refused(server.url(), kind=SynthgenError)


def test_a_server_that_goes_wrong_after_the_login_ends_in_time(monkeypatch):
    """The answers to statements are bounded in size and kind, too."""

    def speak(wrong, talk):
        Scram("", password=SECRET).__call__.__func__  # noqa: B018 - the login itself is right
        scram = Scram("", password=SECRET)
        rest, talk.rest = talk.rest, lambda: None
        scram(talk)
        talk.rest = rest
        talk.message()
        wrong(talk)

    for wrong in (
        lambda talk: talk.connection.sendall(b"D\x7f\xff\xff\xff"),
        lambda talk: talk.connection.sendall(b"?\0\0\0\x04"),
        lambda talk: talk.send(b"T", b"\xff\xff"),
        lambda talk: talk.send(b"D", b"\0\x05\xff"),
        lambda talk: talk.send(b"G", b"\0\0\0"),
        lambda talk: None,
    ):
        with false_server(functools.partial(speak, wrong)) as server:
            refused(server.url(), kind=OperationError)
            assert_kept(server)


# Another machine


def test_another_machine_without_encryption_gets_nothing_but_the_question(far):
    with false_server(query(3)) as server:
        error = refused(server.url())
        assert "encrypts" in error.message
        assert bytes(server.got) == b"\0\0\0\x08\x04\xd2\x16/"
    for mode in ("disable", "prefer"):
        with false_server(query(3)) as server:
            assert "sslmode" in refused(server.url(f"?sslmode={mode}")).message
            assert server.connections == 0


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return certificate(tmp_path_factory.mktemp("certificate"))


def test_an_encrypted_server_of_an_unknown_authority_has_to_bind_the_login_to_its_certificate(
    far, own_certificate
):
    for ask in (query(3), query(5, b"salt"), query(0), Scram("", password=SECRET)):
        with false_server(ask, tls=tls_of(*own_certificate)) as server:
            refused(server.url())
            assert_kept(server)
            assert b"n=" not in bytes(server.got)  # no login was begun


def test_a_certificate_of_another_authority_or_host_is_refused_before_anything_is_sent(
    far, own_certificate, tmp_path, monkeypatch
):
    other = certificate(tmp_path, host="db.example")
    with false_server(query(3), tls=tls_of(*own_certificate)) as server:
        assert (
            "certificate" in refused(server.url("?sslmode=verify-full")).message
        )  # of the system's authorities
        monkeypatch.setenv("PGSSLROOTCERT", str(other[0]))
        assert (
            "certificate" in refused(server.url("?sslmode=require")).message
        )  # a known one makes it verify-full
        assert len(server.got) == 16
    with false_server(query(3), tls=tls_of(*other)) as server:
        assert "of this host" in refused(server.url()).message
    root = tmp_path / "root.crt"
    shutil.copy(own_certificate[0], root)
    root.chmod(0o666)
    monkeypatch.setenv("PGSSLROOTCERT", str(root))
    with false_server(query(3), tls=tls_of(*own_certificate)) as server:
        assert "chmod go-w" in refused(server.url()).next_step
        assert server.connections == 0


def test_a_ledger_on_a_server_with_encryption_works_with_and_without_a_known_authority(
    postgresql, own_certificate, monkeypatch, far
):
    """The real server: SCRAM bound to the certificate, then a certificate that is checked as well."""
    postgresql.empty()
    for source, name in zip(own_certificate, ("server.crt", "server.key"), strict=True):
        target = postgresql.data / name
        shutil.copy(source, target)
        target.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(target, "postgres")
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    postgresql.execute("ALTER SYSTEM SET ssl = on")
    postgresql.execute("SELECT pg_reload_conf()")
    try:
        time.sleep(0.5)
        ledger = Ledger.connect(postgresql.url())
        ledger.open_cohort("icu", epsilon=1.0, delta=1e-6)
        assert ledger.verify() == []
        used = "SELECT count(*) > 0 FROM pg_stat_ssl WHERE ssl"
        with ledger._store.transaction():
            assert postgresql.execute(used) == [(True,)]
        monkeypatch.setenv("PGSSLROOTCERT", str(own_certificate[0]))
        assert Ledger.connect(postgresql.url()).cohorts() == ["icu"]
    finally:
        postgresql.execute("ALTER SYSTEM RESET ssl")
        postgresql.execute("SELECT pg_reload_conf()")


def test_a_socket_of_this_machine_needs_no_encryption(postgresql, monkeypatch):
    postgresql.empty()
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    url = f"postgresql://synthgen@/postgres?host={postgresql.folder}".replace("@/", f"@:{postgresql.port}/")
    assert Ledger.connect(url).verify() == []
    assert "named yourself" in refused(url, named=False).message
    monkeypatch.setenv("PGHOST", str(postgresql.folder))
    monkeypatch.setenv("PGPORT", str(postgresql.port))
    assert Ledger.connect(url, named=False).verify() == []


def test_what_is_local_is_decided_by_address_and_not_by_look():
    local = ["/run/postgresql", "localhost", "127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"]
    far = [
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",  # noqa: S104
        "10.0.0.1",
    ]
    assert [place.Endpoint(host, 5432).is_local for host in (*local, *far)] == [True] * 6 + [False] * 7


def test_no_config_opens_a_ledger_past_the_check_of_its_server():
    """`ResolvedConfig.open_ledger` is the one way from a config to its ledger."""
    import synthgen

    root = Path(synthgen.__file__).parent
    found = [
        path.name
        for path in root.rglob("*.py")
        if "Ledger.connect(loaded" in path.read_text()
        or "Ledger.connect(self.ledger, base=self.base)" in path.read_text()
    ]
    assert found == []
