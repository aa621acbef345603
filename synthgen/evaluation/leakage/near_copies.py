"""Leakage: do synthetic records lie closer to a patient than any foreign patient's record does?

A copy with a little noise on it is no exact match. Near is what is near beside the distance to other
patients: in training, holdout and reference together, so that a patient's measure does not depend on whom
the generator saw. A few copies hide among many patients, so they are looked for where chance brings no
synthetic record near: at several distances, among patients who lie far from all others, and within each
small group and category.

Among patients who are much alike other patients' rows come as near as a copy does, and a count of patients
with a near row says little. There the rows are asked instead: whose is the patient next to each? Where
nothing leaks, a member's as often as anybody else's. A row that was made from a record with noise on it
often has a number that no patient has, and such rows are asked apart.

A generator that saw training, holdout and reference alike gives every attack the same answer on both sides.
Nearness has a control that such a generator cannot spoil: other real records. Whatever a generator's density
is, a record that it drew without seeing a patient falls next to that patient no more often, on average over
patients, than a real record does: the mean over patients of (synthetic density / real density) is at most 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared, no_difference
from synthgen.evaluation.features.chunked_neighbours import chunks, nearest_rows
from synthgen.evaluation.features.design import euclidean, group_codes, partitions
from synthgen.evaluation.features.neighbours import CHUNK, k_nearest
from synthgen.evaluation.leakage.exact_match import chance_of_a_match
from synthgen.evaluation.statistics.intervals import insufficient, without_interval
from synthgen.evaluation.statistics.patients import one_record_each, sample_patients
from synthgen.evaluation.statistics.shares import (
    NOTHING,
    SURE,
    Compared,
    most_significant,
    paired_shares,
    variance_of_rows,
)

MAX_PATIENTS = 20_000
MIN_PATIENTS = 50
MAX_HOLDOUT = 4_000
MAX_RIVALS = 20_000
NEAR = 0.25
"""Of the distance to the nearest other patient: a synthetic record within it is a near copy."""
CLOSE = (0.7, 0.5, 0.25, 0.1, 0.05)
"""Other such parts at which near copies are counted: noise of any size, copies of any clearness."""
UNUSUAL = (1.0, 0.5, 0.25, 0.1, 0.025)
"""Shares of the patients, those who lie farthest from all others, among whom near copies are counted."""
SMALL = 0.25
"""Share of the patients up to which a category is a small group whose members may have been memorised."""
OWNERS = 5_000
"""Members, and others, at most, among whom each row's nearest patient is sought; every row is asked."""
ROWS_NEAR = ((0, 0.5, 9.0), (0, 0.25, 9.0), (0, 0.1, 9.0), (1, 0.7, 9.0), (1, 0.5, 9.0), (1, 1.0, 0.05))
"""Numbers of a row, at least, that no patient has; the part of the distance to the second nearest patient
within which the nearest one must lie; and the distance within which: at .05 all categories are equal, and
numbers are within 5 % of their ranges together."""
FEWEST = 20
"""Patients of a small group at least; of fewer, no count is beyond chance after correction for all groups."""
TWINS = 2e-3
"""Distance to another patient below which two are the same: nobody comes nearer, so they have none near."""
ALL_ROWS = True
DEFINITION = (
    f"A near copy of a record is a synthetic one within {NEAR} of its distance to the nearest record of"
    " another patient in training, holdout or reference (Gower on public bounds); a patient counts if any"
    " record has one. difference: training minus other patients (holdout, and reference where it is of the"
    " cohort), by Fisher's exact test and Mee's interval. copied: the most significant of such differences"
    " at five distances among all patients and among the 50, 25, 10 and 2.5 % who lie farthest from others;"
    " worst_group: of those within each protected group, crossing of two, and small category or range of a"
    " column; each corrected for their number (Bonferroni). nearest: share of patients nearest"
    " to some synthetic row, within a half, a quarter or a tenth of its distance to the second nearest; also"
    " of rows with a number that no patient has (within .7 or a half, or nearer than .05): training minus"
    " other patients, the most significant, corrected alike. holdout_excess: of the holdout patients, the"
    " share near to as many synthetic rows as there are training patients, in expectation over which rows,"
    " minus the share near to one record of each of those, who are others (Newcombe, paired, with what rows"
    " that are near to several patients add); near is here within that part of the distance to the nearest"
    " reference record. The two shares have no interval of their own: the synthetic rows move them together."
)


