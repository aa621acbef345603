"""Speak to a PostgreSQL server that may not be the one it should be.

pg8000 answers whatever a server asks for: it would send the password as it is, or as MD5, and over a
connection without encryption where a server says that it has none. Here the connection is encrypted unless it
stays on this machine (`synthgen.privacy.ledger.location`), only SCRAM is answered, which proves the password
without sending it, and the server has to prove in turn that it knows the user. Where its certificate cannot
be checked, the proof is bound to the certificate (channel binding), so that nobody in between can pass it on.
What a server sends is bounded in size and time.

Source: RFC 5802, RFC 7677 (SCRAM-SHA-256); RFC 5929 (tls-server-end-point).
"""

from __future__ import annotations

import socket
import ssl
import struct
import time
from typing import Any

import scramp
from pg8000 import dbapi

from synthgen.errors import ConfigError, OperationError, SynthgenError
from synthgen.files import limits
from synthgen.privacy.ledger.location import Endpoint, Server

CONNECT_SECONDS = 10.0
"""For reaching a server, encryption and login together."""
LOGIN_BYTES = 64 * 1024
MESSAGE_BYTES = 16 * 2**20
LOGIN_TOTAL = 2**20
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS")
LEAST_ITERATIONS, MOST_ITERATIONS = 4096, 2_000_000
"""Of the password's hash: with fewer a false server could guess it from the answer; more take hours."""
_ASKS = {
    2: "Kerberos",
    3: "the password as it is",
    5: "the password as an MD5 hash",
    6: "a credential of the system",
    7: "a Kerberos ticket",
    8: "a Kerberos ticket",
    9: "a ticket of the domain",
}


