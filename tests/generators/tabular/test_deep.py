"""Diffusion and GAN for tables: what they spend, what patients reach, and what a draw keeps to."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from synthgen import plugins
from synthgen.data.tables import RealTable
from synthgen.encode.simulate import simulate
from synthgen.generators.tabular.diffusion import conditional
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import NoiseSource
from synthgen.schema.schema import Schema

torch = pytest.importorskip("torch")
from synthgen.dpsgd.clipped_gradients import UnitGradients  # noqa: E402
from synthgen.generators.tabular.diffusion import denoiser  # noqa: E402
from synthgen.generators.tabular.gan import refiner  # noqa: E402

NAMES = ["diffusion", "gan"]
SMALL = {"pretraining": 20, "steps": 4, "batch": 40, "width": 16}
SCHEMA = {
    "unit": {"column": "patient", "max_records": 3},
    "fields": [
        {"name": "patient", "type": "string", "role": "id"},
        {"name": "age", "type": "integer", "constraints": {"minimum": 18, "maximum": 100}},
        {"name": "sex", "type": "string", "role": "protected", "constraints": {"enum": ["F", "M"]}},
        {"name": "died", "type": "boolean", "role": "label", "constraints": {"required": True}},
    ],
}


class Meter(NoiseSource):
    """A test's source that books what each mechanism was asked for."""

    def __init__(self, inner: NoiseSource) -> None:
        self.inner = inner
        self.rho: list[float] = []
        self.gaussians: list[tuple[int, float]] = []
        self.rates: list[float] = []
        self.units: set[int] = set()

    def discrete_gaussian(self, values: Any, *, sigma: float) -> Any:
        self.rho.append(LATTICE**2 / (2 * sigma**2))
        return self.inner.discrete_gaussian(values, sigma=sigma)

    def select(self, scores: Any, *, epsilon: float, sensitivity: float) -> int:
        self.rho.append(epsilon**2 / 8)
        return self.inner.select(scores, epsilon=epsilon, sensitivity=sensitivity)

    def gaussian(self, size: int, *, sigma: float) -> Any:
        self.gaussians.append((size, sigma))
        return self.inner.gaussian(size, sigma=sigma)

    def poisson_mask(self, size: int, *, rate: float) -> Any:
        self.rates.append(rate)
        self.units.add(size)
        return self.inner.poisson_mask(size, rate=rate)

    def pick(self, counts: Any) -> Any:
        return self.inner.pick(counts)

    def _gaussian(self, values: Any, sigma: float) -> Any:
        raise NotImplementedError

    def _select(self, lattice: Any, epsilon: float, units: int) -> int:
        raise NotImplementedError


def table(n: int = 300, seed: int = 0) -> RealTable:
    schema = Schema.model_validate_json(json.dumps(SCHEMA))
    frame = simulate(schema, n, rng=np.random.default_rng(seed)).frame
    return RealTable(schema, frame, np.array([f"p{i // 2}" for i in range(n)], dtype=object))


def config_of(name: str, **settings: Any) -> Any:
    return plugins.load("synthgen.generators.tabular", name).Config(**{**SMALL, **settings})


@pytest.mark.parametrize("name", NAMES)
def test_what_a_whole_fit_draws_costs_what_the_plan_books(name: str) -> None:
    data, config = table(), config_of(name)
    meter = Meter(NoiseSource.for_tests(0))
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-6, patients=150)
    config.fit(data, plan, noise=meter)
    paid, steps = plan.event.events
    assert math.fsum(meter.rho) <= paid.rho * (1 + 1e-9)
    training = plan.parameters["training"]
    sigma = training["noise_multiplier"] * training["max_grad_norm"]
    assert len(meter.gaussians) == len(meter.rates) == steps.count == training["steps"] == 4
    assert {s for _, s in meter.gaussians} == {sigma}
    assert meter.units == {150}  # a coin a patient, not a record
    assert set(meter.rates) == {training["sample_rate"]} == {steps.event.sampling_probability}
    assert steps.event.event.noise_multiplier == training["noise_multiplier"]
    assert 1.9 < get_epsilon([plan.event], 1e-6) <= 2.0


