"""A run that can be killed, and what is true of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from synthgen import datasets
from synthgen.cli import app as cli
from synthgen.privacy.ledger.ledger import Ledger

CUT = ["patient_nbr", "race", "gender", "age", "time_in_hospital", "readmitted"]
CONFIG = """
cohort: cut
seed: 7
data: {table: {path: encounters.parquet, schema: encounters.schema.yaml}}
budget: {ledger: "%s", epsilon: 1.0, delta: 1e-6, patients: 2000}
generator: {name: marginal, iterations: 50, rounds: 1, cliques: 0.5}
sample: {records: 500}
release: {formats: [csv]}
"""


class Driver:
    """Runs the command line in children that can be killed, see ``driver.py``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        server = {name: value for name, value in os.environ.items() if name.startswith("PG")}
        self._process.stdin.write(json.dumps({**command, "environment": server}) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def cut_cohort(folder: Path) -> None:
    """Write a cut of the shipped cohort: 2,000 patients, six columns."""
    from ruamel.yaml import YAML

    source = datasets.path("diabetes130")
    table = pd.read_parquet(source / "encounters.parquet", columns=CUT)
    kept = table["patient_nbr"].drop_duplicates().iloc[:2000]
    table[table["patient_nbr"].isin(kept)].reset_index(drop=True).to_parquet(folder / "encounters.parquet")
    yaml = YAML(typ="safe")
    schema = yaml.load((source / "encounters.schema.yaml").read_text())
    schema["fields"] = [field for field in schema["fields"] if field["name"] in CUT]
    schema.pop("rules", None)
    with (folder / "encounters.schema.yaml").open("w") as stream:
        yaml.dump(schema, stream)


@dataclass(frozen=True)
class Run:
    """One run's folder, ledger and witness."""

    folder: Path
    driver: Driver
    url: str = "sqlite:///ledger.db"

    def prepare(self, *, evaluate: bool = False, cap: float = 50.0) -> Run:
        cut_cohort(self.folder)
        # No canaries: a twin's noise is for simulated patients, which the witness cannot tell from real ones.
        judged = "evaluate: {holdout: 0.3, target: readmitted, groups: [gender], canaries: 0}\n"
        judged = judged if evaluate else ""
        (self.folder / "run.yaml").write_text(CONFIG % self.url + judged)
        self.ledger().open_cohort("cut", epsilon=cap, delta=1e-6)
        return self

    def ledger(self) -> Ledger:
        return Ledger.connect(self.url, base=self.folder)

    def go(self, *more: str, **kill: Any) -> dict[str, Any]:
        run = ["run", str(self.folder / "run.yaml"), "--output", str(self.folder / "run")]
        return self.driver(
            arguments=[*run, "--json", "--anyway", "--resume", *more],
            witness=str(self.folder / "witness"),
            **kill,
        )

    def steps(self) -> list[str]:
        """What the last child that was not killed came through."""
        found: list[str] = json.loads((self.folder / "witness.steps").read_text())
        return found

    def witnessed(self) -> float:
        """Sum of the costs of all draws that happened, or were about to."""
        path = self.folder / "witness"
        return sum(map(float, path.read_text().split())) if path.exists() else 0.0

    def records(self, kind: str) -> list[dict[str, Any]]:
        """Whole lines of the journal of one kind."""
        path = self.folder / "run" / "internal" / "answers.journal"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        found = [json.loads(line.partition(b" ")[2]) for line in lines]
        return [record for record in found if record["kind"] == kind]

    def booked(self) -> float:
        """Sum of what the ledger shows."""
        entries = self.ledger().entries()
        void = {entry.content["entry"] for entry in entries if entry.kind == "void"}
        spends = [entry for entry in entries if entry.kind == "reserve" and entry.seq not in void]
        return sum(entry.content["event"]["rho"] for entry in spends)

    def check(self) -> None:
        """The ledger shows at least what was drawn, and the journal announced all of it."""
        announced = sum(intent["query"]["rho"] for intent in self.records("intent"))
        assert self.witnessed() <= announced * (1 + 1e-9)
        assert announced <= self.booked() * (1 + 1e-9)
        assert self.ledger().verify() == []

    def finish(self, *, judged: bool = False) -> None:
        """Resume to the end: stored answers are kept and not drawn again; the bundle verifies."""
        stored, drawn = self.records("answer"), self.witnessed()
        asked = len(self.records("intent"))
        assert self.go()["status"] in ((0, 5) if judged else (5,)), (self.folder / "witness.log").read_text()
        self.check()
        assert self.records("answer")[: len(stored)] == stored
        fresh = self.records("intent")[asked:]
        assert self.witnessed() - drawn == pytest.approx(sum(intent["query"]["rho"] for intent in fresh))
        assert self.ledger().orphans() == []
        assert self.call("ledger", "verify", "--ledger", self.url) == 0
        bundle = str(self.folder / "bundle")
        assert self.call("release", str(self.folder / "run"), "--output", bundle, "--override", "a test") == 0
        assert self.call("verify", bundle) == 0

    def call(self, *arguments: str) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            with pytest.raises(SystemExit) as stop:
                cli.main([*arguments, "--json"])
        return int(stop.value.code or 0)
