"""What every membership attack reports: whom it suspects, how well, and whether it has any power.

An attack gives each record a score; a patient's score is the largest among the records. Members are
training patients, non-members holdout patients, and the attacker owns the reference patients. An
attack that finds nothing means something only if it would have found something, so each is run
again after copies of half of the tested members were planted among the synthetic records. An attack
that misses those counts as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.evaluate._auc import delong
from synthgen.evaluate._base import Estimate, Inputs, MetricResult
from synthgen.evaluate._design import group_codes
from synthgen.evaluate._intervals import insufficient
from synthgen.evaluate._patients import maximum_by_patient, sample_patients
from synthgen.evaluate._rates import advantage, halves, needed, true_positive_rates
from synthgen.records import RealTable

MAX_MEMBERS = 4_000
MAX_OTHERS = 10_000
MIN_PATIENTS = 50
MARGIN = 0.09
"""Advantage that a planted leak must provably reach: the margin of the default policy's gate."""
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
        (not applicable without a claim).
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
        "needs": needed(),
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


def _by_patient(scores: np.ndarray, table: RealTable) -> np.ndarray:
    codes, n_units = table.unit_codes()
    return maximum_by_patient(scores, codes, n_units)


def _non_members_among_themselves(others: np.ndarray, rng: np.random.Generator) -> float:
    """Return the AUROC of one half of the non-members against the other: chance, measured."""
    half = halves(len(others), rng)
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
