"""What every membership attack reports: whom it suspects, how well, and whether it has any power.

An attack gives each record a score; a patient's score is the largest among the records. Members are
training patients, non-members holdout patients, and the attacker owns the reference patients. An
attack that finds nothing means something only if it would have found something, so each is run
again after copies of half of the tested members were planted among the synthetic records. An attack
that misses those counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthgen.data.tables import RealTable
from synthgen.evaluation.attacks.rates import (
    RATES,
    advantage,
    expected_advantage,
    halves,
    needed,
    true_positive_rates,
)
from synthgen.evaluation.base import Estimate, Inputs, MetricResult
from synthgen.evaluation.expected_power import Declared
from synthgen.evaluation.features.design import partitions
from synthgen.evaluation.statistics.auc import delong
from synthgen.evaluation.statistics.intervals import exactly, insufficient
from synthgen.evaluation.statistics.patients import maximum_by_patient, sample_patients

MAX_MEMBERS = 4_000
MAX_OTHERS = 10_000
MIN_PATIENTS = 50
SEED = 7
"""Of whom an attack is tried on and of its learners: fixed, so that attacks meet the same patients."""
MARGIN = 0.09
"""Advantage that a planted leak must provably reach: the margin of the default policy's gate."""
PARTS = 3
"""A classifier learns from one part of the patients and is tested on the others. Halves that are tested both
ways round depend on each other: 89 % of their 95 % intervals held the truth."""
Scorer = Callable[[pd.DataFrame, pd.DataFrame], np.ndarray]
"""Takes the planted records (maybe none) and the suspects; returns a score a suspect, high for members, or
features, ``(suspect, feature)``, from which a classifier learns who is a member."""


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

    def scores(self, scorer: Scorer, planted: pd.DataFrame) -> AttackScores:
        """Return the patients' scores."""
        both = pd.concat([self.members.frame, self.others.frame], ignore_index=True)
        scores = scorer(planted, both)
        cut = len(self.members)
        members, others = _by_patient(scores[:cut], self.members), _by_patient(scores[cut:], self.others)
        if scores.ndim == 1:
            return AttackScores(
                members, others, np.ones(len(members), dtype=bool), np.ones(len(others), dtype=bool)
            )
        return _taught(members, others)


@dataclass(frozen=True)
class AttackScores:
    """What an attack says of each patient.

    Attributes:
        members: a score a training patient.
        others: a score a holdout patient.
        tested_members: those of whom one classifier that learnt from none of them speaks.
        tested_others: the same of holdout patients.
    """

    members: np.ndarray
    others: np.ndarray
    tested_members: np.ndarray
    tested_others: np.ndarray

    @property
    def tested(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the tested ones, on whom areas and advantages rest; rates take all."""
        return self.members[self.tested_members], self.others[self.tested_others]


@dataclass(frozen=True)
class Scores:
    """What an attack says of each patient, and what it says once copies were planted. Sensitive.

    Attributes:
        suspects: whom it was tried on.
        told: what it says of them.
        plant: returns the same with copies of half of the members among the synthetic records. It must
            not hold on to the inputs, while which an attack's scores are remembered.
    """

    suspects: Suspects
    told: AttackScores
    plant: Callable[[], AttackScores]


def score(inputs: Inputs, scorer: Scorer, *, rng: np.random.Generator) -> Scores | None:
    """Return the patients' scores; None if there are too few of them, no reference, or nothing synthetic."""
    suspects = Suspects.draw(inputs, rng=rng)
    if not suspects.enough or len(inputs.synthetic) == 0 or len(inputs.reference) == 0:
        return None
    return score_of(suspects, scorer)


def score_of(suspects: Suspects, scorer: Scorer) -> Scores:
    """Return these patients' scores, and what they are once copies of the planted ones lie among the rows."""
    told = suspects.scores(scorer, suspects.planted.iloc[:0])
    return Scores(suspects, told, lambda: suspects.scores(scorer, suspects.planted))


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
    found = score(inputs, scorer, rng=rng)
    return report(inputs, found, name=name, title=title, definition=definition, limits=limits, rng=rng)


def report(
    inputs: Inputs,
    found: Scores | None,
    *,
    name: str,
    title: str,
    definition: str,
    limits: Mapping[str, Any],
    rng: np.random.Generator,
) -> MetricResult:
    """Return what an attack's scores prove; see `run`."""
    if found is None:
        note = f"The attack needs {MIN_PATIENTS} patients a side, a reference, and synthetic records."
        return _result(name, title, definition, {"advantage": insufficient(0)}, note=note)
    told = found.told
    planted = advantage(*found.plant().tested, rng=rng)
    detected = planted.low > MARGIN
    caps = {"members": len(told.members), "non_members": len(told.others), **limits}
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
        "auc": delong(*told.tested),
        "advantage": advantage(*told.tested, rng=rng),
        **true_positive_rates(told.members, told.others, claim=inputs.claim, rng=rng),
    }
    return _result(
        name,
        title,
        definition,
        estimates,
        groups=by_groups(inputs, found, rng=rng),
        control=_non_members_among_themselves(told.others, rng),
        details=details,
        note=note,
    )


