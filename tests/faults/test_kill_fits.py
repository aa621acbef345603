"""A fit of every kind, killed at every durable write: resumed, no noise is drawn that was not charged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.ingest.fingerprint import saved_digest, source_digest
from synthgen.privacy.ledger.ledger import Ledger

pytest.importorskip("pytorch_lightning", reason="torch is not installed (synthgen-medical[torch])")

SETTINGS: dict[str, str] = {
    "tabular_marginal": "iterations: 50, rounds: 1, cliques: 0.5",
    "tabular_network": "rounds: 1, components: 8, latent: 4, hidden: 8, steps: 5, last_steps: 5",
    "tabular_diffusion": "pretraining: 5, steps: 2, batch: 20, width: 16",
    "tabular_gan": "pretraining: 5, steps: 2, batch: 20, width: 16",
    "tabular_pategan": "rounds: 1, votes: 4, components: 8, latent: 4, hidden: 8, steps: 5",
    "imaging_embedding": "",
    "imaging_diffusion": "width: 8, pretraining: 3, steps: 2, calls: 2, prior: [leaves]",
    "imaging_gan": "width: 8, critic_width: 4, pretraining: 3, steps: 2, candidates: 2, prior: [leaves]",
}
KINDS = [
    f"{modality}_{name}"
    for modality in ("tabular", "imaging")
    for name in plugins.names(f"synthgen.generators.{modality}")
    if name != "auto"  # one of the others, by public facts
]
TABLE = """
unit: {column: patient, max_records: 2}
fields:
  - {name: patient, type: string, role: id}
  - {name: age, type: integer, constraints: {minimum: 0, maximum: 99, required: true}, bins: 4}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
"""
IMAGES = """
unit: {column: patient, max_records: 2}
images: {file: file, channels: 1, bits: 8}
fields:
  - {name: patient, type: string, role: id}
  - {name: file, type: string, role: id}
  - {name: sex, type: string, role: protected, constraints: {enum: [F, M], required: true}}
  - {name: ill, type: boolean, role: label, constraints: {required: true}}
"""
CONFIG = """
cohort: c
data: %s
budget: {ledger: "sqlite:///ledger.db", epsilon: 8.0, delta: 1e-5, patients: %d}
generator: {name: %s}
"""


class Driver:
    """Fits in children, see ``fit_driver.py``."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("fit_driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, **command: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(json.loads(self._process.stdout.readline())["status"])

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def fits() -> Iterator[Driver]:
    made = Driver()
    yield made
    made.close()


def table_cohort(folder: Path) -> str:
    rng, n = np.random.default_rng(0), 120
    frame = pd.DataFrame(
        {
            "patient": [f"p{i // 2}" for i in range(n)],
            "age": rng.integers(0, 100, n),
            "sex": rng.choice(["F", "M"], n),
            "ill": rng.random(n) < 0.5,
        }
    )
    frame.to_csv(folder / "t.csv", index=False)
    (folder / "t.schema.yaml").write_text(TABLE)
    return "{table: {path: t.csv, schema: t.schema.yaml}}"


def image_cohort(folder: Path) -> str:
    from PIL import Image

    from tests.support.phantom_cohorts import cohort

    (folder / "scans").mkdir()
    data = cohort(60, size=16, images=(1, 2))
    lines = ["patient,file,sex,ill"]
    for i, (unit, row) in enumerate(zip(data.units, data.frame.itertuples(), strict=True)):
        Image.fromarray(data.pixels[i, 0]).save(folder / "scans" / f"{i}.png")
        lines.append(f"{unit},{i}.png,{row.sex or 'F'},{str(row.ill).lower()}")
    (folder / "scans" / "attributes.csv").write_text("\n".join(lines) + "\n")
    (folder / "s.schema.yaml").write_text(IMAGES)
    return "{images: {path: scans/, schema: s.schema.yaml, size: 16}}"


