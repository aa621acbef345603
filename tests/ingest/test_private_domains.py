"""Paid bounds and categories on the whole path: one patient moves nothing by more than one patient."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event

from synthgen.api import load
from synthgen.config.run_config import load_config
from synthgen.errors import ConfigError, DataError
from synthgen.generators.saved_model import load_model
from synthgen.ingest import private_domains
from synthgen.pipeline import run as pipeline
from synthgen.privacy.accountant import calibrate_rho, failure, from_json, get_epsilon, to_json
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import NoiseSource
from synthgen.privacy.partition_selection import survival
from synthgen.release.record.record import replace_one_epsilon
from synthgen.schema.schema import Schema, load_schema

EPSILON, DELTA, SHARE = 4.0, 1e-6, 0.2
N_PATIENTS, MAX_RECORDS = 400, 40
FIELDS = [
    {"name": "patient", "type": "string", "role": "id"},
    {"name": "cost", "type": "number", "bounds": "paid"},
    {"name": "stay", "type": "integer", "bounds": "paid", "constraints": {"minimum": 0}},
    {"name": "admitted", "type": "date", "bounds": "paid"},
    {"name": "left", "type": "date", "since": "admitted", "bounds": "paid"},
    {"name": "drug", "type": "string", "categories": "paid"},
    {"name": "ward", "type": "integer", "categories": "paid"},
    {"name": "code", "type": "string", "codes": "icd10", "categories": "paid"},
    {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
]


def ordinary_records():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(N_PATIENTS), rng.integers(1, 4, N_PATIENTS))
    n = len(patients)
    admitted = pd.Timestamp("2015-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    left = admitted + pd.to_timedelta(rng.integers(0, 20, n), unit="D")
    return pd.DataFrame(
        {
            "patient": [f"p{i}" for i in patients],
            "cost": np.round(rng.lognormal(7, 1, n), 2).astype(str),
            "stay": rng.poisson(4, n).astype(str),
            "admitted": admitted.strftime("%Y-%m-%d"),
            "left": left.strftime("%Y-%m-%d"),
            "drug": rng.choice(["aspirin", "insulin", "metformin"], n),
            "ward": rng.choice(["3", "17"], n),
            "code": rng.choice(["E11.9", "I10", "I50.1"], n),
            "died": rng.choice(["true", "false"], n),
        }
    )


def outlier(n_records):
    """A patient whose every value is extreme, and each of its categories its own."""
    i = np.arange(n_records)
    return pd.DataFrame(
        {
            "patient": "outlier",
            "cost": np.resize(["1e300", "-1e300", "0", "1e-300", ""], n_records),
            "stay": np.resize(["999999999999999", "-999999999999999", "0"], n_records),
            "admitted": np.resize(["1700-01-01", "2250-12-31", ""], n_records),
            "left": np.resize(["2250-12-31", "1700-01-01", "2000-01-01"], n_records),
            "drug": [f"outlier-drug-{k}" for k in i],
            "ward": (100_000 + i).astype(str),
            "code": [f"Q{k:02d}.{k % 10}" for k in i],
            "died": "true",
        }
    )


class Tape(NoiseSource):
    """Draws like a test's source, and keeps what was asked and answered."""

    def __init__(self, answers=None):
        self.inner, self.asked, self.answers, self.given = NoiseSource.for_tests(0), [], [], answers

    def _gaussian(self, values, sigma):
        self.asked.append(("gaussian", values.copy(), sigma, LATTICE))
        if self.given is None:
            answer = self.inner.discrete_gaussian(values, sigma=sigma)
        else:  # the same outputs for the neighbour; what only it holds got no noise
            answer = np.zeros_like(values)
            held = self.given[len(self.answers)]
            answer[: len(held)] = held
        self.answers.append(answer)
        return answer

    def _select(self, lattice, epsilon, units):
        self.asked.append(("select", lattice.copy(), epsilon, units))
        known = None if self.given is None else self.given[len(self.answers)]
        self.answers.append(self.inner._select(lattice, epsilon, units) if known is None else known)
        return self.answers[-1]


