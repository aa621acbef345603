"""What every metric takes and returns.

A metric is one public file of this package, named ``<head>_<name>.py``, with one function
``evaluate(inputs: Inputs, *, rng: np.random.Generator) -> MetricResult``. Contract tests and the
pipeline find it by its file name. It is a pure function: same inputs and seed, same result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.schema.schema import Schema

if TYPE_CHECKING:
    from synthgen.evaluation.audit.twin import TwinAudit
    from synthgen.evaluation.audit.twin_inference import TwinInference

Head = Literal["fidelity", "utility", "fairness", "leakage"]
HEADS: tuple[Head, ...] = ("fidelity", "utility", "fairness", "leakage")
Status = Literal["ok", "insufficient", "not-applicable"]


@dataclass(frozen=True)
class Claim:
    """The guarantee that the release claims, checked by the leakage head.

    Attributes:
        epsilon: epsilon of what the cohort's ledger holds with this release, composed as if it had been
            planned together, at ``delta``.
        delta: probability of failure.
        mu: Gaussian-DP parameter of the whole curve, or None if it was not computed.
        event: serialised `DpEvent` (see `synthgen.privacy.accountant`), for the trade-off
            curve; None if unknown.
        looks: how often this holdout has been looked at, this time included.
        proven: epsilon that is proven where the ledger holds a sequence: its cap; None where it is
            ``epsilon``.
    """

    epsilon: float
    delta: float
    mu: float | None = None
    event: Mapping[str, Any] | None = None
    looks: int = 1
    proven: float | None = None


@dataclass(frozen=True)
class Inputs:
    """All that a metric may look at. Parts are disjoint by patient.

    Attributes:
        schema: the table's public description.
        train: records that the generator was fitted on (members).
        holdout: records that nobody has fitted on: test set and non-members.
        reference: records that an attacker is assumed to own, from other patients.
        synthetic: the records to be judged; of linked ones, one random row of each synthetic patient, unless
            the metric says ``ALL_ROWS``.
        target: label column for utility, or None.
        groups: protected columns.
        claim: the claimed guarantee, or None for a table of another generator without one.
        audit: what a twin fit of the same plan showed; None where there is no generator to fit.
        inference: how often intervals from twins' records held the truth; None likewise.
        reference_of_cohort: whether the reference's patients are of the same cohort as the holdout's, by
            chance: they are then non-members as good as those. A table that somebody brought along is not.
    """

    schema: Schema
    train: RealTable
    holdout: RealTable
    reference: RealTable
    synthetic: SyntheticTable
    target: str | None = None
    groups: tuple[str, ...] = ()
    claim: Claim | None = None
    audit: TwinAudit | None = None
    inference: TwinInference | None = None
    reference_of_cohort: bool = True


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; ends that are NaN: no interval is claimed.

    Attributes:
        value: point estimate; NaN if there is none.
        low: lower end.
        high: upper end.
        n: patients that it rests on.
        status: ``ok``, ``insufficient`` if there are too few to say anything, or ``not-applicable`` if the
            inputs lack what it is about.
        freedom: degrees of freedom of its standard error: a wider interval than that of 95 % grows by
            Student's quantiles.
    """

    value: float
    low: float
    high: float
    n: int
    status: Status = "ok"
    freedom: float = math.inf


@dataclass(frozen=True)
class MetricResult:
    """A metric's answer, never a bare float.

    Attributes:
        name: the file's name, such as ``fidelity_tvd``.
        head: which of the four heads it belongs to.
        title: a short human title.
        estimates: the metric's numbers by key, the gate's policy names them as ``<name>.<key>``.
        better: whether lower or higher is better, or ``zero`` for signed contrasts.
        reads_real: whether real records were read: if so, it stays in the internal report.
        groups: numbers by key, then by group (``"sex=F"``).
        baseline: what an attack that knows nothing reaches (leakage only).
        control: what the attack reaches on non-members (leakage only).
        details: JSON values for the report: per column, per pair, per learner.
        definition: formula or source.
        status: ``not-applicable`` where the inputs lack what it needs (no target, no claim).
        note: one sentence for the reader, such as why there is no answer.
    """

    name: str
    head: Head
    title: str
    estimates: Mapping[str, Estimate]
    better: Literal["lower", "higher", "zero"]
    reads_real: bool
    definition: str
    groups: Mapping[str, Mapping[str, Estimate]] = field(default_factory=dict)
    baseline: float | None = None
    control: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "ok"
    note: str = ""


def result(
    name: str,
    title: str,
    definition: str,
    estimates: Mapping[str, Estimate],
    *,
    better: Any = "higher",
    groups: Mapping[str, Mapping[str, Estimate]] | None = None,
    details: Mapping[str, Any] | None = None,
    status: Status = "ok",
    note: str = "",
    reads_real: bool = True,
) -> MetricResult:
    """Return a metric's answer; its head is the first word of its name."""
    heads: dict[str, Head] = {head: head for head in HEADS}
    return MetricResult(
        name=name,
        head=heads[name.partition("_")[0]],
        title=title,
        estimates=estimates,
        better=better,
        reads_real=reads_real,
        definition=definition,
        groups=groups or {},
        details=details or {},
        status=status,
        note=note,
    )
