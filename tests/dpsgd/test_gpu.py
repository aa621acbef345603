"""On a CUDA device a step is what it is on the CPU. Skipped where torch finds no device."""

import copy

import pytest
import torch
from torch import nn

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.privacy.noise import NoiseSource

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.SiLU(), nn.Conv2d(16, 8, 3, stride=2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 6 * 6, 4))


def losses(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return model(x).square().mean(1)


def test_precision_is_full_inside_and_as_before_after() -> None:
    seen = []

    class Look(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    model = nn.Sequential(Look(3, 2))
    handle = torch.autograd.graph.register_multi_grad_hook
    x = torch.ones(4, 3, requires_grad=True)
    handle((x,), lambda g: seen.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        UnitGradients(model).clipped_sum(lambda: model(x).sum(1), n_units=4, max_grad_norm=1.0)
        assert seen == [False]
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@needs_gpu
@pytest.mark.parametrize("draws", [1, 4])
def test_a_clipped_sum_on_a_gpu_is_the_cpus(draws: int) -> None:
    model, x = net(), torch.randn(8 * draws, 1, 14, 14)
    found = []
    for device in ("cpu", "cuda"):
        moved, rows = copy.deepcopy(model).to(device), x.to(device)
        sums = UnitGradients(moved).clipped_sum(
            lambda moved=moved, rows=rows: losses(moved, rows),
            n_units=8,
            augmult=draws,
            max_grad_norm=0.05,
        )
        found.append(torch.cat([s.flatten().cpu() for s in sums.sums.values()]))
        assert float(found[-1].norm()) <= 8 * 0.05
    assert float((found[0] - found[1]).norm() / found[0].norm()) < 1e-4


@needs_gpu
def test_one_unit_moves_the_sum_by_no_more_than_the_clip_on_a_gpu() -> None:
    model = net().cuda()
    x = 100 * torch.randn(9, 1, 14, 14, device="cuda")
    engine = UnitGradients(model)
    sums = [
        engine.clipped_sum(lambda rows=x[:n]: losses(model, rows), n_units=n, max_grad_norm=1e-3).sums
        for n in (8, 9)
    ]
    move = sum(float((sums[1][k].double() - sums[0][k].double()).square().sum()) for k in sums[0]) ** 0.5
    assert move <= 1e-3 * (1 + 1e-4)


@needs_gpu
def test_the_sum_follows_parameters_that_were_moved() -> None:
    model = net()
    engine = UnitGradients(model)
    sums = NoisySum(engine.parameters, sigma=1.0, denominator=2.0, noise=NoiseSource.for_tests(0))
    model.cuda()
    sums.clear()
    sums.release()
    assert all(p.grad is not None and p.grad.is_cuda for p in model.parameters())
