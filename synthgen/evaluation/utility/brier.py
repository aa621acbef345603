"""Utility: are the probabilities as good, of a model that was trained on synthetic records?

A model may rank patients well and still be wrong about how likely an outcome is; the AUROC does not
see that, and a doctor does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.expected_power import NOISE, Declared, around, enough, spread
from synthgen.evaluation.learners.tabular import LEARNERS, Predictions, applicable, predictions
from synthgen.evaluation.statistics.intervals import from_draws, insufficient
from synthgen.evaluation.statistics.patients import multiplicities

DRAWS = 200
MIN_PATIENTS = 50
DEFINITION = (
    "Half the squared distance between the predicted probabilities and the outcome, summed over labels (of"
    " two labels: (p - y)^2), mean over real holdout patients; trained on synthetic minus trained on as many"
    " real records; paired patient bootstrap. Brier (1950), Monthly Weather Review 78:1."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare the Brier scores of learners trained on synthetic and on real records.

    Args:
        inputs: see `Inputs`; the fits are those of ``utility_tstr``; a patient's k records weigh 1/k each.
        rng: draws the patient bootstrap.

    Returns:
        ``<learner>.real``, ``<learner>.synthetic`` (0 to 1, 0 is best), ``<learner>.gap``, ``mean.gap``
        (-1 to 1, above 0 if synthetic training costs).
    """
    why = applicable(inputs)
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    found = predictions(inputs)
    if found.n_rows < 2 or found.n_units < MIN_PATIENTS:
        keys = [f"{learner}.{part}" for learner in LEARNERS for part in ("real", "synthetic", "gap")]
        empty = {key: insufficient(found.n_units) for key in [*keys, "mean.gap"]}
        return _result(empty, {}, status="insufficient", note="Too few patients with a known outcome.")
    draws = multiplicities(found.n_units, DRAWS, rng=rng)
    losses = {key: squared_loss(p, found.truth) for key, p in found.probability.items()}
    means = {key: _by_draw(found, loss, draws) for key, loss in losses.items()}
    details = {
        "training_rows": found.n_rows,
        "target": inputs.target,
        "unweighted": {f"{learner}.{arm}": float(loss.mean()) for (learner, arm), loss in losses.items()},
    }
    return _result(_estimates(means, found.n_units), details)


def expect(declared: Declared) -> MetricResult:
    """Return what so few patients would leave of a perfect generator's figures."""
    why = applicable(declared)
    if why:
        return _result({}, {}, status="not-applicable", note=why)
    n = declared.holdout
    gap = enough(around(0.0, spread(n, NOISE["brier"]), n), n, MIN_PATIENTS)
    note = "" if n >= MIN_PATIENTS else "Too few patients with a known outcome."
    return _result({"mean.gap": gap}, {}, status=gap.status, note=note)


def squared_loss(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return each record's half squared distance from its label.

    Args:
        probability: ``(record, label)``.
        truth: label number of each record.

    Example:
        >>> squared_loss(np.array([[0.25, 0.75]]), np.array([1]))
        array([0.0625])
    """
    outcome = np.zeros_like(probability)
    outcome[np.arange(len(truth)), truth] = 1.0
    return np.asarray(((probability - outcome) ** 2).sum(axis=1) / 2)


def _by_draw(found: Predictions, loss: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the mean over patients for each bootstrap draw."""
    by_patient = np.bincount(found.units, weights=loss * found.weights, minlength=found.n_units)
    return np.asarray(draws @ by_patient / draws.sum(axis=1))


def _estimates(means: dict[tuple[str, str], np.ndarray], n: int) -> dict[str, Estimate]:
    estimates: dict[str, Estimate] = {}
    gaps = {learner: means[learner, "synthetic"] - means[learner, "real"] for learner in LEARNERS}
    for learner in LEARNERS:
        estimates[f"{learner}.real"] = from_draws(means[learner, "real"], n=n)
        estimates[f"{learner}.synthetic"] = from_draws(means[learner, "synthetic"], n=n)
        estimates[f"{learner}.gap"] = from_draws(gaps[learner], n=n)
    estimates["mean.gap"] = from_draws(np.mean(list(gaps.values()), axis=0), n=n)
    return estimates


def _result(
    estimates: dict[str, Estimate], details: dict[str, Any], *, status: Status = "ok", note: str = ""
) -> MetricResult:
    return MetricResult(
        name="utility_brier",
        head="utility",
        title="Brier score, trained on synthetic",
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=DEFINITION,
        details=details,
        status=status,
        note=note,
    )
