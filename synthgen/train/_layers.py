"""Layers whose per-unit gradients have a closed form or one kernel call.

A physical batch holds ``R`` rows of each of ``P`` units, row ``r * P + p`` being row r of unit p. So a
contiguous batch "row channel ..." is, without a copy, R images of ``P * channel`` channels, and one grouped
convolution with P groups sums each unit's rows inside the kernel.

Each layer says how to run forward and what its backward gives: the gradient of its input, as in plain
training, and records of its parameters in place of their gradients.

Source: Rochette, Manoel and Tramel (2019), arXiv:1912.06015, for convolutions as grouped convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from synthgen.train._records import (
    GHOST_TOKENS,
    Norms,
    Outer,
    Record,
    Rows,
    Stored,
    gram_norms,
    keep_factors,
    wide,
    without,
)

_backward = torch.ops.aten.convolution_backward
_BLOCK_BYTES = (
    5 * 2**18
)  # gradients made by one kernel call: fresh memory beyond the cache is dearer than the work


@dataclass(frozen=True)
class Layout:
    """How rows belong to units: ``n_units * rows_per_unit`` rows, those of a unit ``n_units`` apart."""

    n_units: int
    rows_per_unit: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.n_units * self.rows_per_unit

    def by_unit(self, rows: Tensor) -> Tensor:
        """Return "row *rest" as "row_of_unit unit *rest"; a view."""
        return rows.reshape(self.rows_per_unit, self.n_units, *rows.shape[1:])

    def tokens(self, rows: Tensor) -> Tensor:
        """Return "row *token dim" as "unit token dim"; no copy if units have one row."""
        grouped = self.by_unit(rows).transpose(0, 1)
        return grouped.reshape(self.n_units, -1, rows.shape[-1])

    def summed(self, rows: Tensor) -> Tensor:
        """Return "row dim" summed over each unit's rows, "unit dim"."""
        return rows if self.rows_per_unit == 1 else self.by_unit(rows).sum(0)


Given = list[tuple[nn.Parameter, Record]]


class Layer:
    """One module's forward and backward. Holds no tensor of a batch."""

    def __init__(self, module: Any) -> None:
        self.module = module
        names = [name for name in ("weight", "bias") if getattr(module, name, None) is not None]
        self.parameters: list[nn.Parameter] = [getattr(module, name) for name in names]

    def prepare(self, x: Tensor) -> Tensor:
        """Change the input by plain operations that autograd differentiates, such as padding."""
        return x

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the output, and what the backward needs beside the input."""
        raise NotImplementedError

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return the gradient of the input, as in plain training."""
        raise NotImplementedError

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return what the parameters' per-unit gradients consist of. ``g`` and ``x`` are wide."""
        raise NotImplementedError

    def backward(
        self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout, *, needs_input: bool
    ) -> tuple[Tensor | None, Given]:
        """Return the gradient of the input if it is needed, and the records."""
        dx = self.input_gradient(g, x, saved).to(x.dtype) if needs_input else None
        return dx, self.records(wide(g), wide(x), saved, layout)

    def _trainable(self, *records: tuple[str, Callable[[], Record]]) -> Given:
        found = [(getattr(self.module, name), make) for name, make in records]
        return [(p, make()) for p, make in found if p is not None and p.requires_grad]


class LinearLayer(Layer):
    """``nn.Linear``, on any number of token axes: also the projections of attention."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return ``x W^T + b``."""
        return F.linear(x, self.module.weight, self.module.bias), ()

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return ``g W``."""
        return g @ self.module.weight.to(g.dtype)

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return outer products of output gradients and inputs."""
        left = layout.tokens(g)

        def weight() -> Record:
            outer = Outer(left, layout.tokens(x), self.module.weight.shape)
            keep = keep_factors(left.shape[1], g.shape[-1], x.shape[-1])
            return outer if keep else Stored(outer.per_unit())

        return self._trainable(("weight", weight), ("bias", lambda: Stored(left.sum(1))))


