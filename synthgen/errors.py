"""Errors that an operator must act on, each tied to the command line's exit code.

A message says what was expected, what came, and what to do next. It names columns, counts,
files and lines, and never a patient's value: these texts reach logs and tickets.
"""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable, Sequence
from typing import ClassVar, ParamSpec, TypeVar

Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class SynthgenError(Exception):
    """An error with an exit code, a place, and a next step.

    Args:
        message: what was expected and what came, in words, without any patient's value.
        where: path, line or column that the reader should open.
        next_step: what to do about it.
        details: what is listed under the message, one a line.

    Attributes:
        message: all of it, with the details.
        lines: the message, then each of the details.
    """

    code: ClassVar[str] = "failure"
    exit_code: ClassVar[int] = 1
    usual_step: ClassVar[str] = "Correct what the message names and run again."

    def __init__(
        self, message: str, *, where: str = "", next_step: str = "", details: Sequence[str] = ()
    ) -> None:
        self.lines = (message, *details)
        self.message = "\n  ".join(self.lines)
        super().__init__(self.message)
        self.where = where
        self.next_step = next_step

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.message}" if self.where else self.message]
        if self.next_step:
            parts.append(self.next_step)
        return " ".join(parts)

    def to_json(self) -> dict[str, str]:
        """Return the error as the object that ``--json`` prints."""
        step = self.next_step or self.usual_step
        return {"code": self.code, "message": self.message, "where": self.where, "next": step}


CAUSES: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", "Free some space, or write to another disk"),
    errno.EDQUOT: ("the disk quota is used up", "Free some space, or ask for a larger quota"),
    errno.EFBIG: ("the file is larger than this disk or process may write", "Write to another disk"),
    errno.EROFS: ("the disk is mounted read-only", "Write to another folder, or mount the disk for writing"),
    errno.EACCES: ("permission is denied", "Grant this user the rights, or choose another path"),
    errno.EPERM: ("permission is denied", "Grant this user the rights, or choose another path"),
    errno.EMFILE: ("this process has too many files open", "Raise the limit, such as `ulimit -n 4096`"),
    errno.ENFILE: ("the machine has too many files open", "Close other programs, or raise the limit"),
    errno.ENAMETOOLONG: ("the file's name is too long", "Choose a shorter path"),
    errno.ENOENT: ("there is no such file or folder", "Check the path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Check the path"),
    errno.EISDIR: ("it is a folder, not a file", "Check the path"),
    errno.EEXIST: ("it exists already", "Choose another path"),
    errno.ENOTEMPTY: ("the folder is not empty", "Choose another path"),
    errno.ELOOP: ("symbolic links form a loop", "Check the path"),
    errno.EXDEV: ("the file would move to another disk", "Choose a path on the same disk"),
    errno.EBUSY: ("another program uses it", "Close that program"),
    errno.ETXTBSY: ("another program uses it", "Close that program"),
    errno.EAGAIN: ("another program holds its lock", "Wait for that program"),
    errno.ENOLCK: ("this disk has no file locks", "Use a local disk, or a disk with locks"),
    errno.EIO: ("the device failed to read or write", "Check the disk's health"),
    errno.ESTALE: ("the network folder was lost", "Mount it again"),
    errno.ENOTCONN: ("the network folder was lost", "Mount it again"),
    errno.ETIMEDOUT: ("the network did not answer", "Check the network"),
    errno.ECONNREFUSED: ("the server refused the connection", "Check that it runs and can be reached"),
    errno.ECONNRESET: ("the connection was cut", "Check the network"),
    errno.EHOSTUNREACH: ("the server cannot be reached", "Check the network"),
    errno.ENOMEM: ("memory is used up", "Close other programs, or use a machine with more memory"),
}
"""Why the operating system refused, and what to do about it, by error number."""


class OperationError(SynthgenError):
    """Disk, database or environment failed: try again, with ``--resume``."""

    code = "operation"
    exit_code = 1

    @classmethod
    def of(cls, error: OSError, doing: str, *, where: str = "") -> OperationError:
        """Return what the operating system's refusal means, in words.

        Args:
            error: the refusal. Its text is not used, since it may hold a path that names a patient.
            doing: what was expected to work, such as ``write the table``.
            where: the path as the user named it.

        Example:
            >>> OperationError.of(OSError(errno.ENOSPC, "no space"), "write the table").message
            'Expected to write the table, but the disk is full.'
        """
        cause, step = CAUSES.get(error.errno or 0, ("the operating system refused", "Check the disk"))
        return cls(f"Expected to {doing}, but {cause}.", where=where, next_step=f"{step}, and run again.")


class ConfigError(SynthgenError):
    """Config, schema, policy or arguments are wrong, or an extra is not installed."""

    code = "config"
    exit_code = 2


class DataError(SynthgenError):
    """Data does not keep to its schema, or a bundle does not verify."""

    code = "data"
    exit_code = 3


class BudgetExceeded(SynthgenError):  # noqa: N818 - the field's word, as in STYLE
    """The ledger refuses the spend; no record was read."""

    code = "budget"
    exit_code = 4


class GateRefused(SynthgenError):  # noqa: N818
    """The gate does not say release."""

    code = "gate"
    exit_code = 5


_OPTION = re.compile(r"--([a-z][a-z-]*)")


def for_python(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Decorate a function of the Python API: its errors name arguments and not options of the command line.

    Commands that a person runs in a shell (``synthgen ledger open ...``) stay as they are.

    Example:
        >>> @for_python
        ... def fit():
        ...     raise ConfigError("Expected one of two.", where="--date-format", next_step="Pass --seed.")
        >>> fit()
        Traceback (most recent call last):
        synthgen.errors.ConfigError: date_format: Expected one of two. Pass seed.
    """

    @functools.wraps(function)
    def called(*args: Given.args, **kwargs: Given.kwargs) -> Returned:
        try:
            return function(*args, **kwargs)
        except SynthgenError as error:
            error.lines = tuple(map(_as_argument, error.lines))
            error.message = "\n  ".join(error.lines)
            error.where, error.next_step = _as_argument(error.where), _as_argument(error.next_step)
            error.args = (error.message,)
            raise

    return called


def _as_argument(text: str) -> str:
    if "synthgen " in text:
        return text
    return _OPTION.sub(lambda found: found[1].replace("-", "_"), text)
