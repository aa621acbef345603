"""The ledger's verbs: what `synthgen.privacy.ledger.ledger` answers, as JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synthgen.config.run_config import own_ledger
from synthgen.errors import ConfigError
from synthgen.privacy.ledger.ledger import Ledger, LedgerUnit, shown_unit
from synthgen.privacy.ledger.location import without_password


def open_cohort(
    url: str | None, cohort: str, *, epsilon: float, delta: float, disjoint_from: Sequence[str], reason: str
) -> dict[str, Any]:
    """Open a cohort, or change its cap for a recorded reason."""
    ledger = Ledger.connect(url_of(url, cohort, make=True), base=Path.cwd())
    ledger.open_cohort(cohort, epsilon=epsilon, delta=delta, disjoint_from=disjoint_from, reason=reason)
    return {"ledger_created": ledger.created, **_cohort(ledger, cohort)}


def show(url: str | None, cohort: str | None) -> dict[str, Any]:
    """Return caps, what is spent and left, and the entries."""
    ledger = Ledger.connect(url_of(url, cohort), base=Path.cwd(), create=False)
    names = [ledger.cohort(cohort).name] if cohort else ledger.cohorts()
    entries = [
        {"seq": e.seq, "time": e.time, "cohort": e.cohort, "kind": e.kind, "content": dict(e.content)}
        for e in ledger.entries(cohort)
    ]
    orphans = [entry.seq for entry in ledger.orphans()]
    cohorts = [_cohort(ledger, name) for name in names]
    shown = {"cohorts": cohorts, "entries": entries, "orphans": orphans, "head": ledger.head()}
    return shown | ({"migrated": ledger.migrated} if ledger.migrated else {})


def resolve(url: str | None, reservation: int, reason: str) -> dict[str, Any]:
    """Write off an orphaned reservation; its spend is kept."""
    ledger = Ledger.connect(url_of(url), base=Path.cwd(), create=False)
    ledger.write_off(reservation, reason)
    return {"resolved": reservation, "spend": "kept"}


def verify(
    url: str | None, head: str | None, backup: str | None = None, bundle: Path | None = None
) -> dict[str, Any]:
    """Return every sign that the ledger was edited, or is not a bundle's; else copy it to ``backup``."""
    if bundle is not None:
        require_bundle(bundle)
    ledger = Ledger.connect(url_of(url), base=Path.cwd(), create=False)
    problems: list[dict[str, Any]] = [
        {"seq": problem.seq, "message": problem.message} for problem in ledger.verify(head=head)
    ]
    outcome: dict[str, Any] = {"verified": not problems, "problems": problems}
    if bundle is not None:
        outcome |= {"bundle": str(bundle)}
        if not problems:
            shown, release = _of_bundle(ledger, bundle)
            problems += shown
            outcome |= {"verified": not problems, "release": release}
    if problems or backup is None:
        return outcome
    ledger.backup(without_password(backup) if "://" in backup else backup)
    return {**outcome, "backup": "made", "head": ledger.head()}


def _of_bundle(ledger: Ledger, bundle: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return in what a bundle is not the one that the ledger knows, and the row of its release."""
    from synthgen.release.bundle.ledger_entry import entry_of, ledger_problems
    from synthgen.release.bundle.verify import record_of, verify_bundle
    from synthgen.release.record.record import record_digest

    found = verify_bundle(bundle)
    if found:
        return [problem.to_json() for problem in found], None
    record = record_of(bundle)
    entry = entry_of(ledger, record)
    known = None if entry is None else {"row": entry.seq, "time": entry.time, "record": record_digest(record)}
    return [problem.to_json() for problem in ledger_problems(record, ledger)], known


def require_bundle(bundle: Path) -> None:
    """Refuse a path that is no folder.

    Raises:
        ConfigError: there is none.
    """
    if not bundle.is_dir():
        raise ConfigError(
            "Expected the folder of a bundle, found none.", where=str(bundle), next_step="Check the path."
        )


def declare_unit(url: str | None, cohort: str, unit: LedgerUnit, reason: str) -> dict[str, Any]:
    """Record the privacy unit of reservations that an older version made without one."""
    ledger = Ledger.connect(url_of(url, cohort), base=Path.cwd(), create=False)
    return {"cohort": cohort, "unit": str(unit), "entries": ledger.declare_unit(cohort, unit, reason=reason)}


def declare_same_unit(url: str | None, columns: Sequence[str], reason: str) -> dict[str, Any]:
    """Record that columns of several tables name the same patients."""
    ledger = Ledger.connect(url_of(url), base=Path.cwd(), create=False)
    ledger.declare_same_unit(columns, reason=reason)
    return {"same_unit": sorted(set(columns))}


def url_of(url: str | None, cohort: str | None = None, *, make: bool = False) -> str:
    """Return the ledger that is meant: the named one, the cohort's own, or the only one in this folder.

    Args:
        url: as named on the command line.
        cohort: the cohort that is asked for.
        make: the cohort's own ledger may be made.

    Raises:
        ConfigError: there is none, there are several, or the URL holds a password.
    """
    if url is not None:
        return without_password(url)
    if make and cohort is not None:
        return own_ledger(cohort)
    here = Path.cwd()
    if cohort is not None and (here / own_ledger(cohort).removeprefix("sqlite:///")).is_file():
        return own_ledger(cohort)
    found = sorted(path.name for path in here.glob("ledger*.db"))
    if len(found) == 1:
        return f"sqlite:///{found[0]}"
    got = f"found {', '.join(found)}" if found else "found none in this folder"
    raise ConfigError(
        f"Expected --ledger URL, or one file ledger*.db in this folder, {got}.",
        where="--ledger",
        next_step=f"Name one, such as --ledger sqlite:///{found[0] if found else 'ledger_COHORT.db'}.",
    )


def _cohort(ledger: Ledger, name: str) -> dict[str, Any]:
    cohort = ledger.cohort(name)
    shown: dict[str, Any] = {
        "cohort": name,
        "cap": {"epsilon": cohort.epsilon, "delta": cohort.delta},
        "looks": ledger.looks(name),
    }
    try:
        spent = ledger.spent(name)
    except ConfigError as error:  # its spends protect different units
        return {**shown, "not_composed": str(error)}
    return {
        **shown,
        "epsilon": spent.epsilon,
        "proven": spent.proven,
        "used": spent.used,
        "left": spent.left,
        "spends": spent.entries,
        "units": [shown_unit(unit) for unit in spent.units],
        "opened": spent.opened,
        "cap_changes": spent.cap_changes,
        "counts_with": [other for other in spent.cohorts if other != name],
    }
