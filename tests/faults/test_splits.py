"""Who trains, who is held out, and which records count: seen in what the noise source is shown of a run.

Patients and records outside of what a step may read are changed, or taken away; the values of every query
must stay the same. Splits and kept records are computed here anew, from their definition.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from dp_accounting import dp_event

from synthgen.config.run_config import load_config
from synthgen.errors import BudgetExceeded
from synthgen.pipeline import evaluate as judge
from synthgen.pipeline import run as pipeline
from synthgen.pipeline.fit import ledger_unit
from synthgen.privacy.accountant import from_json, get_epsilon
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.privacy.noise import NoiseSource
from tests.faults.fixed_answers import FixedAnswers, Query
from tests.support.phantom_cohorts import attributes, picture, schema_of

HOLDOUT, MOST = 0.4, 2
PATIENTS = 240


def uniform(key: bytes, text: str) -> float:
    """A number from 0 to 1 that follows from a patient's id and the cohort's key alone."""
    return (int.from_bytes(hmac.digest(key, text.encode(), hashlib.sha256)[:8], "big") >> 11) / 2**53


def split_of(key: bytes, patient: str) -> str:
    """The definition: train below 1 - h, then reference and holdout, half of h each."""
    place = uniform(key, f"part:{patient}")
    return "train" if place < 1 - HOLDOUT else "reference" if place < 1 - HOLDOUT / 2 else "holdout"


def used_of(key: bytes, patients: np.ndarray) -> np.ndarray:
    """The definition: of each patient's records those with the smallest keyed hash of their number."""
    used = np.zeros(len(patients), dtype=bool)
    for patient in dict.fromkeys(patients.tolist()):
        rows = np.flatnonzero(patients == patient)
        ranks = [hmac.digest(key, f"record:{n}:{patient}".encode(), hashlib.sha256) for n in range(len(rows))]
        used[rows[sorted(range(len(rows)), key=ranks.__getitem__)[:MOST]]] = True
    return used


def first_of(key: bytes, patients: np.ndarray) -> np.ndarray:
    """The definition for linked records: the first ones."""
    return pd.Series(patients).groupby(patients).cumcount().to_numpy() < MOST


TABLE_SCHEMA = """
unit: {{column: patient, max_records: 2{linked}}}
fields:
  - {{name: patient, type: string, role: id}}
  - {{name: age, type: integer, constraints: {{minimum: 0, maximum: 100, required: true}}, outside: clip}}
  - {{name: cost, type: number, {cost}}}
  - {{name: drug, type: string, {drug}}}
  - {{name: sex, type: string, role: protected, constraints: {{enum: [F, M], required: true}}}}
  - {{name: ill, type: boolean, role: label, constraints: {{required: true}}}}
"""
PAID = {"cost": "bounds: paid", "drug": "categories: paid", "linked": ""}
DECLARED = {
    "cost": "constraints: {minimum: 0, maximum: 2000}",
    "drug": "constraints: {enum: [a, b, c, d]}, outside: other",
}
CONFIG = """
cohort: c
seed: 3
data: {{{data}}}
budget: {{ledger: "sqlite:///ledger.db", epsilon: 3.0, delta: 1e-6, patients: {patients}{more}}}
generator: {generator}
evaluate: {{holdout: 0.4, canaries: 0}}
release: {{formats: [csv]}}
"""
EARLIER = dp_event.ZCDpEvent(0.05)
MARGINAL = "{name: marginal, iterations: 50, rounds: 1}"
IMAGES_SCHEMA = """
unit: {column: patient, max_records: 2}
images: {channels: 1, bits: 8}
fields:
  - {name: patient, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
"""


class Cohorts:
    """A folder in which one ledger serves several runs on several versions of the same table."""

    def __init__(self, place: Path, noise: list[FixedAnswers]) -> None:
        self.place, self._noise, self._runs = place, noise, 0
        ledger = Ledger.connect("sqlite:///ledger.db", base=place)
        self.key = ledger.open_cohort("c", epsilon=500.0, delta=1e-6).key

    def declare(self, schema: str, config: str) -> None:
        (self.place / "s.yaml").write_text(schema)
        (self.place / "run.yaml").write_text(config)

    def run(
        self, frame: pd.DataFrame, pixels: np.ndarray | None = None, *, public: bool = False
    ) -> list[Query]:
        """Fit, or evaluate publicly after a fit, and return what the noise source was shown."""
        if pixels is None:
            frame.to_csv(self.place / "t.csv", index=False)
        else:
            columns = {name: values.to_numpy(str) for name, values in frame.items()}
            np.savez(self.place / "t.npz", images=pixels, **columns)
        self._runs += 1
        run = self.place / f"run{self._runs}"
        self._noise[0] = FixedAnswers()
        pipeline.fit(load_config(self.place / "run.yaml"), run)
        if public:
            self._noise[0] = FixedAnswers()
            pipeline.evaluate_public(run, 0.5)
        return self._noise[0].queries


