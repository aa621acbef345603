"""Fit three learners on synthetic and on real records, and score one real holdout with both.

The real arm draws as many records as the synthetic arm has, one of each of as many random patients,
so both arms learn from the same amount of what a synthetic row is. Fits use a fixed seed and are
remembered while the inputs live, so that two metrics share them and stay pure functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Estimate, Inputs
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import euclidean, ordinal
from synthgen.evaluation.memo import remembered as remembered
from synthgen.evaluation.statistics.auc import weighted_auc
from synthgen.evaluation.statistics.intervals import from_draws
from synthgen.evaluation.statistics.patients import one_record_each, sample_rows
from synthgen.schema.schema import Schema

MAX_ROWS = 30_000
MANY_ROWS = 10_000
"""Rows from which on a fit gains by more than one thread; below, threads mostly wait for each other."""
MIN_PATIENTS = 50
"""Positives and negatives, in patients, below which an AUROC says nothing (facts: P)."""
MAX_TREES = 300
FIFTHS = 5
TREE_ROWS = 10_000
"""Records that each tree of a forest is grown on, drawn with replacement; a forest of 100 sees all."""
SEED = 7
ARMS = ("real", "synthetic")
LEARNERS = ("logistic", "boosting", "forest")


@dataclass(frozen=True)
class Predictions:
    """What both arms say of the holdout. Sensitive.

    Attributes:
        frame: holdout records whose label is known.
        truth: label number of each record.
        units: patient number of each record.
        n_units: patients.
        weights: 1/k for each record.
        probability: ``(record, label)`` by (learner, arm).
        n_rows: records that each arm was fitted on.
    """

    frame: pd.DataFrame
    truth: np.ndarray
    units: np.ndarray
    n_units: int
    weights: np.ndarray
    probability: Mapping[tuple[str, str], np.ndarray]
    n_rows: int

    def classes(self, mask: np.ndarray) -> list[int]:
        """Return the labels with enough positive and negative patients among the masked records.

        A binary label is scored once, as its last category.
        """
        n_labels = next(iter(self.probability.values())).shape[1]
        candidates = [1] if n_labels == 2 else range(n_labels)
        return [label for label in candidates if self.cell(mask, label) >= MIN_PATIENTS]

    def cell(self, mask: np.ndarray, label: int) -> int:
        """Return the patients with the label, or those with another if they are fewer."""
        positive = mask & (self.truth == label)
        negative = mask & (self.truth != label)
        return min(len(np.unique(self.units[positive])), len(np.unique(self.units[negative])))

    def auc(
        self,
        draws: np.ndarray,
        mask: np.ndarray,
        *,
        weighted: bool = True,
        labels: Sequence[int] | None = None,
    ) -> dict[tuple[str, str], np.ndarray]:
        """Return the macro one-vs-rest AUROC by (learner, arm), for each bootstrap draw.

        Args:
            draws: ``(draw, patient)`` multiplicities.
            mask: records to score.
            weighted: each record weighs 1/k; otherwise 1.
            labels: whose mean it is; those of `classes` if None.
        """
        base = self.weights[mask] if weighted else np.ones(int(mask.sum()))
        weights = draws[:, self.units[mask]] * base
        truth, labels = self.truth[mask], self.classes(mask) if labels is None else labels
        return {
            key: np.mean([weighted_auc(p[mask][:, c], truth == c, weights) for c in labels], axis=0)
            for key, p in self.probability.items()
        }

    def accuracy(self, draws: np.ndarray, mask: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
        """Return the share of masked records whose likeliest label is right, as `auc` does."""
        weights = draws[:, self.units[mask]] * self.weights[mask]
        total, truth = weights.sum(axis=1), self.truth[mask]
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                key: weights @ (p[mask].argmax(axis=1) == truth) / total
                for key, p in self.probability.items()
            }


def applicable(inputs: Inputs | Declared) -> str:
    """Return why there is no train-synthetic-test-real comparison, or an empty text."""
    if inputs.target is None:
        return "No target column was named, so downstream utility was not measured."
    if inputs.schema.column(inputs.target).kind != "category":
        return "The target is a number; the comparison is defined for categories."
    if len(inputs.schema.columns) < 2:
        return "There is no column to predict the target from."
    return ""


def estimates_of(auc: Mapping[tuple[str, str], np.ndarray], n: int) -> dict[str, Estimate]:
    """Return each learner's AUC in both arms and their gap, and the mean gap.

    Args:
        auc: draws by (learner, arm).
        n: patients of the holdout.
    """
    gaps = gaps_of(auc)
    learners = list(gaps)
    estimates: dict[str, Estimate] = {}
    for learner in learners:
        estimates[f"{learner}.real"] = from_draws(auc[learner, "real"], n=n)
        estimates[f"{learner}.synthetic"] = from_draws(auc[learner, "synthetic"], n=n)
        estimates[f"{learner}.gap"] = from_draws(gaps[learner], n=n)
    estimates["mean.gap"] = from_draws(np.mean(list(gaps.values()), axis=0), n=n)
    return estimates


def gaps_of(figures: Mapping[tuple[str, str], np.ndarray]) -> dict[str, np.ndarray]:
    """Return each learner's synthetic minus real figure, by draw."""
    learners = [learner for learner, arm in figures if arm == "real"]
    return {learner: figures[learner, "synthetic"] - figures[learner, "real"] for learner in learners}


@remembered
def predictions(inputs: Inputs) -> Predictions:
    """Return both arms' predictions, fitted once while these inputs live."""
    arms = training(inputs)
    return predicted(inputs, arms, n_rows=min(len(frame) for frame in arms.values()))


