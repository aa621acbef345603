"""The sections that may leave the building: made from `PublicContent`, so from no real record.

The internal edition shows the same sections around its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synthgen.data.tables import SyntheticTable
from synthgen.release.plain_language import (
    COUNTED,
    audit_sentences,
    composed_sentences,
    deviation_sentences,
    inference_sentences,
    percent,
    plain_mu,
    plain_odds,
    rounded,
    unit_sentence,
)
from synthgen.release.report.contact_sheets import synthetic_sheets
from synthgen.release.report.content import PublicContent
from synthgen.release.report.html import Html, badge, element, facts, join, listing, paragraph, table
from synthgen.release.report.marginals import Marginal, marginals
from synthgen.release.report.panels import marginal_chart, missing_note
from synthgen.release.sample_size import warnings_of

Section = tuple[str, str, Html]
"""An anchor, a heading, a body."""

WORDS = {"release": "Release", "refuse": "Refuse", "cannot-sign": "Cannot sign"}
MEANING = {
    "release": "The policy's gates found no harm beyond their margins.",
    "refuse": "At least one of the policy's gates found harm beyond its margin.",
    "cannot-sign": "The evidence is missing or too weak to rule out harm beyond the policy's margins.",
}
MARKS = {"release": "✓", "refuse": "✕", "cannot-sign": "?"}
MOST_PANELS = 60


def public_sections(content: PublicContent) -> list[Section]:
    """Return the body of the public edition."""
    record, synthetic = content.record, content.table
    return [
        ("guarantee", "The guarantee", guarantee(record)),
        *audited(record),
        ("budget", "What was spent, and how", budget(record)),
        ("data", "The synthetic records", join([data(synthetic), constraints(synthetic)])),
        *images(synthetic),
        ("marginals", "Columns", panels(weighed(synthetic), ())),
        ("removed", "What the generator never saw", removed(record)),
        ("limits", "Limits", limits(record, linked=synthetic.schema.unit.is_linked)),
        ("verify", "How to reproduce and verify", verify(record)),
    ]


def images(synthetic: SyntheticTable) -> list[Section]:
    """Return the contact sheets, if the records are images."""
    if not hasattr(synthetic, "pixels"):  # images in memory, or read from a bundle
        return []
    return [("images", "The synthetic images", synthetic_sheets(synthetic))]


def band(verdict: str, *rest: str) -> Html:
    """Return the verdict as a wide band; its word, not only its colour, carries the message."""
    mark = element("span", MARKS[verdict], class_="mark", aria_hidden="true")
    head = element("p", mark, WORDS[verdict], class_="verdict")
    meaning = paragraph(MEANING[verdict])
    return element("section", element("h2", "Verdict"), head, meaning, *rest, class_=f"band {verdict}")


def public_band(record: Mapping[str, Any]) -> Html:
    """Return the verdict without a figure on real records, and who overrode it."""
    verdict = record["verdict"]
    rest = [
        paragraph(
            f"Policy: {verdict['policy']} (SHA-256 {verdict['policy_sha256'][:12]}). ",
            record["evaluation"]["figures"],
        )
    ]
    return band(verdict["verdict"], *rest, override(record))


def override(record: Mapping[str, Any]) -> Html:
    """Return who released against the gate, or nothing."""
    made = record["verdict"]["override"]
    if made is None:
        return Html("")
    text = f"Released against the gate by {made['who']}, {made['when']}. Reason: {made['reason']}"
    return paragraph(element("strong", text), class_="alarm")


def guarantee(record: Mapping[str, Any]) -> Html:
    """Return the claim in large figures, and what it means in plain words."""
    claim, ledger = record["claim"], record["ledger"]
    is_row = claim["unit"] == "row"
    n = len(ledger["events"])
    spends = f"cap of {n} spends" if ledger["adaptive"] else "only spend in the ledger"
    mu: list[tuple[str, str, str]] = []
    if ledger["mu"] is not None and not ledger["adaptive"]:  # of a sequence nothing is proven by a curve
        mu = [("mu, only spend in the ledger", rounded(ledger["mu"]), "")]
    large = facts(
        [
            ("epsilon, this release", rounded(claim["epsilon"]), ""),
            (f"epsilon, {spends}", rounded(ledger["proven_epsilon"]), ""),
            ("delta", rounded(claim["delta"]), ""),
            *mu,
            ("protected unit", "row" if is_row else "patient", "alarm" if is_row else ""),
            ("records used of one unit", f"≤ {claim['max_records']}", ""),
        ]
    )
    odds = plain_odds(ledger["proven_epsilon"], ledger["delta"], unit=claim["unit"], source=COUNTED)
    words = [odds]
    if mu:
        words.append(plain_mu(ledger["mu"], unit=claim["unit"]))
    words += [f"{text[0].upper()}{text[1:].rstrip('.')}." for text in composed_sentences(ledger)]
    neighbours = "one row" if is_row else "one patient with all records"
    words.append(
        f"Neighbouring cohorts differ by adding or removing {neighbours}. The bound holds whatever the "
        "attacker knows or does. What the data teach about groups is not covered: it is their use."
    )
    unit = unit_sentence(claim["unit"], claim["max_records"])
    style = "alarm" if is_row else ""
    few = [paragraph(text, class_="alarm") for text in warnings_of(record)]
    weaker = "alarm" if record["deviations"] else ""
    few += [paragraph(text, class_=weaker) for text in deviation_sentences(record)]
    return join(
        [*few, large, paragraph(f"{unit[0].upper()}{unit[1:]}.", class_=style), listing(words), _size(claim)]
    )


def audited(record: Mapping[str, Any]) -> list[Section]:
    """Return what the audit of a simulated twin showed, if there was an evaluation."""
    told = audit_sentences(record)
    if not told:
        return []
    style = "alarm" if record["audit"]["verdict"] == "violation" else ""
    body = join([paragraph(element("strong", told[0]), class_=style), *map(paragraph, told[1:])])
    return [("audit", "Audit of the guarantee", body)]


def _size(claim: Mapping[str, Any]) -> Html:
    declared = f"Declared size of the cohort: {claim['cohort_patients']:,} patients."
    if not claim["patients_counted"]:
        return paragraph(f"{declared} It was declared, not counted, and fixes rates, never noise.")
    epsilon = rounded(claim["replace_one_epsilon"])
    text = f"{declared} It was counted from the data, so the cohort's size is NOT protected."
    return paragraph(f"{text} When one patient is replaced, epsilon is {epsilon}.", class_="alarm")


def budget(record: Mapping[str, Any]) -> Html:
    """Return the plan's stages, its numbers, and the ledger's composition."""
    plan, ledger = record["plan"], record["ledger"]
    stages = [
        [
            stage["name"],
            rounded(stage["epsilon"]),
            percent(stage["share"]),
            "selects" if stage["noise"] is None else rounded(stage["noise"]),
            stage["detail"],
        ]
        for stage in plan["stages"]
    ]
    head = ["stage", "epsilon alone", "share", "noise (patients, 1 sd)", "what it does"]
    numbers = [[key, _value(value)] for key, value in sorted(plan["parameters"].items())]
    left = max(0.0, ledger["cap_epsilon"] - ledger["epsilon"])
    planned = ", as if planned together" if ledger["adaptive"] else ""
    used = [
        ["this release's plan", rounded(record["claim"]["epsilon"]), rounded(record["claim"]["delta"])],
        [
            f"all {len(ledger['events'])} events{planned}",
            rounded(ledger["epsilon"]),
            rounded(ledger["delta"]),
        ],
        ["the cohort's cap", rounded(ledger["cap_epsilon"]), rounded(ledger["delta"])],
    ]
    return join(
        [
            paragraph(
                f"Generator {plan['generator']}, fitted once on a declared {plan['patients']:,} patients. "
                "The plan was fixed before a record was read. Stages compose to less than their sum."
            ),
            table("The plan's stages", head, stages, numbers=(1, 2, 3)) if stages else Html(""),
            table("The plan's numbers", ["number", "value"], numbers) if numbers else Html(""),
            table("The cohort's ledger", ["spend", "epsilon", "delta"], used, numbers=(1, 2)),
            paragraph(
                f"Accountant: {ledger['accountant']}. Events compose jointly; epsilons are never added. "
                + ("Nothing is left under the cap." if left == 0 else "The cap is not used up.")
            ),
            paragraph(record["randomness"]),
        ]
    )


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return rounded(value)
    if isinstance(value, list):
        text = ", ".join(_value(item) for item in value[:12])
        return text + (f", and {len(value) - 12} more" if len(value) > 12 else "")
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_value(item)}" for key, item in list(value.items())[:12])
    return str(value)


def data(synthetic: SyntheticTable) -> Html:
    """Return the size of the synthetic table and the shares of its protected groups."""
    schema = synthetic.schema
    text = f"{len(synthetic):,} records, {len(schema.columns)} columns. {_stands_for(synthetic)}"
    protected, linked = set(schema.with_role("protected")), schema.unit.is_linked
    size = float(synthetic.unit_weights().sum()) if linked else len(synthetic)
    rows = []
    for marginal in weighed(synthetic):
        if marginal.column not in protected or marginal.kind != "category":
            continue
        shares = [*zip(marginal.labels, marginal.shares, strict=True)]
        shares += [("(missing)", marginal.missing)] if marginal.missing else []
        rows += [
            [f"{marginal.column} = {label}", f"{round(share * size):,}", percent(share)]
            for label, share in shares
        ]
    groups = table(
        f"Protected groups among the synthetic {(of := 'patients' if linked else 'records')}",
        ["group", of, "share"],
        rows,
        numbers=(1, 2),
    )
    return join([paragraph(text), groups if rows else Html("")])


def weighed(synthetic: SyntheticTable) -> tuple[Marginal, ...]:
    """Return the columns' marginals, in which each synthetic patient weighs alike."""
    weights = synthetic.unit_weights() if synthetic.schema.unit.is_linked else None
    return marginals(synthetic.schema, synthetic.frame, weights)


