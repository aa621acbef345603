"""Servers that only seem to be the ledger's: they ask for what they should not get, and keep it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class FalseServer:
    """Listens on a loopback port; ``speak`` says what it does with a connection after the startup message.

    Attributes:
        got: all that was received, encryption taken off.
        connections: number of connections.
    """

    def __init__(self, speak: Callable[[Talk], None], *, tls: ssl.SSLContext | None = None) -> None:
        self._speak, self._tls = speak, tls
        self.got, self.connections = bytearray(), 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, rest: str = "") -> str:
        return f"postgresql://synthgen@127.0.0.1:{self.port}/ledger{rest}"

    def close(self) -> None:
        self._listening.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._meet, args=(connection,), daemon=True).start()

    def _meet(self, connection: socket.socket) -> None:
        with contextlib.suppress(Exception), connection:  # a client that gives up can break anything
            talk = Talk(self, connection)
            first = talk.read(8)
            if first == SSL_REQUEST:
                if self._tls is None:
                    connection.sendall(b"N")
                else:
                    connection.sendall(b"S")
                    talk.connection = self._tls.wrap_socket(connection, server_side=True)
                first = talk.read(8)
            length = struct.unpack("!i", first[:4])[0]
            talk.read(length - 8)
            try:
                self._speak(talk)
            finally:
                talk.connection.close()


class Talk:
    """One connection of a false server."""

    def __init__(self, server: FalseServer, connection: Any) -> None:
        self._server, self.connection = server, connection

    def read(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            piece = self.connection.recv(size - len(content))
            if not piece:
                raise EOFError
            content += piece
            self._server.got += piece
        return content

    def message(self) -> bytes:
        """Return the next message of the client, without kind and length."""
        head = self.read(5)
        return self.read(struct.unpack("!i", head[1:])[0] - 4)

    def send(self, kind: bytes, content: bytes) -> None:
        self.connection.sendall(kind + struct.pack("!i", len(content) + 4) + content)

    def ask(self, code: int, rest: bytes = b"") -> None:
        """Send a request to authenticate."""
        self.send(b"R", struct.pack("!i", code) + rest)

    def rest(self) -> None:
        """Keep all that still comes."""
        while True:
            self.read(1)


@contextlib.contextmanager
def false_server(
    speak: Callable[[Talk], None], *, tls: ssl.SSLContext | None = None
) -> Iterator[FalseServer]:
    server = FalseServer(speak, tls=tls)
    try:
        yield server
    finally:
        server.close()


def query(code: int, rest: bytes = b"") -> Callable[[Talk], None]:
    def speak(talk: Talk) -> None:
        talk.ask(code, rest)
        talk.rest()

    return speak


def silent(talk: Talk) -> None:
    talk.rest()


def dribbling(talk: Talk) -> None:
    """Send a message byte by byte, so that no single wait is long."""
    talk.connection.sendall(b"R" + struct.pack("!i", 1000))
    for _ in range(1000):
        talk.connection.sendall(b"\0")
        time.sleep(0.1)


def flooding(talk: Talk) -> None:
    """Send notices without an end."""
    while True:
        talk.send(b"N", b"SNOTICE\0" + b"x" * 50_000 + b"\0\0")


def certificate(folder: Path, host: str = "127.0.0.1") -> tuple[Path, Path]:
    """Return a certificate of its own authority, and its key."""
    key, made = folder / "server.key", folder / "server.crt"
    name = f"subjectAltName=IP:{host}" if host[0].isdigit() else f"subjectAltName=DNS:{host}"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={host}",
    ]
    command += ["-addext", name, "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made, key


def tls_of(made: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return context


class Scram:
    """A server that speaks SCRAM, rightly or with one step wrong."""

    def __init__(
        self,
        wrong: str = "",
        password: str = "another",  # noqa: S107
        offered: tuple[str, ...] = ("SCRAM-SHA-256",),
    ) -> None:
        import scramp

        self._wrong, self._offered = wrong, offered
        self._mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
        self._info = self._mechanism.make_auth_info(password)

    def __call__(self, talk: Talk) -> None:
        talk.ask(10, b"\0".join(name.encode() for name in self._offered) + b"\0\0")
        first = talk.message()
        mechanism, _, rest = first.partition(b"\0")
        del mechanism
        server = self._mechanism.make_server(lambda _: self._info)
        server.set_client_first(rest[4:].decode())
        answer = server.get_server_first()
        if self._wrong == "nonce":
            answer = "r=" + "A" * 48 + answer[answer.index(",") :]
        if self._wrong.startswith("i="):
            answer = answer[: answer.rindex(",")] + f",{self._wrong}"
        talk.ask(11, answer.encode())
        last = talk.message()
        if self._wrong == "no proof":
            talk.ask(0)
            talk.rest()
        if self._wrong == "false proof":
            talk.ask(12, b"v=" + b"A" * 43 + b"=")
        else:
            server.set_client_final(last.decode())
            talk.ask(12, server.get_server_final().encode())
        talk.ask(0)
        talk.send(b"Z", b"I")
        talk.rest()
