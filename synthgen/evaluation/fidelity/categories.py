"""Fidelity: which category, tail or missing value is gone, and which one was made up?

A mean over cells hides a disease that no synthetic patient has. Here each category of each column, both tails
of a number and its missing values are asked by themselves, and the one that lacks most decides. The middle of
a number is left to distances, which count a heap that moved to the next value for what it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.statistics.intervals import CONFIDENCE, insufficient
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS
from synthgen.evaluation.statistics.pooled_samples import cells, codes_of, pooled
from synthgen.schema.schema import Column

MIN_PATIENTS = 50
TAIL = 0.1
"""Share of real records in each tail of a number, which is what synthetic ones lose or invent first."""
KEPT = 0.5
"""Part of its real share that a category has to keep: half, as far beyond four fifths as chance asks for."""
SHOWN = 20
DEFINITION = (
    "lost: largest over categories of half the real share minus the synthetic share, of all columns' labels,"
    " the tenths of a number below and above all others, and missing values; invented: half the synthetic"
    " share minus the real one. At most 0 where no category has halved or doubled; .02 means that a category"
    " of 4 % is gone, or one of 14 % has 5 %. Simultaneous intervals: each category's two shares (Wilson,"
    " joined by MOVER), Bonferroni over categories."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the shares of all categories.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: not used.

    Returns:
        ``lost`` and ``invented``, at most .5; ``details["worst"]``: the categories that changed most.
    """
    both = pooled(inputs)
    if both.fewest < MIN_PATIENTS:
        few = {key: insufficient(both.fewest) for key in ("lost", "invented")}
        return _result(few, status="insufficient", note="Too few patients or rows.")
    real, synthetic, names = [], [], []
    for column in inputs.schema.columns:
        first, other, labels = _places(column, both.real[column.name], both.synthetic[column.name])
        real.append(np.bincount(first, minlength=len(labels)))
        synthetic.append(np.bincount(other, minlength=len(labels)))
        names += labels
    counts = np.concatenate(real), np.concatenate(synthetic)
    sizes = len(both.real), len(both.synthetic)
    found = {
        "lost": halved(counts, sizes, len(names)),
        "invented": halved(counts[::-1], sizes[::-1], len(names)),
    }
    estimates = {key: _largest(ends, len(both.synthetic)) for key, ends in found.items()}
    return _result(estimates, details={"categories": len(names), "worst": _worst(names, counts, sizes)})


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures, of a rare category."""
    fewest = min(declared.train, declared.holdout, declared.synthetic)
    if fewest < MIN_PATIENTS:
        few = {key: insufficient(fewest) for key in ("lost", "invented")}
        return _result(few, status="insufficient", note="Too few patients or rows.")
    sizes = declared.train + declared.holdout, declared.synthetic
    n_cells = sum(max(len(c.labels), 3) + 1 for c in declared.schema.columns)
    counts = tuple(np.array([0.01 * size]) for size in sizes)
    found = {
        "lost": halved((counts[0], counts[1]), sizes, n_cells),
        "invented": halved((counts[1], counts[0]), sizes[::-1], n_cells),
    }
    return _result({key: _largest(ends, sizes[1]) for key, ends in found.items()})


def _places(
    column: Column, real: pd.Series, synthetic: pd.Series
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Return each record's cell, and the cells' names: labels, or a number's two tails and its middle."""
    if column.kind == "category":
        return cells(column, real, synthetic, rare=0.0)
    sides = [codes_of(column, values) for values in (real, synthetic)]
    known = sides[0][~np.isnan(sides[0])]
    low, high = np.quantile(known, (TAIL, 1 - TAIL), method="nearest") if len(known) else (0.0, 0.0)
    below, above = _tail(known < low, known <= low), _tail(known > high, known >= high)
    found = []
    for codes in sides:
        tails = (codes <= low if below else codes < low), (codes >= high if above else codes > high)
        found.append(np.select([np.isnan(codes), tails[0], tails[1]], [3, 0, 2], default=1))
    names = [f"{column.name} {word}" for word in ("low", "middle", "high", "missing")]
    return found[0], found[1], names


def _tail(without: np.ndarray, whole: np.ndarray) -> bool:
    """Return whether a tail holds the value at its border: the share that is nearer to `TAIL` counts.

    A value that many share would else leave a tail of next to nobody, which its neighbours' noise fills.
    """
    return abs(float(whole.mean()) - TAIL) < abs(float(without.mean()) - TAIL) if len(whole) else False


Ends = tuple[np.ndarray, np.ndarray, np.ndarray]


def halved(counts: tuple[np.ndarray, np.ndarray], sizes: tuple[int, int], tries: int) -> Ends:
    """Return by category `KEPT` of the first share minus the second, with simultaneous intervals.

    Args:
        counts: records by category of both sides.
        sizes: records of both sides.
        tries: categories over which the intervals hold together.

    Source: Wilson (1927); Donner and Zou (2012), Statistical Methods in Medical Research 21:347 (MOVER).
    """
    from scipy.special import ndtri

    z = float(-ndtri((1 - CONFIDENCE) / 2 / tries))
    shares, lows, highs = zip(*(_wilson(c, n, z) for c, n in zip(counts, sizes, strict=True)), strict=True)
    value = KEPT * shares[0] - shares[1]
    low = value - np.hypot(KEPT * (shares[0] - lows[0]), highs[1] - shares[1])
    high = value + np.hypot(KEPT * (highs[0] - shares[0]), shares[1] - lows[1])
    return value, low, high


def _wilson(counts: np.ndarray, n: int, z: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    share = counts / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return share, np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _largest(ends: Ends, n: int) -> Estimate:
    value, low, high = (float(end.max()) for end in ends)
    return Estimate(value, min(low, value), max(high, value), n=n)


def _worst(
    names: list[str], counts: tuple[np.ndarray, np.ndarray], sizes: tuple[int, int]
) -> list[dict[str, Any]]:
    """Return the categories of the largest change, by name; the rare ones' shares are not shown."""
    shares = [count / size for count, size in zip(counts, sizes, strict=True)]
    change = np.maximum(KEPT * shares[0] - shares[1], KEPT * shares[1] - shares[0])
    order = np.argsort(-change)[:SHOWN]
    return [
        {"category": names[i], "real": float(shares[0][i]), "synthetic": float(shares[1][i])}
        for i in order
        if change[i] > 0 and counts[0][i] >= MIN_PATIENTS
    ]


def _result(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Categories lost and invented"
    return result("fidelity_categories", title, DEFINITION, estimates, better="lower", **more)
