"""Let code written for float32 run in float64, without touching it.

Rounding hides small couplings: before a normalisation, float32 in batches of another size moves a row by up
to a thousandth. In float64 it moves by some 1e-12, so that a probe need not tell rounding from a coupling.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

NARROW = frozenset({torch.float32, torch.bfloat16, torch.float16})


class _Double(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs each operation on float64 copies of what it reads, and gives what it makes in float64.

    Views stay what they are. What an operation writes keeps its type, since others hold it too.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        schema = func._schema
        written = [
            given
            for i, argument in enumerate(schema.arguments)
            if argument.alias_info is not None and argument.alias_info.is_write
            for given in _tensors(args[i] if i < len(args) else named.get(argument.name))
        ]
        if not written and any(made.alias_info is not None for made in schema.returns):
            return func(*args, **named)
        kept = {id(given) for given in written}
        wanted = next((given.dtype for given in written if given.dtype in NARROW), torch.float64)

        def read(value: Any) -> Any:
            if isinstance(value, Tensor) and value.dtype.is_floating_point and id(value) not in kept:
                return value.to(wanted)
            return value

        if named.get("dtype") in NARROW and not written:
            named["dtype"] = torch.float64
        made = func(*tree_map(read, args), **tree_map(read, named))
        return made if written else tree_map(wide, made)


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, list | tuple):
        return [one for one in value if isinstance(one, Tensor)]
    return [value] if isinstance(value, Tensor) else []


def wide(value: Any) -> Any:
    """Return a tensor of floating point numbers in float64, and anything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.dtype in NARROW else value


@contextmanager
def in_double(module: nn.Module) -> Iterator[None]:
    """Compute in float64 meanwhile, gradients too; thereafter weights and buffers are bit by bit as before.

    Args:
        module: holds all networks that run.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> with in_double(layer):
        ...     made = layer(torch.ones(3, 2)).float()
        >>> made.dtype, layer.weight.dtype
        (torch.float64, torch.float32)
    """
    weights = [(p, p.data, p.grad) for p in module.parameters() if p.dtype in NARROW]
    others = [  # buffers, and tensors that are plain attributes
        (place, name, tensor)
        for holder in module.modules()
        for place in (holder._buffers, vars(holder))
        for name, tensor in place.items()
        if isinstance(tensor, Tensor) and tensor.dtype in NARROW
    ]
    try:
        for parameter, kept, _ in weights:
            parameter.grad = None  # of pretraining, say: it has the type of the weights
            parameter.data = kept.double()
        for place, name, tensor in others:
            place[name] = tensor.double()
        with _Double():  # type: ignore[no-untyped-call]
            yield
    finally:
        for parameter, kept, gradient in weights:
            parameter.data = kept
            parameter.grad = gradient
        for place, name, tensor in others:
            place[name] = tensor
