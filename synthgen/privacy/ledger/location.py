"""Where a ledger is: its URL taken apart, and whether the operator named its server.

A password, and any connection at all, is for servers that the operator named: on the command line, as PGHOST
(with PGPORT), or in the settings file of this user (`settings_path`). A config or a run's folder that
somebody sent can name any server, and would otherwise send this user's password there. A URL holds no
password: it would stand in files, in lists of processes and in shells' histories. It is read from PGPASSWORD.
Nothing else that PostgreSQL's own programs read is used: no `.pgpass`, PGPASSFILE, service file, client
certificate or ticket.
"""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from synthgen.errors import ConfigError, OperationError
from synthgen.files import yaml_file
from synthgen.files.safe_files import create_private, require_plain
from synthgen.settings import Settings

PORT = 5432
MOST_CHARACTERS = 2000
_SIDE_FILES = ("-journal", "-wal", "-shm")
Mode = Literal["disable", "prefer", "require", "verify-full"]
MODES: tuple[Mode, ...] = ("disable", "prefer", "require", "verify-full")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql",
    "postgresql+pg8000": "postgresql",
}
_WRITE = "Write sqlite:///ledger.db or postgresql://user@host/name."


class OwnSettings(Settings):
    """This user's own settings: what a config that somebody sent cannot say.

    Attributes:
        ledger_hosts: servers whose ledgers configs may name: ``host``, ``host:port``, or the folder of a
            server's socket.
        root_certificate: file of the certificates that those servers are checked with.
    """

    ledger_hosts: tuple[str, ...] = ()
    root_certificate: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """A server's host and port, or the folder of its socket."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str, port: int = PORT) -> Endpoint:
        """Return the endpoint that ``host``, ``host:port``, ``[address]:port`` or a folder names."""
        if text.startswith("/"):
            return cls(text.rstrip("/") or "/", port)
        found = re.fullmatch(r"(?:\[([^]]*)\]|([^:]*))(?::([0-9]{1,5}))?", text)
        if found is None:  # an address with colons, without brackets
            return cls(_plain_host(text), port)
        return cls(_plain_host(found[1] or found[2] or ""), int(found[3]) if found[3] else port)

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket in the file system, which no network reaches."""
        return self.host.startswith("/")

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine: a socket, ``localhost``, or a loopback address."""
        if self.is_socket or self.host == "localhost":
            return True
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return bool((mapped or address).is_loopback)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.host if self.is_socket else f"{host}:{self.port}"


@dataclass(frozen=True)
class Server:
    """A database on a PostgreSQL server.

    Attributes:
        endpoint: host and port, or socket.
        user: the server's user.
        database: name of the database.
        mode: how the connection is encrypted.
        password: of the user; None if there is none.
        root: file of certificates to check the server with; None where none is known.
    """

    endpoint: Endpoint
    user: str
    database: str
    mode: Mode
    password: SecretStr | None = None
    root: Path | None = None


@dataclass(frozen=True)
class Place:
    """Where a ledger is: a file, or a server."""

    file: Path | None = None
    server: Server | None = None

    def __str__(self) -> str:
        return str(self.file if self.file is not None else self.server and self.server.endpoint)


def taken_apart(url: str) -> URL:
    """Return the parts of a ledger's URL.

    Raises:
        ConfigError: it is neither of a SQLite file nor of PostgreSQL, or has options that are not known.
    """
    try:
        place = sa.make_url(url) if len(url) <= MOST_CHARACTERS else None
    except (ArgumentError, ValueError):
        place = None
    if place is None:
        raise ConfigError(
            "Expected a ledger URL of a SQLite file or of PostgreSQL, got other text.", next_step=_WRITE
        )
    backend = _DRIVERS.get(place.drivername)
    usable = {"sqlite": _is_file, "postgresql": _is_server}
    if backend is None or not usable[backend](place):
        raise ConfigError(
            "Expected a ledger URL of a SQLite file or of PostgreSQL, got another kind.", next_step=_WRITE
        )
    if backend == "postgresql":
        _require_options(place)
    return place.set(drivername=backend)


def without_password(url: str) -> str:
    """Return a URL for a config or a command line, once it is shown to hold no password.

    Raises:
        ConfigError: see `taken_apart`; or it holds a password.
    """
    if taken_apart(url).password is not None:
        raise ConfigError(
            "Expected a ledger URL without a password, got one with it: it could be read in files and in the "
            "list of processes.",
            next_step="Take it out of the URL, change it, and set PGPASSWORD.",
        )
    return url


def is_server(url: str) -> bool:
    """Return whether a URL names a server, and no file."""
    return taken_apart(url).drivername == "postgresql"


def absolute(url: str, base: Path) -> str:
    """Return a URL that means the same wherever it is read: a relative file starts from ``base``."""
    place = taken_apart(url)
    if place.drivername == "postgresql":
        return url
    return f"sqlite:///{(base / str(place.database)).absolute()}"


def _is_file(place: URL) -> bool:
    name = place.database or ""
    rest = (place.host, place.port, place.username, place.password)
    plain = bool(name) and "\0" not in name and not name.startswith((":memory:", "file:"))
    return plain and not place.query and not any(rest)


def _is_server(place: URL) -> bool:
    names = (place.username or "", place.database or "")
    return all(0 < len(name) <= 200 and name.isprintable() for name in names)


def _require_options(place: URL) -> None:
    known = {"sslmode", "host"} if place.host is None else {"sslmode"}
    single = all(isinstance(value, str) for value in place.query.values())
    socket = place.query.get("host", "/")
    if set(place.query) - known or not single or place.query.get("sslmode", "require") not in MODES:
        raise ConfigError(
            f"Expected no option in the ledger's URL but sslmode={', '.join(MODES[:-1])} or {MODES[-1]}, or "
            "host=FOLDER of a socket.",
            next_step="Take the others out: passwords, files and services are not read from a URL.",
        )
    if not str(socket).startswith("/") or "\0" in str(socket):
        raise ConfigError("Expected host=FOLDER of a socket in the ledger's URL, got another value.")
    host = place.host
    if (host is not None and not _is_host(host)) or not 0 < (place.port or PORT) < 65536:
        raise ConfigError(
            "Expected a ledger URL with a host's name or address and a port up to 65535, got others.",
            next_step=_WRITE,
        )


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST.fullmatch(text) is not None
    return "%" not in text


def _plain_host(text: str) -> str:
    return text.strip().lower().rstrip(".")


def locate(url: str, *, base: Path | None, create: bool, named: bool) -> tuple[Place, bool]:
    """Return the database's place, and whether its file was made now.

    Args:
        url: the ledger's.
        base: folder that a relative path starts from; None is the current one.
        create: make a missing file.
        named: the operator gave the URL himself; else his settings or PGHOST must name its server.

    Raises:
        ConfigError: the URL is neither of a SQLite file nor of PostgreSQL, the file is missing, the server is
            one that the operator did not name, or is to be spoken to without encryption.
        OperationError: the file cannot be made.
    """
    place = taken_apart(url)
    if place.drivername == "sqlite":
        path = (base or Path()) / str(place.database)
        return Place(file=path), _made(path, create=create)
    return Place(server=_server(place, named=named)), False


def _made(path: Path, *, create: bool) -> bool:
    """Make the file if it is missing, readable by its owner only: it holds the cohorts' keys."""
    if os.path.lexists(path):
        require_own_files(path)
        return False
    if not create:
        raise ConfigError(
            "Expected a ledger, found no file.",
            where=str(path),
            next_step="Make it with `synthgen ledger open`.",
        )
    try:
        require_own_files(path)
        return create_private(path)
    except OSError as error:
        raise OperationError.of(error, "write the ledger", where=str(path)) from None


