"""`imaging_gan`: what patients reach, by how much, and what the generator is held to."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from synthgen.data.images import RealImages
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.random_draws import KEYS, Draws, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.embedding import config as imaging_embedding
from synthgen.generators.embedding.mechanism import basis_of
from synthgen.generators.image_statistics import power_spectrum
from synthgen.generators.imaging.gan import critic as training
from synthgen.generators.imaging.gan import mechanism
from synthgen.generators.imaging.gan.config import Config
from synthgen.generators.imaging.gan.critic import Kept, Shown
from synthgen.generators.imaging.gan.refiner import Critic, Refiner, picked
from synthgen.generators.two_stage import image_records, imaging
from synthgen.generators.two_stage.imaging import CLIP
from synthgen.privacy.noise import NoiseSource
from tests.support.phantom_cohorts import cohort, joined, worst

SMALL: dict[str, Any] = {
    "width": 8, "critic_width": 4, "pretraining": 4, "steps": 4, "critic_steps": 2, "prior": ["leaves"]
}  # fmt: skip


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (
        (mechanism, "DRAFTS"), (mechanism, "PHANTOMS"), (mechanism, "BATCH"),
        (training, "MADE"), (imaging, "TRIAL"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, 16 if name == "BATCH" else 60)


def module_of(data: RealImages, *, rows: int = 1) -> training.CriticTraining:
    torch.manual_seed(0)
    form = {"channels": data.pixels.shape[1], "size": data.pixels.shape[-1]}
    generator = Refiner(**form, width=8, strength=0.2)
    critic = Critic(**form, classes=2, guides=0, width=4)
    for parameter in critic.parameters():
        torch.nn.init.normal_(parameter, std=1.0)
    drafts = Shown(torch.rand(50, 1, 16, 16) * 2 - 1, torch.arange(50) % 2, torch.zeros(50, 0))
    plan = TrainingPlan(1.0, 1, 1.0, CLIP, 6.0, augmult=rows, records_per_unit=1)
    return training.CriticTraining(
        generator, critic, drafts, plan, Kept(1.0, 1.0, np.zeros(4)), rates=(1e-3, 1e-3), ema_decay=0.0,
        critic_steps=1, generator_steps=1, batch=8, seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["white", "stripes", "spread"])
@pytest.mark.parametrize("rows", [1, 4])
def test_1_3_a_patient_of_any_images_and_draws_moves_a_step_by_one_clip(rows: int, kind: str) -> None:
    """Four rows are four images or four draws of one: a patient's rows are averaged before the one clip."""
    base = cohort(5, images=(1, 1))
    both = joined(base, worst(base.schema, rows, kind))
    module = module_of(base, rows=rows)
    engine, records = UnitGradients(module.critic), image_records.records_of(both)
    sums = []
    for units in (range(5), range(6)):
        total = {name: torch.zeros_like(p) for name, p in engine.parameters.items()}
        for unit in units:
            index = np.full(rows, unit) if unit < 5 else 5 + np.arange(rows)
            batch = {**records.fetch(index), KEYS: torch.tensor([unit + 1])}
            found = engine.clipped_sum(
                lambda batch=batch: module.losses(batch),
                n_units=1, augmult=rows, max_grad_norm=CLIP,
            )  # fmt: skip
            total = {name: t + found.sums[name] for name, t in total.items()}
        sums.append(torch.cat([t.flatten() for t in total.values()]).double())
    move = float((sums[1] - sums[0]).norm())
    assert 0.9 * CLIP < move <= CLIP * (1 + 1e-4)  # the gradients are large: the bound is reached


@pytest.mark.parametrize("unit", range(6))
def test_4_a_patients_loss_is_its_own_affair(unit: int) -> None:
    """Its image, and an image made for its class: whoever else is in the batch."""
    data = cohort(6, images=(1, 1))
    module, records = module_of(data), image_records.records_of(data)
    training.bounded(module.critic)  # scores that no sigmoid swallows
    batch, alone = dict(records.fetch(np.arange(6))), np.arange(6) == unit
    other = {name: tensor.clone() for name, tensor in batch.items()}
    other["images"][~alone], other["classes"][~alone] = 1.0, 1 - other["classes"][~alone]
    losses = [module.losses({**rows, KEYS: torch.arange(6)}).detach() for rows in (batch, other)]
    assert torch.allclose(losses[0][alone], losses[1][alone], rtol=1e-5)
    assert not torch.allclose(losses[0][~alone], losses[1][~alone], rtol=1e-3)


