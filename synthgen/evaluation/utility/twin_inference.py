"""Utility: do intervals from a twin's records hold a truth that is known?

`utility_inference` compares with real patients, whose truth nobody knows, and stays with the steward. This
asks twins of simulated patients, so its answer may be published: it stamps the release.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.statistics.intervals import insufficient, not_applicable, wilson

TITLE = "Valid for inference, on simulated twins?"
DEFINITION = (
    "Logistic regression of known coefficients, fitted to records of twins of the same plan, whose simulated"
    " patients follow it. coverage: share of coefficients inside 95 % intervals widened by sqrt(1 + m/n), for"
    " m records from n patients (Raab, Nowok and Dibben 2017); naive: as if the records were patients."
    " Wilson's intervals over coefficients, as if independent. Decruyenaere et al. (2023), arXiv:2312.07837."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Return ``coverage`` and ``naive``, 0 to 1; ``details["stamp"]``.

    Args:
        inputs: see `Inputs`; only what twins showed is read.
        rng: not used.
    """
    found = inputs.inference
    if found is None:
        note = "There is no generator here to fit a twin of."
        return _result({"coverage": not_applicable()}, status="not-applicable", note=note)
    if found.coverage is None or found.naive is None:
        return _result({"coverage": insufficient(0)}, status="insufficient", note=found.reason)
    n = found.coefficients
    estimates = {
        key: Estimate(share, *wilson(share * n, n), n=n)
        for key, share in (("coverage", found.coverage), ("naive", found.naive))
    }
    return _result(estimates, details={**found.to_json(), "stamp": found.stamp})


def _result(estimates: dict[str, Estimate], **more: Any) -> MetricResult:
    return result("utility_twin_inference", TITLE, DEFINITION, estimates, reads_real=False, **more)
