"""Say plainly where a cohort has too few patients for the epsilon that is asked.

Post-processing of the plan and of declared numbers: it reads no record, so every edition may carry it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from synthgen.privacy.accountant import calibrate_rho, epsilon_of_rho

HALF_WIDTH, DROWNED = 1.96, 0.25
TOLERATED = 0.05
"""Noise of a rate over all training patients (95 %) from which on they are too few: our own choice. A
cohort's description is read to a few percentage points, and every smaller group is noisier."""


def typical_noise(noises: Iterable[float | None]) -> float | None:
    """Return the median standard deviation of the stages that measure, in patients; None if none does."""
    known = [float(noise) for noise in noises if noise is not None]
    return median(known) if known else None


def few_patients(patients: int, noise: float | None, *, epsilon: float, delta: float) -> list[str]:
    """Return a warning if privacy's noise alone hides what a rate over all training patients is.

    Args:
        patients: declared number of patients that train.
        noise: standard deviation of a count's noise, in patients, or None; it is taken for no less than what
            the Gaussian mechanism would add if all of epsilon went to a single count.
        epsilon: of the plan, at ``delta``.
        delta: probability of failure.

    Example:
        >>> few_patients(50_000, 30.0, epsilon=1.0, delta=1e-6)
        []
        >>> few_patients(80, 30.0, epsilon=1.0, delta=1e-6)[0].split(":")[0]
        'TOO FEW PATIENTS for epsilon 1'
    """
    rho = calibrate_rho(epsilon, delta)
    sigma = max(noise or 0.0, 1.0 / math.sqrt(2.0 * rho))
    half = HALF_WIDTH * sigma / patients
    if half <= TOLERATED:
        return []
    needed = math.ceil(HALF_WIDTH * sigma / TOLERATED)
    enough = epsilon_of_rho(rho * (half / TOLERATED) ** 2, delta)
    shown = f"plus or minus {100 * half:.2g} percentage points" if half < 0.5 else "anything from 0 to 100 %"
    holds = "Totals are coarse, small groups and dependences mostly noise."
    if half >= DROWNED:
        holds = "The synthetic records show the schema's form, not the patients'."
    text = (
        f"TOO FEW PATIENTS for epsilon {epsilon:.3g}: with {patients:,} training patients the noise of "
        f"privacy alone moves a rate over all of them by {shown} (95 %), and a smaller group's by more. "
        f"{holds} It takes about {needed:,} training patients at this epsilon"
    )
    return [text + (f", or epsilon {enough:.2g} with these." if enough < 100 else ".")]


def loose_delta(patients: int, delta: float) -> list[str]:
    """Return a warning if delta allows what nobody would call private.

    Args:
        patients: declared number of patients that train.
        delta: probability of failure.

    Example:
        >>> loose_delta(70_000, 1e-6)
        []
        >>> loose_delta(70_000, 1e-4)[0].split(":")[0]
        'DELTA TOO LARGE'
    """
    if delta * patients < 1:
        return []
    return [
        f"DELTA TOO LARGE: {delta:.2g} is not below one over {patients:,} training patients. A "
        "mechanism that publishes some patients' records whole keeps to such a delta. Choose it below "
        f"{0.1 / patients:.1g}."
    ]


def warnings_of(record: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a privacy record. See `few_patients`."""
    plan, claim = record["plan"], record["claim"]
    n_paid = len(plan["parameters"].get("preprocessing", {}).get("columns", ()))
    noise = typical_noise(stage["noise"] for stage in plan["stages"][n_paid:])
    few = few_patients(plan["patients"], noise, epsilon=claim["epsilon"], delta=claim["delta"])
    return few + loose_delta(plan["patients"], claim["delta"])
