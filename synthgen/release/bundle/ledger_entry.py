"""Compare a bundle with the ledger that its release was entered in.

A bundle agrees with itself even if somebody has rewritten all of it. Against that, the ledger has a row for
each release with the digest of its privacy record, which names the digests of the data files; card, report
and data package follow from both. So whoever has the ledger can tell a bundle that was released from another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dp_accounting.dp_event import ComposedDpEvent

from synthgen.errors import ConfigError, DataError
from synthgen.privacy.accountant import to_json
from synthgen.privacy.ledger.ledger import Entry, Ledger
from synthgen.release.bundle.verify import RECORD, Problem
from synthgen.release.record.record import record_digest


def entry_of(ledger: Ledger, record: Mapping[str, Any]) -> Entry | None:
    """Return the row of the release whose privacy record this is, or None."""
    digest = record_digest(record)
    rows = ledger.releases(record["ledger"]["cohort"])
    return next((row for row in rows if row.content.get("record") == digest), None)


def ledger_problems(record: Mapping[str, Any], ledger: Ledger) -> list[Problem]:
    """Return in what a bundle's privacy record differs from the ledger; empty if in nothing.

    Compared are the head (the ledger has that row), the spends and the cap of the cohort up to it, the claim,
    and the digest of the record, which stands in the row of its release.

    Args:
        record: of a bundle in which `synthgen.release.bundle.verify.verify_bundle` finds nothing.
        ledger: the hospital's, in which `synthgen.privacy.ledger.ledger.Ledger.verify` finds nothing.
    """
    problems = [*_differing(record, ledger), *_unentered(record, ledger)]
    return [Problem(RECORD, message) for message in problems]


def _differing(record: Mapping[str, Any], ledger: Ledger) -> list[str]:
    """Return which figures of a record are not those of the ledger at the head."""
    block, claim = record["ledger"], record["claim"]
    try:
        spent = ledger.spent(block["cohort"], head=block["head"])
    except ConfigError:
        return ["ledger.cohort: the ledger, as it was at the head, has no such cohort"]
    except DataError:
        return ["ledger.head: the ledger has no such row: it is another ledger, or was rolled back"]
    parts = spent.event.events if isinstance(spent.event, ComposedDpEvent) else [spent.event]
    events = [to_json(event) for event in parts]
    found = []
    if list(block["events"]) != events:
        found.append(
            f"ledger.events: the {len(block['events'])} events are not the {len(events)} spends of the ledger"
        )
    if record["plan"]["event"] not in events:
        found.append(
            f"claim.epsilon: no spend of the ledger is the event of this claim of {claim['epsilon']:g}"
        )
    facts = {
        "cap_epsilon": spent.cap,
        "delta": spent.delta,
        "opened": spent.opened[:10],
        "cap_changes": spent.cap_changes,
    }
    return found + [
        f"ledger.{key}: says {block[key]}, and the ledger {known}"
        for key, known in facts.items()
        if block[key] != known
    ]


def _unentered(record: Mapping[str, Any], ledger: Ledger) -> list[str]:
    """Return why the ledger's releases are not this one."""
    own = entry_of(ledger, record)
    if own is not None:
        same = own.content.get("head") == record["ledger"]["head"]
        return [] if same else [f"ledger.head: row {own.seq} of this release has another head"]
    releases = ledger.releases(record["ledger"]["cohort"])
    if not releases:
        return [
            "the ledger has no release of this cohort: it was rolled back, the bundle is of a version that "
            "did not enter releases, or nobody released it"
        ]
    listed = ", ".join(f"row {row.seq} of {row.time[:10]}" for row in releases[-5:])
    overridden = "overridden" if record["verdict"]["override"] else "not overridden"
    return [
        f"its digest {record_digest(record)} is that of no release in the ledger ({listed}): record or data "
        f"were rewritten after the release. It claims epsilon {record['claim']['epsilon']:g} and the verdict "
        f"{record['verdict']['verdict']}, {overridden}"
    ]
