"""Where a network computes: a matter of speed, never of the guarantee."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def free_cores() -> Iterator[None]:
    """Train with as many threads as cores are free, at least one.

    Two threads on a core that another job holds take turns: the same steps cost a fifth more CPU seconds, and
    no less time. What is drawn from a model is not touched: its bytes may depend on the number of threads.
    """
    import torch

    threads = torch.get_num_threads()
    others = os.getloadavg()[0] - 1.0 if hasattr(os, "getloadavg") else 0.0
    torch.set_num_threads(max(1, min(threads, threads - round(others))))
    try:
        yield
    finally:
        torch.set_num_threads(threads)
