"""Counts in which a patient weighs at most one, whatever the number of its records.

Each of a patient's k kept records weighs ``floor(LATTICE / k)`` lattice units, so that a whole
marginal (counts of records over any partition of the domain) moves by at most `LATTICE` units in
L1 and in L2 when a patient comes or goes. "Each count by at most one" would not do: four records
in four cells would move the L2 norm by two. Weights are integers and the noise is scaled alike, so
no floating-point rounding touches the guarantee.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from synthgen.errors import SynthgenError

LATTICE = 2**16


def lattice_weights(unit_codes: np.ndarray, n_units: int) -> np.ndarray:
    """Return each record's weight in lattice units.

    Args:
        unit_codes: int array, the unit of each record, from 0 to ``n_units - 1``. Sensitive.
        n_units: number of units.

    Returns:
        float64 array of whole numbers, one a record, as `weighted_marginal` adds them fastest. The weights
        of a unit sum to at most `LATTICE`.
    """
    records = np.bincount(unit_codes, minlength=max(n_units, 1))
    each = (LATTICE // np.maximum(records, 1)).astype(float)
    return np.asarray(each[unit_codes])


def weighted_marginal(columns: Sequence[np.ndarray], shape: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """Return the weighted counts of records over the cells of a clique of columns.

    Guarantee:
        Adding or removing one unit moves the result by at most `LATTICE` in L1 and in L2.

    Args:
        columns: for each column an int array of cells, one a record. Sensitive.
        shape: number of cells of each column.
        weights: lattice weights, one a record.

    Returns:
        int64 vector of ``prod(shape)`` counts in lattice units, in C order. Sensitive.

    Raises:
        ValueError: a cell lies outside its column's number of cells.
    """
    size = int(np.prod(shape, dtype=np.int64))
    flat = np.zeros(len(weights), dtype=np.int64)
    for column, n_cells in zip(columns, shape, strict=True):
        if len(column) and not 0 <= column.min() <= column.max() < n_cells:
            raise ValueError(
                f"Expected cells from 0 to {n_cells - 1}, got others. Use the shape of the cells."
            )
        flat *= n_cells
        flat += column
    # Sums of integers below 2**53 are exact in float64, which bincount uses.
    return np.bincount(flat, weights=weights, minlength=size).astype(np.int64)


class ZCDPFilter:
    """Spends one fixed rho in parts that may depend on earlier outputs.

    Guarantee:
        A composition of adaptively chosen rho_i-zCDP mechanisms whose sum never exceeds the fixed rho
        is rho-zCDP (Whitehouse et al. 2023, arXiv:2203.05481, fully adaptive composition of zCDP).
    """

    def __init__(self, rho: float) -> None:
        if not rho > 0:
            raise ValueError(f"Expected rho > 0, got {rho=}.")
        self.rho = rho
        self.spent = 0.0

    @property
    def left(self) -> float:
        """What may still be spent."""
        return max(self.rho - self.spent, 0.0)

    def spend(self, rho: float) -> None:
        """Book a part before its mechanism runs.

        Raises:
            SynthgenError: the sum would exceed the fixed rho beyond rounding.
        """
        if not rho >= 0 or self.spent + rho > self.rho * (1 + 1e-9):
            raise SynthgenError(f"Expected a spend of at most rho={self.left:.6g}, got {rho:.6g}.")
        self.spent += rho
