"""Empty cells that noise alone would make: counts of missing values below their noise are zero.

A column that is not declared ``required`` has a cell for missing values, and the noise of privacy gives that
cell patients where the column has none. Whether a count of missing values stands out of its noise follows
from the noisy count, its public scale and the public number of such columns: post-processing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import norm

from synthgen.encode.table import Encoder, Grid
from synthgen.generators.compression import Compression
from synthgen.generators.graphical.estimation import Measurement
from synthgen.generators.marginal.measurement import split_rho
from synthgen.schema.schema import Schema

FALSE_SHARE = 0.05
"""Expected share of columns without missing values among those that keep some.

It is also the chance that noise alone leaves empty cells in a table that has none."""


def stand_out(deviations: np.ndarray) -> np.ndarray:
    """Return which noisy counts of missing values are more than noise, by Benjamini and Hochberg's procedure.

    One column must stand out clearly where no other has missing values; where many have, less is enough.

    Args:
        deviations: each column's noisy count, in standard deviations of its noise.

    Source: Abramovich, Benjamini, Donoho and Johnstone (2006), arXiv:math/0505374, Section 1.4.

    Example:
        >>> stand_out(np.array([2.5, 0.0, 0.0, 0.0, 0.0])).tolist()[0], stand_out(np.full(5, 1.7)).tolist()[0]
        (True, True)
        >>> bool(stand_out(np.array([1.7, 0.0, 0.0, 0.0, 0.0])).any())
        False
    """
    n_columns = len(deviations)
    order = np.argsort(-deviations, kind="stable")
    passes = np.flatnonzero(deviations[order] >= least_deviations(n_columns))
    out = np.zeros(n_columns, dtype=bool)
    out[order[: int(passes[-1]) + 1 if len(passes) else 0]] = True
    return out


def least_deviations(n_columns: int) -> np.ndarray:
    """Return the standard deviations that the largest, second largest ... of so many counts must reach."""
    return np.asarray(norm.isf(FALSE_SHARE * np.arange(1, n_columns + 1) / max(n_columns, 1)))


def without_noise(ones: Mapping[str, Measurement], encoder: Encoder) -> dict[str, Measurement]:
    """Return one-way marginals in which counts of missing values that noise explains are zero.

    Args:
        ones: noisy counts of each column over its public cells.
        encoder: the public cells.
    """
    missing = {name: grid.missing for name, grid in encoder.grids.items() if grid.missing is not None}
    noisy = np.array([ones[name].counts[cell] / ones[name].scale for name, cell in missing.items()])
    out = dict(ones)
    for (name, cell), is_more in zip(missing.items(), stand_out(noisy), strict=True):
        if not is_more:
            counts = np.array(ones[name].counts, dtype=float)
            counts[cell] = 0.0
            out[name] = Measurement(ones[name].attributes, counts, ones[name].sigma)
    return out


def joined(grid: Grid, counts: np.ndarray) -> Compression:
    """Return fine cells as they are, but that a missing cell without patients is part of the largest one.

    Args:
        grid: the column's public cells.
        counts: counts of `without_noise`.
    """
    coarse, share = np.arange(grid.n_cells), np.ones(grid.n_cells)
    if grid.missing is not None and counts[grid.missing] <= 0.0:
        coarse[grid.missing] = int(np.argmax(counts[: grid.n_values]))
        share[grid.missing] = 0.0
    return Compression(coarse, share)


def hidden_shares(schema: Schema, numbers: Mapping[str, Any]) -> dict[str, float]:
    """Return, for each column that is not required, the share of missing values that noise hides.

    Args:
        schema: the table's public description, with a domain for every column.
        numbers: the plan's parameters; of a generator that starts from a marginal model, those of both.

    Returns:
        shares from 0 to 1 by column; empty where the plan measures no one-way marginals of its own.
    """
    measured = numbers.get("marginal", numbers)
    if "share_one" not in measured:
        return {}
    grids = Encoder.of(schema, fine_cells=measured["fine_cells"]).grids
    parts = split_rho(measured["rho"] * measured["share_one"], [grid.n_cells for grid in grids.values()])
    nullable = {
        name: part
        for (name, grid), part in zip(grids.items(), parts, strict=True)
        if grid.missing is not None
    }
    if not nullable:
        return {}
    least = float(least_deviations(len(nullable))[0]) / measured["patients"]
    return {name: min(1.0, least / math.sqrt(2.0 * part)) for name, part in nullable.items()}


def _percent(share: float) -> str:
    """Return a share in percent with two figures, also where it is all.

    Example:
        >>> _percent(0.0061), _percent(0.12), _percent(0.996), _percent(1.0)
        ('0.61', '12', '100', '100')
    """
    return f"{100 * share:.2g}" if 100 * share < 99.5 else f"{100 * share:.0f}"


def empty_cell_warning(schema: Schema, numbers: Mapping[str, Any]) -> list[str]:
    """Return the warning of `plan` on empty cells that noise can make; none if every column is required.

    Args:
        schema: the table's public description, with a domain for every column.
        numbers: the plan's parameters.
    """
    shares = hidden_shares(schema, numbers)
    if not shares:
        return []
    worst = sorted(shares, key=lambda name: -shares[name])
    shown = ", ".join(f"{name} {_percent(shares[name])} %" for name in worst[:5])
    more = f" and {len(worst) - 5} more columns below them" if len(worst) > 5 else ""
    return [
        f"EMPTY CELLS: where the share of missing values is below what noise hides ({shown}{more}), it "
        "becomes 0; rarely, noise alone leaves slightly more than that share empty in a column without "
        "missing values. Set `constraints: {required: true}` wherever no value is missing: such a column "
        "has no empty cell."
    ]
