"""What the deep image generators share: what is bought, what a fit costs, and odd cohorts."""

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from safetensors.torch import load_file

from synthgen import phantoms, plugins
from synthgen.data.images import RealImages
from synthgen.generators.image_statistics import power_spectrum, private_evolution
from synthgen.generators.imaging.gan import critic, mechanism
from synthgen.generators.two_stage import imaging
from synthgen.generators.two_stage.imaging import CLIP
from synthgen.privacy.accountant import get_epsilon
from synthgen.privacy.marginal_queries import LATTICE
from synthgen.privacy.noise import Integers, NoiseSource
from synthgen.sampling.draw import draw
from tests.generators.tabular.test_deep import Meter
from tests.support.phantom_cohorts import cohort, joined, schema_of, worst

NAMES = ["diffusion", "gan"]
SMALL: dict[str, dict[str, Any]] = {
    "diffusion": {"width": 8, "pretraining": 10, "steps": 2, "calls": 2, "prior": ["leaves", "chest"]},
    "gan": {
        "width": 8,
        "critic_width": 4,
        "pretraining": 2,
        "steps": 2,
        "critic_steps": 1,
        "prior": ["leaves"],
    },
}


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (mechanism, "DRAFTS"), (mechanism, "PHANTOMS"), (mechanism, "BATCH"),
        (critic, "MADE"), (imaging, "TRIAL"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 16 if name == "BATCH" else 60)


def config_of(name: str, **settings: Any) -> Any:
    module = plugins.load("synthgen.generators.imaging", name)
    return module.Config(**{**SMALL[name], **settings})


class Asked(NoiseSource):
    """Adds no noise, and keeps what it was asked to hide."""

    def __init__(self) -> None:
        self.queries: list[tuple[np.ndarray, float]] = []

    def _gaussian(self, values: Integers, sigma: float) -> Integers:
        self.queries.append((values.copy(), sigma))
        return values.copy()

    def _select(self, lattice: Integers, epsilon: float, units: int) -> int:
        raise AssertionError("nothing is selected")


@pytest.mark.parametrize("kind", ["white", "stripes", "spread"])
@pytest.mark.parametrize("n_images", [1, 7])
def test_a_patient_moves_each_vote_and_each_ring_by_one(n_images: int, kind: str) -> None:
    """Whatever its images, and however rare their class: the noise is that of one patient's weight."""
    base = cohort(60, ill=0.02)
    both = joined(base, worst(base.schema, n_images, kind))
    numbers = private_evolution.numbers_of(0.5, 60, 2, ["leaves"]) | {"rounds": 1}
    for ask in (
        lambda data, spy: private_evolution.vote(data, numbers, noise=spy, seed=0),
        lambda data, spy: power_spectrum.measure(data, rho=0.5, noise=spy),
    ):
        spies = [Asked(), Asked()]
        for data, spy in zip((base, both), spies, strict=True):
            ask(data, spy)
        spent = 0.0
        for (before, sigma), (after, again) in zip(spies[0].queries, spies[1].queries, strict=True):
            assert sigma == again
            move = float(np.linalg.norm(after - before))
            assert 0 < move <= LATTICE
            spent += LATTICE**2 / (2 * sigma**2)
        assert spent == pytest.approx(0.5)


class Booked(Meter):
    """Keeps what each answer was said to cost, beside what the noised steps drew."""

    def __init__(self) -> None:
        super().__init__(NoiseSource.for_tests(0))
        self.asked: list[float] = []
        self.about: list[Any] = []

    def query(self, rho: float, about: Any) -> Any:
        self.asked.append(rho)
        self.about.append(about)
        return contextlib.nullcontext()


