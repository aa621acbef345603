"""Where a network computes: a matter of speed, never of the guarantee."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from synthgen.errors import ConfigError

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]
"""``auto`` is a CUDA device where torch finds one."""


def device_of(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        ConfigError: torch finds no such device.
    """
    import torch  # takes seconds

    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError(
            "Expected a CUDA device, torch finds none.",
            where="generator.device",
            next_step="Choose device: cpu; it changes the speed, not the guarantee.",
        )
    if name == "auto":
        return torch.device("cuda" if there else "cpu")
    return torch.device(name)