class Wire:
    """A socket with a deadline and a bound on what is read; pg8000 takes it for socket and file."""

    def __init__(self, connection: socket.socket, seconds: float, total: int, message: int) -> None:
        self._socket, self._incoming, self._outgoing = connection, bytearray(), bytearray()
        self.broken = False
        self.allow(seconds, total, message)

    def allow(self, seconds: float, total: int, message: int) -> None:
        """Begin a new exchange: its seconds, all bytes that may come, and those of one message."""
        self._deadline, self._left, self._message = time.monotonic() + seconds, total, message

    def makefile(self, mode: str) -> Wire:
        """Return what pg8000 reads from and writes to: itself."""
        del mode
        return self

    def read(self, size: int) -> bytes:
        """Return exactly that many bytes."""
        if not 0 <= size <= self._message:
            raise self._broken("The ledger's server sent a message that is too long.")
        while len(self._incoming) < size:
            try:
                self._socket.settimeout(self._seconds())
                piece = self._socket.recv(65536)
            except OSError:
                raise self._broken("Expected the ledger's server to answer, it did not.") from None
            self._left -= len(piece)
            if not piece or self._left < 0:
                what = "closed the connection" if not piece else "sent more than a ledger holds"
                raise self._broken(f"Expected the ledger's server to answer, it {what}.")
            self._incoming += piece
        taken = bytes(self._incoming[:size])
        del self._incoming[:size]
        return taken

    def write(self, content: bytes) -> None:
        """Keep what is to be sent."""
        self._outgoing += content

    def flush(self) -> None:
        """Send what was kept; nothing, once the connection is broken."""
        content = bytes(self._outgoing)
        self._outgoing.clear()
        if self.broken:
            return
        try:
            self._socket.settimeout(self._seconds())
            self._socket.sendall(content)
        except OSError:
            raise self._broken("Expected the ledger's server to listen, it did not.") from None

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _seconds(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _broken(self, message: str) -> Exception:
        self.broken = True
        error: Exception = dbapi.InterfaceError(message)
        return error


class Session(dbapi.Connection):  # type: ignore[misc]
    """A connection that logs in by SCRAM alone."""

    def __init__(self, server: Server, connection: socket.socket, *, seconds: float) -> None:
        self._server, self._tls = server, connection if isinstance(connection, ssl.SSLSocket) else None
        self._scram: Any = None
        self._proved = False
        self._statement_seconds = seconds
        self._wire = Wire(connection, CONNECT_SECONDS, LOGIN_TOTAL, LOGIN_BYTES)
        super().__init__(server.user, database=server.database, sock=self._wire, ssl_context=False)

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 - pg8000's name
        """Answer what the server asks for to log in, or refuse it."""
        del context
        (asked,) = struct.unpack_from("!i", data)
        if asked == 0:
            self._require_proof()
        elif asked == 10 and self._scram is None:
            self._begin_scram([text.decode("ascii") for text in data[4:].split(b"\0") if text])
        elif asked == 11 and self._scram is not None:
            self._go_on(data[4:].decode("utf-8"))
        elif asked == 12 and self._scram is not None:
            self._scram.set_server_final(data[4:].decode("utf-8"))
            self._proved = True
        else:
            raise self._refused(f"got one that asks for {_ASKS.get(asked, 'something else')}")

    def _begin_scram(self, offered: list[str]) -> None:
        secret = self._server.password
        if secret is None:
            raise ConfigError(
                "Expected a password for the ledger's server, found none.",
                where=str(self._server.endpoint),
                next_step="Set PGPASSWORD.",
            )
        known = [name for name in SCRAM if name in offered]
        if self._must_bind and SCRAM[1] not in known:
            raise self._refused(f"got one that does not bind the login to its certificate ({SCRAM[1]})")
        if not known:
            raise self._refused("got one without SCRAM-SHA-256")
        binding = None if self._tls is None else ("tls-server-end-point", self._tls)
        self._scram = scramp.ScramClient(
            known, self._server.user, secret.get_secret_value(), channel_binding=binding
        )
        first = self._scram.get_client_first().encode()
        name = self._scram.mechanism_name.encode("ascii") + b"\0"
        self._send_message(b"p", name + struct.pack("!i", len(first)) + first)
        self._wire.flush()

    def _go_on(self, message: str) -> None:
        number = next((part[2:] for part in message.split(",") if part.startswith("i=")), "")
        plain = number.isascii() and number.isdigit() and len(number) < 10
        if not plain or not LEAST_ITERATIONS <= int(number) <= MOST_ITERATIONS:
            raise self._refused("got one with too few or too many iterations of the hash")
        self._scram.set_server_first(message)
        self._send_message(b"p", self._scram.get_client_final().encode())
        self._wire.flush()

    @property
    def _must_bind(self) -> bool:
        return self._server.mode == "require" and self._tls is not None

    def _require_proof(self) -> None:
        """Accept a server that lets this user in only if it has proved who it is, or nothing could."""
        checked = self._server.mode == "verify-full" and self._tls is not None
        unasked = self._scram is None and (checked or self._server.endpoint.is_socket)
        if self._proved or unasked or (self._server.endpoint.is_local and self._server.password is None):
            return
        raise self._refused("got one that lets anybody in")

    def _refused(self, got: str) -> ConfigError:
        self._wire.broken = True
        return ConfigError(
            f"Expected a server for the ledger that proves who it is by SCRAM-SHA-256, {got}. "
            "The password was not sent.",
            where=str(self._server.endpoint),
            next_step="Set password_encryption = scram-sha-256 on the server, set the user's password anew, "
            "write scram-sha-256 in pg_hba.conf, and use TLS.",
        )

    def handle_messages(self, context: Any) -> None:
        """Read the answer to a statement, within bounds; what is no answer ends the connection."""
        most = limits.current().ledger_bytes + MESSAGE_BYTES
        self._wire.allow(self._statement_seconds, most, MESSAGE_BYTES)
        try:
            super().handle_messages(context)
        except (dbapi.Error, SynthgenError):
            raise
        except Exception:  # a server that does not keep to the protocol can raise anything in pg8000
            self._wire.broken = True
            raise dbapi.InterfaceError("not PostgreSQL's protocol") from None


def connect(server: Server, *, seconds: float) -> Session:
    """Return a connection to a server, logged in.

    Args:
        server: the server, its user, and how to encrypt.
        seconds: that a statement may take.

    Raises:
        ConfigError: the server asks for a password without SCRAM, has no encryption, or has a certificate
            that cannot be checked.
        OperationError: it cannot be reached, does not answer in time, or does not keep to the protocol.
        pg8000.dbapi.Error: it refuses user, password or database.
    """
    try:
        return Session(server, _reached(server), seconds=seconds)
    except dbapi.InterfaceError:
        raise _silent(server.endpoint) from None
    except (dbapi.Error, SynthgenError):
        raise
    except Exception:  # see `Session.handle_messages`; scramp's own errors too
        raise ConfigError(
            "Expected a PostgreSQL server that proves who it is, got another answer to the login.",
            where=str(server.endpoint),
            next_step="Check host, port and password, and that no other program listens there.",
        ) from None


def _silent(endpoint: Endpoint) -> OperationError:
    return OperationError(
        "Expected the ledger's server to answer, it did not.",
        where=str(endpoint),
        next_step="Check that it runs and can be reached.",
    )


def _reached(server: Server) -> socket.socket:
    deadline = time.monotonic() + CONNECT_SECONDS
    try:
        found = _connected(server.endpoint, deadline)
    except OSError:
        raise _silent(server.endpoint) from None
    try:
        return found if server.mode == "disable" else _encrypted(server, found, deadline)
    except BaseException:
        found.close()
        raise


def _connected(endpoint: Endpoint, deadline: float) -> socket.socket:
    if endpoint.is_socket:
        found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        found.settimeout(max(0.001, deadline - time.monotonic()))
        found.connect(f"{endpoint.host}/.s.PGSQL.{endpoint.port}")
        return found
    refusal: OSError = OSError("no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        endpoint.host, endpoint.port, type=socket.SOCK_STREAM
    ):
        if endpoint.is_local and not Endpoint(str(address[0]), endpoint.port).is_local:
            continue  # a name server that sends localhost elsewhere
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(max(0.001, deadline - time.monotonic()))
            found.connect(address)
            found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return found
        except OSError as error:
            found.close()
            refusal = error
    raise refusal


def _encrypted(server: Server, connection: socket.socket, deadline: float) -> socket.socket:
    """Ask for encryption before anything else is said; only a local server may do without."""
    try:
        connection.sendall(struct.pack("!ii", 8, 80877103))
        answer = connection.recv(1)
    except OSError:
        raise _silent(server.endpoint) from None
    if answer != b"S":
        if answer == b"N" and server.mode == "prefer":
            return connection
        raise ConfigError(
            "Expected a server for the ledger that encrypts the connection, it refuses to. Nothing was sent.",
            where=str(server.endpoint),
            next_step="Switch TLS on at the server (ssl = on).",
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server.mode == "verify-full":
        _load(context, server)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        return context.wrap_socket(connection, server_hostname=server.endpoint.host)
    except ssl.SSLCertVerificationError:
        raise ConfigError(
            "Expected a server for the ledger whose certificate is of this host and of a known authority, "
            "got another. Nothing was sent.",
            where=str(server.endpoint),
            next_step="Name the authority's file as root_certificate in your settings, or as PGSSLROOTCERT.",
        ) from None
    except (OSError, ValueError):
        raise _silent(server.endpoint) from None


def _load(context: ssl.SSLContext, server: Server) -> None:
    try:
        if server.root is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=str(server.root))
    except (OSError, ValueError):
        raise ConfigError(
            "Expected a file of certificates, found another.",
            where=str(server.root),
            next_step="Correct root_certificate in your settings, or PGSSLROOTCERT.",
        ) from None
