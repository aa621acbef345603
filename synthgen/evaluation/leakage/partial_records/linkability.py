"""Leakage: can two halves of a training patient's record be linked through the table?

One source knows some of a patient's columns, another source knows others, and nobody told them that they
speak of the same person. If the synthetic row nearest in the first is also the nearest in the second, the
table links them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, no_difference
from synthgen.evaluation.features.chunked_neighbours import nearest_rows
from synthgen.evaluation.features.design import euclidean
from synthgen.evaluation.statistics.intervals import insufficient
from synthgen.evaluation.statistics.patients import sample_patients
from synthgen.evaluation.statistics.shares import Compared, most_significant

MAX_PATIENTS = 4_000
MIN_PATIENTS = 50
SPLITS = 3
SEED = 19
TIE = 2e-3
"""Beyond the least distance within which a row is as near as the nearest, as float32 allows."""
ALL_ROWS = True
DEFINITION = (
    "Share of patients of whom the synthetic row nearest in one half of the columns is as near as any in the"
    " other half, or the other way round (Gower, all rows; a patient's first such record counts): training"
    " minus other patients (holdout, and reference where it is of the cohort), by Fisher's exact test."
    f" linked: the most significant of {SPLITS} splits that are drawn from column names alone, corrected for"
    " their number (Bonferroni). After Giomi et al. (2023), arXiv:2211.10459, section 4.2, with one"
    " neighbour."
)
NOTE = f"It takes {MIN_PATIENTS} patients a side, synthetic records, and two columns."


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Link halves of patients' records through synthetic rows, all of which are searched.

    Args:
        inputs: see `Inputs`.
        rng: draws patients where a cap is met.

    Returns:
        ``linked`` (-1 to 1), and ``groups["split"]`` by split; in the details the shares of both sides.
    """
    members = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
    others = sample_patients(non_members(inputs), MAX_PATIENTS, rng=rng)
    names = [column.name for column in inputs.schema.columns]
    sizes = members.unit_codes()[1], others.unit_codes()[1]
    if min(sizes) < MIN_PATIENTS or len(names) < 2 or len(inputs.synthetic) == 0:
        return _result({"linked": insufficient(sum(sizes))}, {}, note=NOTE)
    frame = pd.concat([members.frame, others.frame], ignore_index=True)
    found: dict[str, Compared] = {}
    for i, halves in enumerate(splits(names)):
        linked = _linked(inputs, frame, halves)
        hits = [
            len(np.unique(table.units[part]))
            for part, table in ((linked[: len(members)], members), (linked[len(members) :], others))
        ]
        found[f"split {i + 1}"] = Compared(hits[0], sizes[0], hits[1], sizes[1])
    by_split = {name: one.estimate() for name, one in found.items()}
    shares = {
        name: {"train": one.hits / one.n, "holdout": one.other_hits / one.other_n}
        for name, one in found.items()
    }
    return _result({"linked": most_significant(list(found.values()))}, by_split, shares)


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator."""
    members, others = (min(n, MAX_PATIENTS) for n in (declared.train, declared.pooled().holdout))
    if min(members, others) < MIN_PATIENTS or not declared.synthetic or len(declared.schema.columns) < 2:
        return _result({"linked": insufficient(members + others)}, {}, note=NOTE)
    return _result({"linked": no_difference(members, others, most=MAX_PATIENTS)}, {})


def splits(names: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return columns in two halves, several times, by a public seed; each once."""
    rng, found = np.random.default_rng(SEED), []
    for _ in range(SPLITS):
        order = rng.permutation(len(names))
        cut = len(names) // 2
        first, second = (sorted(names[j] for j in part) for part in (order[:cut], order[cut:]))
        if (first, second) not in found and (second, first) not in found:
            found.append((first, second))
    return found


def _linked(inputs: Inputs, frame: pd.DataFrame, halves: tuple[list[str], list[str]]) -> np.ndarray:
    """Return which records' nearest row in one half is as near as any in the other half."""
    points = [euclidean(inputs.schema, frame, names) for names in halves]
    nearest = [
        nearest_rows(inputs.schema, point, inputs.synthetic.frame, names)
        for point, names in zip(points, halves, strict=True)
    ]
    linked = np.zeros(len(frame), dtype=bool)
    for one, other in ((0, 1), (1, 0)):
        rows = inputs.synthetic.frame.iloc[nearest[one][1][:, 0]]
        apart = points[other] - euclidean(inputs.schema, rows, halves[other])
        distance = np.sqrt(np.einsum("ij,ij->i", apart, apart))
        linked |= distance <= nearest[other][0][:, 0] + TIE
    return linked


def _result(
    estimates: dict[str, Estimate],
    groups: Mapping[str, Estimate],
    shares: Mapping[str, Mapping[str, float]] | None = None,
    *,
    note: str = "",
) -> MetricResult:
    return result(
        "leakage_linkability",
        "Linkability",
        DEFINITION,
        estimates,
        better="lower",
        groups={"split": groups} if groups else {},
        details={"shares": shares} if shares else {},
        status="insufficient" if note else "ok",
        note=note,
    )
