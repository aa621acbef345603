"""Hard rules as structural zeros: combinations of cells in which a rule is always broken."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from synthgen.encode.table import Encoder, Grid
from synthgen.models._cells import Merging
from synthgen.models._junction import Attributes
from synthgen.rules import Rule
from synthgen.schema import Schema

MAX_COLUMNS = 4
MAX_FINE = 500_000


def structural(
    schema: Schema, encoder: Encoder, merging: Mapping[str, Merging], *, max_cells: int
) -> dict[Attributes, np.ndarray]:
    """Return, for each rule that a clique can hold, which coarse combinations break it whatever is drawn.

    A rule over too many columns or cells is left to the check on what is drawn.

    Returns:
        For a clique of columns a boolean array over its coarse cells, true where forbidden.
    """
    out: dict[Attributes, np.ndarray] = {}
    for rule in schema.parsed_rules:
        names = tuple(column.name for column in schema.columns if column.name in rule.columns)
        n_fine = float(np.prod([encoder.grids[name].n_cells for name in names]))
        if len(names) < 2 or len(names) > MAX_COLUMNS or n_fine > min(MAX_FINE, max_cells):
            continue
        broken = _broken(rule, [encoder.grids[name] for name in names])
        mask = _all_in(broken, [merging[name] for name in names])
        if mask.any():
            out[names] = out[names] | mask if names in out else mask
    return out


def _broken(rule: Rule, grids: list[Grid]) -> np.ndarray:
    """Return over the fine cells whether the rule is broken at both ends of each cell."""
    shape = [grid.n_cells for grid in grids]
    cells = np.indices(shape).reshape(len(grids), -1)
    broken = np.ones(cells.shape[1], dtype=bool)
    ends = [(0, 1) if grid.is_ordered else (0,) for grid in grids]
    for corner in itertools.product(*ends):
        frame = {
            grid.column.name: grid.corner(cells[i], upper=bool(corner[i])) for i, grid in enumerate(grids)
        }
        broken &= rule.violated(pd.DataFrame(frame))
    return broken.reshape(shape)


def _all_in(broken: np.ndarray, merging: list[Merging]) -> np.ndarray:
    """Return over the coarse cells whether all fine combinations inside are broken."""
    shape = [m.n_coarse for m in merging]
    index = np.meshgrid(*[m.coarse for m in merging], indexing="ij")
    flat = np.ravel_multi_index([part.ravel() for part in index], shape)
    size = int(np.prod(shape))
    whole = np.bincount(flat, minlength=size)
    return np.asarray(
        (np.bincount(flat, weights=broken.ravel(), minlength=size) == whole) & (whole > 0)
    ).reshape(shape)
