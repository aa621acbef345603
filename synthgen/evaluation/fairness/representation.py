"""Fairness: does each group, and each crossing of two, keep its share of the cohort?"""

from __future__ import annotations

from typing import Any

import numpy as np

from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import partitions
from synthgen.evaluation.statistics.intervals import insufficient, log_ratio_of_shares, without_interval

MIN_PATIENTS = 50
DEFINITION = (
    "log(share of synthetic records / share of real training records, each patient weighing 1), signed;"
    " Jeffreys intervals joined by MOVER; worst has none, since chance chose it too. Cells under 50 real"
    " patients are insufficient; empty crossings are left out."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Compare group shares of synthetic and real records.

    Args:
        inputs: see `Inputs`; a training patient's k records weigh 1/k each.
        rng: not used; the intervals are closed formulas.

    Returns:
        ``worst``: the sufficient group whose log ratio is farthest from 0; ``groups["log_ratio"]``: every
        group of a protected column and every crossing of two.
    """
    if not inputs.groups:
        return _result({}, {}, {}, status="not-applicable", note="No protected column was named.")
    weights, n_real, n_synthetic = (
        inputs.train.unit_weights(),
        inputs.train.unit_codes()[1],
        len(inputs.synthetic),
    )
    if min(n_real, n_synthetic) == 0:
        note = "There are no records to compare."
        return _result({"worst": insufficient(n_real)}, {}, {}, status="insufficient", note=note)
    ratios: dict[str, Estimate] = {}
    shares: dict[str, Any] = {}
    frames = (inputs.train.frame, inputs.synthetic.frame)
    both = zip(*(partitions(inputs.schema, frame, inputs.groups) for frame in frames), strict=True)
    for (real, names), (synthetic, _) in both:
        held = np.bincount(real, weights=weights, minlength=len(names))
        flat = np.bincount(real, minlength=len(names))
        drawn = np.bincount(synthetic, minlength=len(names))
        for i in np.flatnonzero((held > 0) | (drawn > 0)):
            ratios[names[i]] = _ratio(drawn[i], n_synthetic, held[i], n_real)
            shares[names[i]] = _shares(held[i] / n_real, flat[i] / len(real), drawn[i] / n_synthetic, held[i])
    known = {group: ratio for group, ratio in ratios.items() if ratio.status == "ok"}
    if not known:
        note = f"No group has {MIN_PATIENTS} patients."
        return _result({"worst": insufficient(n_real)}, ratios, {}, status="insufficient", note=note)
    worst = max(known, key=lambda group: abs(known[group].value))
    return _result(
        {"worst": without_interval(known[worst].value, n=known[worst].n)},
        ratios,
        {"worst_group": worst, "shares": shares},
    )


def expect(declared: Declared) -> MetricResult:
    """Return whether any group can have patients enough; which ones have is not known before."""
    if not declared.groups:
        return _result({}, {}, {}, status="not-applicable", note="No protected column was named.")
    if min(declared.train, declared.synthetic) == 0:
        note = "There are no records to compare."
        return _result({"worst": insufficient(0)}, {}, {}, status="insufficient", note=note)
    one = _ratio(declared.synthetic, declared.synthetic, declared.train, declared.train)
    if one.status != "ok":
        note = f"No group has {MIN_PATIENTS} patients."
        return _result({"worst": one}, {"every group": one}, {}, status="insufficient", note=note)
    return _result({"worst": one}, {"every group": one}, {})


def _ratio(drawn: float, n_synthetic: int, held: float, n_real: int) -> Estimate:
    if held < MIN_PATIENTS:
        return insufficient(int(held))
    value, low, high = log_ratio_of_shares(float(drawn), n_synthetic, float(held), n_real)
    return Estimate(value=value, low=low, high=high, n=int(held))


def _shares(real: float, flat: float, synthetic: float, held: float) -> dict[str, float]:
    """Return the shares for the report; a small cell shows none."""
    if held < MIN_PATIENTS:
        return {}
    return {"real": float(real), "real_unweighted": float(flat), "synthetic": float(synthetic)}


def _result(
    estimates: dict[str, Estimate],
    ratios: dict[str, Estimate],
    details: dict[str, Any],
    *,
    status: Status = "ok",
    note: str = "",
) -> MetricResult:
    return MetricResult(
        name="fairness_representation",
        head="fairness",
        title="Representation of groups",
        estimates=estimates,
        better="zero",
        reads_real=True,
        definition=DEFINITION,
        groups={"log_ratio": ratios} if ratios else {},
        details=details,
        status=status,
        note=note,
    )
