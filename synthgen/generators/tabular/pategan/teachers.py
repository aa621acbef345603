"""Teachers on disjoint parts of the patients, and the noisy count of their votes.

Each patient belongs to one teacher for the whole fit: the part is a hash of the patient's own id, so no other
patient, no order and no round changes it. Teachers are trained without noise, each on its part and on
synthetic rows that all share; only the noisy number of teachers that call a row real leaves this file.

What published implementations got wrong (Ganev et al. 2024, arXiv:2406.13985) is fixed here: every teacher
has a part of its own, a part is never drawn again, each labelled row is paid for, and nothing but the
noisy counts reaches the student. A teacher is a pure function of its own part, computed apart from the
others, so that a patient who comes or goes cannot move another teacher's vote, not even by rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from synthgen.privacy.marginal_queries import ZCDPFilter
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.splits import KEY_BYTES, part_of

PARTS_KEY = b"synthgen:pategan:teachers".ljust(KEY_BYTES, b".")
"""Public: sensitivity needs a part that follows from the patient's id alone, not a secret one."""
RIDGE = 0.05


@dataclass(frozen=True)
class Features:
    """Public random features of a row: cells' random vectors summed and cut at zero, and a constant.

    Attributes:
        vectors: by column a float64 array (cell, feature).
        shift: float64 (feature,).
    """

    vectors: Mapping[str, np.ndarray]
    shift: np.ndarray

    @classmethod
    def draw(cls, sizes: Mapping[str, int], n_features: int, *, columns: int = 3) -> Features:
        """Draw features that each look at a few columns, from public numbers alone.

        Args:
            sizes: number of cells of each column.
            n_features: how many.
            columns: how many columns each looks at, at most.
        """
        rng = np.random.default_rng(0)
        looks = rng.random((len(sizes), n_features)).argsort(axis=0) < columns
        vectors = {
            name: rng.normal(size=(size, n_features)) * looks[i]
            for i, (name, size) in enumerate(sizes.items())
        }
        return cls(vectors, rng.normal(scale=0.5, size=n_features))

    def of(self, cells: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the features of each row, (row, feature + 1); each row on its own."""
        total = np.tile(self.shift, (len(next(iter(cells.values()))), 1))
        for name, table in self.vectors.items():
            total += table[cells[name]]
        return np.concatenate([np.maximum(total, 0.0), np.ones((len(total), 1))], axis=1)


class Teachers:
    """The only holder of the real rows of a fit's votes: every answer is noised and booked first.

    Guarantee:
        A vote on m rows is rho-zCDP for the rho that it spends, when neighbours differ by one unit: all
        records of a unit lie in one part, so it moves at most one teacher's vote on each row, thus each
        count of "real" by at most 1 and all m together by at most sqrt(m) in L2. The count of "not real" is
        never asked: it is the number of teachers less the other.

    Args:
        cells: for each column the coarse cell of each record. Sensitive.
        units: the privacy unit of each record. Sensitive.
        n_teachers: public number of parts.
        features: what a teacher sees of a row.
        spender: the filter that holds the plan's rho.
        noise: source of the noise.
    """

    def __init__(
        self,
        cells: Mapping[str, np.ndarray],
        units: np.ndarray,
        n_teachers: int,
        features: Features,
        *,
        spender: ZCDPFilter,
        noise: NoiseSource,
    ) -> None:
        self.n_teachers = n_teachers
        self._features, self._spender, self._noise = features, spender, noise
        parts = teacher_of(units, n_teachers)
        rows = features.of(cells)
        self._own = [np.ascontiguousarray(rows[parts == i]) for i in range(n_teachers)]

    def vote(
        self, asked: Mapping[str, np.ndarray], fake: Mapping[str, np.ndarray], *, sigma: float, about: int
    ) -> np.ndarray:
        """Return for each row the noisy number of teachers that call it real. Spends m / (2 sigma^2).

        Args:
            asked: cells of the m synthetic rows to be labelled.
            fake: cells of the synthetic rows that every teacher is trained against.
            sigma: standard deviation of each count's noise, in teachers.
            about: public number of the round.
        """
        n_rows = len(next(iter(asked.values())))
        rho = n_rows / (2.0 * sigma**2)
        self._spender.spend(rho)
        counts = self._counts(self._features.of(asked), self._features.of(fake))
        with self._noise.query(rho, ["votes", about]):
            return self._noise.discrete_gaussian(counts, sigma=sigma)

    def _counts(self, asked: np.ndarray, fake: np.ndarray) -> np.ndarray:
        """Return the exact number of votes for "real" of each row, int64. SENSITIVE."""
        counts = np.zeros(len(asked), dtype=np.int64)
        for own in self._own:
            counts += asked @ taught(own, fake) > 0
        return counts


def teacher_of(units: np.ndarray, n_teachers: int) -> np.ndarray:
    """Return the teacher of each record, from 0: a hash of the record's unit and nothing else."""
    shares = {str(i): 1.0 / n_teachers for i in range(n_teachers)}
    return part_of(units, key=PARTS_KEY, shares=shares).astype(np.int64)


def taught(own: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """Return one teacher: weights of a ridge classifier of its own rows (+1) against synthetic ones (-1).

    A teacher without a row of its own has seen none that is real, and votes "not real" on what is like the
    synthetic rows. Each side counts for half, however many rows it has.

    Args:
        own: features of the teacher's real rows, (row, feature); may be empty. Sensitive.
        fake: features of synthetic rows, at least one.
    """
    gram = 0.5 * fake.T @ fake / len(fake) + RIDGE * np.eye(fake.shape[1])
    pull = -0.5 * fake.mean(axis=0)
    if len(own):
        gram += 0.5 * own.T @ own / len(own)
        pull = pull + 0.5 * own.mean(axis=0)
    return np.linalg.solve(gram, pull)
