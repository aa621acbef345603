"""The base of every value that comes from a file: frozen, strict, unknown keys forbidden."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen, strictly typed section of a config, schema or policy.

    Strict means that ``"1.0"`` is not a number and ``7`` is not text: what YAML guessed wrong is an
    error that says "quote it", never a silent conversion.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )
