"""Refuse, by name, what per-unit gradients cannot be right for.

A unit's gradient must not depend on its batch-mates, and what training leaves behind must be written by the
noised step alone. `check_module` knows the layers that break this; `check_rows` finds those that it does not
know, by changing the other units, or their number, and watching every module's output (`row_independence`
says how).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from synthgen.dpsgd.random_draws import drawing_from, open_generator

TOLERANCE = 1e-8
"""Largest part of an output, or of a patient's gradient, by which rows may differ between batches. All is
computed in float64 (`double_precision`), where images of one pixel, whose normalisations leave little but
rounding,
differed by up to 1e-12 in five fits; in float32 by up to 1e-3 in twelve."""
Company = tuple[Any, int, Sequence[tuple[int, int]]]
"""A batch, its number of units, and pairs of places, in the first batch and in it, of the same unit."""


def check_module(model: nn.Module) -> None:
    """Refuse layers that couple rows, keep statistics of the data, or hide their parameters.

    Raises:
        ValueError: names the layer and says what to use instead.
    """
    for name, module in model.named_modules():
        reason = _reason(module)
        if reason:
            raise ValueError(
                f"Expected layers whose rows are independent, got {type(module).__name__} at "
                f"{name or 'the top'!r}: "
                f"{reason}"
            )
    for name, parameter in model.named_parameters():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ValueError(f"Expected initialised parameters, got a lazy one at {name!r}. Run one forward.")
        if parameter.requires_grad and parameter.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"Expected parameters in float32 or float64, got {parameter.dtype} at {name!r}. Use autocast."
            )


def _reason(module: nn.Module) -> str:
    if isinstance(module, nn.modules.batchnorm._BatchNorm) or re.search(
        "batch_?norm", type(module).__name__, re.IGNORECASE
    ):
        return "it mixes the batch. Use GroupNorm."
    if getattr(module, "track_running_stats", False):
        return "it keeps statistics of the data. Set track_running_stats=False."
    if isinstance(module, nn.RNNBase | nn.EmbeddingBag):
        return "its first axis is not the row. Write it with Linear layers."
    if isinstance(module, nn.MultiheadAttention) and not module.batch_first:
        return "its first axis is not the row. Set batch_first=True."
    if isinstance(module, nn.Embedding) and (
        module.max_norm is not None or module.scale_grad_by_freq or module.sparse
    ):
        return "max_norm, scale_grad_by_freq and sparse depend on the whole batch. Leave them off."
    if parametrize.is_parametrized(module) or any(
        k in module._parameters for k in ("weight_orig", "weight_g")
    ):
        return "its weight is computed from other parameters or buffers. Remove the parametrization."
    return ""


@contextmanager
def buffers_stay(model: nn.Module) -> Iterator[None]:
    """Raise if a buffer was written meanwhile.

    Raises:
        ValueError: names the buffer.
    """
    before = {name: (id(b), b._version) for name, b in model.named_buffers()}
    yield
    for name, buffer in model.named_buffers():
        if before.get(name) != (id(buffer), buffer._version):
            raise ValueError(
                f"Expected buffers that training leaves alone, got one that data wrote at {name!r}. "
                "It would be released without noise."
            )


@contextmanager
def shaken(model: nn.Module) -> Iterator[None]:
    """Move all weights a little meanwhile: layers that begin as zeros hide what lies before them."""
    before = [p.detach().clone() for p in model.parameters()]
    generator = open_generator(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, kept in zip(model.parameters(), before, strict=True):
                p.copy_(kept)


def check_rows(
    model: nn.Module,
    losses: Callable[[Any], Tensor],
    first: Any,
    n_units: int,
    others: Sequence[Company],
) -> None:
    """Refuse a model or loss in which one unit's rows depend on another's. To be called in `in_double`.

    Args:
        model: the model, in the mode in which it trains.
        losses: returns one loss a row of a batch.
        first: a batch of made-up rows.
        n_units: units in it.
        others: other batches, in which some of its units have other company.

    Raises:
        ValueError: names the innermost module whose output for such a unit changed, or the loss.
    """
    whole = _outputs(model, losses, first, n_units)
    for batch, size, agree in others:
        found = _outputs(model, losses, batch, size)
        if [name for name, _ in whole] != [name for name, _ in found]:
            raise ValueError("Expected a forward pass that runs the same layers for all data, got another.")
        for (name, a), (_, b) in zip(whole, found, strict=True):
            _compare(name, a, b, agree)


def _compare(name: str, a: Tensor, b: Tensor, agree: Sequence[tuple[int, int]]) -> None:
    atol = TOLERANCE * float(a.abs().max()) if a.numel() else 0.0
    pairs = [(a[:, i], b[:, j]) for i, j in agree] if len(a) == len(b) else []
    if not pairs or not all(torch.allclose(*p, rtol=TOLERANCE, atol=atol, equal_nan=True) for p in pairs):
        raise ValueError(
            f"Expected rows that do not depend on each other, got {name} whose output for one unit "
            "changes with the other units. Take what the batch as a whole decides out of it."
        )


def _outputs(
    model: nn.Module, losses: Callable[[Any], Tensor], batch: Any, n_units: int
) -> list[tuple[str, Tensor]]:
    seen: list[tuple[str, Tensor]] = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Any) -> None:
            if isinstance(out, Tensor) and out.dim():
                seen.append((f"{type(module).__name__} at {name!r}", out.detach().double().clone()))

        return hook

    handles = [m.register_forward_hook(watch(name)) for name, m in model.named_modules()]
    try:
        with torch.no_grad(), drawing_from(open_generator(0, _device(model))):  # of made-up rows
            loss = losses(batch)
    finally:
        for handle in handles:
            handle.remove()
    rows = [(name, out) for name, out in seen if len(out) == len(loss)]
    return [
        (name, out.view(-1, n_units, *out.shape[1:]))
        for name, out in [*rows, ("the loss", loss.detach().double())]
    ]


def _device(model: nn.Module) -> torch.device:
    return next(iter(model.parameters())).device
