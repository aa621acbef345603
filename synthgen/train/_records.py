"""What one use of one parameter gives to each unit's gradient, stored whole or in factors.

A unit is a patient with R rows. A parameter's per-unit gradient is needed twice: for the unit's norm and
for the sum of clipped gradients. `Stored` keeps it. `Outer` keeps the two factors whose product it is:
the norm follows from small inner products and the clipped sum from one matrix product, so that the
gradients of all units never exist at once ("ghost norms"). The choice depends on shapes alone.

Rounding is on the private side. Where a unit's rows cancel each other, factors carry a rounding error that
the norm does not show; `Norms.slack` bounds it and is added to the norm before clipping.

Source: Goodfellow (2015), arXiv:1510.01799; Li et al. (2022), arXiv:2110.05679, section 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

_BLOCK = 4096
_SLACK = 16.0  # rounding errors of a product of two factors, in units of the type's epsilon / 2
GHOST_TOKENS = 64  # largest number of outer products in one unit that may stay in factors


@dataclass(frozen=True)
class Norms:
    """Squared norm of each unit's gradient, and a bound on the rounding that it does not show, " unit"."""

    square: Tensor
    slack: Tensor | None = None


class Record(Protocol):
    """One use of one parameter in one forward pass, for all units of a physical batch."""

    def norms(self) -> Norms:
        """Return each unit's squared norm in float64."""
        ...

    def per_unit(self) -> Tensor:
        """Return each unit's gradient, "unit *parameter"."""
        ...

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the sum of the units' gradients, each times its weight; those in ``drop`` are left out."""
        ...


def wide(tensor: Tensor) -> Tensor:
    """Return a tensor in float32 at least: norms and sums are never taken in a narrower type."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def square_norm(rows: Tensor) -> Tensor:
    """Return the squared norm of each row in float64, "row *rest -> row".

    Blocks are summed in the rows' own type and added in float64, so the error does not grow with the length.
    """
    flat = rows.reshape(rows.shape[0], -1)
    whole = flat.shape[1] // _BLOCK * _BLOCK
    total: Tensor = torch.linalg.vector_norm(flat[:, whole:], dim=1).double().square()
    if whole:
        blocks = flat[:, :whole].reshape(len(flat), -1, _BLOCK)
        total = total + torch.linalg.vector_norm(blocks, dim=2).double().square().sum(1)
    return total


def rounding_of(factor: Tensor) -> float:
    """Return the bound on the rounding of a sum of outer products, relative to the sum of their norms."""
    return _SLACK * torch.finfo(factor.dtype).eps / 2


def gram_norms(left: Tensor, right: Tensor) -> Norms:
    """Return norms from the inner products of both factors, each "unit token token"."""
    terms = left.diagonal(dim1=1, dim2=2).double() * right.diagonal(dim1=1, dim2=2).double()
    square = (left.double() * right.double()).sum((1, 2)).clamp(min=0.0)
    return Norms(square, rounding_of(left) * terms.sqrt().sum(1))


def without(tensor: Tensor, drop: Tensor | None) -> Tensor:
    """Return a tensor with the dropped units set to zero: zero times infinity would not be zero."""
    if drop is None:
        return tensor
    return tensor.masked_fill(drop.view(-1, *[1] * (tensor.dim() - 1)), 0.0)


@dataclass(frozen=True)
class Stored:
    """Gradients of all units, "unit *parameter"."""

    gradients: Tensor

    def norms(self) -> Norms:
        """Return each unit's squared norm."""
        return Norms(square_norm(self.gradients))

    def per_unit(self) -> Tensor:
        """Return the gradients."""
        return self.gradients

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum."""
        flat = without(self.gradients, drop).flatten(1)
        return (weights.to(flat.dtype) @ flat).view(self.gradients.shape[1:])


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

    def norms(self) -> Norms:
        """Return each unit's squared norm: ``sum_st (left_s . left_t) (right_s . right_t)``."""
        if self.left.shape[1] == 1:
            return Norms(square_norm(self.left) * square_norm(self.right))
        return gram_norms(torch.bmm(self.left, self.left.mT), torch.bmm(self.right, self.right.mT))

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit *parameter"."""
        return torch.bmm(self.left.mT, self.right).view(-1, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum as one matrix product over units and tokens."""
        left = without(self.left, drop) * weights.to(self.left.dtype)[:, None, None]
        right = without(self.right, drop)
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

    def norms(self) -> Norms:
        """Return each unit's squared norm: few tokens by their inner products where they share a row."""
        tokens = self.index.shape[1]
        if tokens == 1:
            return Norms(square_norm(self.gradients))
        if tokens <= GHOST_TOKENS:
            same = (self.index[:, :, None] == self.index[:, None, :]).to(self.gradients.dtype)
            return gram_norms(torch.bmm(self.gradients, self.gradients.mT), same)
        return Norms(square_norm(self.per_unit()))

    def per_unit(self) -> Tensor:
        """Return the gradients, "unit row dim"."""
        units, tokens, dim = self.gradients.shape
        table = self.gradients.new_zeros(units * self.shape[0], dim)
        offset = torch.arange(units, device=self.index.device)[:, None] * self.shape[0]
        table.index_add_(0, (self.index + offset).flatten(), self.gradients.reshape(units * tokens, dim))
        return table.view(units, *self.shape)

    def weighted(self, weights: Tensor, drop: Tensor | None) -> Tensor:
        """Return the weighted sum."""
        scaled = without(self.gradients, drop) * weights.to(self.gradients.dtype)[:, None, None]
        table = self.gradients.new_zeros(self.shape)
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