def _stands_for(synthetic: SyntheticTable) -> str:
    if synthetic.units is None or not synthetic.schema.unit.is_linked:
        return "A synthetic record is one record of an invented patient. Ids are fresh numbers."
    n_patients, most = len(set(synthetic.units.tolist())), synthetic.schema.unit.max_records
    return (
        f"They belong to {n_patients:,} invented patients, each with up to {most} rows in order. "
        "Ids are fresh numbers; shares are of patients, each of whose k rows weighs 1/k."
    )


def constraints(synthetic: SyntheticTable) -> Html:
    """Return how many synthetic records break each hard rule."""
    rules = synthetic.schema.parsed_rules
    rows = [[rule.text, f"{int(rule.violated(synthetic.frame).sum()):,}"] for rule in rules]
    return (
        table("Hard clinical rules", ["rule", "records that break it"], rows, numbers=(1,))
        if rows
        else Html("")
    )


def panels(synthetic: tuple[Marginal, ...], real: tuple[Marginal, ...]) -> Html:
    """Return one small picture a column; the real shares beside it where they are given."""
    beside = {marginal.column: marginal for marginal in real}
    figures = []
    for marginal in synthetic[:MOST_PANELS]:
        other = beside.get(marginal.column)
        note = missing_note(marginal, other)
        caption = [element("b", marginal.column), element("span", note, class_="note") if note else Html("")]
        chart = marginal_chart(marginal, other)
        figures.append(element("figure", element("figcaption", *caption), chart))
    keys = [element("span", "synthetic", class_="key filled")]
    if real:
        keys.append(element("span", "real", class_="key outlined"))
    text = f"Share of records, one picture a column, over the schema's public cells{_cut(len(synthetic))}."
    return join([paragraph(text, " ", *keys), element("div", *figures, class_="panels")])


