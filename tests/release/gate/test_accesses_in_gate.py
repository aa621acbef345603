"""Looks at the holdout: numbered entries of the ledger, refused beyond what the policy allows."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from synthgen.errors import GateRefused
from synthgen.pipeline import evaluate as judge
from synthgen.pipeline.holdout_accesses import Basis
from synthgen.privacy.ledger.ledger import Ledger
from synthgen.release.gate.policy import Policy, load_policy

LOADED: Any = SimpleNamespace(config=SimpleNamespace(cohort="icu"), digest="0123456789abcdef0")


DIGESTS = {name: name * 3 for name in ("train", "holdout", "synthetic", "schema")}


def basis(policy: Policy, *, target: str = "died", groups: tuple[str, ...] = ("sex",)) -> Basis:
    return Basis(DIGESTS, policy, seed=7, given=True, target=target, groups=groups)


def test_looks_are_numbered_and_one_too_many_is_refused_and_leaves_no_entry(tmp_path: Path) -> None:
    ledger = Ledger.connect("sqlite:///ledger.db", base=tmp_path)
    ledger.open_cohort("icu", epsilon=1.0, delta=1e-6)
    allowing = load_policy("default")
    strict = allowing.model_copy(update={"most_looks": 2})
    for policy in (allowing, strict):
        judge._look(ledger, LOADED, basis(policy))
    with pytest.raises(GateRefused, match="at most 2 looks") as refusal:
        judge._look(ledger, LOADED, basis(strict))
    assert refusal.value.exit_code == 5
    looks = [entry.content for entry in ledger.entries("icu") if entry.kind == "look"]
    assert [look["look"] for look in looks] == [1, 2] == [i + 1 for i in range(ledger.looks("icu"))]
    assert judge._look(ledger, LOADED, basis(allowing)).number == ledger.looks("icu") == 3


def test_a_look_names_what_changed_since_the_first_one(tmp_path: Path) -> None:
    ledger = Ledger.connect("sqlite:///ledger.db", base=tmp_path)
    ledger.open_cohort("icu", epsilon=1.0, delta=1e-6)
    policy = load_policy("default")
    judge._look(ledger, LOADED, basis(policy))
    again = judge._look(ledger, LOADED, basis(policy))
    other = judge._look(ledger, LOADED, basis(policy, target="icu", groups=("sex", "race")))
    assert (again.number, again.changes) == (2, ())
    assert [(c["what"], c["before"], c["now"]) for c in other.changes] == [
        ("target", "died", "icu"),
        ("groups", "sex", "sex, race"),
    ]
    looks = [entry.content for entry in ledger.entries("icu") if entry.kind == "look"]
    assert looks[0]["policy_sha256"] == policy.digest
    assert looks[0]["inputs"] == DIGESTS


def test_a_policy_file_may_limit_looks_and_a_limit_of_none_is_refused(tmp_path: Path) -> None:
    from importlib import resources

    shipped = (resources.files("synthgen.release") / "policies" / "default.yaml").read_text(encoding="utf-8")
    path = tmp_path / "strict.yaml"
    shipped = shipped.replace("name: default", "name: strict", 1)
    path.write_text(shipped.replace("# most_looks: 1", "most_looks: 1"))
    assert load_policy(path).most_looks == 1
    path.write_text(shipped.replace("# most_looks: 1", "most_looks: 0"))
    with pytest.raises(Exception, match="most_looks"):
        load_policy(path)