@dataclass(frozen=True)
class Fit:
    """A fit's folder, and what the witness and the ledger say of it."""

    folder: Path
    driver: Driver
    kind: str

    @classmethod
    def prepare(cls, folder: Path, driver: Driver, kind: str) -> Fit:
        data = (table_cohort if kind.startswith("tabular_") else image_cohort)(folder)
        options = SETTINGS.get(kind, "")
        if kind.startswith("imaging_"):
            options += (", " if options else "") + "attributes: {name: marginal, share: 0.2, iterations: 50}"
        generator = kind.partition("_")[2] + (f", {options}" if options else "")
        (folder / "run.yaml").write_text(CONFIG % (data, 60, generator))
        made = cls(folder, driver, kind)
        made.ledger().open_cohort("c", epsilon=1000.0, delta=1e-5)
        return made

    def ledger(self) -> Ledger:
        return Ledger.connect("sqlite:///ledger.db", base=self.folder)

    def go(self, **more: Any) -> int:
        arguments = ["fit", "run.yaml", "--output", "run", "--resume", "--anyway", "--json"]
        return self.driver(kind=self.kind, folder=str(self.folder), arguments=arguments, **more)

    def restored(self, snapshot: Path, to: Path) -> Fit:
        """Return the fit as a snapshot has it, in a folder of its own."""
        to.mkdir()
        for source in self.folder.iterdir():
            if source.name in ("t.csv", "t.schema.yaml", "s.schema.yaml", "run.yaml"):
                shutil.copyfile(source, to / source.name)
            elif source.name == "scans":
                (to / "scans").symlink_to(source)
        for part in snapshot.iterdir():
            (shutil.copytree if part.is_dir() else shutil.copyfile)(part, to / part.name)
        return Fit(to, self.driver, self.kind)

    def model(self) -> str:
        return saved_digest(self.folder / "run" / "public" / "model")

    def drawn(self) -> Counter[str]:
        """How often each query was drawn, and in how many processes noise that is not stored."""
        path = self.folder / "witness"
        return Counter(path.read_text().split()) if path.exists() else Counter()

    def charged(self) -> tuple[int, Counter[str]]:
        """How often the whole plan was charged, and how often each query alone."""
        spends = [entry for entry in self.ledger().entries() if entry.kind == "reserve"]
        whole = [entry for entry in spends if entry.content["event"] == spends[0].content["event"]]
        again = [entry.content["purpose"] for entry in spends if entry not in whole]
        assert all(text.split()[-3] == "query" and text.split()[-1] == "again" for text in again), again
        return len(whole), Counter(str(int(text.split()[-2]) - 1) for text in again)

    def check(self) -> None:
        """No noise was drawn that was not charged."""
        whole, again = self.charged()
        for query, times in self.drawn().items():
            assert times <= whole + again[query], (query, times, whole, again)
        assert self.ledger().verify() == []

    def finish(self) -> None:
        """Resume to the end, and check what is then true."""
        self.check()
        assert self.go() == 0, (self.folder / "log").read_text()
        self.check()
        ledger = self.ledger()
        assert ledger.orphans() == []
        models = set().union(*self.fits().values())
        assert self.model() in models
        assert len(models) <= self.charged()[0]

    def fits(self) -> dict[int, frozenset[str]]:
        runs = {entry.content["run"] for entry in self.ledger().entries() if entry.kind == "reserve"}
        assert len(runs) == 1
        return {number: fit.models for number, fit in self.ledger().fits(runs.pop()).items()}

    def forget(self) -> None:
        """Delete the note of the finished fit from the run's state."""
        path = self.folder / "run" / "internal" / "state.json"
        state = json.loads(path.read_text())
        del state["stages"]["fit"]
        path.write_text(json.dumps(state))


@pytest.fixture(scope="module")
def whole(fits: Driver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Fit, list[Path]]]:
    return {}


