"""Write the data card: the page that a recipient reads first, as Markdown.

Its limits and uses stand under the headings of Croissant RAI 1.0. Everything follows from the privacy
record and the public schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from synthgen.printable import code, markdown
from synthgen.release.plain_language import (
    COUNTED,
    audit_sentences,
    composed_sentences,
    deviation_sentences,
    inference_sentences,
    percent,
    plain_odds,
    rounded,
    unit_sentence,
)
from synthgen.release.record.record import NOT_STATED, record_digest
from synthgen.release.sample_size import warnings_of
from synthgen.schema.fields import Column, Field, labels_of
from synthgen.schema.file_dialect import ESCAPED, format_of, is_formula
from synthgen.schema.schema import Schema

LICENCE = "To be stated by the curator. Until then no licence is granted."
BIASES = (
    "Not stated by the curator. Biases of the real cohort are likely to be in the synthetic one. "
    "Noise weighs most on small groups: check each group before conclusions are drawn about it."
)


def data_card(record: Mapping[str, Any], schema: Schema) -> str:
    """Return the card: the same text for the same record and schema, so that a verifier makes it anew.

    Args:
        record: the privacy record.
        schema: the table's schema, of which the public part is printed.
    """
    schema = schema.public()
    basic = record["registry"]["basic"]
    parts = [
        f"# {markdown(basic['name'])}\n\n{markdown(basic['description'])}",
        _what(record, schema),
        _guarantee(record),
        _audit(record),
        _verdict(record),
        _inference(record),
        _uses(record),
        _columns(schema),
        _formulas(record, schema),
        _verify(record),
        f"## Licence\n\n{LICENCE}",
        f"<!-- privacy_record.json sha256: {record_digest(record)} -->",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _what(record: Mapping[str, Any], schema: Schema) -> str:
    basic, files = record["registry"]["basic"], record["data"]["files"]
    listed = "\n".join(
        f"- {code(f'data/{name}')}: {count:,} synthetic records" for name, count in sorted(files.items())
    )
    curators = markdown(", ".join(basic["data_curators"]))
    stands = "A synthetic record is one record of an invented patient; it is not a history."
    if schema.unit.is_linked:
        stands = "Rows of an invented patient belong together, in order; longer memory than one row is lost."
    return f"""## What this is

Synthetic medical records, drawn from the generator {code(record["plan"]["generator"])} of synthgen, which was
fitted to a real cohort under differential privacy. No record was passed on; one may still resemble a real
one by chance. {stands}

{listed}

Published {basic["publication_date"]}. Curators: {curators}. Region: {markdown(basic["region"])}"""


def _guarantee(record: Mapping[str, Any]) -> str:
    claim, ledger = record["claim"], record["ledger"]
    lines = [
        f"- epsilon {rounded(claim['epsilon'])} at delta {rounded(claim['delta'])} for this release",
        *(f"- {markdown(text)}" for text in composed_sentences(ledger)),
        f"- {unit_sentence(claim['unit'], claim['max_records'])}",
        "- neighbours add or remove one patient"
        if claim["unit"] == "patient"
        else "- neighbours add or remove one row",
    ]
    if ledger["mu"] is not None and not ledger["adaptive"]:  # of a sequence nothing is proven by a curve
        lines.append(f"- mu {rounded(ledger['mu'])} (Gaussian differential privacy, whole curve, that spend)")
    if claim["patients_counted"]:
        epsilon = rounded(claim["replace_one_epsilon"])
        lines.append(
            "- the number of patients was counted from the data, so the cohort's size is not protected; "
            f"when one patient is replaced, epsilon is {epsilon}"
        )
    lines += [f"- **{markdown(text)}**" for text in (*warnings_of(record), *deviation_sentences(record))]
    odds = plain_odds(ledger["proven_epsilon"], ledger["delta"], unit=claim["unit"], source=COUNTED)
    return "## The guarantee\n\n" + "\n".join(lines) + f"\n\n{odds}"


def _inference(record: Mapping[str, Any]) -> str:
    told = inference_sentences(record)
    return "" if not told else f"## For inference?\n\n**{markdown(told[0])}** {markdown(' '.join(told[1:]))}"


def _audit(record: Mapping[str, Any]) -> str:
    told = audit_sentences(record)
    if not told:
        return ""
    found, *rest = told
    return "\n\n".join([f"## Audit of the guarantee\n\n**{markdown(found)}**", markdown(" ".join(rest))])


def _verdict(record: Mapping[str, Any]) -> str:
    verdict, figures = record["verdict"], markdown(record["evaluation"]["figures"])
    policy = f"{code(verdict['policy'])} (SHA-256 {verdict['policy_sha256'][:12]})"
    text = f"""## The gate's verdict

