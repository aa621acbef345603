"""Leakage: does what one synthetic row fulfils point to one training patient more often than to another?

Singling out is what the Article 29 working party asks of anonymous data first: nobody may be able to say
"there is exactly one patient such that". Predicates are made of synthetic rows, as Anonymeter makes them: a
value that one row has, or the smallest or largest; or three columns of a row, numbers as "at least" or "at
most" on their side of the median. A predicate that only says what is rare in medicine singles out as many of
the patients held out.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks import attack as _attack
from synthgen.evaluation.attacks.exact_counts import MISSING, as_written
from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, around, spread
from synthgen.evaluation.statistics.intervals import Z, insufficient
from synthgen.evaluation.statistics.patients import one_record_each
from synthgen.schema.schema import Schema

MAX_PATIENTS = 4_000
MIN_PATIENTS = 50
COLUMNS = 3
PREDICATES = 1_000
"""Predicates of either kind at most."""
ATTEMPTS = 30_000
"""Triples of columns of a row that are tried; the others than one row fulfils are no predicates."""
PREFIX = 500
"""Rows of which most triples are fulfilled twice already, so that the others need not be counted."""
FEWEST = 50
"""Predicates below which there is no answer."""
PERMUTATIONS = 300
DEVIATION = 0.5
"""Of whether a predicate singles out, at most."""
SEED = 17
Predicate = tuple[tuple[int, str, float], ...]
"""Columns with an operator, ``eq``, ``ge`` or ``le``, and a value."""
ALL_ROWS = True
DEFINITION = (
    "Share of predicates that exactly one training patient fulfils, minus the same among as many other"
    " patients (holdout, and reference where it is of the cohort), one record each. univariate: a value that"
    " exactly one synthetic row has, the smallest and the largest value of a number; multivariate: three"
    " columns of a synthetic row, equal categories and numbers at least, or at most, as far from the median,"
    " that no other row fulfils. After Giomi et al. (2023), arXiv:2211.10459, section 4.1; the interval is"
    " 1.96 standard deviations of the same difference after permutations of who trained."
)
NOTE = f"It takes {MIN_PATIENTS} patients a side, and {FEWEST} predicates that one synthetic row fulfils."


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Single out patients by predicates that synthetic rows give, all of which are searched.

    Args:
        inputs: see `Inputs`.
        rng: draws one record of each patient.

    Returns:
        ``univariate`` and ``multivariate`` (-1 to 1); in the details the shares of both sides (attack,
        control).
    """
    strangers = non_members(inputs)
    n = min(inputs.train.unit_codes()[1], strangers.unit_codes()[1], MAX_PATIENTS)
    keys = ("univariate", "multivariate")
    if n < MIN_PATIENTS or len(inputs.synthetic) == 0:
        return _result(dict.fromkeys(keys, insufficient(2 * n)), {}, note=NOTE)
    patients = np.concatenate([_records(inputs.schema, part, n, rng) for part in (inputs.train, strangers)])
    names = [column.name for column in inputs.schema.columns]
    rows = as_written(inputs.schema, inputs.synthetic.frame, names)
    numbers = np.array([column.kind != "category" for column in inputs.schema.columns])
    made = {"univariate": univariate(rows, numbers), "multivariate": multivariate(rows, numbers)}
    found = {key: _compared(predicates, patients, n) for key, predicates in made.items()}
    details = {key: shares for key, (_, shares) in found.items()}
    note = "" if any(estimate.status == "ok" for estimate, _ in found.values()) else NOTE
    return _result({key: estimate for key, (estimate, _) in found.items()}, details, note=note)


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator."""
    n = min(declared.train, declared.pooled().holdout, MAX_PATIENTS)
    keys = ("univariate", "multivariate")
    if n < MIN_PATIENTS or not declared.synthetic:
        return _result(dict.fromkeys(keys, insufficient(n)), {}, note=NOTE)
    return _result(dict.fromkeys(keys, around(0.0, spread(PREDICATES, DEVIATION), 2 * n)), {})


def univariate(rows: np.ndarray, numbers: np.ndarray) -> list[Predicate]:
    """Return predicates of one column: values that one row has, and the ends of numbers."""
    found: list[Predicate] = []
    for j in range(rows.shape[1]):
        values, counts = np.unique(rows[:, j], return_counts=True)
        found += [((j, "eq", float(value)),) for value in values[counts == 1]]
        known = values[values != MISSING]
        if numbers[j] and len(known):
            found += [((j, "le", float(known[0])),), ((j, "ge", float(known[-1])),)]
    chosen = np.random.default_rng(SEED).permutation(len(found))[:PREDICATES]
    return [found[i] for i in sorted(chosen.tolist())]


def multivariate(rows: np.ndarray, numbers: np.ndarray) -> list[Predicate]:
    """Return predicates of three columns that one row fulfils: the row that they were made of."""
    rng, width = np.random.default_rng([SEED, 1]), rows.shape[1]
    if width < COLUMNS:
        return []
    known = [column[column != MISSING] for column in rows.T]
    medians = [float(np.median(column)) if len(column) else 0.0 for column in known]
    found: dict[Predicate, None] = {}
    columns = np.ascontiguousarray(rows.T)
    for place in rng.integers(len(rows), size=ATTEMPTS).tolist():
        chosen = sorted(rng.permutation(width)[:COLUMNS].tolist())
        row = rows[place]
        predicate = tuple((j, _operator(row[j], medians[j], bool(numbers[j])), float(row[j])) for j in chosen)
        if predicate not in found and _is_of_one(predicate, columns):
            found[predicate] = None
        if len(found) == PREDICATES:
            break
    return list(found)


def _is_of_one(predicate: Predicate, columns: np.ndarray) -> bool:
    """Return whether exactly one row fulfils a predicate, of all rows."""
    start, count = 0, 0
    while start < columns.shape[1] and count < 2:
        stop = max(PREFIX, 10 * start)
        count += int(fulfilled(predicate, columns[:, start:stop]).sum())
        start = stop
    return count == 1


def fulfilled(predicate: Predicate, columns: np.ndarray) -> np.ndarray:
    """Return which records fulfil a predicate, of ``(column, record)`` values; none missing is bounded."""
    holds = np.ones(columns.shape[1], dtype=bool)
    for j, operator, value in predicate:
        if operator == "eq":
            holds &= columns[j] == value
        elif operator == "ge":
            holds &= columns[j] >= value
        else:
            holds &= (columns[j] <= value) & (columns[j] != MISSING)
    return holds


def _operator(value: float, median: float, number: bool) -> str:
    if not number or value == MISSING:
        return "eq"
    return "ge" if value > median else "le"


def _records(schema: Schema, table: RealTable, n: int, rng: np.random.Generator) -> np.ndarray:
    frame: pd.DataFrame = one_record_each(table, n, rng=rng)
    return as_written(schema, frame, [column.name for column in schema.columns])


def _compared(predicates: list[Predicate], patients: np.ndarray, n: int) -> tuple[Estimate, dict[str, float]]:
    """Return the difference of the shares of predicates that single out among the first n and the others."""
    if len(predicates) < FEWEST:
        return insufficient(2 * n), {"predicates": len(predicates)}
    columns = np.ascontiguousarray(patients.T)
    holds = np.array([fulfilled(predicate, columns) for predicate in predicates], dtype=np.float32)
    rng = np.random.default_rng([_attack.SEED, SEED])
    member = np.zeros((2 * n, 1 + PERMUTATIONS), dtype=np.float32)
    member[:n, 0] = 1
    for k in range(1, 1 + PERMUTATIONS):
        member[rng.permutation(2 * n)[:n], k] = 1
    inside = holds @ member
    outside = holds.sum(axis=1, keepdims=True) - inside
    attack, control = ((part == 1).mean(axis=0) for part in (inside, outside))
    differences = attack - control
    half = Z * float(differences[1:].std(ddof=1))
    value = float(differences[0])
    shares = {"predicates": len(predicates), "attack": float(attack[0]), "control": float(control[0])}
    return Estimate(value, value - half, value + half, n=2 * n), shares


def _result(
    estimates: dict[str, Estimate], details: dict[str, dict[str, float]], *, note: str = ""
) -> MetricResult:
    return result(
        "leakage_singling_out",
        "Singling out",
        DEFINITION,
        estimates,
        better="lower",
        details=details,
        status="insufficient" if note else "ok",
        note=note,
    )
