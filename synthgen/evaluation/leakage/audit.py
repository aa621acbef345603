"""Leakage: what canaries in a twin fit of the same plan prove against the guarantee that is claimed.

The twin's cohort is simulated, so no real record is read, and the result may be published. A bound below
the claim is no evidence of safety; below its ceiling's reach the audit has no power and gives no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, result
from synthgen.evaluation.statistics.intervals import exactly, insufficient, not_applicable

DEFINITION = (
    "epsilon: lower bound by right guesses of which fabricated outliers were in a twin fit (Steinke, Nasr and"
    " Jagielski 2023, arXiv:2305.08846); mu: the same for Gaussian DP (Mahloujifar, Melis and Chaudhuri 2024,"
    " arXiv:2410.22235); ceilings: the bounds if every guess had been right; excess: epsilon beyond the claim"
    " of the plan, which has no value where the ceiling lies below the claim."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Return the audit's bounds: ``epsilon``, ``ceiling``, ``mu``, ``ceiling_mu``, and ``excess``.

    Args:
        inputs: see `Inputs`; only the audit is read.
        rng: not used.
    """
    audit = inputs.audit
    if audit is None:
        note = "There is no generator here to fit a twin of."
        return _result({"excess": not_applicable()}, status="not-applicable", note=note)
    found = audit.found
    if found is None:
        return _result({"excess": insufficient(0)}, status="insufficient", note=audit.reason)
    bounds = {key: getattr(found, key) for key in ("epsilon", "ceiling", "mu", "ceiling_mu")}
    estimates = {key: exactly(value, n=found.canaries) for key, value in bounds.items()}
    details = {**audit.to_json(), "verdict": found.verdict}
    if found.verdict == "no power":
        estimates["excess"] = insufficient(found.canaries)
        return _result(estimates, details=details, status="insufficient", note=audit.note)
    estimates["excess"] = exactly(found.epsilon - found.claimed, n=found.canaries)
    return _result(estimates, details=details)


def _result(estimates: Mapping[str, Estimate], **more: Any) -> MetricResult:
    return result(
        "leakage_audit",
        "Audit by canaries in a twin fit",
        DEFINITION,
        estimates,
        better="lower",
        reads_real=False,
        **more,
    )
