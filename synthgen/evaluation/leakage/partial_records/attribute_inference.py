"""Leakage: does the table tell more about a member's hidden value than about a stranger's?

The attacker knows something of a patient, looks up the synthetic record that fits best, and takes its value
for what is hidden: once all columns but one are known, once the protected columns alone, or a few that are
chosen by chance. Much of what such a guess gets right is medicine: it works on patients whom the generator
never saw as well. The leak is the difference between members and those.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import NOISE, Declared, around, largest_of, spread
from synthgen.evaluation.features.chunked_neighbours import chunks, nearest_rows
from synthgen.evaluation.features.design import euclidean
from synthgen.evaluation.statistics.intervals import difference_of_means, insufficient, largest
from synthgen.evaluation.statistics.patients import sample_patients
from synthgen.schema.schema import Column

MAX_PATIENTS = 2_000
FEWEST_PATIENTS = 500
WORK = 2e10
"""Comparisons of values of rows and of patients beyond which fewer patients are tried, and not fewer rows."""
MIN_PATIENTS = 50
KNOWN_SETS = 4
KNOWN_COLUMNS = (3, 7)
"""Columns that are known by chance: so many at least, and one less than so many at most."""
SEED = 13
BLOCK = (256, 4096)
CLOSE = 0.05
"""Of a number's public range: a guess this close counts as right."""
SATURATED = 0.9
"""Share of right guesses about strangers above which a leak of the policy's .09 could not show."""
QUASI = "protected columns"
ALL_ROWS = True
DEFINITION = (
    "Share of right guesses about training patients minus about others (holdout, and reference where it is"
    " of the cohort); the guess is the value of the synthetic record nearest in the known columns (Gower),"
    " of all rows, right if equal, or within 5 % of a number's public range (equal too, where others'"
    " numbers are guessed so in 9 of 10); a patient's records are averaged (Welch). worst: the largest over"
    " all columns, each hidden while all others are known; worst_quasi: the largest over what is known (the"
    " protected columns, or 3 to 6 columns by chance) and over all other columns; both widened for their"
    " number (Bonferroni). mean, mean_quasi: the same of a patient's mean over hidden columns. After Stadler"
    " et al. (2022), arXiv:2011.07018, and Giomi et al. (2023), arXiv:2211.10459."
)
NOTE = f"It takes {MIN_PATIENTS} patients a side, synthetic records, and two columns."
KEYS = ("worst", "mean", "worst_quasi", "mean_quasi")


