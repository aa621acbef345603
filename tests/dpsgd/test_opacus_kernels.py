"""Our kernels in Opacus' registration, and our gradients in its optimizer."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from synthgen.dpsgd import opacus_kernels
from synthgen.dpsgd.clipped_gradients import UnitGradients
from tests.support.dpsgd import C, far, images, naive, network


def theirs(model, losses, x) -> torch.Tensor:
    """Opacus' hooks, its optimizer without noise: its clipped sum."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, loss_reduction="sum")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses(wrapped, x).sum().backward()
        optimizer = DPOptimizer(
            torch.optim.SGD(model.parameters(), 1.0), noise_multiplier=0.0, max_grad_norm=C,
            expected_batch_size=1,
        )  # fmt: skip
        optimizer.pre_step()
        return torch.cat([p.grad.double().flatten() for p in model.parameters()])
    finally:
        wrapped.to_standard_module()
        for p in model.parameters():
            p.grad = None


@pytest.mark.parametrize("name", ["unet", "critic", "mlp"])
def test_opacus_with_our_kernels_is_right_where_its_own_are_wrong(name):
    model, losses = network(name)
    if name == "critic":  # Opacus' hooks do not bear in-place activations
        model[1].inplace = False
    x = images(3)
    oracle = naive(model, losses, x)
    undo = opacus_kernels.register()
    try:
        assert far(theirs(model, losses, x), oracle) < 1e-5
    finally:
        undo()
    if name == "unet":
        assert far(theirs(model, losses, x), oracle) > 0.01


def test_opacus_optimizer_takes_our_gradients_of_units_with_several_rows():
    from opacus.optimizers import DPOptimizer

    model, losses = network("mlp")
    x = images(12)
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), 1.0), noise_multiplier=0.0, max_grad_norm=C, expected_batch_size=1
    )
    opacus_kernels.write(UnitGradients(model), lambda: losses(model, x), n_units=3, augmult=4)
    optimizer.pre_step()
    found = torch.cat([p.grad.double().flatten() for p in model.parameters()])
    assert far(found, naive(model, losses, x, rows=4)) < 1e-5
    for p in model.parameters():
        p.grad = None
        del p.grad_sample, p.summed_grad


def test_every_layer_that_we_know_is_registered_and_put_back():
    from opacus.grad_sample import GradSampleModule

    before = dict(GradSampleModule.GRAD_SAMPLERS)
    undo = opacus_kernels.register()
    assert GradSampleModule.GRAD_SAMPLERS[nn.Conv2d] is opacus_kernels.grad_sampler
    undo()
    assert GradSampleModule.GRAD_SAMPLERS == before
