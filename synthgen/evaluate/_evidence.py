"""What attackers see around each suspect: the nearest synthetic and foreign records, and a density ratio.

Several attacks read the same figures, which cost most of an evaluation: they are worked out once while the
inputs live, for the records as released and once more for the positive control's planted copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

from synthgen.evaluate import _attack
from synthgen.evaluate._base import Inputs
from synthgen.evaluate._design import euclidean, ordinal
from synthgen.evaluate._memo import remembered
from synthgen.evaluate._neighbours import k_nearest
from synthgen.evaluate._patients import sample_rows
from synthgen.schema import Schema

MAX_SYNTHETIC = 100_000
MAX_REFERENCE = 50_000
FOREST_ROWS = 50_000
"""Synthetic, and reference, records that the forest learns from."""
NEIGHBOURS = 5
TREES = 60
CONTROL_TREES = 20
"""Trees of the positive control's forest: it sees less than the attack's own, so what it detects stands."""
Figures = TypeVar("Figures")


class Evidence:
    """Figures by suspect record. Sensitive. Its seeds are fixed, so that attacks compare.

    A planted table is named by its number of records: an attack plants the same ones each time, and its
    suspects are the same each time, as `synthgen.evaluate._attack.Suspects` draws them by `SEED`.
    """

    def __init__(self, inputs: Inputs) -> None:
        rng = np.random.default_rng(_attack.SEED)
        self._schema = inputs.schema
        self._names = [column.name for column in inputs.schema.columns]
        self._synthetic = sample_rows(inputs.synthetic.frame, MAX_SYNTHETIC, rng=rng)
        self._reference = sample_rows(inputs.reference.frame, MAX_REFERENCE, rng=rng)
        self._known: dict[tuple[str, int, int], object] = {}

    def distances(self, planted: pd.DataFrame, suspects: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances to the nearest synthetic and to the nearest reference records.

        Args:
            planted: copies of suspects that lie among the synthetic records; maybe none.
            suspects: records of members and others.

        Returns:
            ``(suspect, NEIGHBOURS)`` twice, nearest first, as `euclidean` measures (Gower).
        """

        def of(rows: pd.DataFrame) -> np.ndarray:
            points, base = (euclidean(self._schema, frame, self._names) for frame in (suspects, rows))
            return k_nearest(points, base, NEIGHBOURS)[0]

        close = self._once("close", planted.iloc[:0], suspects, lambda: of(self._synthetic))
        foreign = self._once("foreign", planted.iloc[:0], suspects, lambda: of(self._reference))
        if len(planted) == 0:
            return close, foreign
        more = self._once("planted", planted, suspects, lambda: of(planted))
        return np.sort(np.concatenate([close, more], axis=1), axis=1)[:, :NEIGHBOURS], foreign

    def chance(self, planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        """Return the probability that each suspect's record is synthetic and not of the reference.

        Args:
            planted: as in `distances`; the forest learns that they are synthetic.
            suspects: likewise.

        Returns:
            0 to 1, one a suspect, by extremely randomised trees.
        """
        return self._once("chance", planted, suspects, lambda: self._forest(planted, suspects))

    def _forest(self, planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        rng = np.random.default_rng(_attack.SEED)
        synthetic = sample_rows(self._synthetic, FOREST_ROWS, rng=rng)
        reference = sample_rows(self._reference, FOREST_ROWS, rng=rng)
        seen = pd.concat([synthetic, planted], ignore_index=True) if len(planted) else synthetic
        trees = CONTROL_TREES if len(planted) else TREES
        return probability_synthetic(self._schema, seen, reference, suspects, trees=trees)

    def _once(
        self, name: str, planted: pd.DataFrame, suspects: pd.DataFrame, work: Callable[[], Figures]
    ) -> Figures:
        key = (name, len(planted), len(suspects))
        if key not in self._known:
            self._known[key] = work()
        return self._known[key]  # type: ignore[return-value]  # of the same name, so of the same type


@remembered
def evidence(inputs: Inputs) -> Evidence:
    """Return the evidence of these inputs, one while they live."""
    return Evidence(inputs)


def probability_synthetic(
    schema: Schema,
    synthetic: pd.DataFrame,
    reference: pd.DataFrame,
    suspects: pd.DataFrame,
    *,
    trees: int = TREES,
) -> np.ndarray:
    """Return each suspect's probability of being synthetic, by fully grown trees; classes weigh alike."""
    from sklearn.ensemble import ExtraTreesClassifier

    names = [column.name for column in schema.columns]
    first, second, points = (
        np.nan_to_num(ordinal(schema, part, names)[0], nan=-1.0) for part in (synthetic, reference, suspects)
    )
    model = ExtraTreesClassifier(
        n_estimators=trees, max_features=2, class_weight="balanced", n_jobs=-1, random_state=_attack.SEED
    )
    model.fit(np.concatenate([first, second]), np.repeat([1, 0], [len(first), len(second)]))
    model.n_jobs = 1  # threads would add the trees' votes in any order, and the last bits would differ
    return np.asarray(model.predict_proba(points)[:, 1])
