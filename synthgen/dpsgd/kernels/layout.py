"""How rows belong to units, and what a layer with a per-unit backward must say.

A physical batch holds ``R`` rows of each of ``P`` units, row ``r * P + p`` being row r of unit p. So a
contiguous batch "row channel ..." is, without a copy, R images of ``P * channel`` channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from synthgen.dpsgd.kernels.gradient_factors import Record, wide


@dataclass(frozen=True)
class Layout:
    """How rows belong to units: ``n_units * augmult`` rows, those of a unit ``n_units`` apart."""

    n_units: int
    augmult: int

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self.n_units * self.augmult

    def by_unit(self, rows: Tensor) -> Tensor:
        """Return "row *rest" as "row_of_unit unit *rest"; a view."""
        return rows.reshape(self.augmult, self.n_units, *rows.shape[1:])

    def tokens(self, rows: Tensor) -> Tensor:
        """Return "row *token dim" as "unit token dim"; no copy if units have one row."""
        grouped = self.by_unit(rows).transpose(0, 1)
        return grouped.reshape(self.n_units, -1, rows.shape[-1])

    def summed(self, rows: Tensor) -> Tensor:
        """Return "row dim" summed over each unit's rows, "unit dim"."""
        return rows if self.augmult == 1 else self.by_unit(rows).sum(0)


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