@pytest.mark.parametrize("declared", [60, 4000])
@pytest.mark.parametrize("name", NAMES)
def test_what_a_whole_fit_draws_costs_what_the_plan_books(name: str, declared: int) -> None:
    """Of 60 patients brightness is not asked, for noise would hide it."""
    data, config, meter = cohort(60), config_of(name), Booked()
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-5, patients=declared)
    config.fit(data, plan, noise=meter)
    assert ("brightness" in {about[0] for about in meter.about}) == (declared == 4000)
    attributes, pixels = plan.event.events
    paid, steps = pixels.events
    drawn = math.fsum(meter.asked)  # a small table of attributes may leave some of its part
    assert 0.9 * (attributes.rho + paid.rho) < drawn <= (attributes.rho + paid.rho) * (1 + 1e-9)
    training = plan.parameters["training"]
    assert len(meter.gaussians) == len(meter.rates) == steps.count == training["steps"] == 2
    assert {s for _, s in meter.gaussians} == {training["noise_multiplier"] * CLIP}
    assert meter.units == {60}  # a coin a patient, not an image
    assert set(meter.rates) == {training["sample_rate"]} == {steps.event.sampling_probability}
    assert steps.event.event.noise_multiplier == training["noise_multiplier"]
    assert 1.9 < get_epsilon([plan.event], 1e-5, adaptive=True) <= 2.0


def test_a_whole_vote_costs_its_rho() -> None:
    data, spy = cohort(40), Asked()
    numbers = private_evolution.numbers_of(0.3, 40, 2, ["leaves", "chest"])
    private_evolution.vote(data, numbers, noise=spy, seed=0)
    assert len(spy.queries) == numbers["rounds"]
    assert sum(LATTICE**2 / (2 * sigma**2) for _, sigma in spy.queries) == pytest.approx(0.3)


@pytest.mark.parametrize("name", NAMES)
def test_parts_without_a_share_ask_nobody(name: str) -> None:
    data, meter = cohort(40), Booked()
    none = dict.fromkeys(("share_votes", "share_spectrum", "share_brightness"), 0.0)
    config = config_of(name, **none, share_steps=0.98, strength=10.0)
    plan = config.plan(data.schema, epsilon=2.0, delta=1e-5, patients=4000)
    assert not {"votes", "spectrum", "brightness"} & {stage.name for stage in plan.stages}
    fitted = config.fit(data, plan, noise=meter)
    attributes, pixels = plan.event.events
    assert math.fsum(meter.asked) <= (attributes.rho + pixels.events[0].rho) * (1 + 1e-9)
    assert not {"votes", "spectrum", "brightness"} & {about[0] for about in meter.about}
    assert (fitted.gains == 1).all()
    assert fitted.curve.tolist() == [[0.0, 1.0], [0.0, 1.0]]


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_is_public_and_adds_up(name: str) -> None:
    plan = config_of(name).plan(schema_of(), epsilon=2.0, delta=1e-5, patients=300)
    assert get_epsilon([plan.event], 1e-5, adaptive=True) <= 2.0
    assert isinstance(plan.event, dp_event.ComposedDpEvent)
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1.0, abs=1e-6)
    again = config_of(name).plan(schema_of(), epsilon=2.0, delta=1e-5, patients=300)
    assert json.dumps(dict(plan.parameters)) == json.dumps(dict(again.parameters))


@pytest.mark.parametrize("name", NAMES)
def test_11_a_patient_more_changes_no_shape(name: str, tmp_path: Path) -> None:
    plan = config_of(name).plan(schema_of(), epsilon=2.0, delta=1e-5, patients=40)
    shapes = []
    for n in (40, 41):
        model = config_of(name).fit(cohort(n), plan, noise=NoiseSource.for_tests(0))
        folder = tmp_path / str(n)
        folder.mkdir()
        model.save(folder)
        (weights,) = [path for path in folder.glob("*.safetensors") if path.name != "model.safetensors"]
        shapes.append(sorted((key, tuple(t.shape)) for key, t in load_file(weights).items()))
    assert shapes[0] == shapes[1]


