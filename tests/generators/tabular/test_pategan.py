"""PATE: disjoint teachers, one vote a patient, each label paid; published bugs are planted and caught."""

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synthgen.data.tables import RealTable
from synthgen.generators.tabular.pategan import teachers as _teachers
from synthgen.generators.tabular.pategan.config import Config
from synthgen.generators.tabular.pategan.teachers import Features, Teachers, taught, teacher_of
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.marginal_queries import LATTICE, ZCDPFilter
from synthgen.privacy.noise import NoiseSource
from synthgen.sampling.draw import draw, violations
from synthgen.schema.schema import Schema
from tests.generators.marginal.test_marginal import SCHEMA, cohort, extreme, joined

SMALL: dict[str, Any] = {
    "components": 40,
    "latent": 8,
    "hidden": 16,
    "steps": 40,
    "generator_steps": 5,
    "rounds": 3,
    "votes": 40,
    "features": 24,
    "patients_per_teacher": 20,
}


class Scripted(NoiseSource):
    """Answers each query the same whatever the data say, and notes what it was asked to protect."""

    def __init__(self) -> None:
        self.votes: list[np.ndarray] = []
        self.rho: list[float] = []
        self._about: Any = None

    def query(self, rho: float, about: Any) -> Any:
        self._about = about
        return super().query(rho, about)

    def discrete_gaussian(self, values: Any, *, sigma: float) -> Any:
        if self._about[0] == "votes":
            self.votes.append(values.copy())
            # One patient moves each of m counts by one: sqrt(m) in L2.
            self.rho.append(values.size / (2 * sigma**2))
            return np.random.default_rng(len(self.votes)).integers(0, 15, values.size)
        self.rho.append(LATTICE**2 / (2 * sigma**2))
        return np.random.default_rng(values.size).integers(0, 50 * LATTICE, values.size)

    def _gaussian(self, values: Any, sigma: float) -> Any:
        raise NotImplementedError

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        raise NotImplementedError


@pytest.fixture(scope="module")
def schema() -> Schema:
    return Schema.model_validate_json(json.dumps(SCHEMA))


def fitted(data: RealTable, schema: Schema) -> tuple[Any, Scripted, Any]:
    config, noise = Config(**SMALL), Scripted()
    plan = config.plan(schema, epsilon=1.0, delta=1e-6, patients=300)
    return config.fit(data, plan, noise=noise), noise, plan


def moved(schema: Schema, n_records: int = 40, kind: str = "spread") -> np.ndarray:
    """Return by how much a whole fit's counts of votes differ with one patient more, (round, row)."""
    base = cohort(schema, 300)
    both = joined(base, extreme(schema, n_records, kind))
    votes = [np.array(fitted(data, schema)[1].votes) for data in (base, both)]
    return np.asarray(np.abs(votes[1] - votes[0]))


@pytest.mark.parametrize(("n_records", "kind"), [(1, "outlier"), (40, "spread"), (40, "outlier")])
def test_a_patient_moves_each_count_of_votes_by_at_most_one_through_a_whole_fit(
    schema: Schema, n_records: int, kind: str
) -> None:
    apart = moved(schema, n_records, kind)
    assert apart.shape == (3, 40)
    assert apart.max() <= 1
    if n_records == 40:
        assert apart.sum() > 0  # the patient does move votes, so the check looks at something


def all_in_the_first(units: np.ndarray, n_teachers: int) -> np.ndarray:
    return np.zeros(len(units), dtype=np.int64)


def by_place(units: np.ndarray, n_teachers: int) -> np.ndarray:
    """Records dealt out by a seeded permutation: one patient less moves everybody."""
    return np.asarray(np.random.default_rng(0).permutation(len(units)) % n_teachers)


def test_the_check_catches_parts_that_depend_on_other_patients(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_teachers, "teacher_of", by_place)
    assert moved(schema).max() > 1


