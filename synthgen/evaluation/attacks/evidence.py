"""What attackers see around each suspect: the nearest synthetic and foreign records, and a density ratio.

Several attacks read the same figures, which cost most of an evaluation: they are worked out once while the
inputs live, for the records as released and once more for the positive control's planted copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pandas as pd

from synthgen.evaluation.attacks import attack
from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.chunked_neighbours import nearest_rows
from synthgen.evaluation.features.design import euclidean, ordinal
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.patients import sample_rows
from synthgen.schema.schema import Schema

MAX_REFERENCE = 50_000
FOREST_ROWS = 50_000
"""Reference records that the forest learns from, and synthetic ones beside those nearest to suspects."""
NEIGHBOURS = 5
TREES = 60
CONTROL_TREES = 20
"""Trees of the positive control's forest: it sees less than the attack's own, so what it detects stands."""
Figures = TypeVar("Figures")


class Evidence:
    """Figures by suspect record. Sensitive. Its seeds are fixed, so that attacks compare.

    A planted table is named by its number of records: an attack plants the same ones each time, and its
    suspects are the same each time, as `synthgen.evaluation.attacks.attack.Suspects` draws them by `SEED`.
    """

    def __init__(self, inputs: Inputs) -> None:
        rng = np.random.default_rng(attack.SEED)
        self._schema = inputs.schema
        self._names = [column.name for column in inputs.schema.columns]
        self._synthetic = inputs.synthetic.frame
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
        nobody = planted.iloc[:0]
        close = self._once("close", nobody, suspects, lambda: self._nearest(suspects, self._synthetic))[0]
        foreign = self._once("foreign", nobody, suspects, lambda: self._nearest(suspects, self._reference))[0]
        if len(planted) == 0:
            return close, foreign
        more = self._once("planted", planted, suspects, lambda: self._nearest(suspects, planted))[0]
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

    def _nearest(self, suspects: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the distances to, and places of, each suspect's nearest rows, of all rows."""
        points = euclidean(self._schema, suspects, self._names)
        return nearest_rows(self._schema, points, rows, self._names, NEIGHBOURS)

    def _around_suspects(self, suspects: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
        """Return the synthetic rows that a forest learns from: all, or those near suspects and a sample.

        No row near a suspect is left out, whoever is a member; beyond, a sample tells where rows are dense.
        """
        if len(self._synthetic) <= FOREST_ROWS:
            return self._synthetic
        nobody = suspects.iloc[:0]
        nearest = self._once("close", nobody, suspects, lambda: self._nearest(suspects, self._synthetic))[1]
        chosen = np.zeros(len(self._synthetic), dtype=bool)
        chosen[nearest[:, 0]] = True
        n_others = max(FOREST_ROWS - int(chosen.sum()), FOREST_ROWS // 2)
        chosen[rng.permutation(np.flatnonzero(~chosen))[:n_others]] = True
        return self._synthetic.iloc[np.flatnonzero(chosen)].reset_index(drop=True)

    def _forest(self, planted: pd.DataFrame, suspects: pd.DataFrame) -> np.ndarray:
        rng = np.random.default_rng(attack.SEED)
        synthetic = self._around_suspects(suspects, rng)
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
        n_estimators=trees, max_features=2, class_weight="balanced", n_jobs=-1, random_state=attack.SEED
    )
    model.fit(np.concatenate([first, second]), np.repeat([1, 0], [len(first), len(second)]))
    model.n_jobs = 1  # threads would add the trees' votes in any order, and the last bits would differ
    return np.asarray(model.predict_proba(points)[:, 1])