def test_votes_find_the_family_that_a_cohort_was_drawn_from() -> None:
    """Without noise; the other family is the control."""
    schema = schema_of(size=16)
    rng = np.random.default_rng(0)
    base = cohort(80, images=(1, 1))
    for name in ("chest", "axial_ct"):
        family = phantoms.family(name)
        drawn = family.render(rng.random((len(base), family.DIMENSION)), 16, rng=rng)
        data = RealImages(
            schema, base.frame, base.units, pixels=np.rint(drawn[:, None] * 255).astype(np.uint8)
        )
        names = ["chest", "axial_ct"]
        numbers = {"rho": 10.0, "rounds": 3, "candidates": 60, "families": names}
        voted = private_evolution.vote(data, numbers, noise=NoiseSource.for_tests(0), seed=0)
        share = sum(
            float(w[c.family == names.index(name)].sum())
            for c, w in zip(voted.candidates, voted.weights, strict=True)
        )
        assert share / len(voted.weights) > 0.8


@pytest.mark.parametrize("name", phantoms.names())
@pytest.mark.parametrize("size", [1, 7, 28])
def test_a_family_draws_intensities_of_any_point(name: str, size: int) -> None:
    family, rng = phantoms.family(name), np.random.default_rng(0)
    corners = np.concatenate([np.zeros((1, family.DIMENSION)), np.ones((1, family.DIMENSION))])
    points = np.concatenate([rng.random((6, family.DIMENSION)), corners, corners * 3 - 1])
    images = family.render(points, size, rng=rng)
    assert images.shape == (len(points), size, size)
    assert np.isfinite(images).all()
    assert 0.0 <= images.min() <= images.max() <= 1.0
    if size == 28:
        assert images[:6].std(axis=0).max() > 0.05


def test_gains_bring_the_spectrum_to_what_was_paid_for() -> None:
    rng = np.random.default_rng(0)
    bands = power_spectrum.Bands(16)
    rough, smooth = rng.random((400, 1, 16, 16)), rng.random((400, 1, 16, 16))
    smooth = (4 * smooth + np.roll(smooth, 1, 2) + np.roll(smooth, 1, 3)) / 6
    wanted = bands.powers(rough).mean(axis=0)
    gains = bands.gains(smooth, wanted)
    after = bands.powers(bands.filtered(smooth, gains)).mean(axis=0)
    before = bands.powers(smooth).mean(axis=0)
    assert np.abs(after - wanted).max() < 0.1 < np.abs(before - wanted).max()
    nothing = bands.gains(smooth, np.full(bands.number, np.nan))
    assert np.allclose(bands.filtered(smooth, nothing), smooth, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["one patient", "one image", "one class", "constant", "white"])
def test_odd_cohorts_give_images_and_never_nan(kind: str, name: str) -> None:
    data = {
        "one patient": lambda: cohort(1, images=(12, 12)),
        "one image": lambda: cohort(1, images=(1, 1)),
        "one class": lambda: cohort(30, ill=1.0),
        "constant": lambda: joined(cohort(2), worst(schema_of(), 20, "white")),
        "white": lambda: worst(schema_of(), 5, "white"),
    }[kind]()
    plan = config_of(name).plan(data.schema, epsilon=1.0, delta=1e-5, patients=30)
    model = config_of(name).fit(data, plan, noise=NoiseSource.for_tests(0))
    net = model.net if name == "diffusion" else model.generator
    assert all(torch.isfinite(p).all() for p in net.parameters())
    drawn: Any = draw(model, data.schema, 20, seed=0)
    assert drawn.pixels.shape == (20, 1, 16, 16)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("size", "channels", "bits"), [(1, 1, 8), (9, 3, 8), (33, 1, 12)])
def test_any_declared_form_is_drawn(size: int, channels: int, bits: int, name: str) -> None:
    data = cohort(20, size=size, channels=channels, bits=bits)
    plan = config_of(name).plan(data.schema, epsilon=5.0, delta=1e-5, patients=20)
    model = config_of(name).fit(data, plan, noise=NoiseSource.for_tests(0))
    drawn: Any = draw(model, data.schema, 3, seed=0)
    assert drawn.pixels.shape == (3, channels, size, size)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_priors_and_shares_that_leave_nothing_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected some of"):
        config_of(name, prior=["photographs"])
    with pytest.raises(ValueError, match="for the drafts"):
        config_of(name, share_votes=0.6, share_steps=0.38)
