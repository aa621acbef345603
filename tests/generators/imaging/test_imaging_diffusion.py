"""`imaging_diffusion`: what is asked of patients, what it costs, and that nothing else is."""

import numpy as np
import torch
from scipy import stats

from synthgen.data.images import RealImages
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.random_draws import KEYS, Draws, open_generator
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.generators.imaging.diffusion import config as imaging_diffusion
from synthgen.generators.imaging.diffusion import denoiser as network
from synthgen.generators.imaging.diffusion import mechanism
from synthgen.generators.two_stage import image_records
from synthgen.generators.two_stage.imaging import CLIP
from synthgen.privacy.noise import NoiseSource
from tests.support.phantom_cohorts import cohort


def test_1_a_patient_of_any_images_moves_a_step_by_one_clip() -> None:
    data = cohort(6, images=(1, 1))
    net = small_net(data)
    mechanism._frozen(net, "part")
    plan = TrainingPlan(1.0, 1, 1.0, CLIP, 6.0, augmult=4, records_per_unit=1)
    module = network.ImageTraining(net, plan, learning_rate=1e-3, ema_decay=0.0, highest=1.0, dropout=0.1)
    engine = UnitGradients(net)
    records = image_records.records_of(data)
    sums = []
    for chosen in (np.arange(5), np.arange(6)):
        total = {name: torch.zeros_like(p) for name, p in engine.parameters.items()}
        for unit in chosen:
            batch = {k: v.repeat(4, *[1] * (v.dim() - 1)) for k, v in records.fetch(np.array([unit])).items()}
            batch[KEYS] = torch.tensor([unit + 1])
            found = engine.clipped_sum(
                lambda batch=batch: module.losses(batch), n_units=1, augmult=4, max_grad_norm=CLIP
            )
            total = {name: t + found.sums[name] for name, t in total.items()}
        sums.append(torch.cat([t.flatten() for t in total.values()]))
    move = float((sums[1] - sums[0]).norm())
    assert 0 < move <= CLIP * (1 + 1e-4)
    assert len(sums[0]) < 0.2 * sum(p.numel() for p in net.parameters())  # only the small part was asked


def small_net(data: RealImages) -> network.ImageDenoiser:
    torch.manual_seed(0)
    channels, size = data.pixels.shape[1], data.pixels.shape[-1]
    return network.ImageDenoiser(channels=channels, size=size, classes=2, guides=0, width=8)


def test_a_step_of_the_denoiser_is_that_of_edm() -> None:
    """The loss is the weighted error of `clean`, and no image's output depends on another's."""
    data = cohort(4, images=(1, 1))
    net = small_net(data)
    x = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.4
    noise = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    sigma, classes, guides = (
        torch.tensor([0.02, 0.1, 1.0, 5.0]),
        torch.tensor([0, 1, 2, 0]),
        torch.zeros(4, 0),
    )
    loss = net.losses(x, classes, guides, sigma, noise)
    s = sigma[:, None, None, None]
    error = (net.clean(x + s * noise, sigma, classes, guides) - x) ** 2
    d = network.SIGMA_DATA
    expected = error.mean((1, 2, 3)) * (sigma**2 + d**2) / (sigma * d) ** 2
    assert torch.allclose(loss, expected, rtol=1e-3)
    alone = net.losses(x[:1], classes[:1], guides[:1], sigma[:1], noise[:1])
    assert torch.allclose(alone, loss[:1], rtol=1e-4)


def test_noise_levels_are_log_normal_between_what_sampling_meets_and_pile_up_nowhere() -> None:
    for low, high in ((0.01, 0.16), (0.01, 10.0)):
        draws = Draws.open(20_000, open_generator(0))
        drawn = network.levels(draws, low=low, high=high).double().numpy()
        assert drawn.min() >= low
        assert drawn.max() <= high
        law = stats.norm(network.LOG_MEAN, network.LOG_SPREAD)
        below, above = law.cdf(np.log([low, high]))
        part = (law.cdf(np.log(drawn)) - below) / (above - below)
        assert stats.kstest(part, "uniform").pvalue > 1e-3
        assert np.unique(drawn, return_counts=True)[1].max() < 20  # float32's own ties
    assert (
        stats.kstest((law.cdf(np.log(drawn.clip(0.01, 0.26))) - below) / (above - below), "uniform").pvalue
        < 1e-9
    )


def test_the_network_learns_no_noise_that_sampling_never_meets(monkeypatch) -> None:
    data, met = cohort(40, images=(1, 1)), []
    config = imaging_diffusion.Config(
        width=8, pretraining=3, steps=2, calls=2, prior=["leaves"], strength=0.08
    )
    plan = config.plan(data.schema, epsilon=10.0, delta=1e-5, patients=40)
    keep = network.ImageDenoiser.losses

    def losses(net, images, classes, guides, sigma, noise):
        met.append(float(sigma.max()))
        return keep(net, images, classes, guides, sigma, noise)

    monkeypatch.setattr(network.ImageDenoiser, "losses", losses)
    config.fit(data, plan, noise=NoiseSource.for_tests(0))
    assert len(met) >= 5
    assert max(met) <= 2 * config.strength * (1 + 1e-6)