@dataclass(frozen=True)
class Sides:
    """Members and strangers, of whom values are guessed. Sensitive."""

    members: RealTable
    strangers: RealTable

    @property
    def frame(self) -> pd.DataFrame:
        """All records, the members' first."""
        return pd.concat([self.members.frame, self.strangers.frame], ignore_index=True)

    def by_patient(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each member's, and each stranger's, mean over records."""
        cut = len(self.members)
        both = zip((values[:cut], values[cut:]), (self.members, self.strangers), strict=True)
        first, second = (
            np.bincount(table.unit_codes()[0], weights=part * table.unit_weights()) for part, table in both
        )
        return first, second


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Guess hidden values of members and of strangers.

    Args:
        inputs: see `Inputs`.
        rng: draws patients where a cap is met.

    Returns:
        ``worst``, ``mean``, ``worst_quasi`` and ``mean_quasi`` (-1 to 1); ``groups["difference"]`` by hidden
        column, ``groups["quasi"]`` by hidden column where the protected ones are known; in the details what
        strangers' guesses reach (the control) and what the commonest value reaches (the baseline).
    """
    columns = list(inputs.schema.columns)
    most = _patients_tried(len(inputs.synthetic), len(columns))
    sides = Sides(
        sample_patients(inputs.train, most, rng=rng), sample_patients(non_members(inputs), most, rng=rng)
    )
    fewest = min(sides.members.unit_codes()[1], sides.strangers.unit_codes()[1])
    if fewest < MIN_PATIENTS or len(columns) < 2 or len(inputs.synthetic) == 0:
        return _result(dict.fromkeys(KEYS, insufficient(fewest)), {}, {}, note=NOTE)
    shares: dict[str, Any] = {}
    rights = _all_others_known(inputs, sides, columns)
    found = {name: _difference(sides, right, shares, name) for name, right in rights.items()}
    for column in columns:
        shares[column.name]["baseline"] = _commonest(column, inputs.synthetic.frame, sides.strangers)
    worst = largest(list(found.values()))
    sets = {name: _some_known(inputs, sides, known) for name, known in _known_sets(inputs, columns).items()}
    by_set = {
        name: {hidden: _difference(sides, right, {}, hidden) for hidden, right in guesses.items()}
        for name, guesses in sets.items()
    }
    every = [estimate for family in by_set.values() for estimate in family.values()]
    means = [_mean(sides, list(guesses.values())) for guesses in sets.values()]
    estimates = {
        "worst": worst,
        "mean": _mean(sides, list(rights.values())),
        "worst_quasi": largest(every) if every else insufficient(fewest),
        "mean_quasi": largest(means) if means else insufficient(fewest),
    }
    groups = {"difference": found, "quasi": by_set.get(QUASI, {})}
    note = "" if worst.status == "ok" else "Strangers' values are guessed as well as any could be."
    details = {"columns_tried": shares, "synthetic": len(inputs.synthetic), "known": list(sets)}
    return _result(estimates, groups, details, note=note)


def expect(declared: Declared) -> MetricResult:
    """Return the largest difference that would be found at a perfect generator, by chance alone."""
    columns = len(declared.schema.columns)
    most = _patients_tried(declared.synthetic, columns)
    members, strangers = min(declared.train, most), min(declared.pooled().holdout, most)
    fewest = min(members, strangers)
    if fewest < MIN_PATIENTS or columns < 2 or not declared.synthetic:
        return _result(dict.fromkeys(KEYS, insufficient(fewest)), {}, {}, note=NOTE)
    noise = math.hypot(spread(members, NOISE["guess"]), spread(strangers, NOISE["guess"]))
    one, mean = (around(0.0, part, members + strangers) for part in (noise, noise / math.sqrt(columns)))
    tries = {
        "worst": (one, columns),
        "mean": (mean, 1),
        "worst_quasi": (one, columns),
        "mean_quasi": (mean, 1),
    }
    return _result({key: largest_of(*tried) for key, tried in tries.items()}, {}, {})


def _patients_tried(rows: int, columns: int) -> int:
    """Return how many patients a side are tried, so that every row is compared in bounded time."""
    affordable = WORK / max(rows, 1) / max(columns, 1) / 2
    return int(min(MAX_PATIENTS, max(FEWEST_PATIENTS, affordable)))


def _difference(sides: Sides, right: np.ndarray, shares: dict[str, Any], name: str) -> Estimate:
    """Return members' minus strangers' share of right guesses; no answer where nothing could show."""
    members, strangers = sides.by_patient(right)
    shares[name] = {"train": float(members.mean()), "holdout": float(strangers.mean())}
    if strangers.mean() > SATURATED:
        return insufficient(len(members) + len(strangers))
    return difference_of_means(members, strangers)


def _mean(sides: Sides, rights: Sequence[np.ndarray]) -> Estimate:
    """Return the difference of the patients' means over hidden columns."""
    return difference_of_means(*sides.by_patient(np.mean(rights, axis=0)))


def _all_others_known(inputs: Inputs, sides: Sides, columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """Return by hidden column which records are guessed right from all other columns."""
    names = [column.name for column in columns]
    frame, drawn = sides.frame, inputs.synthetic.frame
    best = np.full((len(names), len(frame)), np.inf, dtype=np.float32)
    guess = np.zeros((len(names), len(frame)), dtype=np.int64)
    points = [euclidean(inputs.schema, frame, [name]) for name in names]
    for start, chunk in chunks(drawn):
        _improve(best, guess, points, [euclidean(inputs.schema, chunk, [name]) for name in names], start)
    return {
        column.name: _right(column, frame[column.name], drawn[column.name].iloc[guess[j]], len(sides.members))
        for j, column in enumerate(columns)
    }


def _improve(
    best: np.ndarray, guess: np.ndarray, points: Sequence[np.ndarray], rows: Sequence[np.ndarray], start: int
) -> None:
    """Put nearer rows into the guesses: the distance without a column is that in all less that in the column.

    Squared distances are sums over columns; a point's own norm is the same for all rows and is left out.
    """
    n_points, n_rows = len(points[0]), len(rows[0])
    wide = [np.concatenate([part, np.ones((n_points, 1), np.float32)], axis=1) for part in points]
    flat = [np.concatenate([-2 * part, np.einsum("ij,ij->i", part, part)[:, None]], axis=1) for part in rows]
    everything = np.concatenate(wide, axis=1), np.concatenate(flat, axis=1)
    for low in range(0, n_rows, BLOCK[1]):
        there = slice(low, low + BLOCK[1])
        for at in range(0, n_points, BLOCK[0]):
            here = slice(at, at + BLOCK[0])
            total = everything[0][here] @ everything[1][there].T
            for j in range(len(points)):
                left = total - wide[j][here] @ flat[j][there].T
                nearest = left.argmin(axis=1)
                distance = left[np.arange(len(left)), nearest]
                nearer = distance < best[j, here]
                best[j, here] = np.where(nearer, distance, best[j, here])
                guess[j, here] = np.where(nearer, nearest + low + start, guess[j, here])


def _known_sets(inputs: Inputs, columns: Sequence[Column]) -> dict[str, list[str]]:
    """Return what an attacker may know: the protected columns, and a few columns by a public seed."""
    names, rng = [column.name for column in columns], np.random.default_rng(SEED)
    protected = [
        column.name for column in columns if column.name in inputs.groups or column.role == "protected"
    ]
    found = {QUASI: protected} if 0 < len(protected) < len(names) else {}
    for _ in range(KNOWN_SETS):
        size = min(int(rng.integers(*KNOWN_COLUMNS)), len(names) - 1)
        chosen = sorted(rng.permutation(len(names))[:size].tolist())
        found[" & ".join(names[j] for j in chosen)] = [names[j] for j in chosen]
    return found


def _some_known(inputs: Inputs, sides: Sides, known: Sequence[str]) -> dict[str, np.ndarray]:
    """Return by hidden column which records are guessed right from the known columns alone."""
    frame, drawn = sides.frame, inputs.synthetic.frame
    points = euclidean(inputs.schema, frame, known)
    nearest = nearest_rows(inputs.schema, points, drawn, known)[1][:, 0]
    return {
        column.name: _right(column, frame[column.name], drawn[column.name].iloc[nearest], len(sides.members))
        for column in inputs.schema.columns
        if column.name not in known
    }


def _right(column: Column, truth: pd.Series, guess: pd.Series, members: int) -> np.ndarray:
    """Return which guesses are right; of numbers that are nearly always guessed closely, which are equal."""
    right = same(column, truth, guess)
    if column.kind != "category" and right[members:].mean() > SATURATED:
        known, said = truth.to_numpy(dtype=float), guess.to_numpy(dtype=float)
        return np.asarray((known == said) | (np.isnan(known) & np.isnan(said)))
    return right


def same(column: Column, truth: pd.Series, guess: pd.Series) -> np.ndarray:
    """Return which guesses are right; a missing value is a value of its own."""
    if column.kind == "category":
        labels = pd.Index(column.labels)
        known, said = (pd.Categorical(cells, categories=labels).codes for cells in (truth, guess))
        return np.asarray(known == said)
    known, said = truth.to_numpy(dtype=float), guess.to_numpy(dtype=float)
    close = np.abs(known - said) <= CLOSE * (column.maximum - column.minimum)
    return np.asarray(close | (np.isnan(known) & np.isnan(said)))


def _commonest(column: Column, drawn: pd.DataFrame, strangers: RealTable) -> float:
    """Return how often the synthetic records' commonest value, or median, is right."""
    cells = drawn[column.name].dropna()
    if not len(cells):
        return 0.0
    best = cells.mode().iloc[0] if column.kind == "category" else cells.median()
    guess = pd.Series([best] * len(strangers))
    return float((same(column, strangers.frame[column.name], guess) * strangers.unit_weights()).sum()) / max(
        strangers.unit_codes()[1], 1
    )


def _result(
    estimates: Mapping[str, Estimate],
    groups: Mapping[str, Mapping[str, Estimate]],
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
        groups={name: family for name, family in groups.items() if family},
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