@dataclass(frozen=True)
class Nearness:
    """How near synthetic records come to patients, by record. Sensitive.

    Attributes:
        ratio: distance to the nearest synthetic record over that to the nearest other patient's; infinite
            for a record that another patient has as well.
        alone: distance to the nearest other patient's record.
        patient: number of each record's patient; members come first.
        members: number of members.
        patients: number of all patients.
    """

    ratio: np.ndarray
    alone: np.ndarray
    patient: np.ndarray
    members: int
    patients: int

    def compared(self, near: float, inside: np.ndarray) -> Compared | None:
        """Return how many members and others have a near copy, of those with a record ``inside``."""
        among = np.zeros(self.patients, dtype=bool)
        hit = among.copy()
        among[self.patient[inside]] = True
        hit[self.patient[inside & (self.ratio < near)]] = True
        mine = np.arange(self.patients) < self.members
        n, other_n = int((among & mine).sum()), int((among & ~mine).sum())
        if min(n, other_n) == 0 or n + other_n < FEWEST:
            return None
        return Compared(int((hit & mine).sum()), n, int((hit & ~mine).sum()), other_n)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Count near copies of patients.

    Args:
        inputs: see `Inputs`.
        rng: draws patients where a cap is met, and one record of each.

    Returns:
        ``difference``, ``copied``, ``worst_group``, ``nearest`` and ``holdout_excess`` (-1 to 1), ``train``
        and ``holdout`` (0 to 1), of patients; ``groups["closeness"]`` by distance and unusualness,
        ``groups["difference"]`` by group and category, ``groups["nearest"]`` by kind of row.
    """
    train = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
    others = sample_patients(non_members(inputs), MAX_PATIENTS, rng=rng)
    n_foreign = inputs.reference.unit_codes()[1]
    patients = train.unit_codes()[1], others.unit_codes()[1]
    if min(*patients, n_foreign, len(inputs.synthetic)) < MIN_PATIENTS:
        note = f"It takes {MIN_PATIENTS} patients a side, as many foreign ones, and synthetic records."
        nothing = insufficient(sum(patients))
        keys = ("difference", "copied", "worst_group", "nearest")
        return _result(dict.fromkeys(keys, nothing), {}, 0, note=note)
    near = nearness(inputs, train, others, rng=rng)
    everybody = np.ones(len(near.ratio), dtype=bool)
    plain = near.compared(NEAR, everybody) or Compared(0, patients[0], 0, patients[1])
    closeness, groups = _by_closeness(near), _by_group(inputs, near, train, others)
    nearest = _by_row(inputs, train, others, rng=rng)
    estimates = {
        "difference": plain.estimate(),
        "train": without_interval(plain.hits / plain.n, n=plain.n),
        "holdout": without_interval(plain.other_hits / plain.other_n, n=plain.other_n),
        "copied": most_significant(list(closeness.values())),
        "worst_group": most_significant(list(groups.values())) if groups else insufficient(sum(patients)),
        "nearest": most_significant(list(nearest.values())),
        "holdout_excess": _excess_of_the_holdout(inputs, rng),
    }
    families = {"closeness": closeness, "difference": groups, "nearest": nearest}
    by_group = {
        name: {key: one.estimate() for key, one in family.items()} for name, family in families.items()
    }
    return _result(estimates, by_group, len(inputs.synthetic))


def expect(declared: Declared) -> MetricResult:
    """Return what would be found at a perfect generator: nothing, known as well as so many patients allow."""
    others = declared.holdout + declared.reference
    fewest = min(declared.train, others, declared.reference, declared.synthetic)
    keys = ("difference", "copied", "worst_group", "nearest", "holdout_excess")
    if fewest < MIN_PATIENTS:
        note = f"It takes {MIN_PATIENTS} patients a side, as many foreign ones, and synthetic records."
        return _result(dict.fromkeys(keys, insufficient(fewest)), {}, 0, note=note)
    found = no_difference(min(declared.train, MAX_PATIENTS), others, most=MAX_PATIENTS)
    return _result(dict.fromkeys(keys, found), {}, declared.synthetic)


def nearness(inputs: Inputs, train: RealTable, others: RealTable, *, rng: np.random.Generator) -> Nearness:
    """Return how near every synthetic record comes to patients, beside all other patients."""
    names = [column.name for column in inputs.schema.columns]
    both = [_points(inputs, part.frame) for part in (train, others)]
    points = np.concatenate(both)
    codes, other_codes = train.unit_codes()[0], others.unit_codes()[0]
    members = train.unit_codes()[1]
    patient = np.concatenate([codes, other_codes + members])
    shuffled = rng.permutation(len(patient))
    owner, first = np.unique(patient[shuffled], return_index=True)
    distances, places = k_nearest(points, points[shuffled[first]], 2)
    own = owner[places[:, 0]] == patient
    alone = np.where(own, distances[:, 1], distances[:, 0])
    if not inputs.reference_of_cohort:
        foreign = nearest_rows(inputs.schema, points, inputs.reference.frame, names)[0][:, 0]
        alone = np.minimum(alone, foreign)
    close = nearest_rows(inputs.schema, points, inputs.synthetic.frame, names)[0][:, 0]
    ratio = np.where(alone > TWINS, close / np.maximum(alone, TWINS), np.inf)
    return Nearness(ratio, alone, patient, members, len(owner))


def _by_closeness(near: Nearness) -> dict[str, Compared]:
    """Return the comparisons at all distances, among everybody and among the most unusual patients."""
    found: dict[str, Compared] = {}
    for share in UNUSUAL:
        inside = near.alone >= np.quantile(near.alone, 1 - share)
        for part in CLOSE:
            one = near.compared(part, inside)
            if one is not None:
                found[f"within {part:g} among the {share:.3g} most unusual"] = one
    return found


def _by_group(inputs: Inputs, near: Nearness, train: RealTable, others: RealTable) -> dict[str, Compared]:
    """Return the comparisons within protected groups and their crossings, and within small categories."""
    frame = pd.concat([train.frame, others.frame], ignore_index=True)
    columns = inputs.schema.columns
    protected = list(partitions(inputs.schema, frame, inputs.groups))
    categories = [
        group_codes(column, frame[column.name]) for column in columns if column.name not in inputs.groups
    ]
    found: dict[str, Compared] = {}
    for (codes, names), most in [*((one, 1.0) for one in protected), *((one, SMALL) for one in categories)]:
        counts = np.bincount(codes, minlength=len(names))
        for i in np.flatnonzero((counts >= FEWEST) & (counts <= most * len(codes))):
            one = near.compared(NEAR, codes == i)
            if one is not None:
                found[names[i]] = one
    return found


def _by_row(
    inputs: Inputs, train: RealTable, others: RealTable, *, rng: np.random.Generator
) -> dict[str, Compared]:
    """Return how many members and others are the nearest patient of some row, by kind of row.

    A row between two patients as near as each other points to neither. Which of a patient's records is
    the nearest one does not matter, and the second nearest is another patient's.
    """
    sides = [sample_patients(side, OWNERS, rng=rng) for side in (train, others)]
    (codes, n), (other_codes, other_n) = (side.unit_codes() for side in sides)
    patient = np.concatenate([codes, other_codes + n])
    frame = pd.concat([side.frame for side in sides], ignore_index=True)
    points = _points(inputs, frame)
    numbers = [column.name for column in inputs.schema.columns if column.kind != "category"]
    known = {name: np.unique(frame[name].to_numpy(dtype=float)) for name in numbers}
    most = 1 + int(np.bincount(patient).max())
    hit = np.zeros((len(ROWS_NEAR), n + other_n), dtype=bool)
    for _, chunk in chunks(inputs.synthetic.frame):
        distances, places = k_nearest(_points(inputs, chunk), points, most)
        owner = patient[places]
        foreign = owner != owner[:, :1]
        second = np.where(foreign.any(axis=1), distances[np.arange(len(chunk)), foreign.argmax(axis=1)], 0.0)
        ratio = np.where(second > TWINS, distances[:, 0] / np.maximum(second, TWINS), np.inf)
        new = np.zeros(len(chunk), dtype=np.int64)
        for name, values in known.items():
            drawn = chunk[name].to_numpy(dtype=float)
            new += ~np.isin(drawn, values) & ~np.isnan(drawn)
        for k, (least, part, near) in enumerate(ROWS_NEAR):
            hit[k, owner[(new >= least) & (ratio < part) & (distances[:, 0] < near), 0]] = True
    words = ("any row", "rows with a number that nobody has")
    return {
        f"{words[least]}, within {part if part < 1 else near:g}": Compared(
            int(hit[k, :n].sum()), n, int(hit[k, n:].sum()), other_n
        )
        for k, (least, part, near) in enumerate(ROWS_NEAR)
    }


def _excess_of_the_holdout(inputs: Inputs, rng: np.random.Generator) -> Estimate:
    """Return `_holdout_excess` of a sample of the holdout, whose rivals are training patients."""
    holdout = sample_patients(inputs.holdout, MAX_HOLDOUT, rng=rng)
    if holdout.unit_codes()[1] < MIN_PATIENTS:
        return insufficient(holdout.unit_codes()[1])
    foreign = _points(inputs, one_record_each(inputs.reference, MAX_PATIENTS, rng=rng))
    rivals = one_record_each(inputs.train, MAX_RIVALS, rng=rng)
    points = _points(inputs, holdout.frame)
    radius = NEAR * k_nearest(points, foreign)[0][:, 0]
    return _holdout_excess(inputs, holdout, points, radius, inputs.synthetic.frame, rivals)


def _points(inputs: Inputs, frame: pd.DataFrame) -> np.ndarray:
    return euclidean(inputs.schema, frame, [column.name for column in inputs.schema.columns])


def _holdout_excess(
    inputs: Inputs,
    holdout: RealTable,
    points: np.ndarray,
    radius: np.ndarray,
    drawn: pd.DataFrame,
    rivals: pd.DataFrame,
) -> Estimate:
    """Return what synthetic rows lie near to of the holdout beyond what as many real records do.

    A row may lie near several patients, who are then hit together: both draws of rows add to the error, as if
    they were drawn apart. Where a generator copies the training patients, whose records stand beside, they
    are not, and the interval is a bound: 97 % of them hold the truth where two in five are copied.
    """
    size = min(len(drawn), len(rivals))
    codes, n = holdout.unit_codes()
    near, shared = [], NOTHING
    for rows in (drawn, rivals):
        counts = np.zeros(len(points), dtype=np.int64)
        for _, chunk in chunks(rows):
            counts += within(points, radius, _points(inputs, chunk))
        missed = np.ones(n)
        np.multiply.at(missed, codes, 1 - chance_of_a_match(counts, len(rows), size))
        near.append(1 - missed)
        sure = np.isin(codes, codes[counts > SURE * len(rows) / size])
        some = np.flatnonzero((counts > 0) & ~sure)
        pairs = [
            (record, row + start)
            for start, chunk in chunks(rows)
            for record, row in [_pairs(points[some], radius[some], _points(inputs, chunk))]
        ]
        record, row = (np.concatenate(part) for part in zip(*pairs, strict=True))
        shared += variance_of_rows(codes[some][record], row, n=n, total=len(rows), size=size)
    return Estimate(*paired_shares(*near, shared=shared), n=n)


def _pairs(points: np.ndarray, radius: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of all points and of all rows of ``base`` that lie closer to them than the radius."""
    found = [
        (here.start + point, there.start + row)
        for here, there, close in _near(points, radius, base)
        for point, row in [np.nonzero(close)]
    ]
    if not found:
        return np.zeros(0, dtype=int), np.zeros(0, dtype=int)
    return np.concatenate([point for point, _ in found]), np.concatenate([row for _, row in found])


