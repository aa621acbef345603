"""Counts of exact values, and of exact combinations of values, among patients and among synthetic rows.

Whom the generator saw is, where nothing leaks, a random choice among all patients, given everybody's records
and the synthetic rows. So whatever is computed of a patient from these, without a look at who is a member,
is as likely to be large for a member as for anybody else: AUROC 1/2, difference 0. How rare a value is may
therefore be counted in training, holdout and reference together, which tells it four times as well as a
reference alone does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks import attack
from synthgen.evaluation.attacks.nonmembers import non_members
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.chunked_neighbours import chunks
from synthgen.evaluation.features.design import ordinal
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.patients import sample_patients
from synthgen.evaluation.statistics.shares import Compared
from synthgen.schema.schema import Schema

MAX_PATIENTS = 10_000
"""Members, and non-members, at most: each stands for himself, so a sample costs power and no truth."""
MIN_PATIENTS = attack.MIN_PATIENTS
SEARCH_ROWS = 50_000
"""Rows at most that a search for a subset of columns counts; what it finds is tested on all."""
PRIOR = 0.5
"""Patients, and rows, that are counted in addition to those who have a value: Jeffreys' prior of a count."""
DENSE = 4_000_000
"""Combinations up to which rows are counted in a table of all of them."""
MOST = 2**62
"""Combinations up to which each has a number of its own; of more they are hashed by multiplication."""
ODD = 0x9E3779B97F4A7C15 - 2**64
MISSING = -1e300
Subset = tuple[int, ...]


@dataclass(frozen=True)
class Counts:
    """How many have what each suspect's record has in some columns.

    Attributes:
        patients: other patients of training, holdout and reference.
        rows: synthetic rows.
        planted: rows among which copies of some suspects were planted, beside the synthetic ones.
    """

    patients: np.ndarray
    rows: np.ndarray
    planted: np.ndarray


