"""What weakens a claim stands in record, card and reports; every key of a config says whether it does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from synthgen import plugins
from synthgen.config.run_config import GENERATORS, ResolvedConfig, RunConfig, load_config
from synthgen.pipeline.evaluate import _overridden
from synthgen.pipeline.fit import make_plan
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.ledger.units import LedgerUnit
from synthgen.release.card import data_card
from synthgen.release.record.deviations import SETTINGS, Facts, deviations, override_deviation
from synthgen.release.record.record import Judgement
from synthgen.release.report import render_report
from synthgen.schema.schema import Schema
from tests.release.conftest import DEPLOYMENT


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the sections among a key's types."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def keys(section: type[BaseModel], prefix: str) -> set[str]:
    """Return every key below a section, as a file writes it."""
    found = set()
    for name, info in section.model_fields.items():
        key = f"{prefix}{info.alias or name}"
        inner = list(models(info.annotation))
        for one in inner:
            found |= keys(one, f"{key}.")
        if not inner:
            found.add(key)
    return found


def every_key() -> set[str]:
    found = keys(RunConfig, "") - {"generator"}
    found |= {"evaluate"}  # it may be left out, which weakens
    found |= keys(Schema, "schema.")
    for modality in ("tabular", "imaging"):
        for name in plugins.names(f"{GENERATORS}.{modality}"):
            found |= keys(plugins.load(f"{GENERATORS}.{modality}", name).Config, "generator.")
    return found


def test_every_key_says_whether_it_weakens_the_claim_and_why():
    """Who adds a key says here what it does to the guarantee: an entry in `release/record/deviations.py`."""
    known = {key for key in SETTINGS if not key.startswith("run.")}
    assert every_key() - known == set(), "say whether these keys weaken the claim"
    assert known - every_key() == set(), "these keys are no more"
    assert all(len(setting.why) > 10 for setting in SETTINGS.values())


CONFIG = """
cohort: c
data: {table: {path: t.csv, schema: s.yaml}}
budget: {ledger: 'sqlite:///ledger.db', epsilon: 1.0, delta: 1e-6, patients: 5000}
generator: {name: marginal}
evaluate: {holdout: 0.2}
"""
SCHEMA = """
unit: {column: pid}
fields:
  - {name: pid, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M]}}
  - {name: race, type: string, role: protected, constraints: {enum: [A, B]}}
  - {name: phone, type: boolean, identifier: false}
  - {name: ill, type: boolean, role: label}
