"""Errors that an operator must act on, each tied to the command line's exit code.

A message says what was expected, what came, and what to do next. It names columns, counts,
files and lines, and never a patient's value: these texts reach logs and tickets.
"""

from __future__ import annotations

from typing import ClassVar


class SynthgenError(Exception):
    """An error with an exit code, a place, and a next step.

    Args:
        message: what was expected and what came, in words, without any patient's value.
        where: path, line or column that the reader should open.
        next_step: what to do about it.
    """

    code: ClassVar[str] = "failure"
    exit_code: ClassVar[int] = 1
    usual_step: ClassVar[str] = "Correct what the message names and run again."

    def __init__(self, message: str, *, where: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
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


class OperationError(SynthgenError):
    """Disk, database or environment failed: try again, with ``--resume``."""

    code = "operation"
    exit_code = 1


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
