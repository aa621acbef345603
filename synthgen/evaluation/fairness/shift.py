"""Fairness: whose records are other than they are, column by column?

Patients of one sex who are three years too old move no mean over columns. Here each protected group's mean of
each column is compared, as it stands and given the rest of the record: where the other columns say what a
patient's age should be, a shift of a few years shows in half as many patients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import euclidean, group_codes
from synthgen.evaluation.statistics.intervals import CONFIDENCE, Z, insufficient, without_interval
from synthgen.evaluation.statistics.pooled_samples import MAX_ROWS as MAX_ROWS
from synthgen.evaluation.statistics.pooled_samples import Pooled, codes_of, pooled

KEYS = ("numbers", "categories", "small")
MIN_PATIENTS = 50
SHARE = 0.05
"""Share of patients from which a group's columns are asked for one by one. Noise of any guarantee moves the
columns of fewer patients by more than is a harm in larger groups; these are told apart, as ``small``."""
COMMON = 0.05
"""Share of real records of a category from which its share in a group is compared."""
TAIL = 0.01
"""Share of a number's real values on either side that are drawn in, so that a few do not decide."""
RIDGE = 1.0
DEFINITION = (
    "Difference of the mean of a column within a group, synthetic minus real records, in the real records'"
    " standard deviations over all patients (numbers drawn in to the 1st and 99th percentile; a mark for each"
    " category of 5 to 95 %), less what a ridge regression on the other columns expects, fitted to the other"
    " half of the real records; of a category also as it stands. Without its sign; of a column of several"
    " categories, and of a small group over all columns, the farthest from 0. Each difference has the"
    " expectation 0 for an independent sample. Welch's intervals, Bonferroni within a column (small: over"
    " all columns); worst has none, since chance chose it too. The group's own column is left out. Austin"
    " (2009), Statistics in Medicine 28:3083."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare each group's columns.

    Args:
        inputs: see `Inputs`; one record of each patient.
        rng: not used.

    Returns:
        ``worst``: the largest shift; ``groups["numbers"]`` and ``groups["categories"]``: by group of 5 % of
        the patients or more and column (``sex=F: age``), from 0; ``groups["small"]``: of the other groups;
        ``details["columns"]``: their columns that shifted most.
    """
    if not inputs.groups:
        return _result({}, {}, status="not-applicable", note="No protected column was named.")
    both = pooled(inputs)
    outcomes = _outcomes(both)
    groups: dict[str, dict[str, Estimate]] = {key: {} for key in KEYS}
    columns: dict[str, str] = {}
    for name in inputs.groups:
        column = both.schema.column(name)
        (real, names), (synthetic, _) = (
            group_codes(column, frame[name]) for frame in (both.real, both.synthetic)
        )
        for i in np.unique(real):
            inside, other = real == i, synthetic == i
            few = min(int(inside.sum()), int(other.sum()))
            if inside.mean() < SHARE:
                asked = [one for one in outcomes if one[0] != name]
                found, at = _largest(asked, inside, other) if few >= MIN_PATIENTS and asked else (None, "")
                groups["small"][names[i]] = found or insufficient(few)
                columns[names[i]] = at
                continue
            for one in dict.fromkeys(one[0] for one in outcomes if one[0] != name):
                asked = [outcome for outcome in outcomes if outcome[0] == one]
                found = _largest(asked, inside, other)[0] if few >= MIN_PATIENTS else None
                groups[_kind(both, one)][f"{names[i]}: {one}"] = found or insufficient(few)
    known = {group: one for held in groups.values() for group, one in held.items() if one.status == "ok"}
    if not known:
        note = f"No group has {MIN_PATIENTS} patients and synthetic records, or there is no other column."
        return _result({"worst": insufficient(both.fewest)}, groups, status="insufficient", note=note)
    worst = max(known, key=lambda group: known[group].value)
    estimates = {"worst": without_interval(known[worst].value, n=known[worst].n)}
    return _result(estimates, groups, details={"worst_group": worst, "columns": columns})


def expect(declared: Declared) -> MetricResult | None:
    """Return why there would be no answer; None if patients alone decide whether there is one."""
    note = "" if declared.groups else "No protected column was named."
    return _result({}, {}, status="not-applicable", note=note) if note else None


def _kind(both: Pooled, name: str) -> str:
    return "categories" if both.schema.column(name).kind == "category" else "numbers"


Outcome = tuple[str, np.ndarray, np.ndarray]
"""A column's name, and a figure of each real and of each synthetic record."""


def _outcomes(both: Pooled) -> list[Outcome]:
    """Return what each column says of a record: given the others, and of a category as it stands too."""
    plain = {column.name: _plain(both, column.name) for column in both.schema.columns}
    given = _given(both, {name: pairs for name, pairs in plain.items() if pairs})
    found: list[Outcome] = []
    for column in both.schema.columns:
        if column.kind == "category" or not given:
            found += [(column.name, *pair) for pair in plain[column.name]]
        found += [(column.name, *pair) for pair in given.get(column.name, [])]
    return found


Pair = tuple[np.ndarray, np.ndarray]


def _plain(both: Pooled, name: str) -> list[Pair]:
    """Return a number in deviations, or a mark for each common category; missing is the mean."""
    column = both.schema.column(name)
    real, synthetic = (codes_of(column, frame[name]) for frame in (both.real, both.synthetic))
    if column.kind == "category":
        found = []
        for label in range(len(column.labels)):
            share = float((real == label).mean())
            if COMMON <= share <= 1 - COMMON:
                spread = np.sqrt(share * (1 - share))
                found.append(((real == label) / spread, (synthetic == label) / spread))
        return found
    known = real[~np.isnan(real)]
    if not len(known):
        return []
    low, high = np.quantile(known, (TAIL, 1 - TAIL))
    middle, spread = float(np.clip(known, low, high).mean()), float(np.clip(known, low, high).std())
    if spread == 0:
        return []
    first, other = (
        np.nan_to_num((np.clip(codes, low, high) - middle) / spread) for codes in (real, synthetic)
    )
    return [(first, other)]


def _given(both: Pooled, plain: Mapping[str, list[Pair]]) -> dict[str, list[Pair]]:
    """Return figures less what the other columns expect, by regressions on the other half of real records.

    The products of all columns' coordinates are summed once a half; each column's regression takes those of
    the others.
    """
    names = [column.name for column in both.schema.columns]
    if len(names) < 2:
        return {}
    shapes = [
        [euclidean(both.schema, frame, [name]).astype(float) for name in names]
        for frame in (both.real, both.synthetic)
    ]
    owners = np.repeat(np.arange(len(names)), [shape.shape[1] for shape in shapes[0]])
    first, other = (np.concatenate(shape, axis=1) for shape in shapes)
    middle = first.mean(axis=0)
    first, other = first - middle, other - middle
    halves = np.random.default_rng(0).permutation(len(first)) % 2
    products = [first[halves != half].T @ first[halves != half] for half in (0, 1)]
    found: dict[str, list[Pair]] = {}
    for name, pairs in plain.items():
        used = owners != names.index(name)
        wanted = np.column_stack([real for real, _ in pairs])
        expected, drawn = np.empty_like(wanted), np.zeros((len(other), len(pairs)))
        for half in (0, 1):
            learnt = halves != half
            base = wanted[learnt].mean(axis=0)
            square = products[half][np.ix_(used, used)] + RIDGE * np.eye(int(used.sum()))
            slopes = np.zeros((len(used), len(pairs)))
            slopes[used] = np.linalg.solve(square, (first[learnt].T @ (wanted[learnt] - base))[used])
            expected[~learnt] = first[~learnt] @ slopes + base
            drawn += (other @ slopes + base) / 2
        found[name] = [
            (real - expected[:, j], synthetic - drawn[:, j]) for j, (real, synthetic) in enumerate(pairs)
        ]
    return found


def _largest(outcomes: Sequence[Outcome], inside: np.ndarray, other: np.ndarray) -> tuple[Estimate, str]:
    """Return the difference that is farthest from 0 among a group's columns, and its column.

    Of a column's figures (as it stands, given the rest, by category) the surest counts, corrected for their
    number.
    """
    from scipy.special import ndtri

    real, synthetic = (
        np.column_stack([one[side][mask] for one in outcomes]) for side, mask in ((1, inside), (2, other))
    )
    step = np.abs(synthetic.mean(axis=0) - real.mean(axis=0))
    spread = np.sqrt(real.var(axis=0, ddof=1) / len(real) + synthetic.var(axis=0, ddof=1) / len(synthetic))
    names = np.array([name for name, *_ in outcomes])
    counts = {name: int((names == name).sum()) for name in names}
    tries = np.array([counts[name] * len(counts) for name in names], dtype=float)
    z = np.maximum(-ndtri((1 - CONFIDENCE) / 2 / tries), Z)
    lows = step - z * spread
    place = int(np.argmax(lows if lows.max() > 0 else step))
    value, low, high = float(step[place]), float(lows.max()), float((step + z * spread).max())
    return Estimate(value, min(low, value), max(high, value), n=min(len(real), len(synthetic))), str(
        names[place]
    )


def _result(
    estimates: Mapping[str, Estimate], groups: Mapping[str, Mapping[str, Estimate]], **more: Any
) -> MetricResult:
    held = {key: found for key, found in groups.items() if found}
    title = "Shift of columns by group"
    return result("fairness_shift", title, DEFINITION, estimates, better="lower", groups=held, **more)
