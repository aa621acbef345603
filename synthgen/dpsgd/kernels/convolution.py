"""Convolutions: one grouped kernel call gives the weight gradients of all units.

With a batch read as R images of ``P * channel`` channels (`layout`), a convolution with P groups sums each
unit's rows inside the kernel. Where few output positions meet a large kernel, the gradients stay in factors:
norms come from inner products of positions or of patches, the clipped sum from one plain convolution.

Source: Rochette, Manoel and Tramel (2019), arXiv:1912.06015, for gradients by grouped convolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from synthgen.dpsgd.kernels.gradient_factors import (
    GHOST_TOKENS,
    Record,
    Stored,
    gram_norms,
    in_blocks,
    square_norm,
    without,
)
from synthgen.dpsgd.kernels.layout import Given, Layer, Layout

_backward = torch.ops.aten.convolution_backward
_STORED_BYTES = 2**24
# Gradients made by one kernel call: fresh memory beyond the cache is dearer than the work.
_BLOCK_BYTES = 5 * 2**18


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
            x = functional.pad(x, m._reversed_padding_repeated_twice, mode=mode)
        return x.contiguous()

    def _numbers(self, groups: int) -> tuple[Any, ...]:
        m = self.module
        none = [0] * len(m.stride)
        return list(m.stride), list(self._padding), list(m.dilation), False, none, groups

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the convolution."""
        weight, bias = self._like(x)
        return torch.convolution(x, weight, bias, *self._numbers(self.module.groups)), ()

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return weight and bias in the input's type, which autocast may have narrowed."""
        m = self.module
        return m.weight.to(x.dtype), None if m.bias is None else m.bias.to(x.dtype)

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return the transposed convolution."""
        m, only_input = self.module, [True, False, False]
        x, weight = x.to(g.dtype), m.weight.to(g.dtype)
        dx: Tensor = _backward(g, x, weight, None, *self._numbers(m.groups), only_input)[0]
        return dx

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return factors where few positions meet a large kernel, else one grouped convolution."""
        g, m = g.contiguous(), self.module

        def weight() -> Record:
            return Convolved(g, x, m.weight.shape, self._numbers(m.groups), layout).cheapest()

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
        weight, bias = self._like(x)
        return torch.convolution(x, weight, bias, *self._transposed()), ()

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return the convolution of the output's gradient."""
        x, weight = x.to(g.dtype), self.module.weight.to(g.dtype)
        dx: Tensor = _backward(g, x, weight, None, *self._transposed(), [True, False, False])[0]
        return dx

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return those of the convolution that maps outputs to inputs."""
        g, m = g.contiguous(), self.module

        def weight() -> Record:
            return Convolved(x, g, m.weight.shape, self._numbers(m.groups), layout).cheapest()

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

    def cheapest(self) -> Record:
        """Return the cheapest way to keep the gradients: a matter of shapes alone, never of data."""
        rows, (out, channels, *kernel) = self.layout.augmult, self.shape
        tokens, size = rows * math.prod(self.left.shape[2:]), math.prod(self.shape)
        if self.left.dim() != 4 or self.numbers[-1] != 1 or tokens > GHOST_TOKENS:
            return Stored(self.per_unit())
        sides = zip(self.right.shape[2:], self.numbers[1], strict=True)
        pixels = rows * math.prod(side + 2 * pad for side, pad in sides)
        # Multiplications; sums over offsets and stored gradients are passes over memory, each dearer.
        if pixels**2 * channels + tokens**2 * (out + 20 * math.prod(kernel)) < 20 * size:
            return self
        patch = channels * math.prod(kernel)
        if tokens * (out + patch) + 10 * patch < 0.9 * size:
            return Patched(**vars(self))
        if self.layout.n_units * size * self.left.element_size() > _STORED_BYTES:
            return Passing(**vars(self))
        return Stored(self.per_unit())

    def _weight_gradient(self, left: Tensor, right: Tensor, copies: int) -> Tensor:
        shape = (copies * self.shape[0], *self.shape[1:])
        groups = copies * self.numbers[-1]
        only_weight = [False, True, False]
        like = right.new_empty(1).expand(shape)  # only its shape is read
        found: Tensor = _backward(left, right, like, None, *self.numbers[:-1], groups, only_weight)[1]
        return found

    def _is_pointwise(self) -> bool:
        stride, padding, groups = self.numbers[0], self.numbers[1], self.numbers[-1]
        return groups == 1 and {*self.shape[2:], *stride} == {1} and not any(padding)

    def norms(self) -> Tensor:
        """Return each unit's squared norm, from inner products over all pairs of positions.

        Two patches' inner product is the sum over offsets in the kernel of two pixels' inner products, so
        pixels are multiplied once and patches are never made.
        """
        (step_y, step_x), (pad_y, pad_x), (gap_y, gap_x) = self.numbers[:3]
        height, width = self.left.shape[2:]
        pixels = functional.pad(self.right, (pad_x, pad_x, pad_y, pad_y))
        flat, rows = self._tokens_last(pixels.flatten(2)).double(), self.layout.augmult
        products = torch.bmm(flat.mT, flat).view(-1, *(rows, *pixels.shape[2:]) * 2)
        patches = products.new_zeros(products.shape[0], *(rows, height, width) * 2)
        for y in range(self.shape[2]):
            for x in range(self.shape[3]):
                down = slice(y * gap_y, y * gap_y + step_y * (height - 1) + 1, step_y)
                along = slice(x * gap_x, x * gap_x + step_x * (width - 1) + 1, step_x)
                patches += products[:, :, down, along, :, down, along]
        return self._gram(patches)

    def _gram(self, patches: Tensor) -> Tensor:
        """Return norms from the patches' inner products, "unit *token *token"."""
        left = self._tokens_last(self.left.flatten(2)).double()
        tokens = left.shape[2]
        inner = torch.bmm(left.mT, left)
        numbers = left.shape[1] + math.prod(self.shape[1:])
        return gram_norms(inner, patches.reshape(-1, tokens, tokens), numbers)

    def _tokens_last(self, rows: Tensor) -> Tensor:
        """Return "row dim token" as "unit dim token"."""
        if self.layout.augmult == 1:
            return rows
        return self.layout.by_unit(rows).permute(1, 2, 0, 3).flatten(2)

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit *parameter", by one grouped convolution."""
        units = self.layout.n_units
        if self._is_pointwise():
            left, right = self._tokens_last(self.left.flatten(2)), self._tokens_last(self.right.flatten(2))
            return torch.bmm(left, right.mT).view(units, *self.shape)
        blocks = list(self._blocks())
        if len(blocks) == 1:
            return self._grouped(0, units)
        found = self.left.new_empty(units, *self.shape)
        for start, stop in blocks:
            found[start:stop] = self._grouped(start, stop)
        return found

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Yield the first and the last unit of each kernel call."""
        units = self.layout.n_units
        at_once = max(1, _BLOCK_BYTES // (math.prod(self.shape) * self.left.element_size()))
        at_once = units if self.left.is_cuda else at_once
        for start in range(0, units, at_once):
            yield start, min(start + at_once, units)

    def _grouped(self, start: int, stop: int) -> Tensor:
        """Return the gradients of some units, by one grouped convolution over all their rows."""
        left, right = (self.layout.by_unit(t)[:, start:stop] for t in (self.left, self.right))
        left, right = (t.reshape(t.shape[0], -1, *t.shape[3:]) for t in (left, right))
        return self._weight_gradient(left, right, stop - start).view(-1, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum, by one plain convolution."""
        repeat = self.layout.augmult
        if drop is not None:
            drop = drop.repeat(repeat)
        scale = weights.repeat(repeat).view(-1, *[1] * (self.left.dim() - 1))
        return self._weight_gradient(without(self.left, drop) * scale, without(self.right, drop).double(), 1)


