"""Search subgroups of patients for the one in which synthetic records differ most, and measure it fairly.

A subgroup is a cell of one column or the crossing of two. The one that looks worst does so by chance as well,
so it is searched for on one half of all records and measured on the other, and the halves change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from synthgen.evaluation.statistics.pooled_samples import Pooled, cells

LEAST = 50
"""Records of either side in either half, below which a subgroup is not looked at."""
MAX_CELLS = 20_000_000
"""Records times crossings, beyond which a random part of the crossings is looked at."""


@dataclass(frozen=True)
class Slices:
    """The subgroups, and who is in them.

    Attributes:
        names: of each subgroup, by its column or two.
        real: ``(record, column and crossing)``: the subgroup of each real record.
        synthetic: likewise.
    """

    names: list[str]
    real: np.ndarray
    synthetic: np.ndarray


def slices_of(both: Pooled, columns: Sequence[str], *, rng: np.random.Generator, depth: int = 2) -> Slices:
    """Return the cells of each column, and of each crossing of two."""
    coded = [cells(both.schema.column(n), both.real[n], both.synthetic[n]) for n in columns]
    crossings = list(combinations(range(len(columns)), 2)) if depth > 1 else []
    most = max(MAX_CELLS // max(len(both.real) + len(both.synthetic), 1), 1)
    if len(crossings) > most:
        crossings = [crossings[i] for i in sorted(rng.permutation(len(crossings))[:most])]
    names: list[str] = []
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for *parts, labels in coded:
        for side, part in zip(sides, parts, strict=True):
            side.append(part + len(names))
        names += labels
    for a, b in crossings:
        width = len(coded[b][2])
        for side, first, other in zip(sides, coded[a][:2], coded[b][:2], strict=True):
            side.append(first * width + other + len(names))
        names += [f"{first} & {other}" for first in coded[a][2] for other in coded[b][2]]
    real, synthetic = (np.column_stack(side).astype(np.int64) for side in sides)
    return Slices(names, real, synthetic)


@dataclass(frozen=True)
class Sums:
    """Known records, mean and its variance in each subgroup, ``(subgroup, outcome)``."""

    n: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def sums(places: np.ndarray, outcomes: np.ndarray, n_slices: int) -> Sums:
    """Return each subgroup's mean and its variance, of outcomes that are NaN where unknown."""
    from scipy.sparse import csr_array

    rows, width = places.shape
    ones = np.ones(rows * width)
    member = csr_array(
        (ones, places.ravel(), np.arange(0, rows * width + 1, width)), shape=(rows, n_slices)
    ).T
    known = np.isfinite(outcomes)
    filled = np.where(known, outcomes, 0.0)
    n = member @ known.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = member @ filled / n
        variance = np.maximum(member @ filled**2 / n - mean**2, 0.0) / (n - 1)
    return Sums(n, mean, variance)


@dataclass(frozen=True)
class Worst:
    """The subgroup that one half shows and the other measures."""

    name: str
    outcome: int
    value: float
    variance: float
    n: int


def worst(
    slices: Slices,
    real: np.ndarray,
    synthetic: np.ndarray,
    *,
    margin: float,
    signed: bool,
    rng: np.random.Generator,
) -> list[Worst]:
    """Return for each half the worst subgroup and outcome of the other half, measured on this half.

    Args:
        slices: the subgroups.
        real: ``(record, outcome)`` of real records.
        synthetic: of synthetic ones.
        margin: the search is for what exceeds it most surely.
        signed: only values above 0 are harm; else those far from 0, turned so that the search's is above 0.
        rng: draws the halves.
    """
    halves = [rng.permutation(len(side)) % 2 for side in (slices.real, slices.synthetic)]
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for half in (0, 1):
        mine = [
            sums(places[part == half], values[part == half], len(slices.names))
            for places, values, part in zip(
                (slices.real, slices.synthetic), (real, synthetic), halves, strict=True
            )
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            step = mine[1].mean - mine[0].mean
            # Scores are skewed: a side of few records without a rare large one would seem surer than it is.
            pooled = sum(side.variance * side.n * (side.n - 1) for side in mine) / (mine[0].n + mine[1].n - 2)
            spread = pooled * (1 / mine[0].n + 1 / mine[1].n)
        found.append((step, spread, np.minimum(mine[0].n, mine[1].n)))
    out = []
    both = np.minimum(found[0][2], found[1][2]) >= LEAST
    for here, there in ((0, 1), (1, 0)):
        step, spread, _ = found[here]
        with np.errstate(invalid="ignore", divide="ignore"):
            beyond = ((step if signed else np.abs(step)) - margin) / np.sqrt(spread)
        beyond = np.where(both & np.isfinite(beyond) & (spread > 0), beyond, -np.inf)
        place = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        if not np.isfinite(beyond[place]):
            continue
        sign = 1.0 if signed or step[place] > 0 else -1.0
        other_step, other_spread, n = found[there]
        out.append(
            Worst(
                slices.names[place[0]],
                int(place[1]),
                sign * float(other_step[place]),
                float(other_spread[place]),
                int(n[place]),
            )
        )
    return out
