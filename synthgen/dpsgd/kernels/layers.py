"""Layers whose per-unit gradients have a closed form or one kernel call, by type of module.

Each says how to run forward and what its backward gives: the gradient of its input, as in plain training, and
records of its parameters in place of their gradients.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthgen.dpsgd.kernels.convolution import ConvolutionLayer, TransposedLayer
from synthgen.dpsgd.kernels.gradient_factors import Outer, Record, Rows, Stored, keep_factors, wide
from synthgen.dpsgd.kernels.layout import Given, Layer, Layout


class LinearLayer(Layer):
    """``nn.Linear``, on any number of token axes: also the projections of attention."""

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return ``x W^T + b``."""
        return functional.linear(x, self.module.weight, self.module.bias), ()

    def input_gradient(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...]) -> Tensor:
        """Return ``g W``."""
        dx: Tensor = g @ self.module.weight.to(g.dtype)
        return dx

    def records(self, g: Tensor, x: Tensor, saved: tuple[Tensor, ...], layout: Layout) -> Given:
        """Return outer products of output gradients and inputs."""
        left = layout.tokens(g)

        def weight() -> Record:
            outer = Outer(left, layout.tokens(x), self.module.weight.shape)
            keep = keep_factors(left.shape[1], g.shape[-1], x.shape[-1])
            return outer if keep else Stored(outer.per_unit())

        return self._trainable(("weight", weight), ("bias", lambda: Stored(left.sum(1))))


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
        dx: Tensor = torch.ops.aten.native_layer_norm_backward(
            g.contiguous(), x, m.normalized_shape, *saved, m.weight, m.bias, only_input
        )[0]
        return dx

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
        return functional.embedding(x, self.module.weight, self.module.padding_idx), ()

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