"""
IMAGES = CONFIG.replace(
    "{table: {path: t.csv, schema: s.yaml}}",
    "{images: {path: d, schema: s.yaml, size: 16, without_id: leave_out}}",
).replace("{name: marginal}", "{name: embedding}")
DICOM = SCHEMA.replace("fields:", "images: {dicom: {modality: [CR]}}\nfields:")
USUAL = {"schema.fields.identifier"}  # `phone` stands in both schemas, for the check to let it through

WEAKER: dict[str, tuple[str, str]] = {
    "rehearsal": (CONFIG + "rehearsal: true\n", SCHEMA),
    "budget.patients": (CONFIG.replace(", patients: 5000", ""), SCHEMA),
    "budget.delta": (CONFIG.replace("1e-6", "1e-3"), SCHEMA),
    "data.images.without_id": (IMAGES.replace("leave_out", "own"), DICOM),
    "evaluate": (CONFIG.replace("evaluate: {holdout: 0.2}", ""), SCHEMA),
    "evaluate.groups": (CONFIG.replace("0.2}", "0.2, groups: [sex]}"), SCHEMA),
    "evaluate.canaries": (CONFIG.replace("0.2}", "0.2, canaries: 0}"), SCHEMA),
    "release.policy": (CONFIG + "release: {policy: images}\n", SCHEMA),
    "schema.unit.level": (CONFIG, SCHEMA.replace("unit: {column: pid}", "unit: row")),
    "schema.fields.confirmed": (CONFIG, SCHEMA.replace("role: label", "role: label, confirmed: true")),
    "schema.fields.identifier": (CONFIG, SCHEMA),
    "schema.images.most_left_out": (IMAGES, DICOM.replace("{dicom:", "{most_left_out: 0.5, dicom:")),
    "schema.images.dicom.screened": (IMAGES, DICOM.replace("[CR]", "[CR], screened: [US]")),
}


def load(place: Path, config: str, schema: str) -> ResolvedConfig:
    (place / "s.yaml").write_text(schema)
    (place / "run.yaml").write_text(config)
    return load_config(place / "run.yaml")


def said(facts: Facts) -> set[str]:
    return {text.partition(": ")[0] for text in deviations(facts)}


def test_each_setting_that_weakens_has_a_config_that_shows_it():
    weakening = {key for key, setting in SETTINGS.items() if setting.says is not None}
    of_the_run = {"attempts", "ledger", "anyway", "changes", "caps", "disjoint", "units"}
    assert weakening == {*WEAKER, *(f"run.{name}" for name in of_the_run)}


@pytest.mark.parametrize("key", WEAKER)
def test_a_weakening_setting_is_a_deviation_and_nothing_else_is(key: str, tmp_path: Path):
    loaded = load(tmp_path, *WEAKER[key])
    assert said(Facts(loaded, make_plan(loaded, patients=900))) == {key} | USUAL


@pytest.mark.parametrize(("config", "schema"), [(CONFIG, SCHEMA), (IMAGES, DICOM)])
def test_a_plain_run_has_no_deviation(config: str, schema: str, tmp_path: Path):
    loaded = load(tmp_path, config, schema.replace(", identifier: false", "").replace("phone", "smoker"))
    assert deviations(Facts(loaded, make_plan(loaded))) == ()


def test_a_run_that_went_on_anyway_and_a_later_choice_are_deviations(tmp_path: Path):
    loaded = load(tmp_path, CONFIG, SCHEMA)
    change = {"key": "evaluate.groups", "from": None, "to": ["sex"], "when": "2026-01-01"}
    found = deviations(Facts(loaded, make_plan(loaded), against=["Too few."], changes=[change]))
    assert "run.anyway: the run was started although it was known beforehand: Too few." in found
    changed = "run.changes: evaluate.groups was changed after the fit, from the default to sex."
    assert changed in found


def test_what_was_drawn_again_and_a_ledger_without_a_past_are_deviations(tmp_path: Path):
    loaded = load(tmp_path, CONFIG, SCHEMA)
    plan = make_plan(loaded)
    ledger = Ledger.connect("sqlite:///ledger.db", base=tmp_path)
    ledger.open_cohort("c", epsilon=20.0, delta=1e-6)

    def found() -> set[str]:
        return said(Facts(loaded, plan, ledger.entries())) - USUAL

    run = loaded.digest[:16]
    ledger.reserve("c", plan.event, purpose="fit marginal", run=run)
    assert found() == {"run.ledger"}
    void = ledger.reserve("c", plan.event, purpose="fit marginal", run=run)
    ledger.void(void, "nothing was drawn")
    ledger.reserve("c", plan.event, purpose="evaluate --public", run=run)
    assert found() == {"run.ledger"}
    ledger.reserve("c", plan.event, purpose="fit marginal", run="another")
    assert found() == set()
    ledger.reserve("c", plan.event, purpose="fit marginal, query 3 again", run=run)
    assert found() == {"run.attempts"}


def test_what_a_person_declared_in_the_ledger_is_a_deviation(tmp_path: Path):
    loaded = load(tmp_path, CONFIG, SCHEMA)
    plan = make_plan(loaded)
    ledger = Ledger.connect("sqlite:///ledger.db", base=tmp_path)

    def found() -> dict[str, str]:
        texts = deviations(Facts(loaded, plan, ledger.entries()))
        split = {key: text for key, _, text in (line.partition(": ") for line in texts)}
        return {key: text for key, text in split.items() if key not in USUAL}

    ledger.open_cohort("c", epsilon=20.0, delta=1e-6)
    ledger.open_cohort("c", epsilon=15.0, delta=1e-6, reason="too generous")
    ledger.open_cohort("other", epsilon=20.0, delta=1e-6)
    ledger.reserve("c", plan.event, purpose="fit marginal", run="another")
    assert found() == {}, "a cap that is changed before any spend was never relied upon"
    ledger.open_cohort("other", epsilon=30.0, delta=1e-6, reason="another cohort's cap")
    assert found() == {}
    ledger.open_cohort("c", epsilon=25.0, delta=1e-6, reason="more was wanted")
    assert "from epsilon 15 at delta 1e-06 to epsilon 25" in found()["run.caps"]
    ledger.open_cohort("other", epsilon=30.0, delta=1e-6, disjoint_from=["c"], reason="other hospital")
    assert "in another cohort of the ledger" in found()["run.disjoint"]
    ledger.declare_unit("c", LedgerUnit("patient", "pid", 1), reason="the schema of that release")
    ledger.declare_same_unit(["pid", "subject"], reason="the export renames it")
    assert set(found()) == {"run.caps", "run.disjoint", "run.units"}
    texts = deviations(Facts(loaded, plan, ledger.entries()))
    assert sum(text.startswith("run.units: ") for text in texts) == 2


def test_record_card_and_both_reports_print_every_deviation(make_record, make_content, schema):
    texts = (
        "budget.patients: counted so.",
        "data.images.without_id: taken so.",
        override_deviation("refuse"),
    )
    record = make_record(deployment=replace(DEPLOYMENT, deviations=texts))
    assert record["deviations"] == list(texts)
    content = make_content(record=record)
    editions = {edition: render_report(content, edition=edition) for edition in ("internal", "public")}
    editions["card"] = data_card(record, schema)
    for name, edition in editions.items():
        for text in texts:
            assert f"Weaker than the default: {text}" in edition, name
    plain = make_record()
    assert plain["deviations"] == []
    assert "No setting of this run weakens the guarantee" in data_card(plain, schema)
    assert "No setting of this run weakens the guarantee" in render_report(make_content(), edition="public")


def test_a_release_against_the_verdict_is_a_deviation_in_the_bundles_record(make_record):
    record = make_record(judgement=Judgement("refuse", "default", "0" * 64, looks=1))
    made = _overridden(record, "a reason")
    assert made["deviations"] == ["release.override: a person released it against the verdict refuse."]
    assert record["deviations"] == []