def test_12_patients_reach_what_was_bought_and_the_clipped_sum_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what was bought held and every clipped sum replaced, two cohorts give the same generator."""
    first, second = cohort(40, seed=1), cohort(40, seed=2)
    config = Config(**SMALL)
    plan = config.plan(first.schema, epsilon=2.0, delta=1e-5, patients=40)
    bought = mechanism.buy(
        config, first, plan, noise=NoiseSource.for_tests(0), progress=lambda what, done: None
    )
    monkeypatch.setattr(mechanism, "buy", lambda *a, **k: bought)
    real = UnitGradients.clipped_sum

    def constant(self: UnitGradients, *args: Any, **kwargs: Any) -> Any:
        found = real(self, *args, **kwargs)
        for tensor in found.sums.values():
            tensor.fill_(0.01)
        return found

    def weights(data: RealImages) -> torch.Tensor:
        model = config.fit(data, plan, noise=NoiseSource.none())
        return torch.cat([p.detach().flatten() for p in model.generator.parameters()])

    assert not torch.equal(weights(first), weights(second))
    monkeypatch.setattr(UnitGradients, "clipped_sum", constant)
    assert torch.equal(weights(first), weights(second))


def test_a_critic_is_cut_by_its_weights_alone_and_scores_each_image_alone() -> None:
    critic = module_of(cohort(1)).critic
    training.bounded(critic)
    weights = [layer.weight.detach() for layer in critic.modules() if hasattr(layer, "weight")]
    norms = [float(torch.linalg.matrix_norm(weight.flatten(1), ord=2)) for weight in weights]
    assert len(norms) > 3
    assert max(norms) <= training.LARGEST_NORM * (1 + 1e-5)
    images, classes, guides = torch.randn(7, 1, 16, 16), torch.arange(7) % 2, torch.zeros(7, 0)
    together = critic(images, classes, guides)
    alone = [critic(images[i : i + 1], classes[i : i + 1], guides[:1]) for i in range(7)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_a_made_image_is_of_the_class_asked_for_or_of_any_where_there_is_none() -> None:
    shown = Shown(torch.arange(6.0)[:, None, None, None], torch.tensor([2, 0, 2, 0, 2, 2]), torch.zeros(6, 0))
    asked = torch.tensor([0, 2, 1, 3] * 200)
    found = shown.like(asked, Draws.open(800, open_generator(0)))
    there = (asked == 0) | (asked == 2)
    assert (found.classes[there] == asked[there]).all()
    for wanted, chosen in ((0, {1.0, 3.0}), (2, {0.0, 2.0, 4.0, 5.0}), (1, set(map(float, range(6))))):
        assert set(found.images[asked == wanted].flatten().tolist()) == chosen


@pytest.mark.parametrize(("size", "channels"), [(1, 1), (9, 3), (28, 1), (33, 3), (128, 1)])
def test_networks_take_any_size_and_refining_starts_as_the_identity(size: int, channels: int) -> None:
    form: dict[str, Any] = {"channels": channels, "size": size}
    net, critic = Refiner(**form, width=8, strength=0.1), Critic(**form, classes=2, guides=1, width=4)
    x, noise = torch.rand(2, channels, size, size), torch.randn(2, channels, size, size)
    said = torch.tensor([0, 1]), torch.ones(2, 1)
    assert torch.allclose(net(x, noise), x + 0.1 * noise, atol=1e-5)
    assert critic(x, *said).shape == (2,)
    assert sum(p.numel() for p in critic.parameters()) < 20_000  # noise grows with their number


def test_rings_are_those_that_were_paid_for_and_what_is_held_has_a_price() -> None:
    images, bands = np.random.default_rng(0).random((30, 1, 16, 16)), power_spectrum.Bands(16)
    x = torch.from_numpy(images * 2 - 1).float()
    wanted = bands.powers(images).mean(axis=0)
    assert np.allclose(training.rings(x).numpy(), wanted, atol=1e-3)
    wanted[2] = np.nan  # what noise hides asks for nothing
    kept = Kept(1.0, 1.0, wanted)
    assert float(kept.loss(x, x)) < 1e-3 < 1e-2 < float(kept.loss(x, x.flip(2)))
    assert float(kept.loss(0.5 * x, 0.5 * x)) > 0.1


def test_a_candidate_is_picked_in_proportion_to_the_exponential_of_its_score() -> None:
    rng = np.random.default_rng(0)
    scores = np.tile(np.log([1.0, 2.0, 5.0]), (40_000, 1))
    shares = np.bincount(picked(scores, rng), minlength=3) / len(scores)
    assert shares == pytest.approx([1 / 8, 2 / 8, 5 / 8], abs=0.012)  # five standard deviations


def test_phantoms_are_seen_as_drafts_hold_them() -> None:
    """The lowest cosines stay, and what is above them has the drafts' strength, not the phantoms'."""
    data, config = cohort(300, images=(1, 1)), imaging_embedding.Config(refill=0.3)
    plan = config.plan(data.schema, epsilon=10.0, delta=1e-5, patients=300)
    model: Any = config.fit(data, plan, noise=NoiseSource.for_tests(0))
    rng, classes = np.random.default_rng(0), np.arange(400) % 2
    images = rng.random((400, 1, 16, 16))
    basis = basis_of(model.numbers)
    plain = replace(model, numbers={**model.numbers, "refill": 0.0})
    seen = plain.like_drafts(images, classes, rng=rng)
    assert np.allclose(basis.analyse(seen), basis.analyse(images))
    bands = power_spectrum.Bands(16)
    top = [bands.powers(x).mean(axis=0)[-1] for x in (images, model.like_drafts(images, classes, rng=rng))]
    assert top[1] < top[0] - 1.0


def test_the_critic_meets_images_of_the_paid_spectrum() -> None:
    module, bands = module_of(cohort(1)), power_spectrum.Bands(16)
    generator, drafts = module.generator, module._drafts
    wanted = training.rings(drafts.images).numpy() - 0.3  # noise on drafts makes it louder

    def distance() -> float:
        made = training.refined(generator, drafts.images, Draws.open(len(drafts), open_generator(0)))
        return float(np.abs(training.rings(made).detach().numpy() - wanted).max())

    away = [distance()]
    training.sharpen(generator, drafts, wanted, open_generator(1))
    away.append(distance())
    assert away[1] < 0.1 < away[0]
    assert len(wanted) == bands.number