def write(folder, frame, fields=FIELDS, **changes):
    frame.to_csv(folder / "t.csv", index=False)
    schema = {"unit": {"column": "patient", "max_records": MAX_RECORDS}, "fields": fields}
    (folder / "s.yaml").write_text(json.dumps(schema))
    config = {
        "cohort": "c",
        "data": {"table": {"path": "t.csv", "schema": "s.yaml"}},
        "budget": {
            "ledger": "sqlite:///ledger.db",
            "epsilon": EPSILON,
            "delta": DELTA,
            "patients": N_PATIENTS,
            "preprocessing": SHARE,
        }
        | changes,
        "generator": {"name": "marginal", "iterations": 50, "rounds": 1, "cliques": 0.5},
        "sample": {"records": 500},
    }
    (folder / "c.yaml").write_text(json.dumps(config))
    return load_config(folder / "c.yaml")


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """The path taken without the patient, and with it, at 1 and 40 records, given the same outputs."""
    folder, tapes = tmp_path_factory.mktemp("paid"), {}
    ledger = Ledger.connect("sqlite:///ledger.db", base=folder)
    ledger.open_cohort("c", epsilon=10 * EPSILON, delta=DELTA)
    for n in (0, 1, 40):
        tapes[n] = Tape(None if n == 0 else tapes[0].answers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(NoiseSource, "system", lambda n=n: tapes[n])
            loaded = write(folder, pd.concat([ordinary_records(), outlier(n)]) if n else ordinary_records())
            pipeline.fit(loaded, folder / f"run{n}")
    return folder, tapes, loaded


@pytest.mark.parametrize("n_records", [1, 40])
def test_one_extreme_patient_moves_every_query_of_the_path_by_one_patient_at_most(fits, n_records):
    _, tapes, _ = fits
    without, beside = tapes[0].asked, tapes[n_records].asked
    assert len(without) == len(beside) > 7 + 8
    moved = []
    for (kind, a, scale, sensitivity), (other, b, other_scale, _) in zip(without, beside, strict=True):
        assert (kind, scale) == (other, other_scale)
        if kind == "select":
            assert np.abs(a - b).max() <= sensitivity
            continue
        difference = b - np.pad(a, (0, len(b) - len(a)))
        moved.append(np.abs(difference).sum() / LATTICE)
        assert np.linalg.norm(difference.astype(float)) <= LATTICE
    assert max(moved) <= 1.0
    assert max(moved) > 0.9  # the patient is seen at all


def test_the_outlier_chose_no_bound_and_showed_no_category_of_its_own(fits):
    folder, _, _ = fits
    schemas = [load_model(folder / f"run{n}" / "public" / "model")[1] for n in (0, 1, 40)]
    assert schemas[0] == schemas[1] == schemas[2]
    assert schemas[0].resolved
    assert schemas[0].column("drug").labels == ("aspirin", "insulin", "metformin", "other")
    assert schemas[0].column("ward").labels == (3, 17, "other")
    assert {"I10", "I50", "I50.1", "E11.9"} <= set(schemas[0].column("code").labels)
    assert schemas[0].column("stay").minimum == 0
    assert schemas[0].column("stay").maximum < 40
    assert schemas[0].column("cost").maximum < 1e6
    assert 0 <= schemas[0].column("left").minimum < 3 < 19 <= schemas[0].column("left").maximum < 60


def test_the_noise_drawn_costs_what_plan_and_ledger_say(fits):
    folder, tapes, loaded = fits
    plan = pipeline.make_plan(loaded)
    paid = plan.parameters["preprocessing"]
    n_paid = len(paid["columns"])
    rho = [LATTICE**2 / (2 * scale**2) for kind, _, scale, _ in tapes[0].asked if kind == "gaussian"]
    selected = [scale**2 / 8 for kind, _, scale, _ in tapes[0].asked if kind == "select"]
    total = calibrate_rho(EPSILON, DELTA)
    assert math.fsum(rho[:n_paid]) == pytest.approx(SHARE * total) == pytest.approx(paid["rho"])
    assert math.fsum(rho[n_paid:]) + math.fsum(selected) <= (1 - SHARE) * total * (1 + 1e-9)
    hidden = [row for row in paid["columns"] if "threshold" in row]
    lost = [survival(r["threshold"], sigma=r["sigma"], max_records=MAX_RECORDS) for r in hidden]
    assert len(hidden) == 3
    assert math.fsum(lost) <= paid["delta"] <= DELTA / 100
    entries = [
        e for e in Ledger.connect("sqlite:///ledger.db", base=folder).entries("c") if e.kind == "reserve"
    ]
    assert [from_json(entry.content["event"]) for entry in entries] == [plan.event] * 3
    assert EPSILON * 0.999 < get_epsilon([plan.event], DELTA) <= EPSILON
    assert json.dumps(to_json(plan.event)).count("NonPrivate") == 3
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1.0)
    assert sum(stage.share for stage in plan.stages[:n_paid]) == pytest.approx(SHARE)