@pytest.fixture
def killed(
    request: pytest.FixtureRequest,
    fits: Driver,
    whole: dict[str, tuple[Fit, list[Path]]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Fit, list[Path]]:
    """A finished fit of a kind, and what a kill at each of its durable writes would have left."""
    kind = request.param
    if kind not in whole:
        fit = Fit.prepare(tmp_path_factory.mktemp(kind), fits, kind)
        snapshots = tmp_path_factory.mktemp(f"{kind}-snapshots")
        assert fit.go(snapshots=str(snapshots)) == 0, (fit.folder / "log").read_text()
        fit.check()
        assert fit.charged() == (1, Counter())
        whole[kind] = fit, sorted(snapshots.iterdir())
    return whole[kind]


def last(snapshots: list[Path], name: str) -> Path:
    return next(path for path in reversed(snapshots) if path.name[5:] == name)


@pytest.mark.parametrize("killed", KINDS, indirect=True)
def test_a_fit_whose_model_was_saved_is_never_trained_again(killed, tmp_path):
    fit, snapshots = killed
    drawn = fit.drawn()
    for moment in ("before", "after"):
        resumed = fit.restored(last(snapshots, f"{moment} ledger commit"), tmp_path / moment)
        resumed.finish()
        assert (resumed.model(), resumed.drawn()) == (fit.model(), drawn)
        assert resumed.charged() == (1, Counter())
    resumed.forget()
    resumed.finish()
    assert (resumed.model(), resumed.drawn(), resumed.charged()) == (fit.model(), drawn, (1, Counter()))


STORED = {"tabular_marginal", "tabular_network", "tabular_pategan", "imaging_embedding"}


@pytest.mark.parametrize(
    "killed",
    [
        kind if kind in ("tabular_gan", "tabular_marginal") else pytest.param(kind, marks=pytest.mark.slow)
        for kind in KINDS
    ],
    indirect=True,
)
def test_a_lost_model_comes_of_stored_answers_or_of_a_new_fit_that_is_charged(killed, tmp_path, request):
    kind = request.node.callspec.params["killed"]
    fit, snapshots = killed
    resumed = fit.restored(snapshots[-1], tmp_path / "lost")
    shutil.rmtree(resumed.folder / "run" / "public" / "model")
    resumed.forget()
    drawn = resumed.drawn()
    resumed.finish()
    stored = "unkept" not in fit.drawn()
    assert stored == (kind in STORED)
    assert resumed.charged()[0] == (1 if stored else 2)
    assert (resumed.drawn() == drawn) == stored


@pytest.mark.parametrize("killed", ["tabular_gan"], indirect=True)
def test_a_fit_killed_while_it_trains_is_charged_again(killed, tmp_path):
    fit, snapshots = killed
    begun = next(path for path in snapshots if "unkept" in (path / "witness").read_text())
    written = [path for path in snapshots if any((path / "run" / "public").glob(".*.partial"))]
    for number, place in enumerate((begun, written[-1])):
        resumed = fit.restored(place, tmp_path / str(number))
        resumed.finish()
        assert resumed.charged()[0] == 2
        assert resumed.drawn()["unkept"] == 2


@pytest.mark.parametrize("killed", ["tabular_gan"], indirect=True)
def test_a_program_that_trains_again_for_free_is_noticed_by_these_tests(killed, tmp_path):
    fit, snapshots = killed
    resumed = fit.restored(snapshots[-1], tmp_path / "free")
    shutil.rmtree(resumed.folder / "run" / "public" / "model")
    resumed.forget()
    assert resumed.go(free=True) == 0, (resumed.folder / "log").read_text()
    with pytest.raises(AssertionError):
        resumed.check()


@pytest.mark.slow
@pytest.mark.parametrize("killed", KINDS, indirect=True)
def test_a_fit_of_every_kind_killed_at_every_durable_write_draws_nothing_free(killed, tmp_path):
    fit, snapshots = killed
    states = {source_digest((place,)): place for place in snapshots}  # many writes leave the same on disk
    for number, place in enumerate(states.values()):
        resumed = fit.restored(place, tmp_path / str(number))
        resumed.finish()
        if (place / "run" / "public" / "model").exists():
            resumed.forget()
            resumed.finish()
        shutil.rmtree(tmp_path / str(number))
    print(f"{len(snapshots)} durable writes, {len(states)} states on disk")