def _cut(n_columns: int) -> str:
    return f" (the first {MOST_PANELS} of {n_columns} columns)" if n_columns > MOST_PANELS else ""


def removed(record: Mapping[str, Any]) -> Html:
    """Return the columns that were taken out before anything was learnt."""
    rows = [[row["column"], row["role"], row["technique"]] for row in record["identifiers"]]
    if not rows:
        return paragraph("The schema names no identifier and drops no column.")
    return table("Columns taken out", ["column", "role", "technique"], rows)


def inference(record: Mapping[str, Any]) -> Html:
    """Return the stamp that says whether intervals from the records hold, if there was an evaluation."""
    told = inference_sentences(record)
    if not told:
        return Html("")
    style = "alarm" if record["inference"]["stamp"].startswith("not") else ""
    return paragraph(element("strong", told[0]), " ", *told[1:], class_=style)


def limits(record: Mapping[str, Any], *, linked: bool = False) -> Html:
    """Return the warnings that every reader needs, and the release's own."""
    history = (
        "A synthetic patient's row follows from the row before it alone: longer memory is lost."
        if linked
        else "A synthetic record is no patient's history: records of one person do not belong together."
    )
    items = [
        "P-values, standard errors and intervals computed from synthetic data as if real are not valid.",
        "Rare categories and combinations are noisy or absent; noise weighs most on small groups.",
        history,
        "No decision about a patient may rest on these data. Confirm every finding on real records.",
    ]
    looks = record["evaluation"]["looks"]
    if record["claim"]["patients_counted"]:
        items.append("The number of patients was counted from the data: the cohort's size is not protected.")
    if looks > 1:
        items.append(
            f"The holdout has been looked at {looks} times; what was chosen after the first look makes its "
            "intervals too narrow."
        )
    if looks == 0:
        items.append("Nothing was held out, so the release was not evaluated.")
    return join([inference(record), listing(items)])


def verify(record: Mapping[str, Any]) -> Html:
    """Return how to check the release and what made it."""
    software = [[name, version] for name, version in sorted(record["software"].items())]
    return join(
        [
            paragraph("In the bundle's folder, on any machine, without a network:"),
            element(
                "pre",
                element("code", join(["synthgen verify .", "sha256sum -c checksums.sha256"], between="\n")),
            ),
            paragraph(
                "It checks every file, recomputes epsilon from the events in privacy_record.json, and checks "
                "the data against schema.yaml and its hard rules. Sampling repeats byte for byte under its "
                "seed; the fit does not, on purpose: its noise is kept nowhere."
            ),
            paragraph("Head of the ledger: ", element("code", record["ledger"]["head"]), class_="hash"),
            paragraph(
                "Digest of the schema: ", element("code", record["data"]["schema_sha256"]), class_="hash"
            ),
            table("Software", ["package", "version"], software),
        ]
    )


def edition_badge(edition: str) -> Html:
    """Return the edition as a badge."""
    return badge(f"{edition} edition", edition)
