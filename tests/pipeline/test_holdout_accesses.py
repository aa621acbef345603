"""Evaluations of files are counted, named by what they rest on, and compared with the first one."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthgen.errors import OperationError
from synthgen.pipeline.holdout_accesses import FILE, shown_place
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.gate.policy import load_policy
from tests.cli.test_messages import call

SCHEMA = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 18, maximum: 99}}
  - {name: weight, type: number, constraints: {minimum: 30, maximum: 200}}
  - {name: sex, type: string, constraints: {enum: [F, M]}, role: protected}
  - {name: died, type: boolean, role: label}
  - {name: icu, type: boolean, role: label}
"""


def rows(n: int, seed: int, name: str) -> list[str]:
    rng = np.random.default_rng(seed)
    return [
        f"{name}{i},{rng.integers(18, 100)},{rng.normal(80, 15):.2f},{'FM'[rng.integers(2)]},"
        f"{'true' if rng.random() < 0.2 else 'false'},{'true' if rng.random() < 0.4 else 'false'}"
        for i in range(n)
    ]


def write(path: Path, lines: list[str], columns: str = "patient,age,weight,sex,died,icu") -> None:
    path.write_text("\n".join([columns, *lines]) + "\n")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with files; figures do not matter here, so none are made."""
    monkeypatch.setattr("synthgen.evaluation.run.evaluate_all", lambda *_, **__: [])
    (tmp_path / "s.yaml").write_text(SCHEMA)
    for i, (name, letter) in enumerate(
        (("real", "r"), ("holdout", "h"), ("synthetic", "s"), ("reference", "x"))
    ):
        write(tmp_path / f"{name}.csv", rows(120, i, letter))
    yield tmp_path
    tmp_path.chmod(0o700)


def evaluate(
    place: Path, *more: Any, real: str = "real.csv", holdout: str = "holdout.csv"
) -> tuple[int, Any]:
    code, out, err = call(
        *("evaluate", "--real", place / real, "--holdout", place / holdout),
        *("--synthetic", place / "synthetic.csv", "--schema", place / "s.yaml", "--json", *more),
    )
    assert out, err
    return code, json.loads(out)


def test_evaluations_of_files_are_numbered_beside_the_real_table(place: Path) -> None:
    code, first = evaluate(place)
    assert code == 5  # nothing was measured, so it cannot be signed
    assert (first["accesses"]["number"], first["looks"], first["adaptive"]) == (1, 1, False)
    assert first["accesses"]["ledger"] == str(place / FILE)
    _, second = evaluate(place)
    assert (second["accesses"]["number"], second["adaptive"]) == (2, True)
    assert second["accesses"]["changes"] == []
    assert any("Evaluation 2 of these inputs" in reason["message"] for reason in second["reasons"])
    ledger = Ledger.connect(f"sqlite:///{place / FILE}", create=False)
    assert ledger.verify() == []
    entries = [entry for entry in ledger.entries() if entry.kind == "access"]
    assert [entry.content["inputs"] for entry in entries] == [second["inputs"]["sha256"]] * 2
    assert entries[0].content["policy_sha256"] == load_policy("default").digest


def test_neither_the_order_of_rows_nor_new_ids_nor_another_synthetic_table_make_it_a_first_evaluation(
    place: Path,
) -> None:
    _, first = evaluate(place)
    write(place / "real.csv", rows(120, 0, "other")[::-1])
    write(place / "holdout.csv", rows(120, 1, "another")[::-1])
    _, moved = evaluate(place)
    assert moved["inputs"] == first["inputs"]
    assert moved["accesses"]["number"] == 2
    write(place / "synthetic.csv", rows(120, 77, "s"))
    _, other = evaluate(place)
    assert (other["accesses"]["number"], other["inputs"]["seed"]) == (3, first["inputs"]["seed"])
    write(place / "new.csv", rows(120, 5, "n"))
    _, new_real = evaluate(place, real="new.csv")  # the holdout is the same
    assert new_real["accesses"]["number"] == 4
    write(place / "fresh.csv", rows(120, 6, "f"))
    assert evaluate(place, real="new.csv", holdout="fresh.csv")[1]["accesses"]["number"] == 2


def test_what_changed_since_the_first_evaluation_is_listed(place: Path) -> None:
    first = evaluate(place)[1]
    (place / "s.yaml").write_text(SCHEMA.replace("died, type: boolean, role: label", "died, type: boolean"))
    policy = Path(__file__).parents[2] / "synthgen" / "release" / "policies" / "default.yaml"
    text = policy.read_text(encoding="utf-8").replace("name: default", "name: ours", 1)
    (place / "ours.yaml").write_text(text.replace("threshold: 0.05", "threshold: 0.9", 1))
    report = place / "report.html"
    _, second = evaluate(place, "--seed", 4, "--policy", place / "ours.yaml", "--report", report)
    changes = {change["what"]: (change["before"], change["now"]) for change in second["accesses"]["changes"]}
    assert changes["target"] == ("died", "icu")
    assert changes["seed"] == (str(first["inputs"]["seed"]), "4")
    assert set(changes) == {"target", "seed", "policy", "schema"}
    assert changes["policy"][0].startswith("default (")
    assert (second["policy"]["name"], second["policy"]["shipped"]) == ("ours", False)
    assert second["policy"]["looser"] == ["fidelity_tvd.excess1: threshold 0.9 instead of 0.05"]
    assert (first["policy"]["shipped"], first["policy"]["looser"]) == (True, [])
    shown = report.read_text(encoding="utf-8")
    for text in (
        "target: died the first time, icu now",
        "threshold 0.9 instead of 0.05",
        second["policy"]["sha256"],
    ):
        assert text in shown


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_folder_that_cannot_be_written_is_said_and_not_counted(place: Path) -> None:
    place.chmod(0o500)
    _, found = evaluate(place)
    place.chmod(0o700)
    assert (found["accesses"]["counted"], found["looks"]) == (False, None)


def test_a_ledger_that_cannot_be_made_is_said_and_not_counted(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: object, **__: object) -> Ledger:
        raise OperationError.of(OSError(errno.EROFS, "read-only"), "open the ledger")

    monkeypatch.setattr(Ledger, "connect", read_only)
    code, found = evaluate(place)
    assert code == 5
    assert (found["accesses"]["counted"], found["accesses"]["number"], found["looks"]) == (False, None, None)
    assert "cannot be written" in found["accesses"]["reason"]
    assert any(
        reason["severity"] == "warn" and "Nobody counts" in reason["message"] for reason in found["reasons"]
    )


def test_an_edited_ledger_ends_the_evaluation(place: Path) -> None:
    evaluate(place)
    (place / FILE).write_bytes(b"not a ledger" * 100)
    code, found = evaluate(place)
    assert (code, found["error"]["code"]) == (3, "data")


def test_a_named_ledger_counts_and_its_password_is_not_shown(place: Path) -> None:
    url = f"sqlite:///{place / 'mine.db'}"
    assert evaluate(place, "--ledger", url)[1]["accesses"]["ledger"] == url
    assert evaluate(place, "--ledger", url)[1]["accesses"]["number"] == 2
    assert not (place / FILE).exists()
    assert shown_place("postgresql://user:hunter2@host/db?password=x") == "postgresql://host/db"


def test_one_evaluation_too_many_is_refused_and_leaves_no_entry(place: Path) -> None:
    policy = Path(__file__).parents[2] / "synthgen" / "release" / "policies" / "default.yaml"
    text = policy.read_text(encoding="utf-8").replace("# most_looks: 1", "most_looks: 1")
    (place / "strict.yaml").write_text(text.replace("name: default", "name: strict", 1))
    assert evaluate(place, "--policy", place / "strict.yaml")[0] == 5
    code, found = evaluate(place, "--policy", place / "strict.yaml")
    assert (code, found["error"]["code"]) == (5, "gate")
    assert len(Ledger.connect(f"sqlite:///{place / FILE}").entries()) == 1
    assert evaluate(place)[1]["accesses"]["number"] == 2


@pytest.mark.parametrize("name", ["default", "images", "Default", " default"])
def test_only_the_shipped_policy_has_its_name(place: Path, name: str) -> None:
    policy = Path(__file__).parents[2] / "synthgen" / "release" / "policies" / "default.yaml"
    text = policy.read_text(encoding="utf-8").replace("name: default", f'name: "{name}"', 1)
    (place / "mine.yaml").write_text(text.replace("threshold: 0.05", "threshold: 1", 1))
    code, found = evaluate(place, "--policy", place / "mine.yaml")
    assert (code, found["error"]["code"]) == (2, "config")
    assert not (place / FILE).exists()


def test_a_holdout_that_is_the_real_table_is_refused_before_it_is_counted(place: Path) -> None:
    code, found = evaluate(place, holdout="real.csv")
    assert (code, found["error"]["code"], found["error"]["where"]) == (3, "data", "--holdout")
    assert not (place / FILE).exists()
    lines = (place / "real.csv").read_text().splitlines()[1:61] + rows(60, 1, "h")
    write(place / "mixed.csv", lines)
    code, found = evaluate(place, holdout="mixed.csv")
    assert code == 3
    assert "60 patients of the holdout have an id of the real table" in found["error"]["message"]
    write(place / "mixed.csv", [f"new{i},{line.partition(',')[2]}" for i, line in enumerate(lines)])
    code, found = evaluate(place, holdout="mixed.csv")
    assert code == 3
    assert "nearly equal" in found["error"]["message"]