**{verdict["verdict"]}**, under the policy {policy}. {figures}"""
    if verdict["override"] is not None:
        made = verdict["override"]
        words = markdown(f"by {made['who']}, {made['when']}: {made['reason']}")
        text += f"\n\n**Released against the gate** {words}"
    return text


def _uses(record: Mapping[str, Any]) -> str:
    removed = ", ".join(code(row["column"]) for row in record["identifiers"]) or "none"
    counted = markdown("; ".join(record["registry"]["dp_variant"]["unprotected_quantities"])) or "none"
    risk = record["evaluation"]["residual_risk_threshold"]
    threshold = "none stated" if risk is None else percent(risk)
    sections = {
        "dataUseCases": (
            f"{markdown(record['registry']['basic']['intended_use'])} "
            "Suited to build and test pipelines, to teach, and to explore before access to real records is "
            "asked for."
        ),
        "dataLimitations": (
            "P-values, standard errors and confidence intervals computed as if these records were patients "
            "are not valid. Rare categories and rare combinations are noisy or absent. No clinical decision "
            "may rest on these data; confirm every finding on real records."
        ),
        "dataBiases": BIASES,
        "dataSocialImpact": NOT_STATED,
        "personalSensitiveInformation": (
            f"Health data of invented persons. Columns that the generator never saw: {removed}. "
            f"Quantities that the guarantee does not cover: {counted}. "
            f"Policy bound on an attack's advantage: {threshold}."
        ),
        "dataCollection": NOT_STATED,
        "dataPreprocessingProtocol": (
            "Types, bounds and categories were declared in `schema.yaml`, not read off the data; those that "
            "it marks as paid were learnt under the same guarantee, rare categories as `other`. At most "
            f"{record['claim']['max_records']} record(s) of a patient were used."
        ),
        "dataManipulationProtocol": f"{markdown(record['registry']['implementation']['mechanisms'])}.",
        "dataImputationProtocol": "Nothing was imputed. Missing values are drawn as a category of their own.",
        "dataReleaseMaintenancePlan": NOT_STATED,
    }
    body = "\n\n".join(f"### {name}\n\n{text}" for name, text in sections.items())
    return f"## Use and limits (Croissant RAI 1.0)\n\n{body}"


def _columns(schema: Schema) -> str:
    rows = ["| column | type | role | domain | may be missing |", "|---|---|---|---|---|"]
    domains = {column.name: column for column in schema.columns}
    for field in schema.fields:
        if field.role == "drop":
            continue
        column = domains.get(field.name)
        domain = "fresh sequential numbers" if column is None else _domain(column)
        missing = "yes" if column is not None and column.nullable else "no"
        cells = (code(field.name, in_table=True), field.type, field.role or "feature", domain, missing)
        rows.append(f"| {' | '.join(cells)} |")
    rules = "".join(f"\n- {code(text)}" for text in schema.rules)
    return (
        "## Columns\n\n"
        + "\n".join(rows)
        + (f"\n\nHard rules that hold in every record:\n{rules}" if rules else "")
    )


def _formulas(record: Mapping[str, Any], schema: Schema) -> str:
    """Return what a reader must know of CSV cells that begin as formulas do; nothing where there are none."""
    if not any(format_of(Path(name)) == "csv" for name in record["data"]["files"]):
        return ""
    if schema.dialect is not None and schema.dialect.formulas == "escape":
        return f"## Formulas in the CSV files\n\n{markdown(ESCAPED)} Parquet files are as they are."
    names = [field.name for field in schema.fields if field.role != "drop" and _is_risky(field)]
    if not names:
        return ""
    return (
        "## Formulas in the CSV files\n\n"
        "**Do not open the CSV files in a spreadsheet; import their cells there as text.** Headers or "
        f"categories of {_listed(names)} begin as formulas do and are written as they are. "
        "`release: {csv_formulas: escape}` in the run's config puts an apostrophe before them."
    )


def _is_risky(field: Field) -> bool:
    labels = labels_of(field) or ()
    words = (*labels, *field.true_values, *field.false_values, *(field.missing_values or ()))
    return is_formula(field.name) or any(is_formula(str(word)) for word in words)


def _domain(column: Column) -> str:
    if column.field.type == "boolean":
        return _listed([column.field.true_values[0], column.field.false_values[0]])
    if column.kind == "category":
        return _listed([str(label) for label in column.labels]) + _paid(column)
    limits = column.field.constraints
    since = f" days since {code(column.field.since, in_table=True)}" if column.field.since else ""
    return f"{markdown(str(limits.minimum))} to {markdown(str(limits.maximum))}{since}" + _paid(column)


def _paid(column: Column) -> str:
    field = column.field
    return " (learnt from the data, paid from the budget)" if field.bounds or field.categories else ""


def _listed(labels: Iterable[str], most: int = 12) -> str:
    labels = list(labels)
    more = f", and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(code(label, in_table=True) for label in labels[:most]) + more


def _verify(record: Mapping[str, Any]) -> str:
    return f"""## How to verify

Unpack the bundle on any machine, no network needed:

    synthgen verify .
    sha256sum -c checksums.sha256

The first checks every file, recomputes epsilon from the events in `privacy_record.json`, checks the data
against `schema.yaml`, and makes this card, the report and `datapackage.json` anew. That shows that the parts
agree, not that nobody has rewritten all of them: checksums are no signature. Who has the hospital's ledger
finds that by `synthgen ledger verify --bundle .`, since the release is entered there with the digest of the
privacy record. The ledger's head when this record was made dates the bundle and proves nothing of its claim:
{code(record["ledger"]["head"])}."""
