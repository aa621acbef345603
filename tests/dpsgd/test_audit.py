"""Test 18: an attack on whole trainings, on neighbours that are as bad as can be, against the claimed curve.

The canary's gradient is clipped to C in a direction of its own, all others' are zero, and the attacker sees
every released gradient. The claim is violated if the lower bound of the true positive rate is above what the
claimed trade-off curve allows at the upper bound of the false positive rate (Clopper and Pearson, 97.5 %
each; thresholds fixed beforehand). Both bounds must fail together, so a right engine whose curve is tight is
blamed in 0.3 % of audits. With 1,000 trainings an arm half the noise is caught with power 0.98 at
epsilon 1 and 1.00 at epsilon 4; the defects beyond that with power 1.00. The default tests use fewer
trainings, bounds of 99.9 % and the grossest defects; they prove that the audit runs.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.patient_sampling import PatientSampler
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.privacy.accountant import tradeoff
from synthgen.privacy.noise import NoiseSource
from tests.faults.engine_table import noise_times, rows_as_units, swap
from tests.support.dpsgd import C, Linear, patients, released

MANY, FEW = 0.975, 0.999
HALF = swap(NoiseSource, "gaussian", noise_times(0.5))
NONE = swap(NoiseSource, "gaussian", noise_times(1e-3))
COPIES = swap(UnitGradients, "clipped_sum", rows_as_units)


def full_batch(epsilon: float, rows: int = 1) -> TrainingPlan:
    """One step of all patients: the Gaussian mechanism itself, whose curve the attack meets."""
    return TrainingPlan.calibrate(
        patients=4,
        expected_batch_size=4,
        steps=1,
        epsilon=epsilon,
        delta=1e-5,
        max_grad_norm=C,
        augmult=rows,
    )


def sampled(epsilon: float) -> TrainingPlan:
    """Twenty steps of a twentieth of the patients: most of the claim rests on secret masks."""
    return TrainingPlan.calibrate(
        patients=100, expected_batch_size=5, steps=20, epsilon=epsilon, delta=1e-5, max_grad_norm=C
    )


def attacked(plan: TrainingPlan, member: bool, *, known_masks: bool) -> float:
    """Return the attacker's score of one training."""
    masks: list[bool] = []
    keep = PatientSampler.draw

    def draw(sampler: PatientSampler):
        chosen = keep(sampler)
        masks.append(bool((chosen == 0).any()))
        return chosen

    data = patients(1, value=1e6) if member else patients(1, value=0.0)
    PatientSampler.draw = draw
    try:
        seen = released(plan, Linear(plan), data, NoiseSource.system())
    finally:
        PatientSampler.draw = keep
    x = np.array([float(g[0]) for g in seen]) * plan.expected_batch_size / C
    if known_masks:
        return float(((2 * x - 1) * np.array(masks)).sum())
    q, sigma = plan.sample_rate, plan.noise_multiplier
    return float(np.log1p(q * np.expm1((2 * x - 1) / (2 * sigma**2))).sum())


def violated(plan: TrainingPlan, n: int, *, known_masks: bool = False, confidence: float = MANY) -> bool:
    """Attack n trainings with the canary and n without; return whether the claim is violated.

    Few trainings are cut in the middle between the two arms as a gross defect would leave them, the canary's
    rows each with a norm of their own: 60 an arm then catch no noise, and 32 rows, with probability 1 (to
    1e-12).
    """
    threshold = 0.2 if known_masks else 0.0
    if not known_masks and plan.sample_rate == 1:
        # Many: half of those without are called members. Few: x > rows / 2.
        cut = 0.0 if confidence == MANY else plan.augmult / 2
        threshold = (2 * cut - 1) / (2 * plan.noise_multiplier**2)
    guesses = [
        sum(attacked(plan, member, known_masks=known_masks) > threshold for _ in range(n))
        for member in (False, True)
    ]
    false, true = guesses
    upper = 1.0 if false == n else stats.beta.ppf(confidence, false + 1, n - false)
    lower = 0.0 if true == 0 else stats.beta.ppf(1 - confidence, true, n - true + 1)
    return bool(lower > tradeoff([plan.event], float(upper)))


@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_18_no_violation_in_a_few_trainings_and_gross_defects_are_caught(epsilon):
    assert not violated(full_batch(epsilon), 60, confidence=FEW)
    with NONE():
        assert violated(full_batch(epsilon), 60, confidence=FEW)
    with COPIES():
        assert violated(full_batch(epsilon, rows=32), 60, confidence=FEW)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_18_two_thousand_trainings_do_not_violate_the_claim(epsilon):
    assert not violated(full_batch(epsilon), 1000)
    assert not violated(sampled(epsilon), 1000)


@pytest.mark.slow
@pytest.mark.parametrize("epsilon", [1.0, 4.0])
def test_18_two_thousand_trainings_catch_each_defect(epsilon):
    with HALF():
        assert violated(full_batch(epsilon), 1000)
    with NONE():
        assert violated(full_batch(epsilon), 1000)
    with COPIES():
        assert violated(full_batch(epsilon, rows=8), 1000)
    assert violated(sampled(epsilon), 1000, known_masks=True)
