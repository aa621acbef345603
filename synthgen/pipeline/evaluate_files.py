"""Evaluate tables of any generator, in files or in memory, without a run."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from synthgen.data.tables import RealTable, SyntheticTable
from synthgen.errors import SynthgenError
from synthgen.generators.base import Progress
from synthgen.schema.schema import Schema, load_schema

if TYPE_CHECKING:
    from synthgen.evaluation.base import Inputs
    from synthgen.pipeline.holdout_accesses import Accesses
    from synthgen.privacy.ledger.ledger import Ledger
    from synthgen.release.gate.gate import Verdict

USUAL: Mapping[str, Any] = {"delimiter": ",", "encoding": "utf-8", "decimal": ".", "date_format": None}
"""How a text table is written if nothing else is said."""
OPTION = r"--(delimiter|encoding|decimal|date-format)\b"


def declared_dialect(schema: Schema) -> dict[str, Any]:
    """Return what a schema declares of how its table is written, in the words of the command line."""
    words = {"delimiter": "delimiter", "encoding": "encoding", "decimal_char": "decimal"}
    kept = {} if schema.dialect is None else schema.dialect.model_dump(exclude_unset=True)
    return {words[key]: value for key, value in kept.items() if key in words}


def evaluate(
    paths: Mapping[str, Path],
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int | None,
    report: Path | None,
    progress: Progress,
    dialect: Mapping[str, Any] = {},
    synthetic_dialect: Mapping[str, Any] | None = None,
    ledger: str | None = None,
    counted: bool = True,
) -> dict[str, Any]:
    """Judge files: ``train``, ``holdout``, ``synthetic``, ``schema``, and ``reference`` if there is one.

    Args:
        paths: the files by name.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws; None follows from the real inputs.
        report: where the internal report goes, or None.
        progress: called with what is being done and the part done, from 0 to 1.
        dialect: how the real tables are written, as far as the schema's ``dialect`` does not say it.
        synthetic_dialect: how the synthetic table is written; None as the real ones are.
        ledger: URL of the ledger that counts evaluations of these inputs; None is one in the folder of the
            real table.
        counted: whether evaluations of these inputs are counted; not where the files are copies of tables in
            memory that have no place of their own.
    """
    from synthgen.pipeline.holdout_accesses import file_ledger

    schema = load_schema(paths["schema"])
    said = {key: value for key, value in dialect.items() if value is not None}
    dialect = {**USUAL, **declared_dialect(schema), **said}
    real = [name for name in ("train", "holdout", "reference") if name in paths]
    parts = {name: _read(paths[name], schema, dialect)[0] for name in real}
    drawn, rounded = _read_synthetic(paths["synthetic"], schema, {**dialect, **(synthetic_dialect or {})})
    units = drawn.unit_codes()[0] + 1 if schema.unit.is_linked else None
    table = SyntheticTable(schema, drawn.frame, units=units, rounded=rounded)
    counting = partial(file_ledger, paths["train"], ledger) if counted else _uncounted
    return evaluate_tables(
        parts,
        table,
        policy=policy,
        claim=claim,
        seed=seed,
        progress=progress,
        report=report,
        counting=counting,
    )


def _read(
    path: Path,
    schema: Schema,
    dialect: Mapping[str, Any],
    ids: Literal["required", "optional"] = "required",
) -> tuple[RealTable, Mapping[str, int]]:
    """Return a table, and how many numbers were rounded to the declared decimals, by column."""
    from synthgen.ingest.tables.table import read_table

    table, report = read_table(path, schema, ids=ids, **dialect)
    return table, report.rounded or {}


def _read_synthetic(
    path: Path, schema: Schema, dialect: Mapping[str, Any]
) -> tuple[RealTable, Mapping[str, int]]:
    """Read a synthetic table; a message that advises an option advises the one of the synthetic table."""
    try:
        return _read(path, schema, dialect, ids="optional")
    except SynthgenError as error:
        texts = [re.sub(OPTION, r"--synthetic-\1", text) for text in (error.message, error.next_step)]
        raise type(error)(texts[0], where=error.where, next_step=texts[1]) from None


def _uncounted() -> tuple[Ledger | None, str, str]:
    """Return that tables in memory have no ledger."""
    return None, "", "Tables in memory have no place of their own; evaluate files, or name a ledger."


def evaluate_tables(
    parts: Mapping[str, RealTable],
    table: SyntheticTable,
    *,
    policy: str,
    claim: tuple[float, float] | None,
    seed: int | None,
    progress: Progress,
    report: Path | None = None,
    counting: Callable[[], tuple[Ledger | None, str, str]] = _uncounted,
) -> dict[str, Any]:
    """Judge a table of any generator.

    Args:
        parts: ``train`` and ``holdout``, and ``reference`` if the attacker's records are given; else half
            of the holdout's patients are the reference, by a draw that only the seed fixes.
        table: the synthetic records.
        policy: name or path of a policy.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of all draws; None follows from the real inputs.
        progress: called with what is being done and the part done, from 0 to 1.
        report: where the internal report goes, or None.
        counting: opens the ledger that counts evaluations of these inputs, see `accesses.file_ledger`.

    Returns:
        The verdict as JSON values.

    Raises:
        DataError: the parts share patients or records.
        GateRefused: the policy allows no further evaluation of these inputs.
    """
    from synthgen.evaluation.overlap import require_disjoint
    from synthgen.evaluation.results_json import results_to_json
    from synthgen.evaluation.run import evaluate_all
    from synthgen.pipeline import holdout_accesses
    from synthgen.release.gate.gate import decide, load_policy
    from synthgen.release.report import ReportContent, marginals, write_report

    rules = load_policy(policy)
    progress("evaluate: are the parts disjoint", 0.0)
    require_disjoint(parts)
    used = holdout_accesses.seed_of(table.schema, parts) if seed is None else seed
    inputs = inputs_of(parts, table, claim=claim, seed=used)
    schema, train = inputs.schema, inputs.train
    basis = holdout_accesses.Basis(
        inputs=holdout_accesses.input_digests(inputs),
        policy=rules,
        seed=used,
        given=seed is not None,
        target=inputs.target,
        groups=inputs.groups,
        of_images=schema.images is not None,
    )
    counted = holdout_accesses.enter(*counting(), basis)
    if inputs.claim is not None:
        inputs = dataclasses.replace(
            inputs, claim=dataclasses.replace(inputs.claim, looks=counted.number or 1)
        )
    results = evaluate_all(inputs, seed=used, progress=lambda name, done: progress(f"evaluate: {name}", done))
    verdict = _with_accesses(decide(results, rules), counted, claimed=claim is not None)
    rests_on = {**basis.to_json(), "accesses": counted.to_json()}
    if report is not None:
        content = ReportContent(
            title="Evaluation of a synthetic table",
            table=table,
            verdict=verdict,
            results=results,
            real=marginals(schema, train.frame, train.unit_weights()),
            thresholds=rules.thresholds(),
            margins=rules.margins(),
            claim=claim,
            basis=rests_on,
        )
        write_report(report, content, edition="internal")
    shown = verdict.to_json()
    return {
        **{key: shown[key] for key in ("verdict", "reasons", "heads")},
        "epsilon": claim[0] if claim else None,
        "delta": claim[1] if claim else None,
        "unit": schema.unit.level,
        "looks": counted.number,
        "adaptive": (counted.number or 1) > 1,
        **rests_on,
        "run": None,
        "bundle": None,
        "results": results_to_json(results),
    }


def _with_accesses(verdict: Verdict, counted: Accesses, *, claimed: bool) -> Verdict:
    """Return a verdict that also warns of another evaluation of the same inputs, or that none is counted."""
    from synthgen.release.gate.gate import Reason

    if counted.number is None:
        message = f"Nobody counts how often these inputs are evaluated. {counted.why_not}"
    elif counted.number > 1 and not claimed:  # with a claim the policy's rule says it
        message = (
            f"Evaluation {counted.number} of these inputs: after the first, intervals are adaptive and may "
            "not cover. Source: Dwork et al. (2015), Science 349:636."
        )
    else:
        return verdict
    reason = Reason("leakage", "leakage_claim.looks", "warn", message)
    return dataclasses.replace(verdict, reasons=(*verdict.reasons, reason))


def inputs_of(
    parts: Mapping[str, RealTable], table: SyntheticTable, *, claim: tuple[float, float] | None, seed: int
) -> Inputs:
    """Return what the metrics take; target and groups come from the schema's roles.

    Args:
        parts: see `evaluate_tables`.
        table: the synthetic records.
        claim: epsilon and delta that the generator's maker claims, or None.
        seed: of the draw of the reference, if none is given.
    """
    from synthgen.evaluation.base import Claim, Inputs
    from synthgen.evaluation.canonical_order import ordered

    train, holdout, reference = parts["train"], ordered(parts["holdout"]), parts.get("reference")
    of_cohort = reference is None
    if reference is None:
        holdout, reference = _halves(holdout, seed)
    schema = table.schema
    labels = schema.with_role("label")
    known = {column.name for column in schema.columns}
    groups = tuple(name for name in schema.with_role("protected") if name in known)
    categories = [name for name in labels if schema.column(name).kind == "category"]
    target = next(iter([*categories, *labels]), None)
    claimed = None if claim is None else Claim(claim[0], claim[1])
    return Inputs(
        schema, train, holdout, reference, table, target, groups, claimed, reference_of_cohort=of_cohort
    )


def _halves(table: RealTable, seed: int) -> tuple[RealTable, RealTable]:
    """Part a table in two by patient."""
    codes, n_units = table.unit_codes()
    side = np.random.default_rng([seed, 7]).permutation(n_units) % 2 == 0
    return table.select(side[codes]), table.select(~side[codes])
