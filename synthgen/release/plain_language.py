"""Say in plain words what epsilon, delta and mu promise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COUNTED = "all that this ledger counts"


def rounded(value: float) -> str:
    """Return a number with four significant digits, for readers; the exact one is in the privacy record.

    Example:
        >>> rounded(0.99987), rounded(1e-06), rounded(12345.0)
        ('0.9999', '1e-06', '12,345')
    """
    if not math.isfinite(value):
        return "unlimited" if value > 0 else "none"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def percent(share: float) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.731), percent(0.0004)
        ('73 %', '0.04 %')
    """
    value = 100 * share
    if 99 < value < 100:
        return f"{math.floor(100 * value) / 100:.2f} %"
    return f"{value:.0f} %" if value >= 10 or value == 0 else f"{value:.2g} %"


def unit_sentence(unit: str, max_records: int) -> str:
    """Return whose privacy is protected."""
    if unit == "row":
        return "protected unit: ONE ROW. A patient with several rows is not protected as a whole"
    return f"protected unit: the patient, with all of that patient's records (at most {max_records} are used)"


def at_most(share: float) -> str:
    """Return a share as a percentage that is rounded up, for bounds from above.

    Example:
        >>> at_most(0.7310586), at_most(0.5)
        ('73.2 %', '50 %')
    """
    return f"{min(math.ceil(1000 * share) / 10, 100.0):g} %"


def plain_odds(
    epsilon: float, delta: float, *, unit: str = "patient", source: str = "what was released"
) -> str:
    """Return how well an attacker can guess, from even odds, whether a unit took part.

    Guarantee:
        Between two neighbouring cohorts that are equally likely, a guess by any rule is right with a
        probability of at most ``(e^epsilon + delta) / (1 + e^epsilon)``. This follows from ``(epsilon,
        delta)`` alone. That posterior odds stay below ``e^epsilon`` but for a probability of delta does not.

    Args:
        epsilon: the claim, at ``delta``.
        delta: probability of failure.
        unit: the privacy unit, ``patient`` or ``row``.
        source: what the attacker sees, in words.

    Source: Kairouz, Oh and Viswanath (2015), arXiv:1311.0776, Theorem 2.4: error rates of any test.

    Example:
        >>> plain_odds(1.0, 1e-6).split(", ")[0]
        'Somebody who holds it for even odds that a patient took part'
    """
    if epsilon > 30:
        return "At this epsilon the guarantee excludes nothing: an attacker may become as good as certain."
    right = math.exp(epsilon) / (1 + math.exp(epsilon)) + delta / (1 + math.exp(epsilon))
    text = (
        f"Somebody who holds it for even odds that a {unit} took part, and guesses from {source} by any "
        f"rule, is right with a probability of at most {at_most(right)}."
    )
    return text + (" An epsilon this large promises almost nothing by itself." if epsilon > 7 else "")


def composed_sentences(ledger: Mapping[str, Any]) -> list[str]:
    """Return what is proven for all that the cohort's ledger holds, and what that leaves out.

    Args:
        ledger: the record's block of the ledger.
    """
    n, delta = len(ledger["events"]), rounded(ledger["delta"])
    since = f" since it opened the cohort ({ledger['opened']})" if ledger["opened"] else ""
    apart = "What was released before, or was entered in another ledger, is not counted."
    if not ledger["adaptive"]:
        return [
            f"epsilon {rounded(ledger['epsilon'])} at delta {delta} for the only spend that the cohort's "
            f"ledger holds{since}. {apart}"
        ]
    told = [
        f"epsilon {rounded(ledger['proven_epsilon'])} at delta {delta}, the cap, for the {n} spends that the "
        f"cohort's ledger holds{since}, whatever was seen between them. {apart}",
        f"had they been planned together, they would compose to epsilon {rounded(ledger['epsilon'])}. This "
        "is no guarantee where a later one was chosen after the outputs of an earlier one were seen",
    ]
    if ledger["cap_changes"]:
        times = "once" if ledger["cap_changes"] == 1 else f"{ledger['cap_changes']} times"
        told.append(
            f"the cap was changed {times} after a spend (the ledger has the reasons). The cap is proven "
            "only if that did not depend on what had been released"
        )
    return told


def plain_mu(mu: float, *, unit: str = "patient") -> str:
    """Return what the best attack finds: its true positive rate at 1 % false alarms, and its advantage.

    Source: Dong, Roth and Su (2022), arXiv:1905.02383: the trade-off curve of N(0, 1) and N(mu, 1).

    Example:
        >>> plain_mu(0.27).split(", ")[-1]
        'finds at most 2 % of the patients that took part.'
    """
    found = _normal(_QUANTILE_1 + mu)
    return (
        "By the whole curve, the best possible attack, wrongly naming 1 % of outsiders, finds at most "
        f"{at_most(found)} of the {unit}s that took part."
    )


def deviation_sentences(record: Mapping[str, Any]) -> list[str]:
    """Return what weakens the claim of a record, or its evidence; one sentence if nothing does."""
    return [f"Weaker than the default: {text}" for text in record["deviations"]] or [
        "No setting of this run weakens the guarantee or the evidence for it."
    ]


def audit_sentences(record: Mapping[str, Any]) -> list[str]:
    """Return what the audit of a record found, what that is worth, and how it was done; empty without one."""
    audit = record.get("audit")
    if audit is None:
        return []
    bounds = audit["bounds"]
    if bounds is None:
        return ["Not audited.", audit["reason"]]
    claimed, ceiling = rounded(bounds["claimed"]), rounded(bounds["ceiling"])
    found = {
        "violation": f"VIOLATION: the guarantee of epsilon {claimed} does not hold.",
        "no violation": f"No violation of epsilon {claimed} was found, which is no evidence of safety.",
        "no power": f"No power: the audit cannot see a violation of epsilon {claimed}.",
    }
    level, right, guesses = 100 * bounds["confidence"], bounds["right"], bounds["guesses"]
    return [
        found[audit["verdict"]],
        f"Lower bounds at {level:.4g} % confidence: epsilon {rounded(bounds['epsilon'])}, "
        f"mu {rounded(bounds['mu'])}. Had every guess been right: epsilon {ceiling}, "
        f"mu {rounded(bounds['ceiling_mu'])}.",
        f"A twin was fitted by the same plan to {audit['crowd']:,} simulated patients, with "
        f"{bounds['canaries']:,} fabricated outliers put in or left out by secret coins; {right:,} of "
        f"{guesses:,} coins were guessed from {audit['records']:,} of its records. No real record was read, "
        "and the released fit holds no fabricated patient.",
    ]


def inference_sentences(record: Mapping[str, Any]) -> list[str]:
    """Return the stamp of a record, and what it rests on; empty without an evaluation."""
    told = record.get("inference")
    if told is None:
        return []
    stamp = f"{told['stamp'][:1].upper()}{told['stamp'][1:]}."
    if told["coverage"] is None:
        return [stamp, f"Whether intervals hold was not measured. {told['reason']}"]
    held, naive = percent(told["coverage"]), percent(told["naive"])
    return [
        stamp if told["stamp"].startswith("not") else "Valid for inference, on simulated patients.",
        f"In {told['fits']} twins of {told['patients']:,} simulated patients each, 95 % intervals from "
        f"synthetic records held {held} of {told['coefficients']:,} known coefficients of a logistic "
        "regression, where standard errors were widened by sqrt(1 + m/n) for m records from n patients; as "
        f"if the records were patients, {naive}. Real patients may be harder.",
    ]


_QUANTILE_1 = -2.3263478740408408  # standard normal quantile of 1 %


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
