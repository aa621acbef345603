"""What models of real records expect of each label, on synthetic records and on real ones they have not seen.

One model a fifth of the real records, learnt from the other four fifths, is shown its fifth and all synthetic
records. Given the model, a fifth and an independent sample are drawn from the same patients, so that every
mean over the one has the expectation of the other, whatever the model has learnt: differences have
expectation 0.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluation.base import Inputs
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import euclidean, ordinal
from synthgen.evaluation.memo import remembered
from synthgen.evaluation.statistics.pooled_samples import SEED, codes_of, pooled
from synthgen.schema.schema import Column, Schema

FIFTHS = 5
MIN_PATIENTS = 50
LEAST_CHANCE = 0.03
"""Least probability that a model may give a label, so that no single record decides."""
TREES = 60
MANY_LABELS = 30
"""Labels from which on an outcome is no longer asked of models, which would learn one model a label."""


@dataclass(frozen=True)
class Scores:
    """What each record says of one label. Sensitive.

    Attributes:
        column: the label's column.
        real: score of each real record, NaN where the label is missing; `signed` of the real records
        likewise. synthetic: score of each synthetic record, mean over models; of expectation `real` if
        independent. signed: label less what was expected: of a category of two labels, of its last; of a
        number in
            deviations; ``(real, synthetic)``.
        information: mean change of the score by a unit of the share that was swapped.
    """

    column: Column
    real: np.ndarray
    synthetic: np.ndarray
    signed: tuple[np.ndarray, np.ndarray]
    information: float


def labels_of(inputs: Inputs | Declared) -> list[str]:
    """Return the outcomes: the target, and all columns with the role of a label."""
    names = [] if inputs.target is None else [inputs.target]
    known = {column.name for column in inputs.schema.columns}
    return [name for name in dict.fromkeys([*names, *inputs.schema.with_role("label")]) if name in known]


@remembered
def scores(inputs: Inputs) -> dict[str, Scores]:
    """Return the scores of each label that has patients enough, learnt once while the inputs live."""
    both = pooled(inputs)
    found = {}
    for name in labels_of(inputs):
        column = inputs.schema.column(name)
        features = [other.name for other in inputs.schema.columns if other.name != name]
        if not features or len(column.labels) > MANY_LABELS:
            continue
        truths = [codes_of(column, frame[name]) for frame in (both.real, both.synthetic)]
        enough = both.fewest >= MIN_PATIENTS
        if column.kind == "category":
            counts = np.bincount(truths[0][~np.isnan(truths[0])].astype(int), minlength=len(column.labels))
            enough = enough and np.sort(counts)[-2] >= MIN_PATIENTS if len(counts) > 1 else False
        if enough and min((~np.isnan(truth)).sum() for truth in truths) >= MIN_PATIENTS:
            found[name] = _scores(inputs.schema, column, features, (both.real, both.synthetic), truths)
    return found


def _scores(
    schema: Schema,
    column: Column,
    features: list[str],
    frames: tuple[pd.DataFrame, pd.DataFrame],
    truths: list[np.ndarray],
) -> Scores:
    parts = np.random.default_rng(SEED).permutation(len(frames[0])) % FIFTHS
    known = ~np.isnan(truths[0])
    shapes = [
        (euclidean(schema, frame, features), np.nan_to_num(ordinal(schema, frame, features)[0], nan=-1.0))
        for frame in frames
    ]
    numeric = column.kind != "category"
    real, signed = np.full((2, len(truths[0])), np.nan)
    synthetic, drawn = np.zeros((2, len(truths[1])))
    information = []
    for k in range(FIFTHS):
        inside, others = known & (parts == k), known & (parts != k)
        fit = _regress if numeric else _classify
        predict = fit([shape[others] for shape in shapes[0]], truths[0][others], len(column.labels))
        for rows, truth, into in (
            (inside, truths[0], None),
            (np.ones(len(truths[1]), dtype=bool), truths[1], synthetic),
        ):
            expected = predict([shape[rows] for shape in shapes[0 if into is None else 1]])
            score, residual, slope = (_of_number if numeric else _of_label)(
                expected, truth[rows], truths[0][others]
            )
            if into is None:
                real[inside], signed[inside] = score, residual
                information.append(slope)
            else:
                synthetic += score / FIFTHS
                drawn += residual / FIFTHS
    return Scores(column, real, synthetic, (signed, drawn), float(np.mean(information)))


def _of_label(
    expected: np.ndarray, truth: np.ndarray, learnt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the score of swapped labels, label less expectation, and the information.

    If a share a of labels is exchanged for another, each as likely, a label of probability p has the
    probability (1 - a) p + a (1 - p) / (k - 1). The score is the derivative of its logarithm by a, at 0.
    """
    n_labels = expected.shape[1]
    chance = np.clip(expected, LEAST_CHANCE, None)
    chance /= chance.sum(axis=1, keepdims=True)
    ratio = ((1 - chance) / (n_labels - 1) - chance) / chance
    gone = np.isnan(truth)
    place = np.nan_to_num(truth).astype(int)
    score = ratio[np.arange(len(truth)), place]
    last = n_labels - 1 if n_labels == 2 else int(np.bincount(learnt.astype(int)).argmax())
    residual = (place == last) - expected[:, last]
    information = float((chance * ratio**2).sum(axis=1).mean())
    return np.where(gone, np.nan, score), np.where(gone, np.nan, residual), information


