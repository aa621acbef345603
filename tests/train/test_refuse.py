"""What per-unit gradients cannot be right for is refused by name; also by a probe that knows no names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from synthgen.train._refuse import check_rows
from synthgen.train.gradients import UnitGradients


class HandMadeBatchNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.std(0) + 1e-5) * self.gain


REFUSED = {
    "BatchNorm1d": lambda: nn.BatchNorm1d(4),
    "without parameters": lambda: nn.BatchNorm2d(4, affine=False),
    "SyncBatchNorm": lambda: nn.SyncBatchNorm(4),
    "HandMadeBatchNorm": HandMadeBatchNorm,
    "InstanceNorm with statistics": lambda: nn.InstanceNorm2d(4, track_running_stats=True),
    "LSTM": lambda: nn.LSTM(4, 4),
    "EmbeddingBag": lambda: nn.EmbeddingBag(4, 4),
    "sequence first": lambda: nn.MultiheadAttention(4, 2),
    "Embedding with max_norm": lambda: nn.Embedding(4, 4, max_norm=1.0),
    "Embedding by frequency": lambda: nn.Embedding(4, 4, scale_grad_by_freq=True),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "bfloat16": lambda: nn.Linear(4, 4).bfloat16(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_void_the_guarantee_are_refused_by_name_and_place(name):
    model = nn.Sequential(nn.Linear(4, 4), REFUSED[name]())
    with pytest.raises(ValueError, match=r"at '1|weight"):
        UnitGradients(model)


class WritesABuffer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 1)
        self.register_buffer("seen", torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        self.seen += x.detach().mean(0)
        return self.inner(x)


def sum_of(model: nn.Module, x: Tensor, **options: int) -> None:
    losses = lambda: model(x)[:, 0]  # noqa: E731
    UnitGradients(model).clipped_sum(losses, n_units=len(x), max_grad_norm=1.0, **options)


def test_5_a_buffer_that_data_writes_is_found():
    with pytest.raises(ValueError, match="'seen'"):
        sum_of(WritesABuffer(), torch.randn(3, 4))


@pytest.mark.parametrize("reduce", [torch.mean, torch.sum])
def test_a_loss_that_is_not_one_a_row_is_refused(reduce):
    model = nn.Linear(4, 1)
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match="one loss a row"):
        UnitGradients(model).clipped_sum(lambda: reduce(model(x)), n_units=3, max_grad_norm=1.0)


class OutsideItsLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.inner.weight.T


def test_a_parameter_that_is_used_outside_its_layer_is_found():
    with pytest.raises(ValueError, match=r"'inner.weight' used outside"):
        sum_of(OutsideItsLayer(), torch.randn(3, 4))


class RowsFolded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.reshape(-1, 2)).reshape(-1, 2)


def test_rows_folded_into_another_axis_are_found():
    with pytest.raises(ValueError, match="rows along the first axis"):
        sum_of(RowsFolded(), torch.randn(3, 4))


def test_random_layers_inside_unknown_ones_are_refused():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(4))
            self.drop = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.drop(x * self.gain)

    with pytest.raises(RuntimeError, match="random"):
        sum_of(Noisy(), torch.randn(3, 4))


def test_second_derivatives_are_refused():
    model = nn.Linear(4, 1)
    x = torch.randn(3, 4, requires_grad=True)

    def penalty() -> Tensor:
        (g,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return g.square().sum(1)

    with pytest.raises(RuntimeError):
        UnitGradients(model).clipped_sum(penalty, n_units=3, max_grad_norm=1.0)


class Deviation(nn.Module):
    """Minibatch statistics without a parameter or a buffer: no list of names would find it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x.std(0, keepdim=True).expand_as(x)], 1)


def probe(model: nn.Module, losses=None) -> None:
    first, second = torch.randn(6, 4), torch.randn(6, 4)
    second[0::3] = first[0::3]
    check_rows(model, losses or (lambda x: model(x)[:, 0]), first, second, n_units=3)


def test_the_probe_finds_minibatch_statistics_and_passes_what_is_right():
    with pytest.raises(ValueError, match="Deviation at '1'"):
        probe(nn.Sequential(nn.Linear(4, 4), Deviation(), nn.Linear(8, 1)))
    probe(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Dropout(0.5), nn.Linear(4, 1)))


def test_the_probe_sees_behind_a_last_layer_of_zeros_and_into_the_loss():
    last = nn.Linear(8, 1)
    nn.init.zeros_(last.weight)
    with pytest.raises(ValueError, match="Deviation"):
        probe(nn.Sequential(Deviation(), last))
    model = nn.Linear(4, 1)
    with pytest.raises(ValueError, match="the loss"):
        probe(model, lambda x: model(x)[:, 0] - model(x)[:, 0].mean())
