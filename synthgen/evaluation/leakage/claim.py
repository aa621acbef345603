"""Leakage: the guarantee that the release claims, and how often this holdout was looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.statistics.intervals import exactly

DEFINITION = (
    "Epsilon and delta that are proven for all that the cohort's ledger holds: of one spend its own, of "
    "several the cap. Mu of Gaussian DP from the whole curve, as if all had been planned together."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Return the claim as estimates without error: ``epsilon``, ``delta``, ``mu`` if known, ``looks``.

    Args:
        inputs: see `Inputs`; only the claim is read.
        rng: not used.
    """
    claim = inputs.claim
    if claim is None:
        note = "No privacy guarantee was claimed; that the attacks find little is no evidence of safety."
        return _result({}, status="not-applicable", note=note)
    proven = claim.epsilon if claim.proven is None else claim.proven
    numbers = {"epsilon": proven, "delta": claim.delta, "looks": float(claim.looks)}
    if claim.mu is not None:
        numbers["mu"] = claim.mu
    details = {"odds": math.exp(min(proven, 700.0)), "has_curve": claim.event is not None}
    return _result({key: exactly(value) for key, value in numbers.items()}, details=details)


def expect(declared: Declared) -> MetricResult:
    """Return the claim of the cohort's ledger with this release."""
    if declared.epsilon is None:
        return _result({}, status="not-applicable", note="No privacy guarantee is known.")
    numbers = {"epsilon": declared.epsilon, "looks": float(declared.looks)}
    return _result({key: exactly(value) for key, value in numbers.items()})


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result(
        "leakage_claim", "Claimed guarantee", DEFINITION, estimates, better="lower", reads_real=False, **more
    )
