"""The privacy record and the data card: complete, consistent, and sensitive to every lie."""

from __future__ import annotations

import copy
import html
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event
from hypothesis import given, settings
from hypothesis import strategies as st

from synthgen.data.tables import SyntheticTable
from synthgen.privacy.accountant import get_epsilon, to_json
from synthgen.privacy.plan import PrivacyPlan
from synthgen.release.card import data_card
from synthgen.release.plain_language import at_most, plain_mu, plain_odds
from synthgen.release.record.recompute_claims import claim_problems
from synthgen.release.record.record import (
    Audit,
    Composition,
    Deployment,
    Judgement,
    Override,
    check_record,
    privacy_record,
    record_digest,
    record_text,
    replace_one_epsilon,
)
from synthgen.release.record.statements import randomness
from synthgen.release.report import PublicContent, render_public
from synthgen.schema.schema import Schema
from tests.release.conftest import composition

MakeRecord = Callable[..., dict[str, Any]]
EVENT = dp_event.ZCDpEvent(rho=0.02)


def leaves(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of all keys of nested dictionaries, free-form blocks left out."""
    for key, value in node.items():
        yield (*path, key)
        if isinstance(value, dict) and key not in ("parameters", "event", "software", "files"):
            yield from leaves(value, (*path, key))


def at(record: dict[str, Any], path: tuple[Any, ...]) -> Any:
    node: Any = record
    for key in path:
        node = node[key]
    return node


def changed(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    result = copy.deepcopy(record)
    at(result, path[:-1])[path[-1]] = value
    return result


def test_a_good_record_has_no_problem_and_survives_json(record: dict[str, Any]) -> None:
    assert check_record(record) == []
    assert json.loads(record_text(record)) == record
    assert claim_problems(record) == []


def test_taking_any_key_away_is_found_and_named(record: dict[str, Any]) -> None:
    paths = list(leaves(record))
    assert len(paths) > 60
    for path in paths:
        broken = copy.deepcopy(record)
        del at(broken, path[:-1])[path[-1]]
        assert any(".".join(path) in problem for problem in check_record(broken)), path


def test_an_unknown_key_is_found_in_every_block(record: dict[str, Any]) -> None:
    for block in [path for path in leaves(record) if isinstance(at(record, path), dict)]:
        if block[-1] in ("parameters", "event", "software", "files"):
            continue
        assert check_record(changed(record, (*block, "n_real_records"), 71_518)), block


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("claim", "epsilon"), 0.5),
        (("claim", "epsilon"), -1.0),
        (("claim", "epsilon"), "1.0"),
        (("claim", "delta"), 1.0),
        (("claim", "unit"), "row"),
        (("claim", "patients_counted"), True),
        (("claim", "cohort_patients"), 100),
        (("claim", "adjacency"), "replace-one-patient"),
        (("plan", "event"), {"class": "ZCDpEvent", "rho": 0.001, "xi": 0.0}),
        (("ledger", "events"), []),
        (("ledger", "head"), "not a hash"),
        (("evaluation", "adaptive"), True),
        (("verdict", "verdict"), "pass"),
        (("verdict", "outside_guarantee"), False),
        (("data", "files"), {"cohort.csv": -1}),
        (("registry", "basic", "data_product_type"), "Query answers"),
        (("ledger", "epsilon"), float("nan")),
        (("ledger", "epsilon"), float("inf")),
    ],
)
def test_a_contradiction_is_found(record: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    assert check_record(changed(record, path, value))


def test_a_message_never_repeats_a_value(record: dict[str, Any]) -> None:
    problems = check_record(changed(record, ("registry", "basic", "region"), {"patient": "Jane Roe"}))
    assert problems
    assert "Jane" not in " ".join(problems)


@pytest.mark.parametrize(
    ("block", "key", "factor"),
    [("ledger", "epsilon", 0.9), ("ledger", "mu", 0.9), ("ledger", "epsilon", 1.2)],
)
def test_a_claim_that_its_events_do_not_prove_is_found(
    record: dict[str, Any], block: str, key: str, factor: float
) -> None:
    wrong = changed(record, (block, key), record[block][key] * factor)
    assert check_record(wrong) == []
    assert [problem.split(":")[0] for problem in claim_problems(wrong)] == [f"{block}.{key}"]


def one_spend(**changes: Any) -> Composition:
    made = Composition(
        "c", 71_500, get_epsilon([EVENT], 1e-6), 1e-6, 2.0, (to_json(EVENT),), "0" * 64, mu=0.3
    )
    return replace(made, **changes)


def pages(record: dict[str, Any], schema: Schema, table: SyntheticTable) -> list[str]:
    """Card and public report, as text."""
    page = html.unescape(render_public(PublicContent(record=record, table=table)))
    return [data_card(record, schema), re.sub(r"<[^>]+>|\s+", " ", page)]


def test_of_a_sequence_of_spends_the_cap_is_claimed_and_of_one_its_own_epsilon(
    make_record: MakeRecord, schema: Schema, table: SyntheticTable
) -> None:
    several = make_record()
    assert (several["ledger"]["adaptive"], several["ledger"]["proven_epsilon"]) == (True, 2.0)
    for text in pages(several, schema, table):
        assert "epsilon 2 at delta 1e-06, the cap, for the 2 spends" in text.replace("Epsilon", "epsilon")
        assert "This is no guarantee where a later one was chosen" in text
        assert at_most((math.exp(2.0) + 1e-6) / (1 + math.exp(2.0))) in text
        assert not re.search(r"\bmu\b", text)  # of a sequence no curve is proven
    assert "the cap is proven, by a Renyi filter" in several["registry"]["accounting"]["composition"]
    single = make_record(composition=one_spend(opened="2026-01-31"))
    own = single["ledger"]["epsilon"]
    assert (single["ledger"]["adaptive"], single["ledger"]["proven_epsilon"]) == (False, own)
    for text in pages(single, schema, table):
        assert (
            "for the only spend that the cohort's ledger holds since it opened the cohort (2026-01-31)"
            in text
        )
        assert "the cap, for" not in text
        assert re.search(r"\bmu\b", text)
    for text in [*pages(several, schema, table), *pages(single, schema, table)]:
        assert "all releases" not in text
        assert "What was released before, or was entered in another ledger, is not counted." in text


def test_a_cap_that_was_changed_after_a_spend_is_said(
    make_record: MakeRecord, schema: Schema, table: SyntheticTable
) -> None:
    for changes, words in ((1, "changed once"), (3, "changed 3 times")):
        record = make_record(composition=composition(cap_changes=changes))
        for text in pages(record, schema, table):
            assert f"cap was {words} after a spend" in text
            assert "proven only if that did not depend on what had been released" in text
    assert all("cap was changed" not in text for text in pages(make_record(), schema, table))


@pytest.mark.parametrize(
    ("key", "value"), [("adaptive", False), ("proven_epsilon", 1.0), ("cap_changes", -1), ("opened", None)]
)
def test_a_record_that_claims_more_of_a_sequence_than_its_cap_is_found(
    record: dict[str, Any], key: str, value: Any
) -> None:
    assert check_record(changed(record, ("ledger", key), value))


@pytest.mark.parametrize(
    ("device", "said", "unsaid"),
    [("cpu", "on the CPU.", "GPU"), ("cuda", "on a GPU", "not recorded"), (None, "not recorded", "GPU")],
)
def test_what_is_said_of_randomness_follows_the_device_of_the_fit(
    make_record: MakeRecord, device: str | None, said: str, unsaid: str
) -> None:
    text = make_record(device=device)["randomness"]
    assert said in text
    assert unsaid not in text
    with pytest.raises(ValueError, match="device"):
        randomness("tpu")


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("delta", [1e-6, 0.05])
def test_no_guess_is_right_more_often_than_the_words_say(epsilon: float, delta: float) -> None:
    """Of the worst pair that keeps to (epsilon, delta) the best guess is right as often as is said."""
    shared = 1 - delta
    p = np.array(
        [delta, shared * math.exp(epsilon) / (1 + math.exp(epsilon)), shared / (1 + math.exp(epsilon)), 0]
    )
    q = p[::-1]
    assert np.maximum(p - math.exp(epsilon) * q, 0).sum() == pytest.approx(delta)
    right = 0.5 * np.maximum(p, q).sum()
    said = float(plain_odds(epsilon, delta).split("at most ")[1].split(" %")[0]) / 100
    assert right <= said <= right + 0.0011


def test_the_words_name_the_unit_that_is_protected(make_record: MakeRecord, schema: Schema) -> None:
    assert "that a row took part" in plain_odds(1.0, 1e-6, unit="row")
    assert "of the rows that took part" in plain_mu(0.5, unit="row")
    assert "that a patient took part" in data_card(make_record(), schema)


def test_a_plan_whose_event_costs_more_than_its_claim_is_found(record: dict[str, Any]) -> None:
    costly = to_json(dp_event.ZCDpEvent(rho=0.5))
    wrong = changed(changed(record, ("plan", "event"), costly), ("ledger", "events"), [costly, costly])
    assert check_record(wrong) == []
    assert any(problem.startswith("claim.epsilon") for problem in claim_problems(wrong))


def test_an_event_of_no_known_class_is_a_problem_and_not_a_crash(record: dict[str, Any]) -> None:
    event = {"class": "os.system", "command": "true"}
    wrong = changed(changed(record, ("plan", "event"), event), ("ledger", "events"), [event])
    assert any("cannot be accounted for" in problem for problem in claim_problems(wrong))


def test_a_counted_cohort_needs_its_replace_one_epsilon(schema: Schema, make_record: MakeRecord) -> None:
    plan = PrivacyPlan("marginal", "patient", 4, 1.0, 1e-6, 57_200, EVENT, patients_counted=True)
    events = (to_json(EVENT),)
    base = Composition("c", 71_500, get_epsilon([EVENT], 1e-6), 1e-6, 2.0, events, "0" * 64)
    with pytest.raises(ValueError, match="replace_one_epsilon"):
        make_record(plan=plan, composition=base)
    epsilon = replace_one_epsilon(lambda delta: get_epsilon([EVENT], delta), 1e-6)
    record = make_record(plan=plan, composition=replace(base, replace_one=epsilon))
    assert claim_problems(record) == []
    assert "size is not protected" in data_card(record, schema)
    low = changed(record, ("claim", "replace_one_epsilon"), epsilon * 0.9)
    assert any("replace_one" in problem for problem in claim_problems(low))


def test_replace_one_covers_a_gaussian_of_twice_the_sensitivity() -> None:
    """Group privacy holds for every mechanism, so its epsilon is at least that of two Gaussian steps."""
    curve = replace_one_epsilon(lambda delta: get_epsilon([dp_event.GaussianDpEvent(8.0)], delta), 1e-6)
    assert get_epsilon([dp_event.GaussianDpEvent(4.0)], 1e-6) <= curve
    assert curve < 3 * get_epsilon([dp_event.GaussianDpEvent(8.0)], 1e-6)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.floats(0.01, 5.0), st.floats(-18, -3))
def test_replace_one_keeps_to_delta(scale: float, exponent: float) -> None:
    delta = 10**exponent
    tried: dict[float, float] = {}

    def curve(at_delta: float) -> float:
        tried[at_delta] = scale * math.sqrt(2 * math.log(1.25 / at_delta))
        return tried[at_delta]

    found = replace_one_epsilon(curve, delta)
    proving = [d for d, epsilon in tried.items() if 2 * epsilon == found]
    assert any((1 + math.exp(found / 2)) * d <= delta * (1 + 1e-9) for d in proving)


def test_the_public_schema_keeps_no_bounds_of_what_the_generator_never_saw(schema: Schema) -> None:
    public = schema.public()
    for field in public.fields:
        if field.role in ("id", "drop"):
            assert field.constraints == type(field.constraints)()
    assert [column.field for column in public.columns] == [column.field for column in schema.columns]
    assert public.public() == public


def test_a_refused_release_may_be_recorded_with_its_override(make_record: MakeRecord, schema: Schema) -> None:
    override = Override("Needed for a course.", "Dr A", "2026-03-01")
    record = make_record(judgement=Judgement("refuse", "default", "0" * 64, looks=2, override=override))
    assert record["evaluation"]["adaptive"]
    assert "Released against the gate" in data_card(record, schema)


def test_the_card_names_the_claim_the_columns_and_its_record(record: dict[str, Any], schema: Schema) -> None:
    card = data_card(record, schema)
    assert record_digest(record) in card
    headings = ["dataLimitations", "dataBiases", "dataUseCases", "dataSocialImpact", "dataCollection"]
    headings += ["personalSensitiveInformation", "dataPreprocessingProtocol", "dataManipulationProtocol"]
    headings += ["dataImputationProtocol", "dataReleaseMaintenancePlan"]
    assert all(f"### {heading}\n" in card for heading in headings)
    for column in schema.columns:
        assert f"| `{column.name}` |" in card
    assert "REAL-0001" not in card
    assert "2278392" not in card
    assert "| ward_note |" not in card


def test_a_record_is_refused_while_a_part_contradicts(schema: Schema, make_record: MakeRecord) -> None:
    with pytest.raises(ValueError, match="publication_date"):
        make_record(deployment=Deployment(name="x", publication_date="soon"))
    assert privacy_record.__doc__


AUDIT = Audit(
    "violation",
    crowd=1000,
    records=5000,
    bounds={
        **{"canaries": 1000, "guesses": 200, "right": 199, "epsilon": 3.2, "ceiling": 4.9},
        **{"mu": 1.5, "ceiling_mu": 2.1, "claimed": 1.0, "confidence": 0.999},
    },
)


def test_an_audit_must_agree_with_its_bounds_the_claim_and_the_gate(
    make_record: Callable[..., dict[str, Any]],
) -> None:
    refused = make_record(judgement=Judgement("refuse", "default", "0" * 64, looks=1), audit=AUDIT)
    assert check_record(refused) == []
    with pytest.raises(ValueError, match="found a violation"):
        make_record(audit=AUDIT)
    for verdict in ("no violation", "no power", "not run"):
        changed = {**refused, "audit": {**refused["audit"], "verdict": verdict}}
        assert any("audit.verdict" in problem for problem in check_record(changed)), verdict
    other = {**refused["audit"], "bounds": {**refused["audit"]["bounds"], "claimed": 2.0}}
    assert any("claim.epsilon" in problem for problem in check_record({**refused, "audit": other}))
    bare = make_record(audit=Audit("not run", "because"))
    assert check_record(bare) == []
    assert check_record(make_record()) == [], "a release that was not evaluated has no audit"


def test_the_stamp_follows_the_coverage_and_stands_on_the_card(
    make_record: Callable[..., dict[str, Any]], schema: Schema
) -> None:
    told = {
        **{"stamp": "not for inference", "coverage": 0.6, "naive": 0.3, "reason": ""},
        **{"coefficients": 63, "fits": 3, "patients": 2000},
    }
    record = make_record(inference=told)
    assert "**Not for inference.** In 3 twins of 2,000" in data_card(record, schema.public())
    for wrong in ({"coverage": 0.95}, {"stamp": "valid for inference"}):
        assert any("inference" in problem for problem in check_record({**record, "inference": told | wrong}))
    unknown = told | {"coverage": None, "naive": None, "reason": "Because."}
    assert "was not measured. Because." in data_card(make_record(inference=unknown), schema.public())
    good = make_record(inference=told | {"stamp": "valid for inference", "coverage": 0.95})
    assert "Valid for inference, on simulated patients." in data_card(good, schema.public())