class ConvolutionLayer(Layer):
    """``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d``, any stride, dilation, groups and padding."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._pad_outside = isinstance(module.padding, str) or module.padding_mode != "zeros"
        self._padding = (0,) * len(module.stride) if self._pad_outside else module.padding

    def prepare(self, x: Tensor) -> Tensor:
        """Pad where the kernel cannot. Inputs of any memory format become contiguous: views rely on it."""
        m = self.module
        if self._pad_outside:
            mode = "constant" if m.padding_mode == "zeros" else m.padding_mode
            x = F.pad(x, m._reversed_padding_repeated_twice, mode=mode)
        return x.contiguous()

    def _numbers(self, groups: int) -> tuple[Any, ...]:
        m = self.module
        none = [0] * len(m.stride)
        return list(m.stride), list(self._padding), list(m.dilation), False, none, groups

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the convolution."""
        m = self.module
        return torch.convolution(x, m.weight, m.bias, *self._numbers(m.groups)), ()

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return the transposed convolution."""
        m, only_input = self.module, [True, False, False]
        x, weight = x.to(g.dtype), m.weight.to(g.dtype)
        return _backward(g, x, weight, None, *self._numbers(m.groups), only_input)[0]

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return factors where few positions meet a large kernel, else one grouped convolution."""
        g, m = g.contiguous(), self.module

        def weight() -> Record:
            made = Convolved(g, x, m.weight.shape, self._numbers(m.groups), layout)
            return made if made.keeps_factors() else Stored(made.per_unit())

        return self._trainable(
            ("weight", weight), ("bias", lambda: Stored(layout.summed(g.flatten(2).sum(2))))
        )


