"""Refuse parts that share patients: a holdout that the generator saw tests nothing.

Patients' ids are compared where there are any. Records are compared too, since ids can be given anew and
values moved a little. The yardstick is the part itself: of patients of one cohort, the record that is nearest
to a holdout patient's lies in the training table as often as that table has records among all others. So of
those holdout records that have the nearest neighbours, copies or not, no more may have them in the training
table than if such patients were `DENSER` times as frequent there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthgen.data.tables import RealTable
from synthgen.errors import DataError
from synthgen.evaluation.canonical_order import digest, ordered
from synthgen.evaluation.features.design import euclidean
from synthgen.evaluation.features.neighbours import k_nearest, within
from synthgen.evaluation.statistics.patients import sample_patients

MAX_POINTS = 4_000
MAX_BASE = 50_000
EXACT = 2e-3
"""Distances that differ by less are the same, as float32 knows them."""
DENSER = 2.0
FALSE_ALARMS = 1e-8
"""Probability, of one look at a number of nearest records, that parts of one cohort are refused."""
LEAST = 20
STEP = 1.3
SEED = 7
NAMES = {"train": "real table", "holdout": "holdout", "reference": "reference"}
STEP_TO_DO = "Hold out patients whom the generator has not seen, and give each patient to one file only."


@dataclass(frozen=True)
class Overlap:
    """Records of one part that are, or nearly are, another's.

    Attributes:
        records: how many, about.
        of: among how many that were looked at.
        tail: probability of as many where patients of the cohort are merely denser in the other part.
    """

    records: int
    of: int
    tail: float


def require_disjoint(parts: Mapping[str, RealTable]) -> None:
    """Refuse parts that have patients in common.

    Args:
        parts: ``train``, ``holdout``, and ``reference`` if there is one.

    Raises:
        DataError: names both parts and how many records or patients they share, and no value.
    """
    names = [name for name in NAMES if name in parts]
    for i, first in enumerate(names):
        for other in names[i + 1 :]:
            _require_apart(other, parts[other], first, parts[first])


def _require_apart(name: str, part: RealTable, other_name: str, other: RealTable) -> None:
    mine, theirs = NAMES[name], NAMES[other_name]
    if digest(part) == digest(other):
        raise _shared(name, f"the {mine} holds the same records as the {theirs}")
    if part.schema.unit.level != "row":
        shared = len(set(part.units.tolist()) & set(other.units.tolist()))
        if shared:
            raise _shared(
                name,
                f"{shared:,} patients of the {mine} have an id of the {theirs} (ids that each file numbers "
                "anew name no patient)",
            )
    found = overlap(part, other)
    if found is not None:
        raise _shared(
            name,
            f"about {found.records:,} of {found.of:,} records of the {mine} are equal or nearly equal to "
            f"records of the {theirs}, far more than to each other",
        )


def _shared(name: str, what: str) -> DataError:
    option = "--holdout" if name == "holdout" else "--reference"
    return DataError(
        f"Expected parts without a common patient, but {what}.", where=option, next_step=STEP_TO_DO
    )


def overlap(part: RealTable, other: RealTable) -> Overlap | None:
    """Return how many records of a part nearly are another's; None if no more than in one cohort.

    Args:
        part: the part whose records are looked at, `MAX_POINTS` patients of it at most.
        other: the part that they may come from.
    """
    near, share = _nearest(part, other)
    if len(near) < LEAST:
        return None
    order = np.argsort(near, kind="stable")
    hits = np.cumsum(share.scores[order])
    limit = DENSER * share.chance / (DENSER * share.chance + 1 - share.chance)
    return _most_certain(hits, share.chance, limit)


@dataclass(frozen=True)
class _Shares:
    """Of each record, the share of its nearest ones that lie in the other part, and what is expected."""

    scores: np.ndarray
    chance: float


def _most_certain(hits: np.ndarray, chance: float, limit: float) -> Overlap | None:
    """Return the overlap among that number of nearest records which shows it best."""
    from scipy.stats import binom

    best: Overlap | None = None
    sizes = np.unique(np.minimum(np.floor(LEAST * STEP ** np.arange(60)).astype(int), len(hits)))
    for m in sizes.tolist():
        tail = float(binom.sf(np.floor(hits[m - 1]) - 1, m, limit))
        if tail < FALSE_ALARMS and (best is None or tail < best.tail):
            excess = (float(hits[m - 1]) - chance * m) / (1 - chance)
            best = Overlap(round(excess), len(hits), tail)
    return best


def _nearest(part: RealTable, other: RealTable) -> tuple[np.ndarray, _Shares]:
    """Return each point's distance to the nearest record of others, and where the nearest ones lie.

    Of the part itself one record of each patient counts; of the other all do, since any may be the source.
    Records of the same patient lie nearer to each other, so that fewer than expected are nearest.
    """
    rng = np.random.default_rng(SEED)
    own, foreign = ordered(part), sample_patients(ordered(other), MAX_BASE, rng=rng)
    owners = own.unit_codes()[0] if own.schema.unit.level != "row" else np.arange(len(own))
    _, first = np.unique(owners, return_index=True)
    own = own.take(np.sort(rng.permutation(first)[:MAX_BASE]))
    points = np.sort(rng.permutation(len(own))[:MAX_POINTS])
    names = [column.name for column in part.schema.columns]
    mine, theirs = (euclidean(part.schema, table.frame, names) for table in (own, foreign))
    if len(mine) < 2 or len(theirs) < 1:
        return np.zeros(0), _Shares(np.zeros(0), 0.5)
    close = k_nearest(mine[points], mine, 2)[0][:, 1]  # the nearest of all is the point itself
    far = k_nearest(mine[points], theirs, 1)[0][:, 0]
    near = np.minimum(close, far)
    among = within(mine[points], theirs, near + EXACT), within(mine[points], mine, near + EXACT) - 1
    chance = len(theirs) / (len(theirs) + len(mine) - 1)
    return near, _Shares(among[0] / np.maximum(among[0] + among[1], 1), chance)
