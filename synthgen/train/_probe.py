"""Refuse, before the first step, a network or loss in which one patient's rows depend on the others'.

What no list of names can know is tried: the same made-up patients in batches of one to five, odd and even,
in other company and in another order. Whatever a batch's size, order or contents decide for a row (the half
of the batch that gets one kind of mask, levels spread over the batch, fakes in the order of the rows,
statistics, padding to the longest) shows as an output, a loss or a gradient that is not the patient's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from synthgen.train._refuse import check_rows
from synthgen.train.draws import KEYS, no_shared_draws
from synthgen.train.gradients import UnitGradients, _full_precision

PROBE_UNITS = 5
_EVERYONE = tuple(range(PROBE_UNITS))
_COMPANIES = ((0,), (0, 1), (2, 1, 0), (0, 3, 4), (0, 1, 2, 3), (3, 0, 1, 2), (4, 3, 2, 1, 0))
_GRADIENTS = ((3, 0, 1, 2), (1,))
_TOLERANCE = 1e-3  # of a patient's whole gradient: float32 rounds otherwise in batches of another size

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
    engine: UnitGradients, losses: Callable[[Rows], Tensor], rows: Rows, rows_per_unit: int
) -> None:
    """Refuse what couples patients.

    Args:
        engine: of the private network, in the mode in which it trains.
        losses: returns one loss a row of a batch.
        rows: made-up rows of `PROBE_UNITS` patients, and their keys.
        rows_per_unit: rows of each.

    Raises:
        ValueError: names the innermost module whose output for a patient changed with the batch, or the loss,
            or the parameter whose gradient did; or the operation that draws from a process-wide generator.
    """
    with _full_precision(rows[KEYS]):
        with no_shared_draws("a loss"), torch.no_grad():
            losses(rows)
        for units in _COMPANIES:
            some = company(rows, units, PROBE_UNITS)
            check_rows(
                engine.model, losses, rows, some, n_units=PROBE_UNITS, second_units=len(units),
                agree=tuple((unit, place) for place, unit in enumerate(units)),
            )  # fmt: skip
        for units in _GRADIENTS:
            _check_gradients(engine, losses, rows, units, rows_per_unit)


def _check_gradients(
    engine: UnitGradients,
    losses: Callable[[Rows], Tensor],
    rows: Rows,
    units: Sequence[int],
    rows_per_unit: int,
) -> None:
    some = company(rows, units, PROBE_UNITS)
    whole = engine.per_unit(lambda: losses(rows), n_units=PROBE_UNITS, rows_per_unit=rows_per_unit)
    found = engine.per_unit(lambda: losses(some), n_units=len(units), rows_per_unit=rows_per_unit)
    sizes = torch.stack([g.flatten(1).norm(dim=1) for g in whole.values()]).norm(dim=0)
    for name, gradients in found.items():
        for place, unit in enumerate(units):
            moved = float((gradients[place] - whole[name][unit]).norm())
            if not moved <= _TOLERANCE * float(sizes[unit]):
                raise ValueError(
                    f"Expected gradients that are each patient's own, got one at {name!r} that changes with "
                    "the other patients of the batch. Let a row's loss follow from the row and its draws."
                )