class TransposedLayer(ConvolutionLayer):
    """``nn.ConvTranspose1d``, ``2d`` and ``3d``: a convolution read backwards, from output to input."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self._pad_outside, self._padding = False, module.padding

    def _transposed(self) -> tuple[Any, ...]:
        m = self.module
        return list(m.stride), list(m.padding), list(m.dilation), True, list(m.output_padding), m.groups

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the transposed convolution."""
        return torch.convolution(x, self.module.weight, self.module.bias, *self._transposed()), ()

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return the convolution of the output's gradient."""
        x, weight = x.to(g.dtype), self.module.weight.to(g.dtype)
        return _backward(g, x, weight, None, *self._transposed(), [True, False, False])[0]

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return those of the convolution that maps outputs to inputs."""
        g, m = g.contiguous(), self.module

        def weight() -> Record:
            made = Convolved(x, g, m.weight.shape, self._numbers(m.groups), layout)
            return made if made.keeps_factors() else Stored(made.per_unit())

        return self._trainable(
            ("weight", weight), ("bias", lambda: Stored(layout.summed(g.flatten(2).sum(2))))
        )


@dataclass(frozen=True)
class Convolved:
    """The weight's per-unit gradients of a convolution: a record in factors.

    Attributes:
        left: gradient of the outputs, "row out *position", contiguous.
        right: inputs, "row in *size", contiguous.
        shape: shape of the weight.
        numbers: stride, padding, dilation, transposed, output padding, groups.
        layout: how rows belong to units.
    """

    left: Tensor
    right: Tensor
    shape: torch.Size
    numbers: tuple[Any, ...]
    layout: Layout

    def keeps_factors(self) -> bool:
        """Return whether factors are cheaper than storing the gradients: a matter of shapes alone."""
        if self.left.dim() != 4 or self.numbers[-1] != 1:
            return False
        rows, (out, channels, *kernel) = self.layout.rows_per_unit, self.shape
        pixels = rows * math.prod(
            s + 2 * p for s, p in zip(self.right.shape[2:], self.numbers[1], strict=True)
        )
        tokens = rows * math.prod(self.left.shape[2:])
        if tokens > GHOST_TOKENS:
            return False
        # Multiplications; sums over offsets and stored gradients are passes over memory, each dearer.
        factors = pixels**2 * channels + tokens**2 * (out + 20 * math.prod(kernel))
        return factors < 20 * math.prod(self.shape)

    def _weight_gradient(self, left: Tensor, right: Tensor, copies: int) -> Tensor:
        shape = (copies * self.shape[0], *self.shape[1:])
        groups = copies * self.numbers[-1]
        only_weight = [False, True, False]
        like = right.new_empty(1).expand(shape)  # only its shape is read
        return _backward(left, right, like, None, *self.numbers[:-1], groups, only_weight)[1]

    def _is_pointwise(self) -> bool:
        stride, padding, groups = self.numbers[0], self.numbers[1], self.numbers[-1]
        return groups == 1 and {*self.shape[2:], *stride} == {1} and not any(padding)

    def norms(self) -> Norms:
        """Return each unit's squared norm, from inner products over all pairs of positions.

        Two patches' inner product is the sum over offsets in the kernel of two pixels' inner products, so
        pixels are multiplied once and patches are never made.
        """
        (step_y, step_x), (pad_y, pad_x), (gap_y, gap_x) = self.numbers[:3]
        height, width = self.left.shape[2:]
        pixels = F.pad(self.right, (pad_x, pad_x, pad_y, pad_y))
        flat, rows = self._tokens_last(pixels.flatten(2)), self.layout.rows_per_unit
        products = torch.bmm(flat.mT, flat).view(-1, *(rows, *pixels.shape[2:]) * 2)
        patches = products.new_zeros(products.shape[0], *(rows, height, width) * 2)
        for y in range(self.shape[2]):
            for x in range(self.shape[3]):
                down = slice(y * gap_y, y * gap_y + step_y * (height - 1) + 1, step_y)
                along = slice(x * gap_x, x * gap_x + step_x * (width - 1) + 1, step_x)
                patches += products[:, :, down, along, :, down, along]
        left = self._tokens_last(self.left.flatten(2))
        tokens = left.shape[2]
        return gram_norms(torch.bmm(left.mT, left), patches.view(-1, tokens, tokens))

    def _tokens_last(self, rows: Tensor) -> Tensor:
        """Return "row dim token" as "unit dim token"."""
        if self.layout.rows_per_unit == 1:
            return rows
        return self.layout.by_unit(rows).permute(1, 2, 0, 3).flatten(2)

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit *parameter", by one grouped convolution."""
        units = self.layout.n_units
        if self._is_pointwise():
            left, right = self._tokens_last(self.left.flatten(2)), self._tokens_last(self.right.flatten(2))
            return torch.bmm(left, right.mT).view(units, *self.shape)
        at_once = max(1, _BLOCK_BYTES // (math.prod(self.shape) * self.left.element_size()))
        if at_once >= units or self.left.is_cuda:
            return self._grouped(0, units)
        found = self.left.new_empty(units, *self.shape)
        for start in range(0, units, at_once):
            found[start : start + at_once] = self._grouped(start, min(start + at_once, units))
        return found

    def _grouped(self, start: int, stop: int) -> Tensor:
        """Return the gradients of some units, by one grouped convolution over all their rows."""
        left, right = (self.layout.by_unit(t)[:, start:stop] for t in (self.left, self.right))
        merged = [t.reshape(t.shape[0], -1, *t.shape[3:]) for t in (left, right)]
        return self._weight_gradient(*merged, stop - start).view(-1, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum, by one plain convolution."""
        repeat = self.layout.rows_per_unit
        if drop is not None:
            drop = drop.repeat(repeat)
        scale = weights.to(self.left.dtype).repeat(repeat).view(-1, *[1] * (self.left.dim() - 1))
        return self._weight_gradient(without(self.left, drop) * scale, without(self.right, drop), 1)


class GroupNormLayer(Layer):
    """``nn.GroupNorm``: one call of the plain kernel in which every row is its own set of channels."""

    def prepare(self, x: Tensor) -> Tensor:
        """Make the input contiguous and wide, as autocast does."""
        return wide(x).contiguous()

    def _shape(self, x: Tensor) -> tuple[int, int, int]:
        return x.shape[0], x.shape[1], math.prod(x.shape[2:])

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the normalised input, and each group's mean and inverse deviation."""
        m = self.module
        y, mean, rstd = torch.native_group_norm(x, m.weight, m.bias, *self._shape(x), m.num_groups, m.eps)
        return y, (mean, rstd)

    def backward(
        self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout, *, needs_input: bool
    ) -> tuple[Tensor | None, Given]:
        """Return both at once: rows are taken for channels, so scale and shift keep one gradient a row."""
        m, (mean, rstd) = self.module, saved
        rows, channels, size = self._shape(x)
        weight = m.weight.repeat(rows)
        flat = [t.contiguous().view(1, -1) for t in (g, x, mean, rstd)]
        numbers = (1, rows * channels, size, rows * m.num_groups)
        mask = [needs_input, True, True]
        dx, scale, shift = torch.ops.aten.native_group_norm_backward(
            flat[0].view(1, rows * channels, size), flat[1].view(1, rows * channels, size),
            flat[2], flat[3], weight, *numbers, mask,
        )  # fmt: skip
        given = self._trainable(
            ("weight", lambda: Stored(layout.summed(scale.view(rows, channels)))),
            ("bias", lambda: Stored(layout.summed(shift.view(rows, channels)))),
        )
        return dx.view_as(x) if needs_input else None, given


class LayerNormLayer(Layer):
    """``nn.LayerNorm``."""

    def prepare(self, x: Tensor) -> Tensor:
        """Make the input contiguous and wide, as autocast does."""
        return wide(x).contiguous()

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the normalised input, and mean and inverse deviation."""
        m = self.module
        y, mean, rstd = torch.native_layer_norm(x, m.normalized_shape, m.weight, m.bias, m.eps)
        return y, (mean, rstd)

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return what the plain kernel returns."""
        m, only_input = self.module, [True, False, False]
        return torch.ops.aten.native_layer_norm_backward(
            g.contiguous(), x, m.normalized_shape, *saved, m.weight, m.bias, only_input
        )[0]

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return sums over each unit's rows and tokens."""
        mean, rstd = saved
        shape = self.module.normalized_shape

        def summed(tensor: Tensor) -> Record:
            flat = tensor.reshape(layout.n_rows, -1, math.prod(shape))
            return Stored(layout.summed(flat.sum(1)).view(-1, *shape))

        return self._trainable(
            ("weight", lambda: summed(g * ((x - mean) * rstd))), ("bias", lambda: summed(g))
        )


class EmbeddingLayer(Layer):
    """``nn.Embedding``."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the rows of the table."""
        return F.embedding(x, self.module.weight, self.module.padding_idx), ()

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return the rows that each token adds to."""
        if self.module.padding_idx is not None:
            g = g.masked_fill((x == self.module.padding_idx)[..., None], 0.0)
        index = layout.tokens(x[..., None])[..., 0]
        made = Rows(layout.tokens(g), index, self.module.weight.shape)
        return self._trainable(("weight", lambda: made))


LAYERS: dict[type[nn.Module], type[Layer]] = {
    nn.Linear: LinearLayer,
    nn.modules.linear.NonDynamicallyQuantizableLinear: LinearLayer,
    nn.Conv1d: ConvolutionLayer,
    nn.Conv2d: ConvolutionLayer,
    nn.Conv3d: ConvolutionLayer,
    nn.ConvTranspose1d: TransposedLayer,
    nn.ConvTranspose2d: TransposedLayer,
    nn.ConvTranspose3d: TransposedLayer,
    nn.GroupNorm: GroupNormLayer,
    nn.LayerNorm: LayerNormLayer,
    nn.Embedding: EmbeddingLayer,
}