@remembered
def fifths(inputs: Inputs) -> tuple[Predictions, ...]:
    """Return the predictions of learners that were fitted on disjoint fifths of both arms' records, once.

    They differ from each other by which records were drawn alone: five sampling seeds of each arm.
    """
    rng = np.random.default_rng(SEED)
    arms = training(inputs)
    parts = {arm: rng.permutation(len(frame)) % FIFTHS for arm, frame in arms.items()}
    drawn = (
        {arm: frame[parts[arm] == k].reset_index(drop=True) for arm, frame in arms.items()}
        for k in range(FIFTHS)
    )
    return tuple(predicted(inputs, arm, n_rows=min(len(f) for f in arm.values())) for arm in drawn)


def training(inputs: Inputs) -> dict[str, pd.DataFrame]:
    """Return as many real as synthetic records of known label: what the arms learn from."""
    target, rng = str(inputs.target), np.random.default_rng(SEED)
    train = inputs.train.select(_known(inputs.train.frame, target))
    synthetic = inputs.synthetic.frame[_known(inputs.synthetic.frame, target)].reset_index(drop=True)
    rows = min(len(synthetic), train.unit_codes()[1], MAX_ROWS)
    return {"real": one_record_each(train, rows, rng=rng), "synthetic": sample_rows(synthetic, rows, rng=rng)}


def predicted(inputs: Inputs, arms: Mapping[str, pd.DataFrame], *, n_rows: int) -> Predictions:
    """Return what every learner says of the holdout after learning from each arm.

    Args:
        inputs: see `Inputs`.
        arms: training records by arm.
        n_rows: what the answer states as their number.
    """
    target = str(inputs.target)
    holdout = inputs.holdout.select(_known(inputs.holdout.frame, target))
    units, n_units = holdout.unit_codes()
    found = {
        (learner, arm): fit(inputs.schema, target, frame, holdout.frame, len(frame))
        for learner, fit in _FITS.items()
        for arm, frame in arms.items()
    }
    return Predictions(
        frame=holdout.frame,
        truth=_labels(inputs.schema, target, holdout.frame),
        units=units,
        n_units=n_units,
        weights=holdout.unit_weights(),
        probability=found,
        n_rows=n_rows,
    )


def _known(frame: pd.DataFrame, target: str) -> np.ndarray:
    return np.asarray(frame[target].notna(), dtype=bool)


def _labels(schema: Schema, target: str, frame: pd.DataFrame) -> np.ndarray:
    return ordinal(schema, frame, [target])[0][:, 0].astype(np.int64)


def _features(schema: Schema, target: str) -> list[str]:
    return [column.name for column in schema.columns if column.name != target]


def spread(model: Any, matrix: np.ndarray, truth: np.ndarray, test: np.ndarray, n_labels: int) -> np.ndarray:
    """Fit and return ``(record, label)`` probabilities; labels that the arm never saw get 0.

    An arm of one label predicts it always, which scores 0.5.
    """
    spread = np.zeros((len(test), n_labels))
    seen = np.unique(truth)
    if len(seen) < 2 or len(test) == 0:
        spread[:, seen] = 1.0
        return spread
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with sklearn

    threads = 1 if len(matrix) < MANY_ROWS else None
    with warnings.catch_warnings(), threadpool_limits(limits=threads):
        warnings.simplefilter("ignore")  # iterations are capped on purpose, and sklearn says so
        model.fit(matrix, truth)
    if hasattr(model, "n_jobs"):
        model.n_jobs = 1  # threads would add the trees' votes in any order, and the last bits would differ
    spread[:, seen] = model.predict_proba(test)
    return spread


def _logistic(
    schema: Schema, target: str, frame: pd.DataFrame, holdout: pd.DataFrame, rows: int
) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression

    names = _features(schema, target)
    model = LogisticRegression(max_iter=200)
    train, test = euclidean(schema, frame, names), euclidean(schema, holdout, names)
    return spread(model, train, _labels(schema, target, frame), test, len(schema.column(target).labels))


def _boosting(
    schema: Schema, target: str, frame: pd.DataFrame, holdout: pd.DataFrame, rows: int
) -> np.ndarray:
    from sklearn.ensemble import HistGradientBoostingClassifier

    names = _features(schema, target)
    train, categories = ordinal(schema, frame, names)
    narrow = categories & np.array([len(schema.column(name).labels) <= 255 for name in names], dtype=bool)
    n_labels = len(schema.column(target).labels)
    rounds = 100 if n_labels <= 2 else max(10, MAX_TREES // n_labels)  # a round grows a tree a label
    model = HistGradientBoostingClassifier(
        max_iter=rounds,
        max_leaf_nodes=15,
        categorical_features=narrow,
        early_stopping=False,
        random_state=SEED,
    )
    test = ordinal(schema, holdout, names)[0]
    return spread(model, train, _labels(schema, target, frame), test, n_labels)


def _forest(schema: Schema, target: str, frame: pd.DataFrame, holdout: pd.DataFrame, rows: int) -> np.ndarray:
    from sklearn.ensemble import RandomForestClassifier

    names = _features(schema, target)
    train, test = (np.nan_to_num(ordinal(schema, part, names)[0], nan=-1.0) for part in (frame, holdout))
    leaf = max(5, rows // 2000)
    model = RandomForestClassifier(
        n_estimators=100,
        min_samples_leaf=leaf,
        max_samples=min(len(frame), TREE_ROWS),
        n_jobs=1 if rows < MANY_ROWS else -1,
        random_state=SEED,
    )
    return spread(model, train, _labels(schema, target, frame), test, len(schema.column(target).labels))


_FITS: dict[str, Callable[[Schema, str, pd.DataFrame, pd.DataFrame, int], np.ndarray]] = {
    "logistic": _logistic,
    "boosting": _boosting,
    "forest": _forest,
}
