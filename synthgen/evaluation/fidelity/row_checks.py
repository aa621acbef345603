"""Fidelity: do synthetic records contradict themselves where no real record does?

No declared rule is needed. What (nearly) never occurs among training patients though the single columns lead
one to expect it is taken for impossible, and what (nearly) always holds for a check; how often held-out
patients do the one or break the other says what is chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, enough
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS
from synthgen.evaluation.statistics.pooled_samples import Pooled, cells, codes_of, pooled
from synthgen.evaluation.statistics.shares import independent_shares

MIN_PATIENTS = 50
EXPECTED = 10.0
"""Training records that a pair of cells would hold if its columns were independent, from which its emptiness
tells: an independent pair is empty with probability exp(-10)."""
NEVER = 0.02
"""Part of the expected records up to which a pair is taken for impossible: errors of entry occur."""
ALWAYS = 0.999
"""Share of training records that keep a check."""
BROKEN_BY_CHANCE = 0.05
"""Share of records that would break it if its columns were independent: else it says nothing."""
MAX_PAIRS = 1_000
MAX_NUMBERS = 30
FEW_VALUES = 100
SHOWN = 20
DEFINITION = (
    "impossible: share of synthetic records in any pair of cells (categories, fifths of a number, missing)"
    " in which at most 2 % of the training records lie that independence would put there, 10 at least."
    " broken: share that breaks any check that 99.9 % of training records keep and 5 % would break if its"
    " columns were independent: a <= b, a = b, a + b = c of numbers, and one column's value fixing"
    " another's. Each minus the share of held-out patients: given the training records, of expectation 0 for"
    " an independent sample. Mee's interval of two independent shares, training records held fixed."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count synthetic records that no real record is like, and real ones beside.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: draws pairs where there are too many.

    Returns:
        ``impossible`` and ``broken``, -1 to 1; ``details``: the pairs and checks that records fall foul of
        most.
    """
    both = pooled(inputs)
    if both.fewest < MIN_PATIENTS or len(inputs.schema.columns) < 2:
        few = {key: insufficient(both.fewest) for key in ("impossible", "broken")}
        note = "Too few patients or rows." if len(inputs.schema.columns) > 1 else "One column has no pairs."
        return _result(few, status="insufficient", note=note)
    impossible = list(_impossible(both, rng))
    checks = list(_checks(both))
    estimates = {"impossible": _excess(both, impossible), "broken": _excess(both, checks)}
    details = {
        "checks": len(checks),
        "impossible_pairs": _shown(both, impossible),
        "broken_checks": _shown(both, checks),
    }
    return _result(estimates, details=details)


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures, where 1 % fall foul."""
    fewest = min(declared.train, declared.holdout, declared.synthetic)
    if fewest < MIN_PATIENTS or len(declared.schema.columns) < 2:
        note = "Too few patients or rows."
        return _result(
            {"impossible": insufficient(fewest), "broken": insufficient(fewest)},
            note=note,
            status="insufficient",
        )
    share = 0.01
    value, low, high = independent_shares(
        share * declared.synthetic, declared.synthetic, share * declared.holdout, declared.holdout
    )
    one = enough(Estimate(value, low, high, n=declared.holdout), fewest, MIN_PATIENTS)
    return _result({"impossible": one, "broken": one})


@dataclass(frozen=True)
class Foul:
    """Which records fall foul of one check.

    Attributes:
        name: the check in words.
        real: by real record.
        synthetic: by synthetic record.
    """

    name: str
    real: np.ndarray
    synthetic: np.ndarray


def _excess(both: Pooled, fouls: list[Foul]) -> Estimate:
    held = ~both.trained
    real = np.zeros(len(held), dtype=bool)
    synthetic = np.zeros(len(both.synthetic), dtype=bool)
    for foul in fouls:
        real |= foul.real
        synthetic |= foul.synthetic
    n, m = len(synthetic), int(held.sum())
    value, low, high = independent_shares(float(synthetic.sum()), n, float(real[held].sum()), m)
    return Estimate(value, low, high, n=m)


def _shown(both: Pooled, fouls: list[Foul]) -> list[dict[str, Any]]:
    """Return what most synthetic records fall foul of; numbers of records, and no value of any."""
    counted = [
        (float(foul.synthetic.mean()), float(foul.real[~both.trained].mean()), foul.name) for foul in fouls
    ]
    worst = sorted(counted, reverse=True)[:SHOWN]
    return [
        {"check": name, "synthetic": share, "holdout": real} for share, real, name in worst if share > real
    ]


def _impossible(both: Pooled, rng: np.random.Generator) -> Iterator[Foul]:
    """Yield each pair of columns with cells that are empty among training patients against expectation."""
    coded = [cells(c, both.real[c.name], both.synthetic[c.name], rare=0.0) for c in both.schema.columns]
    chosen = list(combinations(range(len(coded)), 2))
    if len(chosen) > MAX_PAIRS:
        chosen = [chosen[i] for i in sorted(rng.permutation(len(chosen))[:MAX_PAIRS])]
    names = [column.name for column in both.schema.columns]
    n = int(both.trained.sum())
    for a, b in chosen:
        (first, other, _), (second, other_second, _) = coded[a], coded[b]
        shape = (len(coded[a][2]), len(coded[b][2]))
        table = np.bincount(
            first[both.trained] * shape[1] + second[both.trained], minlength=shape[0] * shape[1]
        )
        table = table.reshape(shape).astype(float)
        likely = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
        never = (likely >= EXPECTED) & (table <= NEVER * likely)
        if never.any():
            yield Foul(f"{names[a]} with {names[b]}", never[first, second], never[other, other_second])


def _checks(both: Pooled) -> Iterator[Foul]:
    """Yield each check that the training records keep and that says something."""
    real = {c.name: codes_of(c, both.real[c.name]) for c in both.schema.columns}
    synthetic = {c.name: codes_of(c, both.synthetic[c.name]) for c in both.schema.columns}
    numbers = [c.name for c in both.schema.columns if c.kind != "category"][:MAX_NUMBERS]
    yield from _orders(both, real, synthetic, numbers)
    yield from _sums(both, real, synthetic, numbers)
    yield from _fixed(both, real, synthetic)


Values = dict[str, np.ndarray]


def _orders(both: Pooled, real: Values, synthetic: Values, numbers: list[str]) -> Iterator[Foul]:
    rng = np.random.default_rng(0)
    for a, b in permutations(numbers, 2):
        known = both.trained & ~np.isnan(real[a]) & ~np.isnan(real[b])
        if known.sum() < MIN_PATIENTS:
            continue
        first, second = real[a][known], real[b][known]
        if (first > second).mean() > 1 - ALWAYS or (
            first > rng.permutation(second)
        ).mean() < BROKEN_BY_CHANCE:
            continue
        yield Foul(f"{a} <= {b}", real[a] > real[b], synthetic[a] > synthetic[b])


def _sums(both: Pooled, real: Values, synthetic: Values, numbers: list[str]) -> Iterator[Foul]:
    if len(numbers) < 3:
        return
    matrix = np.column_stack([real[name] for name in numbers])[both.trained]
    spread = np.nanstd(matrix, axis=0)
    for i, j in combinations(range(len(numbers)), 2):
        total = matrix[:, i] + matrix[:, j]
        for k in range(len(numbers)):
            if k in (i, j) or min(spread[i], spread[j], spread[k]) == 0:
                continue
            known = ~np.isnan(total) & ~np.isnan(matrix[:, k])
            near = 1e-6 * max(spread[k], 1e-9)
            if known.sum() < MIN_PATIENTS or (np.abs(total - matrix[:, k])[known] > near).mean() > 1 - ALWAYS:
                continue
            a, b, c = numbers[i], numbers[j], numbers[k]
            yield Foul(
                f"{a} + {b} = {c}",
                np.abs(real[a] + real[b] - real[c]) > near,
                np.abs(synthetic[a] + synthetic[b] - synthetic[c]) > near,
            )


def _fixed(both: Pooled, real: Values, synthetic: Values) -> Iterator[Foul]:
    """Yield the pairs in which one column's value fixes another's."""
    few = {name: np.unique(codes[both.trained & ~np.isnan(codes)]) for name, codes in real.items()}
    names = [name for name, values in few.items() if 2 <= len(values) <= FEW_VALUES]
    places = {name: [_place(few[name], codes) for codes in (real[name], synthetic[name])] for name in names}
    for a, b in permutations(names, 2):
        (first, other), (second, other_second) = places[a], places[b]
        known = both.trained & (first >= 0) & (second >= 0)
        if known.sum() < MIN_PATIENTS:
            continue
        table = np.zeros((len(few[a]), len(few[b])))
        np.add.at(table, (first[known], second[known]), 1)
        by_chance = 1 - (table.sum(axis=0) / table.sum()).max()
        if table.max(axis=1).sum() < ALWAYS * table.sum() or by_chance < BROKEN_BY_CHANCE:
            continue
        goes = table.argmax(axis=1)
        enough_ = table.sum(axis=1) >= EXPECTED  # a value of few records fixes the other by chance
        fouls = [
            (x >= 0) & (y >= 0) & enough_[np.maximum(x, 0)] & (goes[np.maximum(x, 0)] != y)
            for x, y in ((first, second), (other, other_second))
        ]
        yield Foul(f"{a} fixes {b}", fouls[0], fouls[1])


def _place(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return each code's place among the known values, -1 where it is not one of them."""
    place = np.minimum(np.searchsorted(values, np.nan_to_num(codes)), len(values) - 1)
    return np.where(~np.isnan(codes) & (values[place] == codes), place, -1)


def _result(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    title = "Records that contradict themselves"
    return result("fidelity_row_checks", title, DEFINITION, estimates, better="lower", **more)
