"""Say in plain words what epsilon, delta and mu promise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


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


def plain_odds(epsilon: float, delta: float) -> str:
    """Return what an attacker can learn at most, from even odds.

    Source: Wasserman and Zhou (2010): posterior odds move by at most a factor e^epsilon.

    Example:
        >>> plain_odds(1.0, 1e-6).split(".")[0]
        'Whoever held it for even odds that a patient took part can be led to odds of at most 2'
    """
    if epsilon > 30:
        return "At this epsilon the guarantee excludes nothing: an attacker may become as good as certain."
    odds = math.exp(epsilon)
    text = (
        f"Whoever held it for even odds that a patient took part can be led to odds of at most "
        f"{odds:,.3g} to 1 ({percent(odds / (1 + odds))}) by all that was released, except with "
        f"probability {delta:.3g} that the bound fails."
    )
    return text + (" An epsilon this large promises almost nothing by itself." if epsilon > 7 else "")


def plain_mu(mu: float) -> str:
    """Return what the best attack finds: its true positive rate at 1 % false alarms, and its advantage.

    Source: Dong, Roth and Su (2022), arXiv:1905.02383: the trade-off curve of N(0, 1) and N(mu, 1).

    Example:
        >>> plain_mu(0.27).split(", ")[-1]
        'finds at most 2 % of the patients who took part.'
    """
    found = _normal(_QUANTILE_1 + mu)
    return (
        "By the whole curve, the best possible attack, wrongly naming 1 % of outsiders, finds at most "
        f"{percent(found)} of the patients who took part."
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