def test_a_plan_reads_no_record_and_shows_what_is_paid(fits):
    folder, _, loaded = fits
    (folder / "t.csv").rename(folder / "away.csv")
    summary = pipeline.plan_summary(loaded)
    (folder / "away.csv").rename(folder / "t.csv")
    names = [stage["name"] for stage in summary["stages"]]
    assert names[:2] == ["bounds of cost", "bounds of stay"]
    assert "categories of drug" in names
    assert (summary["epsilon"], summary["delta"]) == (EPSILON, DELTA)
    assert private_domains.provisional(loaded.schema).resolved


def test_a_run_goes_on_from_its_own_domains_and_draws_within_them(fits):
    folder, _, _ = fits
    loaded, run = pipeline.reload(folder / "run0")
    assert loaded.schema.resolved
    assert pipeline.plan_of(loaded, run).event == pipeline.make_plan(load_config(folder / "c.yaml")).event
    frame = load(run.model).sample(2000)
    assert set(frame["drug"].dropna()) <= {"aspirin", "insulin", "metformin", "other"}
    both = frame.dropna(subset=["admitted", "left"])
    stay = (both["left"] - both["admitted"]).dt.days
    assert len(both) > 1500
    assert stay.min() >= 0
    assert not frame["left"][frame["admitted"].isna()].notna().any()
    assert set(frame["code"].dropna()) <= set(map(str, loaded.schema.column("code").labels))


def test_a_schema_that_a_fit_paid_for_is_read_back_and_not_paid_again(fits, tmp_path):
    folder, _, _ = fits
    schema = load_schema(folder / "run0" / "public" / "model" / "schema.json")
    assert schema.resolved
    frame = ordinary_records()
    fields = json.loads(schema.model_dump_json(by_alias=True, exclude_defaults=True))["fields"]
    with pytest.raises(ConfigError, match="declared or paid, got both"):
        write(tmp_path, frame, fields)
    declared = [{k: v for k, v in field.items() if v != "paid"} for field in fields]
    assert pipeline.make_plan(write(tmp_path, frame, declared, preprocessing=None)).stages


def test_the_epsilon_of_replacing_a_patient_is_found_above_the_delta_of_the_thresholds():
    event = dp_event.ComposedDpEvent([dp_event.ZCDpEvent(0.02), failure(1e-9)])
    with_failure = replace_one_epsilon(lambda delta: get_epsilon([event], delta), 1e-6)
    without = replace_one_epsilon(lambda delta: get_epsilon([event.events[0]], delta), 1e-6)
    assert without < with_failure < without * 1.01


def test_a_generator_of_another_accountant_still_keeps_to_the_total():
    from synthgen.privacy.accountant import calibrate_noise
    from synthgen.privacy.plan import PrivacyPlan

    def make(schema, epsilon):  # a Gaussian by its own, tighter accountant
        noise = calibrate_noise(dp_event.GaussianDpEvent, epsilon=epsilon, delta=1e-6)
        return PrivacyPlan("sgd", "patient", 1, epsilon, 1e-6, 100, dp_event.GaussianDpEvent(noise))

    schema = Schema.model_validate_json(
        json.dumps({"unit": {"column": "patient"}, "fields": [FIELDS[i] for i in (0, 1, 5)]})
    )
    plan = private_domains.with_preprocessing(schema, make, share=0.3, epsilon=2.0, delta=1e-6)
    print(f"composed epsilon {get_epsilon([plan.event], 1e-6):.3f}")
    assert plan.epsilon == 2.0
    assert 1.8 < get_epsilon([plan.event], 1e-6) <= 2.0


def test_the_record_says_which_domains_were_paid_and_counts_all_of_rho(fits):
    from synthgen.release.record.inputs import Composition, Deployment
    from synthgen.release.record.statements import registry_block, statement_block

    plan = pipeline.make_plan(fits[2])
    facts = Composition("c", 400, 4.0, DELTA, 40.0, (), "h"), Deployment("d", "2026-01-01")
    registry, statement = registry_block(facts[1], plan, facts[0]), statement_block(facts[1], plan, facts[0])
    assert registry["privacy_loss"]["rho"] == pytest.approx(calibrate_rho(EPSILON, DELTA))
    assert (
        "those of cost, stay, admitted, left, drug, ward, code were learnt"
        in statement["data_accesses_covered"]
    )


