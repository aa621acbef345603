"""Run layers so that backward hands their parameters' per-unit gradients to a book, and none to autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from synthgen.dpsgd.kernels.fallback import Fallback
from synthgen.dpsgd.kernels.gradient_factors import Record
from synthgen.dpsgd.kernels.layers import LAYERS
from synthgen.dpsgd.kernels.layout import Given, Layer, Layout


@dataclass
class Book:
    """Collects records of one backward pass."""

    layout: Layout
    found: dict[nn.Parameter, list[Record]] = field(default_factory=dict)
    inside: bool = False

    def add(self, given: Given) -> None:
        """Keep the records of one layer's call, by parameter."""
        for parameter, record in given:
            self.found.setdefault(parameter, []).append(record)


def plan(module: nn.Module, seen: set[nn.Module] | None = None) -> Iterator[tuple[nn.Module, Layer | None]]:
    """Yield each module that holds trainable parameters, with its layer, or None for the fallback.

    A module of unknown kind with parameters of its own is taken whole, with all that lies inside it.
    """
    seen = set() if seen is None else seen
    if module in seen:
        return
    seen.add(module)
    own = [p for p in module._parameters.values() if p is not None]
    if any(p.requires_grad for p in own):
        known = LAYERS.get(type(module))
        yield module, None if known is None else known(module)
        return
    for child in module.children():
        yield from plan(child, seen)


def replacement(module: nn.Module, layer: Layer | None, book: Book) -> Callable[..., Any]:
    """Return a module's forward function that also records what per-patient gradients need."""
    original = module.forward

    def known(x: Tensor) -> Tensor:
        if book.inside:
            return original(x)  # type: ignore[no-any-return]
        assert_rows(module, x, book.layout)
        x = layer.prepare(x)  # type: ignore[union-attr]
        return _Run.apply(layer, book, x, *layer.parameters)  # type: ignore[union-attr,no-any-return,no-untyped-call]

    def unknown(*args: Any, **kwargs: Any) -> Any:
        if book.inside:
            return original(*args, **kwargs)
        call = Fallback(module, args, kwargs)
        call.check_rows(book.layout)
        tensors = [*call.tensors, *call.trainable.values()]
        found: Any = _RunUnknown.apply(call, book, len(call.tensors), *tensors)  # type: ignore[no-untyped-call]
        return call.rebuild(found)

    return unknown if layer is None else known


def assert_rows(module: nn.Module, x: Tensor, layout: Layout) -> None:
    """Check that a layer's input has one entry a row along its first axis.

    Raises:
        ValueError: it has not.
    """
    if x.dim() == 0 or x.shape[0] != layout.n_rows:
        raise ValueError(
            f"Expected {layout.n_rows} rows along the first axis of the input of {type(module).__name__}, "
            f"got shape {tuple(x.shape)}. Keep rows first, and give each row its own copy of shared inputs."
        )


class _Run(torch.autograd.Function):
    """A known layer: forward as ever, backward to its input only; its parameters go to the book."""

    @staticmethod
    def forward(ctx: Any, layer: Layer, book: Book, x: Tensor, *parameters: Tensor) -> Tensor:
        y, saved = layer.forward(x)
        ctx.layer, ctx.book = layer, book
        ctx.save_for_backward(x, *parameters, *saved)
        ctx.n_parameters = len(parameters)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, *rest = ctx.saved_tensors
        saved = tuple(rest[ctx.n_parameters :])
        dx, given = ctx.layer.backward(g, x, saved, ctx.book.layout, needs_input=ctx.needs_input_grad[2])
        ctx.book.add(given)
        return None, None, dx, *[None] * ctx.n_parameters


class _RunUnknown(torch.autograd.Function):
    """A layer without a closed form: forward as ever, backward by `Fallback`."""

    @staticmethod
    def forward(ctx: Any, call: Fallback, book: Book, n_inputs: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.call, ctx.book, ctx.n_inputs = call, book, n_inputs
        ctx.save_for_backward(*tensors)
        book.inside = True
        try:
            return tuple(call.run(tensors[:n_inputs]))
        finally:
            book.inside = False

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        inputs = ctx.saved_tensors[: ctx.n_inputs]
        ctx.book.inside = True
        try:
            moved, given = ctx.call.backward(gradients, inputs, ctx.book.layout)
        finally:
            ctx.book.inside = False
        ctx.book.add(given)
        return None, None, None, *moved, *[None] * len(ctx.call.trainable)