@dataclass(frozen=True)
class Patched(Convolved):
    """Gradients in factors whose patches are made: cheaper where patches overlap little."""

    def norms(self) -> Tensor:
        """Return each unit's squared norm, from inner products of all pairs of patches."""
        (step_y, step_x), (pad_y, pad_x), (gap_y, gap_x) = self.numbers[:3]
        high, wide = ((k - 1) * gap + 1 for k, gap in zip(self.shape[2:], (gap_y, gap_x), strict=True))
        seen = functional.pad(self.right, (pad_x, pad_x, pad_y, pad_y))
        seen = seen.unfold(2, high, step_y)[..., ::gap_y].unfold(3, wide, step_x)[..., ::gap_x]
        height, width = self.left.shape[2:]  # a last step that no output has is left out
        seen = seen[:, :, :height, :width].permute(0, 1, 4, 5, 2, 3)
        flat = self._tokens_last(seen.reshape(len(seen), -1, height * width)).double()
        return self._gram(torch.bmm(flat.mT, flat))


@dataclass(frozen=True)
class Passing(Convolved):
    """Gradients that are made twice by the same kernel and never kept: for their norms, and to be summed."""

    def norms(self) -> Tensor:
        """Return each unit's squared norm: that of the very numbers which are summed.

        On a GPU the kernel may round otherwise when it runs again. That moves a gradient by at most as many
        unit roundoffs as it has products, of outer products of ``|left| sqrt(m) |right|`` in all, since each
        input stands in at most m patches: an offset y along an axis meets it only where ``y * dilation`` has
        one remainder by the stride.
        """
        square = torch.cat([square_norm(self._grouped(*block)) for block in self._blocks()])
        if not self.left.is_cuda:
            return square
        sizes = zip(self.shape[2:], self.numbers[0], self.numbers[2], strict=True)
        patches = math.prod(math.ceil(k * math.gcd(step, gap) / step) for k, step, gap in sizes)
        left, right = (square_norm(self.layout.by_unit(t).transpose(0, 1)) for t in (self.left, self.right))
        products = self.layout.augmult * math.prod(self.left.shape[2:]) + 16
        roundoff = products * torch.finfo(self.left.dtype).eps
        bound: Tensor = (square.sqrt() + roundoff * (left * right * patches).sqrt()).square()
        return bound

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum of the gradients, made again."""
        total = weights.new_zeros(math.prod(self.shape))
        for start, stop in self._blocks():
            made = self._grouped(start, stop)
            flat = without(made, None if drop is None else drop[start:stop]).flatten(1)
            for row, column, piece in in_blocks(flat):
                total[column].addmv_(piece.mT, weights[start:stop][row])
        return total.view(self.shape)
