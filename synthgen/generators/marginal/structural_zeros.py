"""Hard rules as structural zeros: combinations of cells in which a rule is always broken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.encode.table import Encoder, Grid
from synthgen.generators.compression import Compression
from synthgen.generators.graphical.junction_tree import Attributes
from synthgen.schema.rules import Rule
from synthgen.schema.schema import Schema

MAX_COLUMNS = 4
MAX_FINE = 500_000
MAX_OF_NETWORKS = 4096
"""Combinations of cells of a rule that a network is trained to avoid, at most: each costs all components."""


def structural(
    schema: Schema, encoder: Encoder, merging: Mapping[str, Compression], *, max_cells: int
) -> dict[Attributes, np.ndarray]:
    """Return, for each rule that a clique can hold, which coarse combinations break it whatever is drawn.

    Of a number a coarse cell is known by its two ends, so wide sums and many fine cells cost no more. A rule
    over too many columns or cells is left to what settles drawn records (`synthgen.encode.rule_repair`).

    Returns:
        For a clique of columns a boolean array over its coarse cells, true where forbidden.
    """
    out: dict[Attributes, np.ndarray] = {}
    for rule in schema.parsed_rules:
        names = tuple(column.name for column in schema.columns if column.name in rule.columns)
        if len(names) < 2 or len(names) > MAX_COLUMNS:
            continue
        parts = [_Parts.of(encoder.grids[name], merging[name]) for name in names]
        if float(np.prod([len(part.coarse) for part in parts])) > min(MAX_FINE, max_cells):
            continue
        mask = _forbidden(rule, names, parts)
        if mask.any():
            out[names] = out[names] | mask if names in out else mask
    return out


@dataclass(frozen=True)
class _Parts:
    """What a column's coarse cells are made of: each label, the span of the numbers, the missing value.

    Attributes:
        low: one value a part; of a number its smallest.
        high: the same with the largest.
        coarse: the coarse cell of each part.
        n_coarse: number of coarse cells.
    """

    low: pd.Series
    high: pd.Series
    coarse: np.ndarray
    n_coarse: int

    @classmethod
    def of(cls, grid: Grid, merging: Compression) -> _Parts:
        """Return the parts of a column's coarse cells."""
        cells = np.arange(grid.n_cells)
        if not grid.edges:
            values = grid.decode(cells, rng=np.random.default_rng(0))
            return cls(values, values, merging.coarse, merging.n_coarse)
        low, high = (grid.corner(cells, upper=upper).to_numpy(float) for upper in (False, True))
        keys = pd.DataFrame({"coarse": merging.coarse, "missing": np.isnan(low), "low": low, "high": high})
        spans = keys.groupby(["coarse", "missing"], as_index=False).agg({"low": "min", "high": "max"})
        return cls(spans["low"], spans["high"], spans["coarse"].to_numpy(), merging.n_coarse)


def _forbidden(rule: Rule, names: Attributes, parts: list[_Parts]) -> np.ndarray:
    """Return over the coarse cells whether the rule is broken in all combinations of their parts."""
    index = np.indices([len(part.coarse) for part in parts]).reshape(len(parts), -1)
    low: dict[str, Any] = {n: part.low.iloc[at] for n, part, at in zip(names, parts, index, strict=True)}
    high: dict[str, Any] = {n: part.high.iloc[at] for n, part, at in zip(names, parts, index, strict=True)}
    shape = [part.n_coarse for part in parts]
    coarse = [part.coarse[at] for part, at in zip(parts, index, strict=True)]
    flat = np.ravel_multi_index(coarse, shape)
    allowed = np.bincount(flat, weights=rule.possible(low, high), minlength=int(np.prod(shape)))
    return np.asarray(allowed == 0).reshape(shape)
