"""Nothing is spent on what cannot be signed; a rehearsal is free; a refused try leaves nothing behind."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import synthgen
from synthgen.cli import app as cli
from synthgen.cli.next_steps import ending
from synthgen.config.run_config import load_config, own_ledger
from synthgen.evaluation.attacks.rates import advantage, expected_advantage
from synthgen.evaluation.expected_power import Declared
from synthgen.generators.base import memory_of
from synthgen.generators.imaging.auto import Config as AutoImages
from synthgen.generators.imaging.diffusion.config import Config as Diffusion
from synthgen.pipeline import prechecks
from synthgen.pipeline.run import plan_summary
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.forecast import forecast, needed_patients
from synthgen.release.gate.policy import load_policy
from synthgen.schema.schema import load_schema

pytestmark = pytest.mark.prechecks

SCHEMA = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 100, required: true}, outside: clip}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: died, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: tiny
data: {table: {path: tiny.csv, schema: tiny.schema.yaml}}
budget: {epsilon: 1.0, delta: 1e-6, patients: 20000}
generator: {name: marginal, iterations: 50}
sample: {records: 300}
evaluate: {holdout: 0.2}
release: {formats: [csv]}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [
        f"p{i // 2},{20 + i % 80},{'FM'[i % 2]},{'true' if i % 5 == 0 else 'false'}" for i in range(10_200)
    ]  # a quarter of those declared, and some
    (tmp_path / "tiny.csv").write_text("patient,age,sex,died\n" + "\n".join(rows) + "\n")
    (tmp_path / "tiny.schema.yaml").write_text(SCHEMA)
    (tmp_path / "run.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as stop:
        cli.main([*map(str, arguments), "--json"])
    return int(stop.value.code or 0), json.loads(capsys.readouterr().out)


def progress_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    with pytest.raises(SystemExit):
        cli.main([*map(str, arguments)])
    return capsys.readouterr().err


ONE_LABEL = SCHEMA.replace(
    "{name: died, type: boolean, role: label, constraints: {required: true}}",
    "{name: died, type: string, role: label, constraints: {enum: [no], required: true}}",
)
NO_LABEL, NO_GROUP = SCHEMA.replace(", role: label", ""), SCHEMA.replace(", role: protected", "")
UNSIGNABLE = {
    "no holdout": (CONFIG.replace("evaluate: {holdout: 0.2}\n", ""), SCHEMA, "held out"),
    "no label": (CONFIG, NO_LABEL, "target"),
    "no protected column": (CONFIG, NO_GROUP, "protected"),
    "one label only": (CONFIG, ONE_LABEL, "utility"),
    "few patients": (CONFIG.replace("20000", "300"), SCHEMA, "leakage"),
    "not enough for the attacks": (CONFIG.replace("20000", "2000"), SCHEMA, "patients to test on"),
    "a small holdout": (CONFIG.replace("holdout: 0.2", "holdout: 0.01"), SCHEMA, "patients to test on"),
    "a number of too few": (
        CONFIG.replace("20000", "700") + "",
        SCHEMA.replace(", role: label", "").replace("name: age,", "name: age, role: label,"),
        "patients",
    ),
    "few records": (CONFIG.replace("records: 300", "records: 20"), SCHEMA, "fidelity"),
    "a claim beyond the policy": (CONFIG.replace("epsilon: 1.0", "epsilon: 12.0"), SCHEMA, "psilon"),
}


@pytest.mark.parametrize("name", UNSIGNABLE)
def test_what_cannot_be_signed_is_planned_and_stops_run_and_fit_before_any_spend(
    name: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, schema, word = UNSIGNABLE[name]
    (place / "run.yaml").write_text(config)
    (place / "tiny.schema.yaml").write_text(schema)
    before = sorted(place.rglob("*"))
    code, shown = call(capsys, "plan", "run.yaml")
    assert code == 0
    assert any(word in one["because"] for one in shown["cannot_be_signed"])
    assert all(one["do"] for one in shown["cannot_be_signed"])
    for verb in ("run", "fit"):
        code, refused = call(capsys, verb, "run.yaml", "-o", "made")
        assert (code, refused["error"]["code"]) == (2, "config")
        assert "--anyway" in refused["error"]["next"]
        assert all(one["because"] in refused["error"]["message"] for one in shown["cannot_be_signed"])
    assert sorted(place.rglob("*")) == before  # no folder, no ledger, no cohort


def test_what_may_be_signed_is_not_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = call(capsys, "plan", "run.yaml")
    assert (code, shown["cannot_be_signed"]) == (0, [])
    assert 0.5 < shown["chance_of_a_perfect_generator"] <= 1
    assert "ledger_tiny.db" in " ".join(shown["notices"])
    assert "organisation" in " ".join(shown["notices"])
    assert not list(place.glob("*.db"))


def test_a_risky_spend_is_announced_by_plan_and_run_with_a_holdout_that_helps(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.pipeline.evaluate.evaluate_all", lambda *_, **__: [])
    config = CONFIG.replace("patients: 20000", "patients: 6000").replace("records: 300", "records: 4000")
    (place / "run.yaml").write_text(config)
    shown = call(capsys, "plan", "run.yaml")[1]
    assert shown["cannot_be_signed"] == []
    assert 0.5 < shown["chance_of_a_perfect_generator"] < 0.9
    risk = next(text for text in shown["notices"] if "perfect generator" in text)
    *_, holdout = re.findall(r"evaluate.holdout: (0\.\d)", risk)
    (place / "wide.yaml").write_text(config.replace("holdout: 0.2", f"holdout: {holdout}"))
    wide = call(capsys, "plan", "wide.yaml")[1]
    assert wide["chance_of_a_perfect_generator"] >= 0.9
    assert "perfect generator" not in " ".join(wide["notices"])
    assert risk in progress_of(capsys, "run", "run.yaml", "-o", "made")


def test_a_finished_run_and_fit_say_that_nothing_is_done_again(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.pipeline.evaluate.evaluate_all", lambda *_, **__: [])
    for verb in ("fit", "run"):
        arguments = (verb, "run.yaml", "-o", "made", *(["--resume"] if verb == "run" else []))
        assert "nothing is spent again" not in progress_of(capsys, *arguments)
        assert "nothing is spent again" in progress_of(capsys, *arguments)
    assert "--resume" in " ".join(ending("fit", {"run": "made"}))


def test_plan_says_that_the_table_is_not_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "data.table.path" not in " ".join(call(capsys, "plan", "run.yaml")[1]["notices"])
    (place / "tiny.csv").unlink()
    code, shown = call(capsys, "plan", "run.yaml")
    assert code == 0
    assert "no file at data.table.path" in " ".join(shown["notices"])


def test_anyway_goes_on_and_is_a_deviation_and_later_choices_cost_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "synthgen.pipeline.evaluate.evaluate_all", lambda *_, **__: []
    )  # the figures do not matter here
    monkeypatch.setattr("synthgen.pipeline.evaluate._reports", lambda *_: None)
    monkeypatch.setattr("synthgen.pipeline.audit.canaries_of", lambda *_: 0)
    (place / "run.yaml").write_text(CONFIG.replace("20000", "400"))
    assert call(capsys, "run", "run.yaml", "-o", "made")[0] == 2
    assert call(capsys, "fit", "run.yaml", "-o", "made", "--anyway")[0] == 0
    assert call(capsys, "run", "run.yaml", "-o", "made", "--resume")[0] == 5  # paid for: not asked again

    def record() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((place / "made" / "internal" / "record.json").read_text())
        return found

    assert any(text.startswith("run.anyway: ") for text in record()["deviations"])
    assert not any(text.startswith("run.changes: ") for text in record()["deviations"])
    spends = call(capsys, "ledger", "show")[1]["cohorts"][0]["spends"]
    later = "evaluate: {holdout: 0.2, groups: [sex], target: sex}"
    changed = CONFIG.replace("20000", "400").replace("evaluate: {holdout: 0.2}", later)
    changed = changed.replace("records: 300", "records: 90").replace("[csv]", "[csv, parquet]")
    (place / "run.yaml").write_text(changed)
    code, refused = call(capsys, "run", "run.yaml", "-o", "made")
    assert code == 2
    assert "--resume" in refused["error"]["next"]
    assert all(key in refused["error"]["message"] for key in ("evaluate.groups", "sample.records"))
    assert call(capsys, "run", "run.yaml", "-o", "made", "--resume")[0] == 5
    assert len((place / "made" / "public" / "synthetic.csv").read_text().splitlines()) == 91
    assert (place / "made" / "public" / "synthetic.parquet").is_file()
    said = "run.changes: evaluate.target was changed after the fit, from the default to sex."
    assert said in record()["deviations"]
    assert call(capsys, "ledger", "show")[1]["cohorts"][0]["spends"] == spends == 1
    (place / "run.yaml").write_text(changed.replace("groups: [sex]", "groups: []"))
    assert call(capsys, "release", "made", "-o", "bundle", "--override", "x")[0] == 2  # of other choices
    assert call(capsys, "evaluate", "made")[0] == 5
    assert call(capsys, "release", "made", "-o", "bundle", "--override", "x")[0] == 0
    (place / "run.yaml").write_text(changed.replace("epsilon: 1.0", "epsilon: 2.0"))
    assert call(capsys, "run", "run.yaml", "-o", "made", "--resume")[0] == 2  # the fit itself is fixed
    assert call(capsys, "evaluate", "made")[0] == 2
    model = synthgen.load(place / "made")  # a run's folder, as well as its model's
    assert model.sample(5).equals(synthgen.load(place / "made/public/model").sample(5))


def test_a_refused_try_leaves_no_folder_and_no_opened_cohort(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = place / "tiny.csv"
    good = table.read_text()
    table.write_text(good.replace(",F,", ",X,", 3))
    for _ in range(2):
        assert call(capsys, "fit", "run.yaml", "-o", "made")[0] == 3
        assert not (place / "made").exists()
        shown = call(capsys, "ledger", "show")[1]
        assert (shown["cohorts"], shown["orphans"]) == ([], [])
    kinds = [entry["kind"] for entry in shown["entries"]]
    assert kinds == ["cap", "reserve", "void", "close"] * 2
    table.write_text(good)
    (place / "run.yaml").write_text(CONFIG.replace("epsilon: 1.0", "epsilon: 2.0"))  # another cap than before
    assert call(capsys, "fit", "run.yaml", "-o", "made")[0] == 0
    shown = call(capsys, "ledger", "show", "tiny")[1]["cohorts"][0]
    assert (shown["cap"]["epsilon"], shown["spends"]) == (2.0, 1)
    assert call(capsys, "ledger", "verify")[1]["verified"] is True


def test_a_cohort_that_has_spent_or_was_opened_by_a_person_is_not_closed(tmp_path: Path) -> None:
    from dp_accounting import dp_event

    ledger = Ledger.connect("sqlite:///l.db", base=tmp_path)
    ledger.open_cohort("a", epsilon=1.0, delta=1e-6)
    number = ledger.reserve("a", dp_event.ZCDpEvent(0.001), purpose="fit", run="r")
    assert not ledger.close_cohort("a", "a test")
    ledger.commit(number)
    assert not ledger.close_cohort("a", "a test")
    ledger.open_cohort("b", epsilon=1.0, delta=1e-6, disjoint_from=["a"], reason="other wards")
    ledger.note("b")
    assert not ledger.close_cohort("b", "a test")
    ledger.open_cohort("c", epsilon=1.0, delta=1e-6)
    assert ledger.close_cohort("c", "a test")
    assert ledger.cohorts() == ["a", "b"]
    before = ledger.open_cohort("c", epsilon=3.0, delta=1e-6)
    assert (before.epsilon, ledger.verify()) == (3.0, [])


def test_a_corrected_schema_goes_on_in_the_same_folder_where_nothing_was_drawn(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("synthgen.pipeline.fit.read_cohort", stop)
        assert call(capsys, "fit", "run.yaml", "-o", "made")[0] == 130
    assert len(call(capsys, "ledger", "show")[1]["orphans"]) == 1  # an interrupt keeps the reservation
    (place / "tiny.schema.yaml").write_text(SCHEMA.replace("maximum: 100", "maximum: 110"))
    assert call(capsys, "fit", "run.yaml", "-o", "made")[0] == 0
    shown = call(capsys, "ledger", "show", "tiny")[1]
    assert (shown["cohorts"][0]["spends"], shown["orphans"]) == (1, [])
    (place / "tiny.schema.yaml").write_text(SCHEMA)
    assert call(capsys, "fit", "run.yaml", "-o", "made", "--resume")[0] == 2  # now it was


def test_cohorts_in_one_folder_have_ledgers_of_their_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "fit", "run.yaml", "-o", "one")[0] == 0
    (place / "other.yaml").write_text(CONFIG.replace("cohort: tiny", "cohort: lung.2"))
    assert call(capsys, "fit", "other.yaml", "-o", "two")[0] == 0
    for name in ("tiny", "lung.2"):
        ledger = Ledger.connect(own_ledger(name), base=place, create=False)
        assert (ledger.cohorts(), ledger.spent(name).entries) == ([name], 1)
    code, shown = call(capsys, "ledger", "show")
    assert code == 2  # two ledgers: which one?
    assert "ledger_tiny.db" in shown["error"]["message"]


def test_a_cohorts_name_that_no_ledger_takes_leaves_no_ledger(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "run.yaml").write_text(CONFIG.replace("cohort: tiny", "cohort: ward/7"))
    before = sorted(place.rglob("*"))
    assert call(capsys, "fit", "run.yaml", "-o", "made")[0] == 2
    assert sorted(place.rglob("*")) == before


def test_spends_in_the_earlier_default_ledger_are_not_forgotten(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Ledger.connect("sqlite:///ledger.db", base=place).open_cohort("tiny", epsilon=1.0, delta=1e-6)
    code, shown = call(capsys, "fit", "run.yaml", "-o", "made")
    assert code == 2
    assert "sqlite:///ledger.db" in shown["error"]["next"]
    assert not (place / "made").exists()


def test_a_shared_ledger_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Ledger.connect("sqlite:///all.db", base=place).open_cohort("lung", epsilon=1.0, delta=1e-6)
    (place / "run.yaml").write_text(CONFIG.replace("budget: {", 'budget: {ledger: "sqlite:///all.db", '))
    assert any("lung" in text for text in call(capsys, "plan", "run.yaml")[1]["notices"])


REHEARSAL = CONFIG.replace("patients: 20000", "patients: 200") + "rehearsal: true\n"


def test_a_rehearsal_is_free_and_cannot_be_released(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthgen.pipeline.evaluate.evaluate_all", lambda *_, **__: [])
    (place / "run.yaml").write_text(REHEARSAL)
    (place / "tiny.csv").unlink()
    assert call(capsys, "schema", "simulate", "tiny.schema.yaml", "-n", 300, "-o", "tiny.csv")[0] == 0
    before = {path.name for path in place.iterdir()}
    code, shown = call(capsys, "run", "run.yaml", "-o", "made")
    assert (code, shown["verdict"]) == (5, "cannot-sign")
    assert "REHEARSAL" in shown["reasons"][0]["message"]
    assert "--override" not in " ".join(ending("run", shown))
    assert "without `rehearsal: true`" in " ".join(ending("run", shown))
    assert {path.name for path in place.iterdir()} == before | {"made"}  # no ledger but the run's own
    assert (place / "made" / "internal" / "rehearsal.db").is_file()
    assert "REHEARSAL" in (place / "made" / "public" / "report.html").read_text()
    assert (place / "made" / "public" / "REHEARSAL.txt").is_file()
    record = json.loads((place / "made" / "internal" / "record.json").read_text())
    assert any(text.startswith("rehearsal: ") for text in record["deviations"])
    code, refused = call(capsys, "release", "made", "-o", "bundle", "--override", "I insist")
    assert (code, refused["error"]["code"]) == (5, "gate")
    assert not (place / "bundle").exists()


def test_real_records_cannot_pass_for_simulated_ones(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from synthgen.ingest.fingerprint import file_digest
    from synthgen.pipeline.rehearsal import note_of

    (place / "run.yaml").write_text(REHEARSAL)
    real = (place / "tiny.csv").read_text()
    code, refused = call(capsys, "run", "run.yaml", "-o", "made")
    assert code == 2  # no note
    assert "-o tiny.simulated.csv" in refused["error"]["next"]  # never over the patients' own table
    assert (
        call(capsys, "schema", "simulate", "tiny.schema.yaml", "-n", 800, "-o", "tiny.csv", "--force")[0] == 0
    )
    (place / "tiny.csv").write_text(real)
    assert call(capsys, "run", "run.yaml", "-o", "made")[0] == 2  # the note of another table
    note = json.loads(note_of(place / "tiny.csv").read_text())
    note["sha256"] = file_digest(place / "tiny.csv")
    note_of(place / "tiny.csv").write_text(json.dumps(note))
    code, shown = call(capsys, "run", "run.yaml", "-o", "made", "--anyway")  # a forged note
    assert code == 2
    assert "rehearsal" in shown["error"]["message"]
    assert not (place / "made").exists()


def test_memory_and_disk_that_are_not_there_stop_a_run(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(prechecks, "available_memory", lambda: 0.1)
        code, shown = call(capsys, "run", "run.yaml", "-o", "made")
        assert code == 2
        assert "GiB of memory" in shown["error"]["message"]
    monkeypatch.setattr(prechecks, "free_disk", lambda _: 0.01)
    code, shown = call(capsys, "run", "run.yaml", "-o", "made")
    assert code == 2
    assert "GiB of disk" in shown["error"]["message"]
    assert not (place / "made").exists()


def test_a_limit_on_address_space_counts_as_available_memory() -> None:
    import subprocess
    import sys

    script = (
        "import resource; from synthgen.machine.resources import available_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30)); print(available_memory())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 0 <= float(done.stdout) < 1.0


IMAGES = """
unit: {column: pid, max_records: 1}
images: {file: file, channels: 1, bits: 8}
fields:
  - {name: pid, type: string, role: id}
  - {name: file, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
"""


def test_memory_grows_with_pixels_and_patients_and_auto_avoids_what_does_not_fit(tmp_path: Path) -> None:
    from synthgen.generators.imaging import auto

    (tmp_path / "s.yaml").write_text(IMAGES)
    plain = load_schema(tmp_path / "s.yaml")

    def sized(size: int) -> Any:
        return plain.model_copy(update={"images": plain.images.model_copy(update={"size": size})})

    needs = {size: memory_of(Diffusion(), sized(size), 5_000) or 0.0 for size in (28, 64, 128, 256)}
    assert list(needs.values()) == sorted(needs.values())
    assert 1.3 < needs[28] < 4.0  # measured: 1.6 GiB (docs/images.md)
    assert (memory_of(Diffusion(), sized(28), 10**6) or 0) > needs[28]
    options = {"epsilon": 10.0, "delta": 1e-6, "patients": 20_000}
    chosen = {size: auto.choose(sized(size), **options) for size in (28, 256, 512)}
    assert chosen[256] == chosen[512] == "embedding"
    for size in (28, 256):
        most = memory_of(AutoImages(), sized(size), 20_000) or 0.0
        assert most <= max(auto.MEMORY_GIB, memory_of(Diffusion(), sized(size), 20_000) or 0.0)


def declared(patients: int, **more: Any) -> Declared:
    schema = more.pop("schema")
    options = {"target": "died", "groups": ("sex",), "epsilon": 1.0, **more}
    return Declared(
        schema=schema,
        train=round(0.8 * patients),
        reference=round(0.1 * patients),
        holdout=round(0.1 * patients),
        synthetic=round(0.8 * patients),
        **options,
    )


def test_the_forecast_knows_the_attacks_power() -> None:
    """Attacks that find nothing: 150 draws at each size; a share off by .2 has a chance below 1e-6."""
    from statistics import NormalDist

    rng = np.random.default_rng(1)
    for members, others in ((480, 60), (1600, 200), (3200, 400)):
        passed = [
            advantage(rng.normal(size=members), rng.normal(size=others), rng=rng).high <= 0.09
            for _ in range(150)
        ]
        one = expected_advantage(members, others)
        chance = NormalDist().cdf((0.09 - one.high) / ((one.high - one.value) / 1.96))
        assert abs(float(np.mean(passed)) - chance) < 0.2


def test_more_patients_never_make_a_release_less_likely_and_the_needed_number_is_enough(
    tmp_path: Path,
) -> None:
    (tmp_path / "s.yaml").write_text(SCHEMA)
    schema, policy = load_schema(tmp_path / "s.yaml"), load_policy("default")
    sizes = (300, 1_000, 2_000, 4_000, 8_000, 20_000, 100_000)
    chances = [forecast(policy, declared(n, schema=schema)).chance for n in sizes]
    assert chances == sorted(chances)
    assert math.isclose(chances[-1], 1.0, abs_tol=0.2)
    enough = needed_patients(policy, lambda n: declared(n, schema=schema)) or 0
    assert not forecast(policy, declared(enough, schema=schema)).hindrances
    assert forecast(policy, declared(enough // 2, schema=schema)).hindrances
    assert needed_patients(policy, lambda n: declared(n, schema=schema, target=None)) is None


def test_a_policy_of_ones_own_brings_its_own_needs(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SCHEMA)
    schema = load_schema(tmp_path / "s.yaml")
    strict = load_policy("default")
    rules = tuple(
        rule.model_copy(update={"threshold": 0.01}) if rule.key == "advantage" else rule
        for rule in strict.rules
    )
    own = strict.model_copy(update={"rules": rules})
    assert not forecast(strict, declared(20_000, schema=schema)).hindrances
    assert forecast(own, declared(20_000, schema=schema)).hindrances
    fewer = tuple(rule for rule in strict.rules if rule.metric.startswith(("fidelity", "leakage_claim")))
    because = " ".join(
        h.because
        for h in forecast(
            strict.model_copy(update={"rules": fewer}), declared(20_000, schema=schema)
        ).hindrances
    )
    assert "no rule that decides on utility" in because


def test_every_metric_that_a_shipped_policy_gates_on_is_forecast(tmp_path: Path) -> None:
    """Figures exist under the keys that the gate asks for: of a table and of images."""
    for name, text in (("default", SCHEMA), ("images", IMAGES)):
        (tmp_path / "s.yaml").write_text(text)
        schema = load_schema(tmp_path / "s.yaml")
        target = schema.with_role("label")[0]
        if schema.images is not None:
            schema = schema.model_copy(update={"images": schema.images.model_copy(update={"size": 28})})
        seen = forecast(load_policy(name), declared(60_000, schema=schema, target=target))
        assert seen.hindrances == ()
        assert seen.chance > 0.8


def test_what_follows_the_fit_does_not_move_its_digest(place: Path) -> None:
    first = load_config(place / "run.yaml")
    free = ["sample.records=7", "evaluate.groups=[]", "evaluate.target=sex", "release={policy: images}"]
    for override in free:
        assert load_config(place / "run.yaml", overrides=[override]).digest == first.digest
        assert load_config(place / "run.yaml", overrides=[override]).choices != first.choices
    fixed = [
        "evaluate.holdout=0.3",
        "budget.epsilon=2.0",
        "generator={name: gan}",
        "seed=3",
        "rehearsal=true",
    ]
    for override in fixed:
        assert load_config(place / "run.yaml", overrides=[override]).digest != first.digest


def test_a_plan_states_what_each_gate_can_tell(place: Path) -> None:
    few, many = (
        {gate["rule"]: gate for gate in plan_summary(load_config(place / "run.yaml", overrides=[o]))["gates"]}
        for o in ("budget.patients=2500", "budget.patients=90000")
    )
    policy = load_policy("default")
    assert set(few) == {rule.name for rule in policy.rules if rule.threshold is not None}
    gap = "utility_tstr.mean.gap"
    assert few[gap]["patients"] == 500  # all that is held out: the reference tests utility too
    assert few["leakage_density_ratio.advantage"]["patients"] == 250
    assert few[gap]["half_width"] > many[gap]["half_width"] > 0
    assert few[gap]["passes"] < many[gap]["passes"]
    assert few[gap]["refuses"] < many[gap]["refuses"] < -0.05
    assert few["leakage_density_ratio.advantage"]["refuses"] > 0.09
    assert few["fidelity_rules.violated"]["half_width"] is None


def test_the_harm_that_is_said_to_be_refused_in_four_of_five_is(place: Path) -> None:
    """2,000 draws around it; more than 4 standard deviations (.036) off has a probability under 1e-4."""
    from synthgen.evaluation.base import Estimate
    from synthgen.release.forecast import _refused_in
    from synthgen.release.gate.confidence_levels import holm, tail_of

    rule = next(rule for rule in load_policy("default").rules if rule.name == "utility_tstr.mean.gap")
    half, level, others = 0.03, 0.0025, 20
    truth = _refused_in(rule, half, level / (others + 1))
    rng, refused = np.random.default_rng(0), 0
    for value in rng.normal(truth, half / 1.95996, 2000):
        drawn = Estimate(value, value - half, value + half, n=9)
        refused += holm([tail_of(rule, drawn), *[0.5] * others], level, [1] * (others + 1))[0].proven
    assert abs(refused / 2000 - 0.8) < 0.036
