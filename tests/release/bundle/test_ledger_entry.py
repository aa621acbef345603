"""A release stands in the ledger before its bundle is there, and a rewritten record is not released."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synthgen.errors import DataError
from synthgen.privacy.accountant import to_json
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.record.record import record_digest
from tests.cli.test_messages import call, make_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cohort, its ledger, and a run that was not released."""
    folder = tmp_path_factory.mktemp("made")
    make_run(folder)
    return folder


def release(place: Path, output: str = "bundle") -> tuple[int, str]:
    code, out, err = call("release", place / "run", "-o", place / output, "--override", "a test")
    return code, out + err


def test_a_release_enters_the_digest_of_its_record_once(made):
    ledger = Ledger.connect("sqlite:///ledger.db", base=made)
    assert release(made)[0] == 0
    record = json.loads((made / "bundle" / "privacy_record.json").read_text())
    (entry,) = ledger.releases("tiny")
    assert entry.content["record"] == record_digest(record)
    assert entry.content["head"] == record["ledger"]["head"]
    composed = ledger.spent("tiny", head=record["ledger"]["head"])
    assert [to_json(event) for event in composed.event.events] == record["ledger"]["events"]
    assert ledger.spent("tiny").entries == composed.entries  # a release spends nothing
    (fit,) = ledger.fits(entry.content["run"]).values()
    assert fit.models
    ledger.note_release("tiny", **{key: str(entry.content[key]) for key in ("run", "record", "head")})
    assert len(ledger.releases()) == 1
    assert ledger.verify(head=record["ledger"]["head"]) == []


def test_a_bundle_is_not_there_before_its_entry(made, monkeypatch):
    def full(*_: object, **__: object) -> int:
        raise DataError("as if the disk were full")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "note_release", full)
        assert release(made, "unentered")[0] == 3
    assert not (made / "unentered").exists()


@pytest.mark.parametrize("edit", ["events", "cap_epsilon", "head", "cohort"])
def test_a_record_that_is_not_the_ledgers_is_not_released(made, edit):
    path = made / "run" / "internal" / "record.json"
    record, kept = json.loads(path.read_text()), path.read_text()
    ledger = record["ledger"]
    edited = {
        "events": [{**event, "rho": event["rho"] / 100} for event in ledger["events"]],
        "cap_epsilon": 0.1,
        "head": "1:" + "0" * 64,
        "cohort": "other",
    }
    path.write_text(json.dumps({**record, "ledger": {**ledger, edit: edited[edit]}}))
    try:
        code, text = release(made, f"edited-{edit}")
    finally:
        path.write_text(kept)
    assert code in (2, 3), text
    assert "This is a bug" not in text
    assert not (made / f"edited-{edit}").exists()


def test_a_release_needs_the_ledger_that_paid_for_the_model(made):
    kept = made / "ledger.db"
    other = made / "kept.db"
    kept.rename(other)
    try:
        Ledger.connect("sqlite:///ledger.db", base=made).open_cohort("tiny", epsilon=1.0, delta=1e-6)
        code, text = release(made, "elsewhere")
        assert code == 3
        assert "ledger" in text
    finally:
        kept.unlink()
        other.rename(kept)
    assert not (made / "elsewhere").exists()
