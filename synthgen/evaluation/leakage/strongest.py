"""Leakage: the most that any of the attacks finds, corrected for having tried several.

A release is as weak as its strongest attack says. The largest of several estimates is too large by
chance, so each attack's interval is widened until all hold together (Bonferroni); the largest lower
ends are then a lower bound of the largest truth, and the largest upper ends an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from synthgen.evaluation.attacks.attack import Scores, by_groups, expected, expected_rates
from synthgen.evaluation.attacks.rates import advantage, needed, true_positive_rates
from synthgen.evaluation.base import Estimate, Inputs, MetricResult, Status, result
from synthgen.evaluation.catalogue import load_metric, metric_names
from synthgen.evaluation.expected_power import Declared, largest_of
from synthgen.evaluation.statistics.auc import delong
from synthgen.evaluation.statistics.intervals import insufficient, largest

ALL_ROWS = True
DEFINITION = (
    "The largest advantage, AUROC and true positive rate over all attacks on the same patients; 95 %"
    " intervals that hold for all attacks together (Bonferroni), joined by the largest of their ends."
)


def evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult:
    """Return the maximum over all attacks.

    Args:
        inputs: see `Inputs`; the attacks' scores are those of their own metrics.
        rng: splits patients in halves.

    Returns:
        ``advantage``, ``auc``, ``tpr_10pct`` and so on, ``beyond_claim_10pct`` and so on;
        ``groups["group_advantage"]`` by protected group and crossing of two;
        ``details["strongest"]`` names the attack.
    """
    found = attacks(inputs)
    if not found:
        note = "No attack had patients, a reference and synthetic records enough."
        return _result({"advantage": insufficient(0)}, {}, status="insufficient", note=note)
    each = {
        name: {
            "auc": delong(*held.told.tested),
            "advantage": advantage(*held.told.tested, rng=rng),
            **true_positive_rates(held.told.members, held.told.others, claim=inputs.claim, rng=rng),
        }
        for name, held in found.items()
    }
    keys = list(next(iter(each.values())))
    estimates = {key: largest([by_key[key] for by_key in each.values()]) for key in keys}
    advantages = {name: by_key["advantage"].value for name, by_key in each.items()}
    by_group = (
        {name: by_groups(inputs, held, rng=rng)["advantage"] for name, held in found.items()}
        if inputs.groups
        else {}
    )
    groups = {
        group: largest([held[group] for held in by_group.values()])
        for group in next(iter(by_group.values()), {})
    }
    details = {
        "strongest": max(advantages, key=lambda name: advantages[name]),
        "attacks": advantages,
        "needs": needed(),
    }
    return _result(estimates, details, groups=groups)


def expect(declared: Declared) -> MetricResult:
    """Return the largest advantage that all attacks would find at a perfect generator, by chance alone."""
    names = [name for name in metric_names() if name.startswith("leakage_")]
    modules = {name: load_metric(name) for name in names}
    tried = [n for n, module in modules.items() if hasattr(module, "scores")]
    tried = [name for name in tried if declared.of_images or name.split("_")[1] != "image"]
    one = expected(declared)
    if one is None or not tried:
        note = "No attack had patients, a reference and synthetic records enough."
        return _result({"advantage": insufficient(0)}, {}, status="insufficient", note=note)
    estimates = {"advantage": largest_of(one, len(tried)), **expected_rates(declared)}
    return _result(estimates, {"needs": needed()})


def attacks(inputs: Inputs) -> dict[str, Scores]:
    """Return the scores of every attack of the package that has an answer: a file with ``scores``."""
    names = [name for name in metric_names() if name.startswith("leakage_")]
    modules = {name: load_metric(name) for name in names}
    found = {name: module.scores(inputs) for name, module in modules.items() if hasattr(module, "scores")}
    return {name: scores for name, scores in found.items() if scores is not None}


def _result(
    estimates: Mapping[str, Estimate],
    details: Mapping[str, object],
    *,
    groups: Mapping[str, Estimate] | None = None,
    status: Status = "ok",
    note: str = "",
) -> MetricResult:
    return result(
        "leakage_strongest",
        "Strongest attack",
        DEFINITION,
        estimates,
        better="lower",
        groups={"group_advantage": groups} if groups else {},
        details=details,
        status=status,
        note=note,
    )
