"""Per-unit gradients, clipped and summed, in one forward and one backward pass.

A unit is a patient. Its R rows (records times noise draws) lie ``n_units`` apart in the physical batch and
are averaged before the one clip. Autograd computes no weight gradient: each layer's backward hands over
what its parameters' per-unit gradients consist of (`layers`, `gradient_factors`).

What must hold for the guarantee, and is tested: a unit's gradient does not depend on its batch-mates; the
sum of clipped gradients moves by at most ``max_grad_norm`` when a unit joins or leaves, whatever its values
(huge, zero, NaN, infinite); nothing but the returned sum leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from synthgen.dpsgd.kernels.backward import Book, plan, replacement
from synthgen.dpsgd.kernels.gradient_factors import Record, combine, margin
from synthgen.dpsgd.kernels.layout import Layer, Layout
from synthgen.dpsgd.validator import buffers_stay, check_module


@dataclass(frozen=True)
class ClippedSum:
    """The sum of clipped per-unit gradients of one physical batch. Sensitive until noised.

    Attributes:
        sums: by name of the parameter, each of its shape, float64.
        n_units: units of the batch.
        n_not_finite: units whose gradient was not finite and was replaced by zero.
        norms: norm of each unit's gradient before clipping, " unit".
    """

    sums: Mapping[str, Tensor] = field(repr=False)
    n_units: int = field(repr=False)
    n_not_finite: int = field(repr=False)
    norms: Tensor = field(repr=False)


class UnitGradients:
    """Computes sums of clipped per-unit gradients of a model. Between calls the model is as it was.

    Example:
        >>> model = torch.nn.Linear(3, 1)
        >>> x = torch.ones(2, 3)
        >>> found = UnitGradients(model).clipped_sum(lambda: model(x)[:, 0], n_units=2, max_grad_norm=1.0)
        >>> [round(float(g), 3) for g in found.sums["weight"][0]], round(float(found.sums["bias"]), 3)
        ([1.0, 1.0, 1.0], 1.0)
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at the model's layers.

        Raises:
            ValueError: a layer mixes rows or keeps statistics of the data; it is named.
        """
        check_module(model)
        self.model = model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._layers: list[tuple[nn.Module, Layer | None]] = list(plan(model))

    def clipped_sum(
        self, losses: Callable[[], Tensor], *, n_units: int, augmult: int = 1, max_grad_norm: float
    ) -> ClippedSum:
        """Return the sum over units of each unit's gradient, clipped to ``max_grad_norm`` in the L2 norm.

        Guarantee:
            Adding or removing one unit moves the sum by at most ``max_grad_norm``; replacing one, by at most
            twice that. This holds of the numbers in floating point: the rounding of norms, weights and sums
            is covered by the clip (`gradient_factors`), whatever the gradients' scale and however a unit's
            rows cancel. It is the gradient of a unit as the network's kernels compute it, whose last bits may
            depend on the number of rows in the batch.

        Args:
            losses: runs the model and returns one loss a row, " row"; row ``r * n_units + p`` is row r of
                unit p. A unit's loss is the mean of its rows'.
            n_units: units of the batch. Sensitive.
            augmult: rows of each unit, public.
            max_grad_norm: the public clipping norm.

        Raises:
            ValueError: the losses are not one a row, a layer saw other rows, a parameter was used outside
                its layer, or data wrote a buffer.
        """
        if not max_grad_norm > 0:
            raise ValueError(f"Expected max_grad_norm > 0, got {max_grad_norm}.")
        records, norms = self._records(losses, Layout(n_units, augmult))
        with torch.no_grad(), _full_precision(norms):
            return self._clip(records, norms, n_units, max_grad_norm)

    def _clip(
        self, records: dict[nn.Parameter, Record], norms: Tensor, n_units: int, bound: float
    ) -> ClippedSum:
        finite = torch.isfinite(norms)
        drop = None if bool(finite.all()) else ~finite
        weights = clip_weights(norms, bound)
        sums = {}
        for name, parameter in self.parameters.items():
            record = records.pop(parameter, None)
            if record is None:
                sums[name] = torch.zeros_like(parameter, dtype=torch.float64)
            else:
                sums[name] = record.weighted(weights, drop)
        return ClippedSum(sums, n_units, int((~finite).sum()), norms)

    def per_unit(self, losses: Callable[[], Tensor], *, n_units: int, augmult: int = 1) -> dict[str, Tensor]:
        """Return each unit's gradient, "unit *parameter" by name: for Opacus' optimizer and for tests."""
        records, norms = self._records(losses, Layout(n_units, augmult))
        with torch.no_grad(), _full_precision(norms):
            return {
                name: records[p].per_unit() if p in records else p.new_zeros(n_units, *p.shape)
                for name, p in self.parameters.items()
            }

    def _records(
        self, losses: Callable[[], Tensor], layout: Layout
    ) -> tuple[dict[nn.Parameter, Record], Tensor]:
        """Return a record for each parameter used, and a bound of each unit's norm, " unit"."""
        first = next(iter(self.parameters.values()))
        if layout.n_units == 0:
            nothing = first.new_zeros(0, dtype=torch.float64)
            return {}, nothing
        book = Book(layout)
        with self._installed(book), buffers_stay(self.model), self._no_other_gradient(), torch.enable_grad():
            loss = losses()
            if loss.shape != (layout.n_rows,):
                raise ValueError(
                    f"Expected one loss a row, ({layout.n_rows},), got {tuple(loss.shape)}. Reduce over a "
                    "row's own elements only, never over rows."
                )
            with _full_precision(first):
                (loss.sum() / layout.augmult).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad(), _full_precision(first):
            records = {parameter: combine(found) for parameter, found in book.found.items()}
            book.found.clear()  # autograd's nodes hold the book: a record in it would never be freed
            square = first.new_zeros(layout.n_units, dtype=torch.float64)
            for record in records.values():
                square += record.norms()
        return records, square.sqrt() * margin(first.dtype)

    @contextmanager
    def _installed(self, book: Book) -> Iterator[None]:
        """Let the layers run through `_Run`, then give their own forward back."""
        for module, layer in self._layers:
            if "forward" in vars(module):
                raise ValueError(
                    f"Expected a layer's own forward, got a replaced one in {type(module).__name__}."
                )
            module.forward = replacement(module, layer, book)
        try:
            yield
        finally:
            for module, _ in self._layers:
                vars(module).pop("forward", None)

    @contextmanager
    def _no_other_gradient(self) -> Iterator[None]:
        """Raise if autograd itself reached a parameter: its gradient would not be clipped."""
        kept = {name: p.grad for name, p in self.parameters.items()}
        for p in self.parameters.values():
            p.grad = None
        try:
            yield
            reached = [name for name, p in self.parameters.items() if p.grad is not None]
            if reached:
                raise ValueError(
                    f"Expected every parameter to be used by its own layer, got {reached[0]!r} used outside "
                    "of it. Call the layer, not its weight."
                )
        finally:
            for name, p in self.parameters.items():
                p.grad = kept[name]


@contextmanager
def _full_precision(like: Tensor) -> Iterator[None]:
    """Take, measure and sum gradients in float32 at least: no autocast, and no TF32 on a GPU.

    In TF32, which convolutions on a GPU have unless told otherwise, a unit's norm and its gradient in the
    sum are rounded apart by a thousandth, and the sum would move by more than the clipping norm.
    """
    matrices, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matrices.allow_tf32, convolutions.allow_tf32
    matrices.allow_tf32 = convolutions.allow_tf32 = False
    try:
        with torch.autocast(like.device.type, enabled=False):
            yield
    finally:
        matrices.allow_tf32, convolutions.allow_tf32 = before


def clip_weights(norms: Tensor, max_grad_norm: float) -> Tensor:
    """Return each unit's factor, ``min(1, C / norm)``; 0 where the norm is not finite."""
    weights = max_grad_norm / norms.clamp(min=max_grad_norm)
    return torch.where(torch.isfinite(norms), weights, 0.0)
