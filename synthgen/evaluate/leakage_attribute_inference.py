"""Leakage: does the table tell more about a member's hidden value than about a stranger's?

The attacker knows all of a patient but one column, looks up the synthetic record that fits best, and
takes its value for the hidden one. Much of what such a guess gets right is medicine: it works on patients
whom the generator never saw as well. The leak is the difference between members and those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluate._base import Estimate, Inputs, MetricResult, result
from synthgen.evaluate._declared import NOISE, Declared, around, largest_of, spread
from synthgen.evaluate._design import euclidean
from synthgen.evaluate._intervals import difference_of_means, insufficient, largest
from synthgen.evaluate._neighbours import k_nearest
from synthgen.evaluate._patients import sample_patients, sample_rows
from synthgen.records import RealTable
from synthgen.schema import Column

MAX_SYNTHETIC = 20_000
MAX_PATIENTS = 2_000
MIN_PATIENTS = 50
ATTRIBUTES = 6
CLOSE = 0.05
"""Of a number's public range: a guess this close counts as right."""
SATURATED = 0.9
"""Share of right guesses about strangers above which a leak of the policy's .09 could not show."""
ALL_ROWS = True
DEFINITION = (
    "Share of right guesses about training patients minus about holdout patients; the guess is the value of"
    " the synthetic record nearest in all other columns (Gower), right if equal, or within 5 % of a number's"
    f" public range; a patient's records are averaged (Welch). worst: the largest over at most {ATTRIBUTES}"
    " hidden columns, the target first, widened for their number (Bonferroni). After Stadler et al. (2022),"
    " arXiv:2011.07018, and Giomi et al. (2023), arXiv:2211.10459."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Guess hidden values of members and of strangers.

    Args:
        inputs: see `Inputs`.
        rng: draws hidden columns, patients, and rows where a cap is met.

    Returns:
        ``worst`` (-1 to 1); ``groups["difference"]`` by hidden column; in the details what strangers'
        guesses reach (the control) and what the commonest value reaches (the baseline).
    """
    hidden = _hidden(inputs, rng)
    train = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
    holdout = sample_patients(inputs.holdout, MAX_PATIENTS, rng=rng)
    fewest = min(train.unit_codes()[1], holdout.unit_codes()[1])
    if fewest < MIN_PATIENTS or not hidden or len(inputs.synthetic) == 0:
        note = f"It takes {MIN_PATIENTS} patients a side, synthetic records, and two columns."
        return _result({"worst": insufficient(fewest)}, {}, {}, note=note)
    drawn = sample_rows(inputs.synthetic.frame, MAX_SYNTHETIC, rng=rng)
    found: dict[str, Estimate] = {}
    shares: dict[str, Any] = {}
    for column in hidden:
        members, strangers = (_right(inputs, column, part, drawn) for part in (train, holdout))
        shares[column.name] = {
            "train": float(members.mean()),
            "holdout": float(strangers.mean()),
            "baseline": _commonest(column, drawn, holdout),
        }
        plain = strangers.mean() <= SATURATED
        found[column.name] = difference_of_means(members, strangers) if plain else insufficient(fewest)
    worst = largest(list(found.values()))
    note = "" if worst.status == "ok" else "Strangers' values are guessed as well as any could be."
    return _result({"worst": worst}, found, {"columns_tried": shares, "synthetic": len(drawn)}, note=note)


def expect(declared: Declared) -> MetricResult:
    """Return the largest difference that would be found at a perfect generator, by chance alone."""
    members, strangers = min(declared.train, MAX_PATIENTS), min(declared.holdout, MAX_PATIENTS)
    hidden = min(len(declared.schema.columns), ATTRIBUTES)
    fewest = min(members, strangers)
    if fewest < MIN_PATIENTS or hidden < 2 or not declared.synthetic:
        note = f"It takes {MIN_PATIENTS} patients a side, synthetic records, and two columns."
        return _result({"worst": insufficient(fewest)}, {}, {}, note=note)
    noise = math.hypot(spread(members, NOISE["guess"]), spread(strangers, NOISE["guess"]))
    worst = largest_of(around(0.0, noise, members + strangers), hidden)
    return _result({"worst": worst}, {}, {})


def _hidden(inputs: Inputs, rng: np.random.Generator) -> list[Column]:
    """Return the target and random other columns; none if there is nothing to guess from."""
    columns = list(inputs.schema.columns)
    if len(columns) < 2:
        return []
    order = [columns[i] for i in rng.permutation(len(columns))]
    order.sort(key=lambda column: (column.name != inputs.target, column.name in inputs.groups))
    return order[:ATTRIBUTES]


def _right(inputs: Inputs, column: Column, part: RealTable, drawn: pd.DataFrame) -> np.ndarray:
    """Return each patient's share of right guesses."""
    names = [other.name for other in inputs.schema.columns if other.name != column.name]
    points, base = (euclidean(inputs.schema, frame, names) for frame in (part.frame, drawn))
    nearest = k_nearest(points, base)[1][:, 0]
    right = same(column, part.frame[column.name], drawn[column.name].iloc[nearest])
    codes, n_units = part.unit_codes()
    return np.asarray(np.bincount(codes, weights=right * part.unit_weights(), minlength=n_units))


def same(column: Column, truth: pd.Series, guess: pd.Series) -> np.ndarray:
    """Return which guesses are right; a missing value is a value of its own."""
    if column.kind == "category":
        labels = pd.Index(column.labels)
        known, said = (pd.Categorical(cells, categories=labels).codes for cells in (truth, guess))
        return np.asarray(known == said)
    known, said = truth.to_numpy(dtype=float), guess.to_numpy(dtype=float)
    close = np.abs(known - said) <= CLOSE * (column.maximum - column.minimum)
    return np.asarray(close | (np.isnan(known) & np.isnan(said)))


def _commonest(column: Column, drawn: pd.DataFrame, holdout: RealTable) -> float:
    """Return how often the synthetic records' commonest value, or median, is right."""
    cells = drawn[column.name].dropna()
    if not len(cells):
        return 0.0
    best = cells.mode().iloc[0] if column.kind == "category" else cells.median()
    guess = pd.Series([best] * len(holdout))
    return float((same(column, holdout.frame[column.name], guess) * holdout.unit_weights()).sum()) / max(
        holdout.unit_codes()[1], 1
    )


def _result(
    estimates: Mapping[str, Estimate],
    groups: Mapping[str, Estimate],
    details: Mapping[str, Any],
    *,
    note: str = "",
) -> MetricResult:
    return result(
        "leakage_attribute_inference",
        "Attribute inference",
        DEFINITION,
        estimates,
        better="lower",
        groups={"difference": groups} if groups else {},
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