@pytest.fixture
def cohorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cohorts:
    noise = [FixedAnswers()]
    monkeypatch.setattr(NoiseSource, "system", staticmethod(lambda: noise[0]))
    return Cohorts(tmp_path, noise)


def same(first: list[Query], second: list[Query]) -> bool:
    """Whether two runs were shown the same, query by query."""
    return len(first) == len(second) and all(
        one.public == other.public and np.array_equal(one.values, other.values)
        for one, other in zip(first, second, strict=True)
    )


def records(seed: int = 0, *, most: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(PATIENTS), rng.integers(1, most + 1, PATIENTS))
    n = len(owner)
    return pd.DataFrame(
        {
            "patient": [f"p{i}" for i in owner],
            "age": rng.integers(0, 101, n),
            "cost": rng.gamma(2, 60, n).round(1),
            "drug": rng.choice(["a", "b"], n),
            "sex": rng.choice(["F", "M"], n),
            "ill": rng.choice(["true", "false"], n, p=[0.3, 0.7]),
        }
    )


def changed(frame: pd.DataFrame, rows: np.ndarray) -> pd.DataFrame:
    """Return the table with other values, some of them never seen elsewhere, in these rows."""
    out = frame.copy()
    out.loc[rows, ["age", "cost", "drug", "sex", "ill"]] = [100, 1999.0, "d", "M", "true"]
    return out


def splits(key: bytes, frame: pd.DataFrame) -> np.ndarray:
    return np.array([split_of(key, patient) for patient in frame["patient"]])