def expect(
    declared: Declared, *, name: str, title: str, definition: str, tested: float = 1.0
) -> MetricResult:
    """Return what an attack would find at a generator that knows no patient better than any other.

    Args:
        declared: the numbers of patients.
        name: the metric's name.
        title: its title.
        definition: its formula or source.
        tested: the part of the patients that it is tested on.
    """
    found = expected(declared, tested=tested)
    if found is None:
        note = f"The attack needs {MIN_PATIENTS} patients a side, a reference, and synthetic records."
        return _result(name, title, definition, {"advantage": insufficient(0)}, note=note)
    rates = expected_rates(declared)
    details = {"needs": needed()}
    return _result(name, title, definition, {"advantage": found, **rates}, details=details)


def expected_rates(declared: Declared) -> dict[str, Estimate]:
    """Return what true positive rates exceed at a perfect generator: nothing, given patients enough."""
    known = {"beyond_claim": -1.0, "excess": 0.0}
    return {
        f"{kind}_{rate}": exactly(value, n=declared.holdout)
        if declared.holdout >= needed()[f"{kind}_{rate}"]
        else insufficient(declared.holdout)
        for kind, value in known.items()
        for rate in RATES
    }


def expected(declared: Declared, *, tested: float = 1.0) -> Estimate | None:
    """Return the advantage of an attack that finds nothing; None if it has too few patients to be tried."""
    members, others = min(declared.train, MAX_MEMBERS), min(declared.holdout, MAX_OTHERS)
    if min(members, others) < MIN_PATIENTS or not declared.synthetic or not declared.reference:
        return None
    return expected_advantage(math.floor(members * tested), math.floor(others * tested))


def _by_patient(scores: np.ndarray, table: RealTable) -> np.ndarray:
    """Return each patient's largest score, or largest value of each feature."""
    codes, n_units = table.unit_codes()
    if scores.ndim == 1:
        return maximum_by_patient(scores, codes, n_units)
    return np.column_stack([maximum_by_patient(feature, codes, n_units) for feature in scores.T])


def _taught(members: np.ndarray, others: np.ndarray) -> AttackScores:
    """Return what classifiers say of each patient that have learnt from another part of them.

    The first part teaches, and the others are tested; the second teaches who speaks of the first.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # comes with sklearn

    rng = np.random.default_rng(SEED)
    sides = (members, others)
    parts = [rng.permutation(len(side)) % PARTS for side in sides]
    scores = np.zeros(len(members)), np.zeros(len(others))
    for teaching in (0, 1):
        known = [side[part == teaching] for side, part in zip(sides, parts, strict=True)]
        truth = np.repeat([1, 0], [len(side) for side in known])
        model = HistGradientBoostingClassifier(
            max_iter=40, max_leaf_nodes=6, learning_rate=0.1, early_stopping=False, random_state=SEED
        )
        with threadpool_limits(limits=1):
            model.fit(np.concatenate(known), truth)
            for held, side, part in zip(scores, sides, parts, strict=True):
                spoken = part > 0 if teaching == 0 else part == 0
                held[spoken] = model.predict_proba(side[spoken])[:, 1]
    return AttackScores(*scores, parts[0] > 0, parts[1] > 0)


def _non_members_among_themselves(others: np.ndarray, rng: np.random.Generator) -> float:
    """Return the AUROC of one half of the non-members against the other: chance, measured."""
    half = halves(len(others), rng)
    return delong(others[half], others[~half]).value


def by_groups(inputs: Inputs, found: Scores, *, rng: np.random.Generator) -> dict[str, dict[str, Estimate]]:
    """Return AUROC and advantage within each group and crossing of two, a patient's first record deciding."""
    areas: dict[str, Estimate] = {}
    advantages: dict[str, Estimate] = {}
    told = found.told
    frames = (_first_records(found.suspects.members), _first_records(found.suspects.others))
    both = zip(*(partitions(inputs.schema, frame, inputs.groups) for frame in frames), strict=True)
    for (mine, names), (theirs, _) in both:
        for i in np.union1d(mine, theirs):
            inside = told.members[told.tested_members & (mine == i)]
            outside = told.others[told.tested_others & (theirs == i)]
            if min(len(inside), len(outside)) < MIN_PATIENTS:
                areas[names[i]] = advantages[names[i]] = insufficient(len(inside) + len(outside))
                continue
            areas[names[i]] = delong(inside, outside)
            advantages[names[i]] = advantage(inside, outside, rng=rng)
    return {"auc": areas, "advantage": advantages} if areas else {}


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