def within(points: np.ndarray, radius: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return how many rows of ``base`` lie closer to each point than its radius.

    Example:
        >>> within(np.float32([[0], [5]]), np.array([2.0, 0.0]), np.float32([[1], [1.5], [5]]))
        array([2, 0])
    """
    counts = np.zeros(len(points), dtype=np.int64)
    for here, _, close in _near(points, radius, base):
        counts[here] += close.sum(axis=1)
    return counts


def _near(
    points: np.ndarray, radius: np.ndarray, base: np.ndarray
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield some points, some rows of ``base``, and which of these lie closer than the point's radius."""
    rows = np.concatenate([-2 * base, np.einsum("ij,ij->i", base, base)[:, None]], axis=1)
    wide = np.concatenate([points, np.ones((len(points), 1), dtype=points.dtype)], axis=1)
    squared = (radius**2 - np.einsum("ij,ij->i", points, points)).astype(points.dtype)
    squared = np.where(radius > 0, squared, -np.inf).astype(points.dtype)
    for at in range(0, len(points), CHUNK[0]):
        for start in range(0, len(base), CHUNK[1]):
            here, there = slice(at, at + CHUNK[0]), slice(start, start + CHUNK[1])
            yield here, there, wide[here] @ rows[there].T < squared[here, None]


def _result(
    estimates: dict[str, Estimate],
    groups: Mapping[str, Mapping[str, Estimate]],
    rows: int,
    *,
    note: str = "",
) -> MetricResult:
    return result(
        "leakage_near_copies",
        "Near copies of records",
        DEFINITION,
        estimates,
        better="lower",
        groups={name: family for name, family in groups.items() if family},
        details={"synthetic": rows},
        status="insufficient" if note else "ok",
        note=note,
    )