def require_own_files(path: Path) -> None:
    """Refuse a ledger that is a link or another user's, also its journals: SQLite would write what they say.

    Raises:
        DataError: says what lies there.
        OperationError: the operating system refused.
    """
    for end in ("", *_SIDE_FILES):
        place = path.with_name(f"{path.name}{end}")
        try:
            if os.path.lexists(place):
                require_plain(place)
        except FileNotFoundError:  # another process has just finished its transaction
            continue
        except OSError as error:
            raise OperationError.of(error, "use the ledger", where=str(path)) from None


def _server(place: URL, *, named: bool) -> Server:
    socket = place.query.get("host")
    host = str(socket) if socket is not None else (place.host or "localhost")
    endpoint = Endpoint.of(host if ":" not in host else f"[{host}]", place.port or PORT)
    own = own_settings()
    if not named and endpoint not in _named(own):
        raise ConfigError(
            "Expected a ledger on a server that you named yourself, got one that only a config or a run "
            "names. Nothing was sent to it.",
            where=str(endpoint),
            next_step=f"If it is your organisation's, list it as `ledger_hosts: [{str(endpoint)!r}]` in "
            f"{settings_path()}, set PGHOST and PGPORT, or name the ledger on the command line.",
        )
    password = place.password if place.password is not None else os.environ.get("PGPASSWORD")
    root = None if endpoint.is_local else _root(own)
    return Server(
        endpoint=endpoint,
        user=str(place.username),
        database=str(place.database),
        mode=_mode(place, endpoint, root),
        password=None if password is None else SecretStr(password),
        root=root,
    )


