"""The numbers that fix what training costs: public, made before any record is read.

One logical step draws each patient with the same chance, clips each patient's averaged gradient once, adds
noise once, and divides by a public constant. So T steps cost ``T`` compositions of a Poisson-sampled
Gaussian, whatever the physical batches, the number of processes, or the records and noise draws a patient.

What is left out on purpose, because no accountant here proves it: clipping norms that follow the data,
weighted or shuffled sampling, and the "gdp" approximation, whose epsilon lies below the true one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dp_accounting import dp_event

from synthgen.privacy.accountant import calibrate_noise, get_epsilon


@dataclass(frozen=True)
class TrainingPlan:
    """All that fixes the guarantee of one training.

    Guarantee:
        Training that keeps to the plan costs `event`, for neighbours that add or remove one patient.

    Attributes:
        sample_rate: chance of each patient in each step.
        steps: number of noised steps; fixed, so that nothing is learnt from when training ends.
        noise_multiplier: standard deviation of the noise over ``max_grad_norm``.
        max_grad_norm: L2 norm that a patient's gradient is clipped to.
        expected_batch_size: what the noised sum is divided by: rate times the declared number of patients.
        augmult: rows of each patient in a step, records times noise draws; averaged before the clip.
        records_per_unit: records of a patient in a step, drawn with replacement.
    """

    sample_rate: float
    steps: int
    noise_multiplier: float
    max_grad_norm: float
    expected_batch_size: float
    augmult: int = 1
    records_per_unit: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: one is out of its range.
        """
        for name in ("noise_multiplier", "max_grad_norm", "expected_batch_size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Expected {name} > 0, got {value}.")
        if isinstance(self.sample_rate, bool) or not isinstance(self.sample_rate, float | int):
            raise ValueError(
                "Expected one sampling rate for all patients; weighted sampling has no proof here."
            )
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"Expected a sampling rate above 0 and at most 1, got {self.sample_rate}.")
        if min(self.steps, self.augmult, self.records_per_unit) < 1:
            raise ValueError("Expected at least one step, one row and one record.")
        if self.augmult % self.records_per_unit:
            raise ValueError(
                f"Expected augmult as a multiple of records_per_unit, got {self.augmult} and "
                f"{self.records_per_unit}."
            )

    @property
    def event(self) -> dp_event.DpEvent:
        """What all steps cost."""
        return self.event_of(self.steps)

    def event_of(self, steps: int) -> dp_event.DpEvent:
        """Return what a number of steps costs."""
        step = dp_event.PoissonSampledDpEvent(
            self.sample_rate, dp_event.GaussianDpEvent(self.noise_multiplier)
        )
        return dp_event.SelfComposedDpEvent(step, steps)

    def epsilon(self, delta: float) -> float:
        """Return the epsilon of all steps."""
        return get_epsilon([self.event], delta)

    @classmethod
    def calibrate(
        cls,
        *,
        patients: int,
        expected_batch_size: float,
        steps: int,
        epsilon: float,
        delta: float,
        max_grad_norm: float = 1.0,
        augmult: int = 1,
        records_per_unit: int = 1,
        beside: Sequence[dp_event.DpEvent] = (),
    ) -> TrainingPlan:
        """Return the plan with the smallest noise that costs at most ``epsilon`` at ``delta``.

        Args:
            patients: declared, public number of patients; never counted from the data.
            expected_batch_size: patients that a step draws on average.
            steps: number of noised steps.
            epsilon: what training may cost, with what stands beside it.
            delta: probability of failure.
            max_grad_norm: L2 norm that a patient's gradient is clipped to.
            augmult: rows of each patient in a step.
            records_per_unit: records of a patient in a step.
            beside: what else the same epsilon pays for.

        Raises:
            ValueError: a number is out of its range, or no noise is enough.

        Example:
            >>> plan = TrainingPlan.calibrate(
            ...     patients=1000, expected_batch_size=100, steps=20, epsilon=1.0, delta=1e-5
            ... )
            >>> plan.sample_rate, round(plan.noise_multiplier, 1), plan.epsilon(1e-5) <= 1.0
            (0.1, 2.1, True)
        """
        if patients < 1:
            raise ValueError(f"Expected at least one patient, got {patients}.")
        rate = min(1.0, expected_batch_size / patients)

        def made(noise: float) -> TrainingPlan:
            return cls(rate, steps, noise, max_grad_norm, expected_batch_size, augmult, records_per_unit)

        def event(noise: float) -> dp_event.DpEvent:
            steps = made(noise).event
            return dp_event.ComposedDpEvent([*beside, steps]) if beside else steps

        return made(calibrate_noise(event, epsilon=epsilon, delta=delta))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingPlan:
        """Return the plan that `to_json` wrote.

        Raises:
            ValueError: a number is missing, unknown, or out of its range.
        """
        try:
            return cls(**values)
        except TypeError:
            raise ValueError(f"Expected a plan's numbers, got the keys {sorted(values)}.") from None
