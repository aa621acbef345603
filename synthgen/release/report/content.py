"""What the two editions are made from, and why one of them may leave the building.

`PublicContent` has no field that could hold a number computed from real records: a privacy record and
a synthetic table, nothing else. The public edition is a function of it alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from synthgen.data.tables import SyntheticTable
from synthgen.release.report.marginals import Marginal

if TYPE_CHECKING:
    from synthgen.evaluation.base import MetricResult
    from synthgen.release.gate.gate import Verdict
    from synthgen.release.report.contact_sheets import RealSheets

Edition = Literal["internal", "public"]


@dataclass(frozen=True)
class PublicContent:
    """What may leave.

    Attributes:
        record: the privacy record: declared parameters, plan, ledger, verdict.
        table: the synthetic records.
    """

    record: Mapping[str, Any]
    table: SyntheticTable


@dataclass(frozen=True)
class ReportContent:
    """What the steward sees.

    Attributes:
        title: name of the data product.
        table: the synthetic records.
        verdict: the gate's verdict with its reasons. Sensitive.
        results: the four heads' results. Sensitive.
        record: the privacy record; None for a table of another generator, which has no public edition.
        real: marginals of the real records, see `marginals`. Sensitive.
        ingest: what ingestion counted, as JSON values. Sensitive.
        thresholds: the policy's bound in words, by ``<metric>.<key>``.
        margins: the policy's bounds as numbers, for the pictures, by ``<metric>.<key>`` of groups.
        claim: epsilon and delta that another generator's maker claims; used if there is no record.
        sheets: real images, of a cohort of images. Sensitive.
        basis: what the evaluation rests on and how often it was made, as JSON values. Sensitive.
    """

    title: str
    table: SyntheticTable
    verdict: Verdict
    results: Sequence[MetricResult] = ()
    record: Mapping[str, Any] | None = None
    real: tuple[Marginal, ...] = ()
    ingest: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, str] = field(default_factory=dict)
    margins: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    claim: tuple[float, float] | None = None
    sheets: RealSheets | None = None
    basis: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> PublicContent:
        """Return the part that may leave.

        Raises:
            ValueError: there is no privacy record, so nothing may leave.
        """
        if self.record is None:
            raise ValueError(
                "Expected a privacy record, got None. Only a run of synthgen has a public edition."
            )
        return PublicContent(record=self.record, table=self.table)
