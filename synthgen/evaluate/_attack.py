"""What every membership attack reports: whom it suspects, how well, and whether it has any power.

An attack gives each record a score; a patient's score is the largest among the records. Members are
training patients, non-members holdout patients, and the attacker owns the reference patients. An
attack that finds nothing means something only if it would have found something, so each is run
again after copies of half of the tested members were planted among the synthetic records. An attack
that misses those counts as missing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluate._auc import delong
from synthgen.evaluate._base import Claim, Estimate, Inputs, MetricResult
from synthgen.evaluate._design import group_codes
from synthgen.evaluate._intervals import clopper_pearson, difference_of_shares, insufficient
from synthgen.evaluate._patients import maximum_by_patient, sample_patients
from synthgen.records import RealTable

MAX_MEMBERS = 4_000
MAX_OTHERS = 10_000
MIN_PATIENTS = 50
SPLITS = 10
MARGIN = 0.09
"""Advantage that a planted leak must provably reach: the margin of the default policy's gate."""
RATES = {"10pct": 0.1, "1pct": 0.01, "0.1pct": 0.001}
Scorer = Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]
"""Takes the planted records (maybe none) and the suspects; returns a score a suspect, high for members."""


@dataclass(frozen=True)
class Suspects:
    """The patients that an attack is tried on.

    Attributes:
        members: training patients.
        others: holdout patients.
        planted: records of half of the members, for the positive control.
    """

    members: RealTable
    others: RealTable
    planted: pd.DataFrame

    @classmethod
    def draw(cls, inputs: Inputs, *, rng: np.random.Generator) -> Suspects:
        """Draw at most ``MAX_MEMBERS`` members and ``MAX_OTHERS`` non-members."""
        members = sample_patients(inputs.train, MAX_MEMBERS, rng=rng)
        others = sample_patients(inputs.holdout, MAX_OTHERS, rng=rng)
        half = sample_patients(members, members.unit_codes()[1] // 2, rng=rng)
        return cls(members, others, half.frame)

    @property
    def enough(self) -> bool:
        """Whether there are patients enough on both sides to say anything."""
        return min(self.members.unit_codes()[1], self.others.unit_codes()[1]) >= MIN_PATIENTS

    def scores(self, scorer: Scorer, planted: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Return the patients' scores, members first."""
        both = pd.concat([self.members.frame, self.others.frame], ignore_index=True)
        scores = scorer(planted, both)
        cut = len(self.members)
        return _by_patient(scores[:cut], self.members), _by_patient(scores[cut:], self.others)


def run(
    inputs: Inputs,
    scorer: Scorer,
    *,
    name: str,
    title: str,
    definition: str,
    limits: Mapping[str, Any],
    rng: Any,
) -> MetricResult:
    """Run an attack and its positive control.

    Args:
        inputs: see `Inputs`.
        scorer: the attack.
        name: the metric's name.
        title: its title.
        definition: its formula or source.
        limits: the caps that it runs under, for the report.
        rng: draws the suspects, breaks ties, splits halves.

    Returns:
        ``auc``, ``advantage``, ``tpr_10pct`` and so on (0 to 1, advantage -1 to 1), and
        ``beyond_claim_10pct`` and so on: the true positive rate minus the most that the claim allows
        (insufficient without a claim).
    """
    suspects = Suspects.draw(inputs, rng=rng)
    if not suspects.enough or len(inputs.synthetic) == 0 or len(inputs.reference) == 0:
        note = f"The attack needs {MIN_PATIENTS} patients a side, a reference, and synthetic records."
        return _result(name, title, definition, {"advantage": insufficient(0)}, note=note)
    members, others = suspects.scores(scorer, suspects.planted.iloc[:0])
    planted = advantage(*suspects.scores(scorer, suspects.planted), rng=rng)
    detected = planted.low > MARGIN
    caps = {"members": len(members), "non_members": len(others), **limits}
    details = {
        "caps": caps,
        "control": {"planted_share": 0.5, "detected": detected, **_plain(planted)},
    }
    note = (
        ""
        if detected
        else "The attack misses copies of half of the tested patients, so it shows nothing here."
    )
    estimates = {
        "auc": delong(members, others),
        "advantage": advantage(members, others, rng=rng),
        **true_positive_rates(members, others, claim=inputs.claim, rng=rng),
    }
    return _result(
        name,
        title,
        definition,
        estimates,
        groups=_by_group(inputs, suspects, members, others),
        control=_non_members_among_themselves(others, rng),
        details=details,
        note=note,
    )


def advantage(members: np.ndarray, others: np.ndarray, *, rng: np.random.Generator) -> Estimate:
    """Return the best true minus false positive rate, without the bias of choosing the threshold.

    The threshold is chosen on one half of the patients and measured on the other, both ways round, so
    an attack that knows nothing has an expected advantage of 0. The mean over ``SPLITS`` random splits
    leaves little to the draw of the halves.
    """
    ranks, other_ranks = _ranks(members, others, rng)
    hits = other_hits = 0
    for _ in range(SPLITS):
        halves, other_halves = _halves(len(members), rng), _halves(len(others), rng)
        for side in (False, True):
            threshold = _best_threshold(ranks[halves == side], other_ranks[other_halves == side])
            hits += int((ranks[halves != side] >= threshold).sum())
            other_hits += int((other_ranks[other_halves != side] >= threshold).sum())
    shares = difference_of_shares(hits / SPLITS, len(members), other_hits / SPLITS, len(others))
    return Estimate(*shares, n=len(members) + len(others))


def true_positive_rates(
    members: np.ndarray, others: np.ndarray, *, claim: Claim | None, rng: np.random.Generator
) -> dict[str, Estimate]:
    """Return the true positive rate at fixed false positive rates, and what exceeds the claim.

    The threshold is a non-member's score. The true false positive rate above the ``k + 1``-th largest of
    n scores has a Beta(k + 1, n - k) distribution, whose quantile is the upper end of Clopper and
    Pearson's interval, so no non-member is spent on choosing the threshold.
    """
    ranks, other_ranks = _ranks(members, others, rng)
    descending = np.sort(other_ranks)[::-1]
    estimates: dict[str, Estimate] = {}
    for name, rate in RATES.items():
        if len(others) < 10 / rate:
            estimates[f"tpr_{name}"] = estimates[f"beyond_claim_{name}"] = insufficient(len(others))
            continue
        above = math.floor(rate * len(others))
        hits = int((ranks > descending[above]).sum())
        low, high = clopper_pearson(hits, len(members))
        estimate = Estimate(hits / len(members), low, high, n=len(members))
        estimates[f"tpr_{name}"] = estimate
        estimates[f"beyond_claim_{name}"] = (
            insufficient(0) if claim is None else _beyond(claim, estimate, above, len(others))
        )
    return estimates


def _beyond(claim: Claim, rate: Estimate, above: int, n_others: int) -> Estimate:
    """Return a true positive rate minus the claim's, both ends on the false positive rate's own interval."""
    low, high = clopper_pearson(above, n_others)
    return Estimate(
        value=rate.value - allowed(claim, above / n_others),
        low=rate.low - allowed(claim, high),
        high=rate.high - allowed(claim, low),
        n=rate.n,
    )


def allowed(claim: Claim, false_positive_rate: float) -> float:
    """Return the largest true positive rate that the claim allows.

    The claim's whole curve decides where its event is known, otherwise (epsilon, delta) alone.

    Source: Kairouz, Oh and Viswanath (2015), arXiv:1311.0776, Theorem 2.1.
    """
    if claim.event is not None:
        return _on_the_curve(json.dumps(claim.event, sort_keys=True), false_positive_rate)
    power = math.exp(min(claim.epsilon, 700.0))
    steep = power * false_positive_rate + claim.delta
    return max(0.0, min(1.0, steep, 1 - (1 - claim.delta - false_positive_rate) / power))


@lru_cache(maxsize=256)
def _on_the_curve(event: str, false_positive_rate: float) -> float:
    """Return the trade-off curve at a rate; remembered, since all attacks ask at the same few rates."""
    from synthgen.privacy.accountant import tradeoff
    from synthgen.privacy.events import from_json

    return tradeoff([from_json(json.loads(event))], false_positive_rate)


def _ranks(
    members: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return joint ranks; ties are broken at random, so neither side gains by them."""
    scores = np.concatenate([members, others])
    order = np.lexsort((rng.permutation(len(scores)), scores))
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = np.arange(len(scores))
    return ranks[: len(members)], ranks[len(members) :]


def _halves(n: int, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.permutation(n) % 2 == 0)


def _best_threshold(ranks: np.ndarray, other_ranks: np.ndarray) -> int:
    """Return the rank from which on calling a patient a member gains most."""
    order = np.concatenate([ranks, other_ranks])
    step = np.concatenate(
        [np.full(len(ranks), 1 / len(ranks)), np.full(len(other_ranks), -1 / len(other_ranks))]
    )
    descending = np.argsort(order)[::-1]
    gain = np.cumsum(step[descending])
    return int(order[descending[int(np.argmax(gain))]])


def _by_patient(scores: np.ndarray, table: RealTable) -> np.ndarray:
    codes, n_units = table.unit_codes()
    return maximum_by_patient(scores, codes, n_units)


def _non_members_among_themselves(others: np.ndarray, rng: np.random.Generator) -> float:
    """Return the AUROC of one half of the non-members against the other: chance, measured."""
    half = _halves(len(others), rng)
    return delong(others[half], others[~half]).value


def _by_group(
    inputs: Inputs, suspects: Suspects, members: np.ndarray, others: np.ndarray
) -> dict[str, dict[str, Estimate]]:
    """Return the AUROC within each group of a protected column, a patient's first record deciding."""
    found: dict[str, Estimate] = {}
    for name in inputs.groups:
        column = inputs.schema.column(name)
        mine, names = group_codes(column, _first_records(suspects.members)[name])
        theirs, _ = group_codes(column, _first_records(suspects.others)[name])
        for i in np.union1d(mine, theirs):
            inside, outside = members[mine == i], others[theirs == i]
            enough = min(len(inside), len(outside)) >= MIN_PATIENTS
            found[names[i]] = delong(inside, outside) if enough else insufficient(len(inside) + len(outside))
    return {"auc": found} if found else {}


def _first_records(table: RealTable) -> pd.DataFrame:
    codes, _ = table.unit_codes()
    return table.frame.iloc[np.unique(codes, return_index=True)[1]]


def _plain(estimate: Estimate) -> dict[str, float]:
    return {"advantage": estimate.value, "low": estimate.low, "high": estimate.high}


def _result(
    name: str,
    title: str,
    definition: str,
    estimates: dict[str, Estimate],
    *,
    groups: dict[str, dict[str, Estimate]] | None = None,
    control: float | None = None,
    details: dict[str, Any] | None = None,
    note: str = "",
) -> MetricResult:
    return MetricResult(
        name=name,
        head="leakage",
        title=title,
        estimates=estimates,
        better="lower",
        reads_real=True,
        definition=definition,
        groups=groups or {},
        baseline=0.5,
        control=control,
        details=details or {},
        status="insufficient" if note else "ok",
        note=note,
    )