def test_the_check_catches_teachers_that_all_read_the_same_part(
    schema: Schema, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Teachers.__init__

    def planted(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        self._own = [np.concatenate(self._own)] * self.n_teachers

    monkeypatch.setattr(Teachers, "__init__", planted)
    assert moved(schema).max() > 1


def test_parts_are_disjoint_by_patient_fixed_and_all_used() -> None:
    units = np.array([f"p{i // 3}" for i in range(3000)], dtype=object)
    parts = teacher_of(units, 20)
    assert (parts.reshape(-1, 3) == parts.reshape(-1, 3)[:, :1]).all()
    assert set(parts) == set(range(20))
    order = np.random.default_rng(0).permutation(3000)
    assert (teacher_of(units[order], 20) == parts[order]).all()
    assert (teacher_of(units[:-3], 20) == parts[:-3]).all()
    assert (all_in_the_first(units, 20) == parts).mean() < 0.1


def teachers_of(
    schema: Schema, data: RealTable, n_teachers: int, spender: ZCDPFilter, noise: NoiseSource
) -> tuple[Teachers, Callable[[int], dict[str, np.ndarray]]]:
    from synthgen.encode.table import Encoder

    encoder = Encoder.of(schema, fine_cells=20)
    sizes = {name: grid.n_cells for name, grid in encoder.grids.items()}
    features = Features.draw(sizes, 30)
    cells = encoder.encode(data.frame)

    def rows(seed: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(seed)
        return {name: rng.integers(0, size, 50) for name, size in sizes.items()}

    return Teachers(cells, data.units, n_teachers, features, spender=spender, noise=noise), rows


def test_a_teacher_whose_part_is_empty_or_one_patient_still_votes(schema: Schema) -> None:
    spender = ZCDPFilter(10.0)
    teachers, rows = teachers_of(schema, cohort(schema, 3), 40, spender, NoiseSource.none())
    sizes = [len(own) for own in teachers._own]
    assert sizes.count(0) >= 30
    counts = teachers.vote(rows(0), rows(1), sigma=5.0, about=0)
    assert counts.shape == (50,)
    assert 0 <= counts.min() <= counts.max() <= 40
    fake = np.random.default_rng(0).normal(size=(30, 5))
    assert (fake @ taught(np.empty((0, 5)), fake)).mean() < 0
    nobody, rows = teachers_of(schema, cohort(schema, 0), 10, spender, NoiseSource.none())
    assert nobody.vote(rows(0), rows(1), sigma=5.0, about=1).shape == (50,)


def test_teachers_tell_real_rows_from_synthetic_ones(schema: Schema) -> None:
    from synthgen.encode.table import Encoder

    data = cohort(schema, 600)
    teachers, rows = teachers_of(schema, data, 10, ZCDPFilter(10.0), NoiseSource.none())
    cells = Encoder.of(schema, fine_cells=20).encode(cohort(schema, 30, seed=9).frame)
    real = teachers.vote({n: v[:40] for n, v in cells.items()}, rows(1), sigma=5.0, about=0)
    fake = teachers.vote(rows(2), rows(1), sigma=5.0, about=1)
    assert real.mean() > fake.mean() + 2


def test_each_labelled_row_is_paid_for_and_a_vote_beyond_the_plan_is_refused(schema: Schema) -> None:
    spender = ZCDPFilter(3 * 50 / (2 * 5.0**2))
    teachers, rows = teachers_of(schema, cohort(schema, 60), 10, spender, NoiseSource.none())
    for i in range(3):
        teachers.vote(rows(i), rows(9), sigma=5.0, about=i)
    assert spender.spent == pytest.approx(spender.rho)
    with pytest.raises(Exception, match="rho"):
        teachers.vote(rows(4), rows(9), sigma=5.0, about=4)


def test_a_whole_fit_costs_what_the_plan_books_neither_more_nor_much_less(schema: Schema) -> None:
    _, noise, plan = fitted(cohort(schema, 300), schema)
    assert 0.99 * plan.event.rho < math.fsum(noise.rho) <= plan.event.rho * (1 + 1e-9)
    assert sum(v.size for v in noise.votes) == plan.parameters["votes"]
    assert plan.parameters["sigma_votes"] == pytest.approx(
        math.sqrt(plan.parameters["votes"] / (2 * 0.4 * plan.event.rho))
    )
    assert get_epsilon([plan.event], 1e-6, adaptive=True) <= 1.0
    # Booked as if all rows of a round were one count, the claim would be far too small.
    assert plan.parameters["rounds"] / (2 * plan.parameters["sigma_votes"] ** 2) < 0.1 * plan.event.rho


def test_student_and_generator_see_noisy_answers_only(schema: Schema) -> None:
    """Other patients, the same answers: the same model, byte for byte. Poisoned rows change nothing else."""
    models = [fitted(cohort(schema, n, seed=n), schema)[0] for n in (100, 300)]
    for name, table in models[0].mixture.tables.items():
        assert np.array_equal(table, models[1].mixture.tables[name])
    assert np.array_equal(models[0].mixture.weights, models[1].mixture.weights)


def test_votes_teach_the_generator(schema: Schema) -> None:
    """With many votes and little noise the generator moves towards what teachers call real."""
    data = cohort(schema, 1500)
    found = []
    for steps in (0, 80):
        options = {**SMALL, "votes": 200, "generator_steps": steps, "components": 150, "steps": 150}
        config = Config(**options)
        plan = config.plan(schema, epsilon=20.0, delta=1e-6, patients=1500)
        found.append(config.fit(data, plan, noise=NoiseSource.for_tests(0)))
    gaps = [np.abs(m.mixture.tables["stage"] - found[0].mixture.tables["stage"]).max() for m in found]
    assert gaps[0] == 0
    assert gaps[1] > 0.01


def test_rules_and_conditions_hold_on_what_is_drawn(schema: Schema) -> None:
    config = Config(**SMALL)
    plan = config.plan(schema, epsilon=3.0, delta=1e-6, patients=300)
    model = config.fit(cohort(schema, 300), plan, noise=NoiseSource.for_tests(0))
    table = draw(model, schema, 300, seed=0, where={"stage": "II"})
    assert (table.frame["stage"] == "II").all()
    assert not violations(table).any()
