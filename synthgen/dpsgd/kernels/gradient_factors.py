"""What one use of one parameter gives to each unit's gradient, stored whole or in factors.

A unit is a patient with R rows. A parameter's per-unit gradient is needed twice: for the unit's norm and
for the sum of clipped gradients. `Stored` keeps it. `Outer` keeps the two factors whose product it is:
the norm follows from small inner products and the clipped sum from one matrix product, so that the
gradients of all units never exist at once ("ghost norms"). The choice depends on shapes alone.

Rounding is on the private side. Norms and weighted sums are taken in float64 of the numbers that
the layers left in float32: no square overflows or vanishes, and sums over a batch round far below `margin`.
Where a unit's rows cancel each other, their products carry more rounding than their sum shows: `cancelling`
bounds it and adds it to the norm.

Source: Goodfellow (2015), arXiv:1510.01799; Li et al. (2022), arXiv:2110.05679, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

_BLOCK = 2**18  # numbers converted to float64 at a time, so that they stay in the cache
GHOST_TOKENS = 64  # largest number of outer products in one unit that may stay in factors
LEAST = 2.0**-10
"""Least norm of a unit, relative to the sum of its outer products' norms.

So the outer products of a clipped unit amount to at most ``C / LEAST``, and with float64's unit roundoff u a
sum of K of them rounds by at most ``K u C / LEAST``: ``2**-27 C`` a unit for K of 2**16.
"""
UNIT_ROUNDOFF = 2.0**-53


def margin(dtype: torch.dtype) -> float:
    """Return what norms are multiplied by: it covers the rounding of norms, weights and sums over units."""
    return 1 + (2.0**-36 if dtype == torch.float64 else 2.0**-20)


class Record(Protocol):
    """One use of one parameter in one forward pass, for all units of a physical batch."""

    def norms(self) -> Tensor:
        """Return an upper bound of each unit's squared norm, float64, " unit"."""
        ...

    def per_unit(self) -> Tensor:
        """Return each unit's gradient, "unit *parameter"."""
        ...

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the sum of the units' gradients, each times its weight, in float64.

        Args:
            weights: float64, " unit".
            drop: units to leave out, or None.
        """
        ...


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least: norms and sums are never taken in a narrower type."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def in_blocks(rows: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield pieces of "row column" in float64, with the rows and the columns where they lie."""
    n_rows, n_columns = rows.shape
    if rows.is_cuda or rows.dtype == torch.float64 or rows.numel() <= _BLOCK:
        yield slice(0, n_rows), slice(0, n_columns), rows.double()
        return
    buffer = rows.new_empty(_BLOCK, dtype=torch.float64)
    high = max(1, _BLOCK // n_columns)
    for row in range(0, n_rows, high):
        for column in range(0, n_columns, _BLOCK):
            here = slice(row, row + high), slice(column, column + _BLOCK)
            piece = rows[here]
            yield *here, buffer[: piece.numel()].view(piece.shape).copy_(piece)


def square_norm(rows: Tensor) -> Tensor:
    """Return the squared norm of each row in float64, "row *rest -> row"."""
    total = rows.new_zeros(len(rows), dtype=torch.float64)
    for row, _, piece in in_blocks(rows.reshape(len(rows), -1)):
        total[row] += torch.linalg.vector_norm(piece, dim=1).square()
    return total


def cancelling(square: Tensor, lengths: Tensor, n_products: int) -> Tensor:
    """Return a bound of squared norms that holds also where outer products cancel.

    A squared norm that is a sum of ``n_products`` products errs by at most that many unit roundoffs of the
    squared lengths: without the bound, rows of 1e8 that cancel to 1 would have any norm, or none.

    Args:
        square: squared norms as they were computed in float64, " unit".
        lengths: sum of the norms of each unit's outer products, " unit".
        n_products: number of products in a row of each sum: a matter of shapes.
    """
    exact = square.clamp(min=0.0) + n_products * UNIT_ROUNDOFF * lengths.square()
    return torch.maximum(exact, (LEAST * lengths).square())


def gram_norms(left: Tensor, right: Tensor, n_numbers: int) -> Tensor:
    """Return bounds of squared norms from the inner products of both factors, each "unit token token".

    Args:
        left: inner products of the first factors, float64.
        right: those of the second.
        n_numbers: length of both factors together.
    """
    terms = left.diagonal(dim1=1, dim2=2) * right.diagonal(dim1=1, dim2=2)
    lengths = terms.clamp(min=0.0).sqrt().sum(1)
    return cancelling((left * right).sum((1, 2)), lengths, n_numbers + left.shape[1] ** 2 + 4)


def inner_products(tokens: Tensor) -> Tensor:
    """Return the inner products of all pairs of a unit's tokens in float64, "unit token dim" to a square."""
    numbers = tokens.double()
    return torch.bmm(numbers, numbers.mT)


def without(tensor: Tensor, drop: Tensor | None) -> Tensor:
    """Return a tensor with the dropped units set to zero: zero times infinity would not be zero."""
    if drop is None:
        return tensor
    return tensor.masked_fill(drop.view(-1, *[1] * (tensor.dim() - 1)), 0.0)


@dataclass(frozen=True)
class Stored:
    """Gradients of all units, "unit *parameter"."""

    gradients: Tensor

    def norms(self) -> Tensor:
        """Return each unit's squared norm: that of the very numbers which are summed."""
        return square_norm(self.gradients)

    def per_unit(self) -> Tensor:
        """Return the gradients."""
        return self.gradients

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum."""
        flat = without(self.gradients, drop).flatten(1)
        total = weights.new_zeros(flat.shape[1])
        for row, column, piece in in_blocks(flat):
            total[column].addmv_(piece.mT, weights[row])
        return total.view(self.gradients.shape[1:])


@dataclass(frozen=True)
class Outer:
    """Gradients that are sums of outer products, ``sum_t left[t] right[t]^T``, for each unit.

    Attributes:
        left: gradients with respect to outputs, "unit token out".
        right: inputs, "unit token in".
        shape: shape of the parameter; its size is ``out * in``.
    """

    left: Tensor
    right: Tensor
    shape: torch.Size

    def norms(self) -> Tensor:
        """Return each unit's squared norm: ``sum_st (left_s . left_t) (right_s . right_t)``."""
        if self.left.shape[1] == 1:
            return square_norm(self.left) * square_norm(self.right)
        numbers = self.left.shape[2] + self.right.shape[2]
        return gram_norms(inner_products(self.left), inner_products(self.right), numbers)

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit *parameter"."""
        return torch.bmm(self.left.mT, self.right).view(-1, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum as one matrix product over units and tokens."""
        left = without(self.left, drop) * weights[:, None, None]
        right = without(self.right, drop).double()
        return (left.flatten(0, 1).T @ right.flatten(0, 1)).view(self.shape)


@dataclass(frozen=True)
class Rows:
    """Gradients of an embedding table: each token adds to one row.

    Attributes:
        gradients: "unit token dim".
        index: row of each token, "unit token".
        shape: shape of the table.
    """

    gradients: Tensor
    index: Tensor
    shape: torch.Size

    def norms(self) -> Tensor:
        """Return each unit's squared norm: few tokens by their inner products where they share a row."""
        tokens = self.index.shape[1]
        if tokens == 1:
            return square_norm(self.gradients)
        if tokens <= GHOST_TOKENS:
            same = (self.index[:, :, None] == self.index[:, None, :]).double()
            return gram_norms(inner_products(self.gradients), same, self.gradients.shape[2])
        numbers = self.gradients.double()
        lengths: Tensor = torch.linalg.vector_norm(numbers, dim=2).sum(1)
        return cancelling(square_norm(self._added(numbers)), lengths, 2 * tokens)

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit row dim"."""
        return self._added(self.gradients)

    def _added(self, gradients: Tensor) -> Tensor:
        units, tokens, dim = gradients.shape
        table = gradients.new_zeros(units * self.shape[0], dim)
        offset = torch.arange(units, device=self.index.device)[:, None] * self.shape[0]
        table.index_add_(0, (self.index + offset).flatten(), gradients.reshape(units * tokens, dim))
        return table.view(units, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum."""
        scaled = without(self.gradients, drop) * weights[:, None, None]
        table = weights.new_zeros(self.shape)
        return table.index_add_(0, self.index.flatten(), scaled.flatten(0, 1))


def keep_factors(tokens: int, n_out: int, n_in: int) -> bool:
    """Return whether factors are cheaper than storing the gradients: a matter of shapes, never of data.

    Inner products cost ``tokens^2 (out + in)``; storing costs a few passes over ``out * in`` numbers, each
    about as dear as fifty multiplications.
    """
    if tokens == 1:
        return True
    return tokens <= GHOST_TOKENS and tokens**2 * (n_out + n_in) < 50 * n_out * n_in


def combine(records: list[Record]) -> Record:
    """Return one record of a parameter that was used several times: its gradients add up before the norm."""
    if len(records) == 1:
        return records[0]
    total = records[0].per_unit()
    for record in records[1:]:
        total = total + record.per_unit()
    return cast(Record, Stored(total))
