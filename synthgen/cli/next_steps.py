"""What a person can do next when a verb has ended, and where the report is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from synthgen.printable import shell

Outcome = Mapping[str, Any]


def ending(
    verb: str, outcome: Outcome, *, report: str = "", given: Mapping[str, str] | None = None
) -> list[str]:
    """Return the last lines of a verb's text: the report's place, then the next step.

    Args:
        verb: the verb's function name, such as ``schema_check``.
        outcome: what it returned, as JSON values.
        report: where a report went that the outcome does not name.
        given: the verb's arguments as they were typed, by name: the next step names them.
    """
    lines = []
    report = report or _report(verb, outcome)
    if report:
        lines.append(f"Report: {report}")
    if "next" in outcome or verb not in _STEPS:  # the outcome says it itself
        return lines
    step = _STEPS[verb](outcome)
    return [*lines, f"Next: {_named(step, given or {})}"] if step else lines


def _named(step: str, given: Mapping[str, str]) -> str:
    """Return a step with the files of this call in place of the words CONFIG, SCHEMA and TABLE."""
    config = " ".join(word for word in (given.get("config", ""), given.get("set_", "")) if word)
    words = {"CONFIG": config, "SCHEMA": given.get("schema", ""), "TABLE": given.get("table", "")}
    return re.sub(r"\b(CONFIG|SCHEMA|TABLE)\b", lambda found: words[found[1]] or found[1], step)


def _report(verb: str, outcome: Outcome) -> str:
    if outcome.get("report"):
        return "" if verb == "demo" else str(outcome["report"])
    if "verdict" in outcome and outcome.get("run"):
        return str(Path(outcome["run"]) / "internal" / "report.html")
    return ""


def _planned(outcome: Outcome) -> str:
    if outcome.get("cannot_be_signed"):
        return "change what is listed first, or synthgen run CONFIG --anyway, which the privacy record says."
    return "synthgen run CONFIG does it."


def _judged(outcome: Outcome) -> str:
    if not outcome.get("run"):
        return "read the report; without one, add --report FILE.html."
    run = shell(outcome["run"])
    if outcome.get("rehearsal"):
        return (
            "read the report. Then name the patients' table, without `rehearsal: true`: synthgen plan CONFIG"
        )
    if outcome.get("bundle"):
        return f"check the bundle where it is used: synthgen verify {shell(outcome['bundle'])}"
    if outcome["verdict"] == "release":
        return f"synthgen release {run} --output BUNDLE"
    return (
        "read the report. A person may release against the gate, which is recorded: "
        f'synthgen release {run} --output BUNDLE --override "REASON"'
    )


def _evaluated(outcome: Outcome) -> str:
    return _judged(outcome) if "verdict" in outcome else "the figure lies in the run's public folder."


def _fitted(outcome: Outcome) -> str:
    run = shell(outcome["run"])
    return (
        f"synthgen sample {run} --records 1000 --output sample.csv, "
        f"or the same config with synthgen run --output {run} --resume to evaluate it."
    )


def _verified(outcome: Outcome) -> str:
    if outcome["verified"]:
        return (
            "read card.md in the bundle: what the records are, and are not, good for. That its parts agree "
            "does not prove its claim: who rewrites all of them makes a bundle that agrees too, and the "
            "ledger's head in it only dates it. Whoever has the hospital's ledger compares: "
            f"synthgen ledger verify --bundle {shell(outcome['bundle'])}"
        )
    return "do not use this bundle; ask whoever made it for another copy."


def _checked(outcome: Outcome) -> str:
    if not outcome.get("valid"):
        return ""
    return (
        "synthgen config init SCHEMA --data TABLE writes a config, unless you have one; "
        "synthgen plan, with that config, says what a fit will spend."
    )


def _ledger(outcome: Outcome) -> str:
    if "bundle" in outcome:
        if outcome["verified"]:
            return "the bundle is the one that was released: events, claim and data are those of the ledger."
        return "do not use this bundle; ask the hospital for another copy, and who changed this one."
    if outcome["verified"]:
        return "keep the head of each bundle: synthgen ledger verify --head HEAD finds a rolled-back ledger."
    return "restore the ledger from its last backup, and ask who edited it."


_STEPS: Mapping[str, Callable[[Outcome], str]] = {
    "demo": _judged,
    "plan": _planned,
    "run": _judged,
    "fit": _fitted,
    "sample": lambda _: "these records share the guarantee of their run; drawing more costs nothing.",
    "evaluate": _evaluated,
    "release": lambda outcome: f"check it where it is used: synthgen verify {shell(outcome['bundle'])}",
    "export": lambda outcome: f"the files lie in {outcome['output']}.",
    "verify": _verified,
    "schema_init": lambda outcome: f"read and complete {outcome['schema']}, then synthgen schema check.",
    "schema_import": lambda outcome: f"read and complete {outcome['schema']}, then synthgen schema check.",
    "schema_check": _checked,
    "schema_simulate": lambda _: (
        "name the file in a config with `rehearsal: true`, to try a whole run for free."
    ),
    "ledger_open": lambda _: "name this ledger in each config: budget: {ledger: URL, ...}",
    "ledger_show": lambda _: "synthgen ledger verify finds any edit; --backup FILE keeps a copy.",
    "ledger_unit": lambda _: "synthgen ledger show COHORT says what is composed.",
    "ledger_same_unit": lambda _: "synthgen ledger show COHORT says what is composed.",
    "ledger_resolve": lambda _: "the spend stays; a new run is a new spend.",
    "ledger_verify": _ledger,
}
