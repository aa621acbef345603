"""The processes that train together: one mask, one sum, noise counted once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from torch import Tensor


def size() -> int:
    """Return the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if size() > 1 else 0


def _device() -> torch.device:
    return torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")


def from_first(values: npt.NDArray[np.int64] | None) -> npt.NDArray[np.int64]:
    """Return the first process's values in every process. Others pass None, and learn nothing else.

    Raises:
        ValueError: the first process passes None.
    """
    if size() == 1:
        if values is None:
            raise ValueError("Expected values in the first process, got None.")
        return values
    length = torch.tensor([0 if values is None else len(values)], device=_device())
    dist.broadcast(length, 0)
    if values is None:
        sent = torch.empty(int(length), dtype=torch.int64, device=_device())
    else:
        sent = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64)).to(_device())
    dist.broadcast(sent, 0)
    return np.asarray(sent.cpu().numpy(), dtype=np.int64)


def shard(values: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return this process's part of a list that all processes have. The parts are disjoint and complete."""
    return values[rank() :: size()]


def sum_(tensor: Tensor) -> Tensor:
    """Add up over all processes, in place; every process gets the same bits."""
    if size() > 1:
        dist.all_reduce(tensor)
        dist.broadcast(tensor, 0)
    return tensor


def same(tensors: list[Tensor]) -> None:
    """Give every process the first one's values: weights before training."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), 0)
