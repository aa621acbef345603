"""Decode in a process of its own: a damaged stream may crash a decoder, or keep it busy for ever.

Decoders are C code, and what they do on a damaged file is not ours to say. The process is bounded in memory
and in seconds of CPU for each image; when it ends, the image is left out with a reason and the next one
starts a new process. Seconds are those of its own CPU, so that a busy machine leaves out no more than an idle
one.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from synthgen.errors import OperationError
from synthgen.ingest.images.decode import Unusable
from synthgen.machine import child_processes
from synthgen.schema.image_format import Dicom, Images

MOST_MEMORY = 3 * 2**30
SECONDS, BYTES_A_SECOND = 4.0, 2**20
PATIENCE = 120.0
CRASHED = "pixels crash or stall the decoder"
_LENGTH = struct.Struct("<q")


class Decoder:
    """Hands images to a process and starts another where it ends. Use as a context.

    Attributes:
        notes: of how many images each fixed text was noted (`pixels.decode`).
    """

    def __init__(self, spec: Images, dicom: Dicom, root: Path | None = None) -> None:
        """Prepare; the process starts with the first image.

        Args:
            spec: the declared form.
            dicom: how values become greys.
            root: the folder that files lie in, which is not left; None if a person named each file.
        """
        self.notes: Counter[str] = Counter()
        self._form = {
            "spec": spec.model_dump_json(),
            "dicom": dicom.model_dump_json(),
            "root": None if root is None else _text(root),
        }
        self._spec = spec
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def decode(self, path: Path, frame: int) -> np.ndarray:
        """Return one frame as ``(channel, row, column)`` of the declared form.

        Raises:
            Unusable: with a fixed reason.
        """
        process = self._process or self._start()
        asked = json.dumps({"path": _text(path), "frame": frame}).encode()
        try:
            answer = _ask(process, asked)
        except (OSError, EOFError):
            self._stop()
            raise Unusable(CRASHED) from None
        if answer[:1] != b"+":
            raise Unusable(answer[1:].decode())
        notes, _, pixels = answer[1:].partition(b"\n")
        self.notes.update(json.loads(notes))
        return np.frombuffer(pixels, dtype=np.dtype(self._spec.dtype)).reshape(self._spec.shape)

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = child_processes.start(__name__, json.dumps(self._form))
        try:
            if self._process.stdout is None or _message(self._process.stdout):
                raise EOFError
        except (OSError, EOFError):
            self._stop()
            raise OperationError(
                "Expected a process that decodes images, it did not start.",
                where="data.images",
                next_step="Check memory and the installed packages of the extra `dicom`, and run again.",
            ) from None
        return self._process

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
            self._process.wait()
            self._process = None


def _text(path: Path) -> str:
    """Return a path as the process needs it, whose working folder is another."""
    return os.path.abspath(path)


def _ask(process: subprocess.Popen[bytes], asked: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(_LENGTH.pack(len(asked)) + asked)
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    if not ready:
        raise EOFError
    return _message(process.stdout)


def _message(stream: IO[bytes]) -> bytes:
    size = _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size:
        part = stream.read(size)
        if not part:
            raise EOFError
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_MEMORY, used + MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(asked: dict[str, Any], spec: Images, dicom: Dicom, root: Path | None) -> bytes:
    from synthgen.ingest.dicom import pixels as dicom_pixels

    notes: set[str] = set()
    try:
        path, frame = Path(asked["path"]), int(asked["frame"])
        pixels = dicom_pixels.decode(path, frame, spec, dicom, notes.add, root=root)
        return b"+" + json.dumps(sorted(notes)).encode() + b"\n" + np.ascontiguousarray(pixels).tobytes()
    except Unusable as reason:
        return b"-" + str(reason).encode()


def _limit_seconds(path: Path) -> None:
    """Let the kernel end this process if it is busy for too long; 0 ends the watch."""
    import signal

    if not hasattr(signal, "setitimer"):
        return
    try:
        more = os.path.getsize(path) / BYTES_A_SECOND
    except OSError:
        more = 0.0
    signal.setitimer(signal.ITIMER_PROF, SECONDS + more)


def _serve() -> None:
    import signal

    from synthgen.ingest.dicom import pixels as dicom_pixels  # noqa: F401 - loaded before memory is bounded and seconds count

    form = json.loads(sys.argv[1])
    spec, dicom = Images.model_validate_json(form["spec"]), Dicom.model_validate_json(form["dicom"])
    root = None if form["root"] is None else Path(form["root"])
    _bound_memory()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    stdout.write(_LENGTH.pack(0))
    stdout.flush()
    while True:
        try:
            asked = json.loads(_message(stdin))
        except EOFError:
            return
        _limit_seconds(Path(asked["path"]))
        answer = _answer(asked, spec, dicom, root)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        stdout.write(_LENGTH.pack(len(answer)) + answer)
        stdout.flush()


if __name__ == "__main__":
    _serve()