def test_too_few_patients_leave_a_whole_range_and_other_and_no_crash():
    schema = Schema.model_validate_json(
        json.dumps({"unit": {"column": "patient"}, "fields": [FIELDS[i] for i in (0, 1, 5)]})
    )
    plan = private_domains.with_preprocessing(schema, _plan, share=0.1, epsilon=1.0, delta=1e-6)
    frame = ordinary_records()[["cost", "drug"]][:3]
    found = private_domains.learn(
        frame, np.array(["a", "b", "c"]), schema, plan, noise=NoiseSource.for_tests(0)
    )
    assert found.column("drug").labels == ("other",)
    assert (found.column("cost").minimum, found.column("cost").maximum) == (-1e12, 1e12)


def _plan(schema, epsilon):
    from synthgen.generators.marginal.config import Config

    return Config().plan(schema, epsilon=epsilon, delta=1e-6, patients=100)


@pytest.mark.parametrize(
    ("fields", "changes", "message"),
    [
        (FIELDS, {"preprocessing": None}, "expected a share of the budget"),
        ([FIELDS[0], FIELDS[8]], {}, "expected a column with `bounds: paid`"),
        (FIELDS, {"preprocessing": 1.0}, "a number below 1"),
    ],
)
def test_a_share_without_anything_to_pay_or_the_other_way_round_is_refused(
    tmp_path, fields, changes, message
):
    with pytest.raises(ConfigError, match=message):
        write(tmp_path, ordinary_records(), fields, **changes)


def test_rows_without_a_patient_cannot_pay_since_their_names_would_follow_from_it(tmp_path):
    write(tmp_path, ordinary_records())
    schema = {"unit": "row", "fields": [{**FIELDS[0], "role": "drop"}, *FIELDS[1:]]}
    (tmp_path / "s.yaml").write_text(json.dumps(schema))
    with pytest.raises(ConfigError, match="patient's id as unit"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize("cell", ["inf", "NaN", "1e400"])
def test_a_cell_that_is_no_number_is_refused_with_its_line_and_keeps_the_spend(tmp_path, cell):
    frame = ordinary_records()
    frame.loc[len(frame) - 1, "cost"] = cell
    loaded = write(tmp_path, frame)
    with pytest.raises(
        DataError, match=r"column 'cost': 1 cells that are no number, first in line"
    ) as caught:
        pipeline.fit(loaded, tmp_path / "run")
    assert cell not in caught.value.message
    assert Ledger.connect("sqlite:///ledger.db", base=tmp_path).spent("c").entries == 1


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"type": "string", "bounds": "paid"}, "bounds: paid is for numbers"),
        ({"type": "number", "categories": "paid"}, "categories: paid is for string"),
        ({"type": "integer", "codes": "icd9"}, "expected codes"),
        ({"type": "string", "codes": "icd8"}, "expected codes"),
        ({"type": "number", "since": "b"}, "since is for dates"),
        ({"type": "date", "since": "b", "constraints": {"minimum": "2000-01-01"}}, "whole days"),
        ({"type": "date", "since": "b"}, "since names no modelled date"),
        ({"type": "string", "scale": "log"}, "scale is for numbers"),
    ],
)
def test_a_mark_on_the_wrong_kind_is_refused_with_its_reason(field, message):
    with pytest.raises(ValueError, match=message):
        Schema.model_validate_json(
            json.dumps({"unit": "row", "fields": [{"name": "a", **field}, {"name": "b", "type": "boolean"}]})
        )


def test_a_fit_that_is_killed_after_paying_does_not_pay_its_domains_again(tmp_path, monkeypatch):
    from synthgen.generators.marginal.config import Config

    class KilledError(RuntimeError):
        pass

    def killed(*_, **__):
        raise KilledError

    fields = [FIELDS[i] for i in (0, 1, 5, 8)]
    loaded = write(tmp_path, ordinary_records()[[field["name"] for field in fields]], fields)
    tapes = [Tape(), Tape()]
    monkeypatch.setattr(NoiseSource, "system", lambda: tapes[0])
    with monkeypatch.context() as patch:
        patch.setattr(Config, "fit", killed)
        with pytest.raises(KilledError):
            pipeline.fit(loaded, tmp_path / "run")
    monkeypatch.setattr(NoiseSource, "system", lambda: tapes[1])
    pipeline.fit(loaded, tmp_path / "run", resume=True)
    paid, grid = tapes[0].asked, tapes[0].asked[0][1]
    assert len(paid) == 2
    assert all(len(values) < len(grid) for kind, values, _, _ in tapes[1].asked if kind == "gaussian")
    assert Ledger.connect("sqlite:///ledger.db", base=tmp_path).spent("c").entries == 1
    assert load_model(tmp_path / "run" / "public" / "model")[1].column("drug").labels[-1] == "other"
