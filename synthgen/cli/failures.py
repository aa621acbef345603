"""What the command line says of an exception: the cause and the next step, never a patient's value.

An exception's own text may hold a cell of the table or a path that names a patient, so it is shown for the
errors of this package and of the arguments only. Of all others the kind says what happened.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthgen.errors import OperationError, SynthgenError

INTERRUPTED = 130
"""Exit code after Ctrl-C, SIGTERM and SIGHUP alike."""
SPENDING = ("run", "fit", "demo")
MEMORY = "Use a machine with more memory, or ask for less: fewer records, columns or pixels, a smaller model."


@dataclass(frozen=True)
class Failure:
    """An error object as ``--json`` prints it, with the exit code, and what is listed under the message."""

    code: str
    message: str
    where: str = ""
    next: str = ""
    exit_code: int = 1
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, str]:
        """Return the error object of the command line's contract."""
        whole = "\n  ".join((self.message, *self.details))
        return {"code": self.code, "message": whole, "where": self.where, "next": self.next}


def failure_of(error: BaseException, arguments: Sequence[str], usage: type[BaseException]) -> Failure:
    """Return what to say of an exception.

    Args:
        error: what ended a verb.
        arguments: the command line, for the places that the user named.
        usage: the base of the argument parser's exceptions.
    """
    if isinstance(error, SynthgenError):
        return _known(error)
    if isinstance(error, usage):
        return _of_arguments(error, arguments)
    if any(isinstance(cause, KeyboardInterrupt) for cause in _causes(error)):
        return interrupted(arguments)
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:  # bytes of a name, decoded
        return Failure(
            "config",
            "Expected text in UTF-8, got other bytes in an argument or the name of a file.",
            next="Give the file a name in UTF-8, or set LANG=C.UTF-8.",
            exit_code=2,
        )
    if isinstance(error, UnicodeError):
        return Failure(
            "failure",
            "Expected text in UTF-8, got other bytes in an argument or on the terminal.",
            next="Set LANG=C.UTF-8, or write the text in UTF-8.",
        )
    for cause in _causes(error):
        if _of_memory(cause):
            return Failure("operation", "Expected enough memory, but it is used up.", next=_again(arguments))
        if isinstance(cause, OSError) and cause.errno:
            known = OperationError.of(cause, "read or write a file", where=_named(cause, arguments))
            return _known(known)
        if isinstance(cause, ImportError):
            return _of_package(cause)
    if isinstance(error, OSError):
        return _known(OperationError.of(error, "read or write a file", where=_named(error, arguments)))
    return Failure(
        "failure",
        f"Unexpected {type(error).__name__}. This is a bug.",
        _place(error),
        "Report it; SYNTHGEN_DEBUG=1 shows more.",
    )


def interrupted(arguments: Sequence[str]) -> Failure:
    """Return what to say after Ctrl-C or a request to stop."""
    step = "Run it again; nothing half written is left."
    if arguments and arguments[0] in SPENDING:
        step = "Go on with the same command and --resume; what was reserved in the ledger stays reserved."
    return Failure("interrupted", "Interrupted.", next=step, exit_code=INTERRUPTED)


def _known(error: SynthgenError) -> Failure:
    shown = error.to_json()
    message, *details = error.lines
    return Failure(shown["code"], message, shown["where"], shown["next"], error.exit_code, tuple(details))


def _of_arguments(error: Any, arguments: Sequence[str]) -> Failure:
    """Return the parser's own words; its ``message`` is empty where an argument is missing."""
    context = getattr(error, "ctx", None)
    where = str(context.command_path) if context else " ".join(["synthgen", *arguments[:1]])
    step = f"See `{where} --help`."
    if type(error).__name__ == "NoArgsIsHelpError" and context is not None:
        verbs = ", ".join(context.command.list_commands(context))
        return Failure("config", f"Expected a verb: {verbs}.", where, step, 2)
    message = " ".join(str(error.format_message()).split()) or "Expected other arguments."
    return Failure("config", message if message.endswith(".") else f"{message}.", where, step, 2)


def _of_package(error: ImportError) -> Failure:
    name = (error.name or "").partition(".")[0]
    if not name or name == "synthgen":
        return Failure("failure", "Unexpected ImportError. This is a bug.", _place(error), "Report it.")
    extras = {"torch": "deep", "opacus": "deep", "diffusers": "deep", "pytorch_lightning": "deep"}
    extras |= {"pydicom": "dicom", "imagecodecs": "dicom", "pg8000": "postgresql"}
    extra = f"[{extras[name]}]" if name in extras else ""
    return Failure(
        "config",
        f"Expected the package {name}, found none.",
        next=f'pip install "synthgen-medical{extra}"',
        exit_code=2,
    )


_MEMORY_WORDS = re.compile(
    r"can't allocate memory|out of memory|bad_alloc|RESOURCE_EXHAUSTED|Cannot allocate memory", re.IGNORECASE
)
_DISK_WORDS = re.compile(r"StorageFull|\bcode: 28\b|No space left")


def _of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, in Python, NumPy, Arrow, torch or XLA."""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError"):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and bool(_MEMORY_WORDS.search(str(error)))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what it came from, the outermost first; a library's disk error as an OSError."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if not isinstance(current, OSError) and _DISK_WORDS.search(str(current)):
            yield OSError(errno.ENOSPC, "full")
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def _again(arguments: Sequence[str]) -> str:
    resume = " Then go on with --resume." if arguments and arguments[0] in SPENDING else ""
    return MEMORY + resume


def _named(error: OSError, arguments: Sequence[str]) -> str:
    """Return the path that the user named, if it is the refused file or holds it; others stay unsaid."""
    if not isinstance(error.filename, str | os.PathLike):
        return ""
    try:
        refused = Path(error.filename).resolve()
        for text in arguments:
            if text and not text.startswith("-") and (path := Path(text).resolve()) != Path.cwd():
                if refused == path or path in refused.parents:
                    return text
    except (OSError, ValueError):
        return ""
    return ""


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