CASES: dict[str, tuple[dict[str, str], str, Callable[..., np.ndarray]]] = {
    "declared": ({**DECLARED, "linked": ""}, "", used_of),
    "paid": (PAID, ", preprocessing: 0.2", used_of),
    "linked": ({**DECLARED, "linked": ", records: linked"}, "", first_of),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fit_to_a_table_sees_the_kept_records_of_training_patients_and_nothing_else(
    case: str, cohorts: Cohorts
):
    keys, more, kept = CASES[case]
    source = "table: {path: t.csv, schema: s.yaml}"
    cohorts.declare(
        TABLE_SCHEMA.format(**keys),
        CONFIG.format(data=source, patients=PATIENTS, more=more, generator=MARGINAL),
    )
    frame = records()
    split, used = splits(cohorts.key, frame), kept(cohorts.key, frame["patient"].to_numpy())
    assert min((split == name).sum() for name in ("train", "reference", "holdout")) > 50
    assert (used & (split == "train")).sum() > 50
    plain = cohorts.run(frame)
    for name in ("reference", "holdout"):
        assert same(plain, cohorts.run(changed(frame, split == name))), f"the fit read the {name} patients"
    assert same(plain, cohorts.run(frame[split == "train"])), "the fit knows how many are held out"
    assert same(plain, cohorts.run(changed(frame, ~used))), "the fit read more than max_records of a patient"
    assert not same(plain, cohorts.run(changed(frame, (split == "train") & used)))  # the check can fail


@pytest.mark.parametrize("case", ["declared", pytest.param("linked", marks=pytest.mark.slow)])
def test_a_public_figure_sees_the_kept_records_of_held_out_patients_and_nothing_else(
    case: str, cohorts: Cohorts
):
    keys, more, kept = CASES[case]
    source = "table: {path: t.csv, schema: s.yaml}"
    cohorts.declare(
        TABLE_SCHEMA.format(**keys),
        CONFIG.format(data=source, patients=PATIENTS, more=more, generator=MARGINAL),
    )
    frame = records()
    split, used = splits(cohorts.key, frame), kept(cohorts.key, frame["patient"].to_numpy())
    plain = cohorts.run(frame, public=True)
    assert same(plain, cohorts.run(changed(frame, split != "holdout"), public=True))
    assert same(plain, cohorts.run(changed(frame, ~used), public=True))
    assert not same(plain, cohorts.run(changed(frame, split == "holdout"), public=True))


def test_a_fit_to_images_sees_the_kept_images_of_training_patients_and_nothing_else(cohorts: Cohorts):
    generator = "{name: embedding, cosines: 16, attributes: {name: marginal, share: 0.2, iterations: 50}}"
    source = "images: {path: t.npz, schema: s.yaml, size: 8}"
    cohorts.declare(
        IMAGES_SCHEMA, CONFIG.format(data=source, patients=PATIENTS, more="", generator=generator)
    )
    rng = np.random.default_rng(4)
    owner = np.repeat(np.arange(PATIENTS), rng.integers(1, 5, PATIENTS))
    drawn = attributes(len(owner), rng)
    pixels = picture(drawn, schema_of(size=8), rng)[:, 0]
    frame = pd.DataFrame({
        "patient": [f"p{i}" for i in owner], "sex": drawn["sex"].astype(str), "ill": drawn["ill"].astype(str),
    })  # fmt: skip
    split, used = splits(cohorts.key, frame), used_of(cohorts.key, frame["patient"].to_numpy())
    plain = cohorts.run(frame, pixels)

    def other(rows: np.ndarray) -> list[Query]:
        white, made = pixels.copy(), frame.copy()
        white[rows] = 255
        made.loc[rows, ["sex", "ill"]] = ["M", "True"]
        return cohorts.run(made, white)

    for name in ("reference", "holdout"):
        assert same(plain, other(split == name)), f"the fit read the {name} patients"
    train = split == "train"
    assert same(plain, cohorts.run(frame[train], pixels[train])), "the fit knows how many are held out"
    assert same(plain, other(~used)), "the fit read more than max_records of a patient"
    assert not same(plain, other(train & used))


def whole_run(place: Path, frame: pd.DataFrame) -> tuple[dict[str, Any], dict[str, bytes], list[Any]]:
    """Run and evaluate publicly; return the record, what is public, and the ledger's events."""
    frame.to_csv(place / "t.csv", index=False)
    (place / "s.yaml").write_text(TABLE_SCHEMA.format(**DECLARED, linked=""))
    source = "table: {path: t.csv, schema: s.yaml}"
    config = CONFIG.format(data=source, patients=PATIENTS, more="", generator=MARGINAL)
    (place / "run.yaml").write_text(config)
    ledger = Ledger.connect("sqlite:///ledger.db", base=place)
    ledger.open_cohort("c", epsilon=50.0, delta=1e-6)
    loaded = load_config(place / "run.yaml")
    unit = ledger_unit(loaded.schema)
    ledger.reserve("c", EARLIER, purpose="an earlier release", run="earlier", unit=unit)
    pipeline.run(loaded, place / "run")
    pipeline.evaluate_public(place / "run", 0.5)
    public = place / "run" / "public"
    files = {str(path.relative_to(public)): path.read_bytes() for path in public.rglob("*") if path.is_file()}
    events = [(e.kind, e.content["event"]) for e in ledger.entries() if e.kind == "reserve"]
    return dict(judge.stored(pipeline.reload(place / "run")[1]).record), files, events


def without_hashes(content: bytes, record: dict[str, Any]) -> bytes:
    from synthgen.release.record.record import record_digest

    for text in (record["ledger"]["head"], record_digest(record)):
        content = content.replace(text.encode(), b"")
    return content


def test_two_cohorts_of_other_sizes_leave_the_same_public_bytes_given_the_same_noised_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """No exact number is in record, report, model, records, the public figure, or the ledger's events."""
    monkeypatch.setattr(judge, "evaluate_all", lambda *args, **options: [])  # exact, and internal
    found = []
    for name, n_patients, seed in (("one", PATIENTS, 0), ("other", 150, 1)):
        (tmp_path / name).mkdir()
        noise = FixedAnswers()
        monkeypatch.setattr(NoiseSource, "system", staticmethod(lambda noise=noise: noise))
        frame = records(seed)
        found.append(
            whole_run(tmp_path / name, frame[frame["patient"].isin({f"p{i}" for i in range(n_patients)})])
        )
    (record, files, events), (other_record, other_files, other_events) = found
    assert events == other_events
    assert set(files) == set(other_files)
    for name, content in files.items():
        assert without_hashes(content, record) == without_hashes(other_files[name], other_record), name
    assert record["claim"]["cohort_patients"] == PATIENTS
    composed = get_epsilon([EARLIER, from_json(record["plan"]["event"])], 1e-6, adaptive=True)
    assert record["ledger"]["epsilon"] == pytest.approx(composed)
    assert composed > 1.05 * record["claim"]["epsilon"]
    assert {**record, "ledger": {**record["ledger"], "head": ""}} == {
        **other_record,
        "ledger": {**other_record["ledger"], "head": ""},
    }
    assert files["synthetic.csv"].count(b"\n") == 1 + round(PATIENTS * (1 - HOLDOUT))


@pytest.mark.parametrize("step", ["fit", "evaluate --public"])
def test_over_the_cap_no_source_is_opened(step: str, cohorts: Cohorts, monkeypatch: pytest.MonkeyPatch):
    source = "table: {path: t.csv, schema: s.yaml}"
    config = CONFIG.format(data=source, patients=PATIENTS, more="", generator=MARGINAL)
    cohorts.declare(TABLE_SCHEMA.format(**DECLARED, linked=""), config)
    cohorts.run(records())
    ledger = Ledger.connect("sqlite:///ledger.db", base=cohorts.place)
    ledger.open_cohort("c", epsilon=0.1, delta=1e-6, reason="nothing is left")
    rows, opened = len(ledger.entries()), []

    def seen(*args: Any, **options: Any) -> Any:
        opened.append(args)
        raise AssertionError("a record was read")

    for name in ("fit.read_cohort", "run.read_cohort", "fit.source_digest"):
        monkeypatch.setattr(f"synthgen.pipeline.{name}", seen)
    again = load_config(cohorts.place / "run.yaml")
    with pytest.raises(BudgetExceeded):
        _ = (
            pipeline.fit(again, cohorts.place / "again")
            if step == "fit"
            else pipeline.evaluate_public(cohorts.place / "run1", 0.5)
        )
    assert opened == []
    assert len(ledger.entries()) == rows
