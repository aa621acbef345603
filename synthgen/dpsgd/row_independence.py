"""Refuse, before the first step, a network or loss in which one patient's rows depend on the others'.

What no list of names can know is tried: the same made-up patients in batches of one to five, odd and even,
in other company and in another order. Whatever a batch's size, order or contents decide for a row (the half
of the batch that gets one kind of mask, levels spread over the batch, fakes in the order of the rows,
statistics, padding to the longest) shows as an output, a loss or a gradient that is not the patient's own.
All of it is computed in float64, where rounding cannot be taken for a coupling, nor hide one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from synthgen.dpsgd.clipped_gradients import UnitGradients, _full_precision
from synthgen.dpsgd.double_precision import in_double, wide
from synthgen.dpsgd.random_draws import KEYS, no_shared_draws
from synthgen.dpsgd.validator import TOLERANCE, Company, check_rows

PROBE_UNITS = 5
_EVERYONE = tuple(range(PROBE_UNITS))
_COMPANIES = ((0,), (0, 1), (2, 1, 0), (0, 3, 4), (0, 1, 2, 3), (3, 0, 1, 2), (4, 3, 2, 1, 0))
_GRADIENTS = ((3, 0, 1, 2), (1,))

Rows = Mapping[str, Tensor]


def company(rows: Rows, units: Sequence[int], n_units: int) -> Rows:
    """Return the rows and keys of some units of a batch."""
    chosen = list(units)

    def of(name: str, tensor: Tensor) -> Tensor:
        if name == KEYS:
            return tensor[chosen]
        each = len(tensor) // n_units  # not -1: a column may have no entries, such as absent guides
        grouped = tensor.reshape(each, n_units, *tensor.shape[1:])[:, chosen]
        return grouped.reshape(each * len(chosen), *tensor.shape[1:])

    return {name: of(name, tensor) for name, tensor in rows.items()}


def check_batches(
    module: nn.Module,
    engine: UnitGradients,
    losses: Callable[[Rows], Tensor],
    rows: Rows,
    augmult: int,
) -> None:
    """Refuse what couples patients.

    Args:
        module: holds all networks that the losses run.
        engine: of the private network, in the mode in which it trains.
        losses: returns one loss a row of a batch.
        rows: made-up rows of `PROBE_UNITS` patients, and their keys.
        augmult: rows of each.

    Raises:
        ValueError: names the innermost module whose output for a patient changed with the batch, or the loss,
            or the parameter whose gradient did; or the operation that draws from a process-wide generator.
    """
    rows = {name: wide(tensor) for name, tensor in rows.items()}

    def with_company(units: Sequence[int]) -> Company:
        agree = tuple((unit, place) for place, unit in enumerate(units))
        return company(rows, units, PROBE_UNITS), len(units), agree

    with _full_precision(rows[KEYS]), in_double(module):
        with no_shared_draws("a loss"), torch.no_grad():
            losses(rows)
        check_rows(engine.model, losses, rows, PROBE_UNITS, [with_company(units) for units in _COMPANIES])
        _check_gradients(engine, losses, rows, augmult)


def _check_gradients(
    engine: UnitGradients, losses: Callable[[Rows], Tensor], rows: Rows, augmult: int
) -> None:
    whole = engine.per_unit(lambda: losses(rows), n_units=PROBE_UNITS, augmult=augmult)
    sizes = torch.stack([g.flatten(1).norm(dim=1) for g in whole.values()]).norm(dim=0)
    for units in _GRADIENTS:
        some = company(rows, units, PROBE_UNITS)
        found = engine.per_unit(
            lambda some=some: losses(some),  # type: ignore[misc]
            n_units=len(units),
            augmult=augmult,
        )
        for name, gradients in found.items():
            for place, unit in enumerate(units):
                moved = float((gradients[place] - whole[name][unit]).norm())
                if not moved <= TOLERANCE * float(sizes[unit]):
                    raise ValueError(
                        "Expected gradients that are each patient's own, got one at "
                        f"{name!r} that changes with the other patients of the batch. Let a row's loss "
                        "follow from the row and its draws."
                    )