@pytest.mark.parametrize("name", NAMES)
def test_11_one_patient_more_changes_neither_plan_nor_shapes(name: str) -> None:
    config = config_of(name)
    shapes = []
    for n in (300, 302):
        data = table(n)
        plan = config.plan(data.schema, epsilon=2.0, delta=1e-6, patients=150)
        meter = Meter(NoiseSource.none())
        config.fit(data, plan, noise=meter)
        shapes.append((dict(plan.parameters), meter.rates, len(meter.gaussians)))
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", NAMES)
def test_12_patients_reach_the_paid_marginals_and_the_clipped_sum_only(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the marginal model held and every clipped sum replaced, two cohorts give the same weights."""
    from synthgen.generators.two_stage import tabular

    first, second = table(300, seed=1), table(300, seed=2)
    config = config_of(name)
    plan = config.plan(first.schema, epsilon=2.0, delta=1e-6, patients=150)
    warm = tabular.start(first, plan, noise=NoiseSource.for_tests(0), progress=lambda what, done: None)
    monkeypatch.setattr(tabular, "start", lambda *a, **k: warm)
    real = UnitGradients.clipped_sum

    def constant(self: UnitGradients, *args: Any, **kwargs: Any) -> Any:
        found = real(self, *args, **kwargs)
        for tensor in found.sums.values():
            tensor.fill_(0.01)
        return found

    def weights(data: RealTable) -> list[Any]:
        torch.manual_seed(0)
        model = config.fit(data, plan, noise=NoiseSource.none())
        return [p for p in (model.denoiser if name == "diffusion" else model.generator).parameters()]

    monkeypatch.setattr(UnitGradients, "clipped_sum", constant)
    same = zip(weights(first), weights(second), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


@pytest.mark.parametrize("rows", [1, 4])
def test_1_any_patient_moves_the_critic_and_the_denoiser_by_one_clip(rows: int) -> None:
    torch.manual_seed(0)
    sizes = (5, 2, 3)
    net = denoiser.Denoiser(sizes, width=8, blocks=1).double()
    judge = refiner.Pairs(refiner.critic(sizes, width=8)).double()
    for p in [*net.parameters(), *judge.parameters()]:
        torch.nn.init.normal_(p, std=3.0)
    cells = torch.stack([torch.randint(size, (6 * rows,)) for size in sizes], dim=1)
    mask = torch.rand(cells.shape) < 0.5
    fake = refiner.one_hot(cells.flip(0), sizes).double()

    def losses(keep: Any) -> Any:
        real = refiner.one_hot(cells[keep], sizes).double()
        return (
            lambda: denoiser.losses(net, cells[keep], mask[keep]),
            lambda: refiner.pair_loss(judge(torch.stack([real, fake[keep]], dim=1))),
        )

    everyone = torch.arange(6 * rows)
    moved: dict[Any, list[float]] = {net: [], judge: []}
    for gone in range(6):
        without = everyone[everyone % 6 != gone]
        for model, all_, fewer in zip(moved, losses(everyone), losses(without), strict=True):
            engine = UnitGradients(model)
            a = engine.clipped_sum(all_, n_units=6, augmult=rows, max_grad_norm=1.0)
            b = engine.clipped_sum(fewer, n_units=5, augmult=rows, max_grad_norm=1.0)
            square = sum(float((a.sums[k] - b.sums[k]).square().sum()) for k in a.sums)
            moved[model].append(square**0.5)
    for distances in moved.values():
        assert 0.9 < max(distances) <= 1.0 + 1e-9  # the gradients are large: the bound is reached


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_draws_the_same_and_holds_no_record(name: str, tmp_path: Path) -> None:
    from synthgen.generators.saved_model import load_model, save_model

    data, config = table(), config_of(name)
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-6, patients=150)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    save_model(model, data.schema, name, tmp_path)
    loaded, _, _ = load_model(tmp_path)
    where = {"age": (40, 50), "died": True}
    drawn = [m.sample(500, rng=np.random.default_rng(3), where=where).frame for m in (model, loaded)]
    pd.testing.assert_frame_equal(drawn[0], drawn[1])
    assert drawn[0]["age"].between(40, 50).all()
    assert drawn[0]["died"].astype(bool).all()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_held_stays_whatever_the_network_wants(name: str) -> None:
    data, config = table(), config_of(name, **({"strength": 1.0} if name == "diffusion" else {}))
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-6, patients=150)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    net = model.denoiser if name == "diffusion" else model.generator
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=5.0)
    cells = model.warm.encode(data)
    changed = cells.copy()
    model.change(changed, [0], rng=np.random.default_rng(0))
    assert (changed[:, 1:] == cells[:, 1:]).all()
    assert (changed[:, 0] != cells[:, 0]).mean() > 0.5
    evidence = data.frame[["sex", "died"]]
    found = model.sample_given(evidence, rng=np.random.default_rng(1)).frame
    pd.testing.assert_frame_equal(found[["sex", "died"]], evidence)
    held = model.sample(300, rng=np.random.default_rng(1), where={"sex": "F"}).frame
    assert (held["sex"] == "F").all()


def test_labels_drawn_evenly_keep_their_chances_and_vary_less_than_independent_ones() -> None:
    rng = np.random.default_rng(0)
    cells = rng.integers(0, 3, (600, 2))
    logits = np.stack([np.zeros(600), cells[:, 0] - 1.0 + 0.5 * cells[:, 1]], axis=1)
    chance = conditional.softmax(logits)[:, 1]
    draws = np.stack([conditional.draw_evenly(logits, cells, rng=rng) for _ in range(400)])
    assert np.abs(draws.mean(axis=0) - chance).max() < 5 * 0.5 / np.sqrt(400)
    group = (cells == [1, 2]).all(axis=1)
    independent = np.sqrt(np.sum(chance[group] * (1 - chance[group])))
    assert draws[:, group].sum(axis=1).std() < 0.5 * independent


def test_a_shift_gives_the_wanted_marginal() -> None:
    logits = np.random.default_rng(0).normal(size=(500, 3)) * 2
    wanted = np.array([0.7, 0.25, 0.05])
    moved = conditional.softmax(logits + conditional.shift_of(logits, wanted)).mean(axis=0)
    assert moved == pytest.approx(wanted, abs=1e-4)


def test_evidence_is_kept_and_the_rest_is_drawn() -> None:
    data, config = table(), config_of("diffusion")
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-6, patients=150)
    model = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    evidence = data.frame[["age", "died"]]
    found = model.sample_given(evidence, rng=np.random.default_rng(1)).frame
    pd.testing.assert_frame_equal(found[["age", "died"]], evidence)
    assert found["sex"].isin(["F", "M"]).any()
    cells = model.warm.encode(data)
    mask = np.random.default_rng(0).random(cells.shape) < 0.5
    drawn = cells.copy()
    model._denoise(drawn, mask.copy(), [0, 1, 2], np.random.default_rng(1))
    assert (drawn[~mask] == cells[~mask]).all()
    assert (drawn >= 0).all()
    assert (drawn < np.array(model.denoiser.sizes)).all()


@pytest.mark.parametrize("name", [*NAMES, "network", "pategan"])
def test_packages_that_are_not_there_are_named_before_anything_is_spent(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synthgen.errors import ConfigError
    from synthgen.generators import optional_packages

    monkeypatch.setattr(optional_packages, "find_spec", lambda package: None)
    schema = Schema.model_validate_json(json.dumps(SCHEMA))
    config = plugins.load("synthgen.generators.tabular", name).Config()
    with pytest.raises(ConfigError) as caught:
        config.plan(schema, epsilon=1.0, delta=1e-6, patients=100)
    assert "torch" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_device_that_is_not_there_is_named_before_anything_is_drawn() -> None:
    from synthgen.errors import ConfigError

    data, meter = table(), Meter(NoiseSource.for_tests(0))
    config = plugins.load("synthgen.generators.tabular", "network").Config(device="cuda")
    plan = config.plan(data.schema, epsilon=1.0, delta=1e-6, patients=150)
    with pytest.raises(ConfigError):
        config.fit(data, plan, noise=meter)
    assert not meter.rho