class Exact:
    """Values of all suspects and synthetic rows as numbers from 0, by column. Sensitive.

    Attributes:
        suspects: whom the attacks are tried on: members, and all who are none.
        names: the columns.
    """

    def __init__(self, inputs: Inputs) -> None:
        rng = np.random.default_rng(attack.SEED)
        members = sample_patients(inputs.train, MAX_PATIENTS, rng=rng)
        others = sample_patients(non_members(inputs), MAX_PATIENTS, rng=rng)
        half = sample_patients(members, members.unit_codes()[1] // 2, rng=rng)
        self.suspects = attack.Suspects(members, others, half.frame)
        self.names = [column.name for column in inputs.schema.columns]
        self.schema = inputs.schema
        tables = [members, others] + ([] if inputs.reference_of_cohort else [inputs.reference])
        frames = pd.concat([table.frame for table in tables], ignore_index=True)
        values = as_written(inputs.schema, frames, self.names)
        self.n_suspects = len(members) + len(others)
        self.patient, self.n_patients = _patients_of(tables)
        self.known = [np.unique(column) for column in values.T]
        self.codes = self._codes(values)
        self.rows = np.empty((len(inputs.synthetic), len(self.names)), dtype=np.int32)
        for start, chunk in chunks(inputs.synthetic.frame):
            self.rows[start : start + len(chunk)] = self._codes(as_written(self.schema, chunk, self.names))
        self.planted = self._codes(as_written(self.schema, half.frame, self.names))
        few = len(self.rows) <= SEARCH_ROWS
        self.sample = self.rows if few else self.rows[rng.permutation(len(self.rows))[:SEARCH_ROWS]]

    def by_patient(self, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return whether some record is marked, of each member and of each other patient."""
        cut = len(self.suspects.members)
        sides = ((records[:cut], self.suspects.members), (records[cut:], self.suspects.others))
        found = []
        for part, table in sides:
            codes, n_units = table.unit_codes()
            found.append(np.bincount(codes, weights=part, minlength=n_units) > 0)
        return found[0], found[1]

    def _codes(self, values: np.ndarray) -> np.ndarray:
        """Return the place of each value among the known ones; one beyond the last if it is none of these."""
        codes = np.empty(values.shape, dtype=np.int32)
        for j, known in enumerate(self.known):
            place = np.searchsorted(known, values[:, j])
            met = known[np.minimum(place, len(known) - 1)] == values[:, j]
            codes[:, j] = np.where(met, place, len(known))
        return codes

    def counts(self, subset: Subset, *, sampled: bool = False) -> Counts:
        """Return how many other patients and how many rows have what each suspect has in these columns.

        Args:
            subset: the columns.
            sampled: only `SEARCH_ROWS` rows are counted, for a choice that all rows test.
        """
        radix = [len(self.known[j]) + 1 for j in subset]
        counted = self.sample if sampled else self.rows
        keys, rows, planted = (
            self._keys(codes, subset, radix) for codes in (self.codes, counted, self.planted)
        )
        inverse, found = pd.factorize(keys)  # by hashing, in a third of the time of a sort
        owned = pd.unique(inverse.astype(np.int64) * self.n_patients + self.patient) // self.n_patients
        owners = np.bincount(owned, minlength=len(found))
        mine = inverse[: self.n_suspects]
        combinations = math.prod(radix)
        size = combinations if combinations <= DENSE else 0
        return Counts(owners[mine] - 1, _met(found, rows, size)[mine], _met(found, planted, size)[mine])

    def _keys(self, codes: np.ndarray, subset: Subset, radix: Sequence[int]) -> np.ndarray:
        """Return one number a record and combination; of more than 2**62 combinations two may share one."""
        hashed = math.prod(radix) > MOST
        key = codes[:, subset[0]].astype(np.int64)
        for j, n in zip(subset[1:], radix[1:], strict=True):
            key *= ODD if hashed else n  # wraps around beyond 2**63
            key += codes[:, j]
        return key

    def log_ratio(self, counts: Counts, *, planted: bool) -> np.ndarray:
        """Return the log of the synthetic over the real share of each suspect's combination.

        Rows and other patients are Poisson numbers with Jeffreys' prior; a suspect does not count himself.
        """
        rows = counts.rows + (counts.planted if planted else 0)
        n_rows = len(self.rows) + (len(self.planted) if planted else 0)
        real = (counts.patients + PRIOR) / (self.n_patients - 1 + PRIOR)
        return np.asarray(np.log((rows + PRIOR) / (n_rows + PRIOR)) - np.log(real))


def as_written(schema: Schema, frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return values as numbers, ``(record, column)``: categories as labels' places, numbers as written."""
    values, categories = ordinal(schema, frame, names)
    for j in np.flatnonzero(~categories).tolist():
        values[:, j] = frame[names[j]].to_numpy(dtype=float) + 0.0  # as written; -0.0 becomes 0.0
    return np.where(np.isnan(values), MISSING, values)


@remembered
def exact(inputs: Inputs) -> Exact | None:
    """Return the counts of these inputs, one while they live; None if there are too few patients or rows."""
    if len(inputs.synthetic) == 0 or len(inputs.reference) == 0:
        return None
    found = Exact(inputs)
    return found if found.suspects.enough else None


def compared(found: Exact, records: np.ndarray, among: np.ndarray) -> Compared | None:
    """Return of how many members, and of how many others, some record is marked.

    Args:
        found: the suspects.
        records: which of their records are marked.
        among: which could be: whoever has none of these says nothing about members and others, and would
            only make the marked ones look like chance. They are told without membership.

    Returns:
        None if nobody of one side has such a record.
    """
    marked, possible = found.by_patient(records & among), found.by_patient(among)
    hits, patients = ([int(side.sum()) for side in sides] for sides in (marked, possible))
    return Compared(hits[0], patients[0], hits[1], patients[1]) if min(patients) else None


def _met(found: np.ndarray, keys: np.ndarray, size: int) -> np.ndarray:
    """Return how many keys are equal to each of those that were found.

    Args:
        found: each once.
        keys: of rows.
        size: one more than the largest key, if a table of so many fits; else 0.
    """
    if size:
        return np.asarray(np.bincount(keys, minlength=size)[found])
    place = pd.Index(found).get_indexer(keys)
    return np.bincount(place[place >= 0], minlength=len(found))


def _patients_of(tables: Sequence[RealTable]) -> tuple[np.ndarray, int]:
    """Return the number of each record's patient, over tables of others each, and how many there are."""
    codes, start = [], 0
    for table in tables:
        own, n_units = table.unit_codes()
        codes.append(own + start)
        start += n_units
    return np.concatenate(codes), start