def _of_number(
    expected: np.ndarray, truth: np.ndarray, learnt: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the score of exchanged numbers, number less expectation in deviations, and the information.

    If a share a of the numbers is drawn from other records, the mean product of a number and its expectation
    falls by a times the expectation's variance.
    """
    scale = float(learnt.std()) or 1.0
    residual = (truth - expected) / scale
    about = (expected - learnt.mean()) / scale
    return -residual * about, residual, max(float((about**2).mean()), 1e-9)


Shapes = Sequence[np.ndarray]
"""Records as a regression takes them, and as trees do."""
Predict = Callable[[Shapes], np.ndarray]


def _classify(shapes: Shapes, truth: np.ndarray, n_labels: int) -> Predict:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    models = (
        LogisticRegression(max_iter=200),
        HistGradientBoostingClassifier(
            max_iter=TREES, max_leaf_nodes=8, learning_rate=0.08, early_stopping=False, random_state=SEED
        ),
    )
    return _mean_of(models, shapes, truth.astype(int), n_labels)


def _regress(shapes: Shapes, truth: np.ndarray, n_labels: int) -> Predict:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.linear_model import Ridge

    models = (
        Ridge(alpha=1.0),
        HistGradientBoostingRegressor(
            max_iter=TREES, max_leaf_nodes=8, learning_rate=0.08, early_stopping=False, random_state=SEED
        ),
    )
    return _mean_of(models, shapes, truth, 0)


def _mean_of(models: Sequence[Any], shapes: Shapes, truth: np.ndarray, n_labels: int) -> Predict:
    """Fit both models, and return what gives the mean of their expectations."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with sklearn

    with warnings.catch_warnings(), threadpool_limits(limits=1):
        warnings.simplefilter("ignore")  # iterations are capped on purpose
        for model, shape in zip(models, shapes, strict=True):
            model.fit(shape, truth)

    def predict(tests: Shapes) -> np.ndarray:
        with threadpool_limits(limits=1):
            if not n_labels:
                drawn = [model.predict(test) for model, test in zip(models, tests, strict=True)]
                return np.asarray(np.mean(drawn, axis=0))
            found = np.zeros((len(tests[0]), n_labels))
            for model, test in zip(models, tests, strict=True):
                found[:, model.classes_] += model.predict_proba(test) / len(models)
            return found

    return predict