def _mode(place: URL, endpoint: Endpoint, root: Path | None) -> Mode:
    """Return how to encrypt: never less than the URL asks, and always where a network lies in between."""
    asked = place.query.get("sslmode")
    if endpoint.is_socket:
        return "disable"
    if endpoint.is_local:
        return next(mode for mode in MODES if mode == (asked or "prefer"))
    if asked in ("disable", "prefer"):
        raise ConfigError(
            f"Expected an encrypted connection to another machine, got sslmode={asked} in the ledger's URL.",
            where=str(endpoint),
            next_step="Write sslmode=verify-full or sslmode=require, or leave it out.",
        )
    return "verify-full" if root is not None or asked == "verify-full" else "require"


def _named(own: OwnSettings) -> set[Endpoint]:
    """Return the servers that the operator named in the environment and in his settings."""
    ports = [int(text) if text.isdecimal() else PORT for text in os.environ.get("PGPORT", "").split(",")]
    hosts = [text for text in os.environ.get("PGHOST", "").split(",") if text]
    named = {
        Endpoint(Endpoint.of(host).host, ports[i] if i < len(ports) else ports[0])
        for i, host in enumerate(hosts)
    }
    return named | {Endpoint.of(text) for text in own.ledger_hosts}


def _root(own: OwnSettings) -> Path | None:
    """Return the file of certificates that the operator has: of his settings, or PostgreSQL's own place."""
    named = own.root_certificate or os.environ.get("PGSSLROOTCERT") or ""
    if named:
        path = Path(named).expanduser()
    else:
        path = _home() / ".postgresql" / "root.crt"
        if not path.is_file():
            return None
    _require_own(path, "the server's certificate is checked with it")
    return path


def settings_path() -> Path:
    """Return the place of this user's settings: ``$XDG_CONFIG_HOME/synthgen/settings.yaml``."""
    folder = os.environ.get("XDG_CONFIG_HOME") or ""
    return (Path(folder) if folder.startswith("/") else _home() / ".config") / "synthgen" / "settings.yaml"


def own_settings() -> OwnSettings:
    """Return this user's settings; none if there is no file.

    Raises:
        ConfigError: the file is not valid, or somebody else may write it or a folder above it.
    """
    path = settings_path()
    try:
        if not path.is_file():
            return OwnSettings()
    except OSError:  # a folder that this user may not enter: it is not his
        return OwnSettings()
    _require_own(path, "it says which servers get your password")
    return yaml_file.parse(OwnSettings, yaml_file.read(path), path=path)


def _require_own(path: Path, because: str) -> None:
    """Refuse a file that anybody but this user and root may write, or exchange in a folder above it."""
    try:
        whole = path.resolve(strict=True)
        places = [whole, *whole.parents]
        found = [(place, place.stat()) for place in places]
    except OSError:
        raise ConfigError("Expected a readable file, found none.", where=str(path)) from None
    for place, status in found:
        shared = status.st_mode & 0o022 and not (status.st_mode & stat.S_ISVTX and place != whole)
        if shared or status.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"Expected a file that only you can write, since {because}; others can write {place.name!r}.",
                where=str(path),
                next_step="Take the right to write from others: chmod go-w.",
            )


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")
