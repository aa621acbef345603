"""Rates of a learner's decisions within groups, for the fairness head: sums by patient, then by draw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.features.design import partitions
from synthgen.evaluation.learners.tabular import Predictions

MIN_PATIENTS = 50


def groups_of(inputs: Inputs, found: Predictions) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each group of a protected column, and each crossing of two, with its records.

    The target is no group of its own; empty crossings are left out.
    """
    columns = [name for name in inputs.groups if name != inputs.target]
    for codes, names in partitions(inputs.schema, found.frame, columns):
        for i in np.unique(codes):
            yield names[i], codes == i


def patients(found: Predictions, mask: np.ndarray) -> int:
    """Return how many patients have a masked record."""
    return len(np.unique(found.units[mask]))


def sums(found: Predictions, values: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the weighted sum of a value a record, for each bootstrap draw of patients.

    Args:
        found: predictions, whose records weigh 1/k.
        values: one a record; 0 for records that do not count.
        draws: ``(draw, patient)`` multiplicities.
    """
    by_patient = np.bincount(found.units, weights=values * found.weights, minlength=found.n_units)
    return np.asarray(draws @ by_patient)


def decisions(found: Predictions, label: int, key: tuple[str, str]) -> np.ndarray:
    """Return which records are called positive: as large a share of them as are positive.

    A threshold of one half calls nobody positive where the label is rare.
    """
    chance = found.probability[key][:, label]
    positive = float(found.weights[found.truth == label].sum() / found.weights.sum())
    order = np.argsort(chance, kind="stable")
    below = np.cumsum(found.weights[order]) <= (1 - positive) * found.weights.sum()
    cut = chance[order][below][-1] if below.any() else -np.inf
    return np.asarray(chance > cut)


def named(found: Predictions, inputs: Inputs, label: int, group: str) -> str:
    """Return a group's name, with the label where there are more than two."""
    labels = inputs.schema.column(str(inputs.target)).labels
    return group if len(labels) == 2 else f"{group}: {labels[label]}"
