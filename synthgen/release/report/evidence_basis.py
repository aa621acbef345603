"""What an evaluation rests on: inputs, policy, seed, target, groups, and how often it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthgen.release.report.html import Html, element, join, paragraph, table


def basis(content: Mapping[str, Any]) -> Html:
    """Return the section of the internal edition.

    Args:
        content: ``policy``, ``inputs`` and ``accesses``, as `synthgen.pipeline.holdout_accesses` gives them.
    """
    policy, inputs, accesses = content["policy"], content["inputs"], content["accesses"]
    shipped = "shipped with synthgen" if policy["shipped"] else "not the shipped one"
    chosen = "follows from the real inputs" if inputs["seed_from"] == "inputs" else "chosen by a person"
    rows = [
        ["policy", f"{policy['name']} ({shipped}), SHA-256 {policy['sha256']}"],
        ["target", inputs["target"] or "none"],
        ["groups", ", ".join(inputs["groups"]) or "none"],
        ["seed", f"{inputs['seed']} ({chosen})"],
        ["version", inputs["version"]],
        *([name, f"SHA-256 {digest}"] for name, digest in inputs["sha256"].items()),
    ]
    return join(
        [
            _accesses(accesses),
            _looser(policy),
            table("What was evaluated", ["what", "value"], rows),
        ]
    )


def _accesses(accesses: Mapping[str, Any]) -> Html:
    if not accesses["counted"]:
        return paragraph(
            f"Nobody counted how often these inputs were evaluated. {accesses['reason']}", class_="alarm"
        )
    number = accesses["number"]
    if number == 1:
        return paragraph("First evaluation of these inputs, by the ledger.")
    text = f"Evaluation {number} of these inputs, by the ledger: intervals are adaptive and may not cover."
    changed = [
        element("li", f"{change['what']}: {change['before']} the first time, {change['now']} now")
        for change in accesses["changes"]
    ]
    said = "Changed since the first evaluation:" if changed else "Nothing was changed since the first one."
    return join(
        [paragraph(f"{text} {said}", class_="alarm"), element("ul", *changed) if changed else Html("")]
    )


def _looser(policy: Mapping[str, Any]) -> Html:
    if not policy["looser"]:
        return Html("")
    ways = [element("li", way) for way in policy["looser"]]
    return join(
        [
            paragraph("This policy allows more than the shipped one:", class_="alarm"),
            element("ul", *ways),
        ]
    )
