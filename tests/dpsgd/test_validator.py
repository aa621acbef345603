"""What per-unit gradients cannot be right for is refused by name; also by a probe that knows no names."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.double_precision import in_double
from synthgen.dpsgd.validator import check_rows


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
    with in_double(model):
        check_rows(model, losses or (lambda x: model(x)[:, 0]), first, 3, [(second, 3, ((0, 0),))])


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


class Rounds(nn.Module):
    """What the normalisation leaves are small differences of large numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(64, 16), nn.GroupNorm(8, 16), nn.Linear(16, 1)
        self.register_buffer("scale", torch.full((16,), 0.1))
        self.shift = torch.full((16,), 1000.1)

    def forward(self, x: Tensor) -> Tensor:
        narrow = (self.first(x) * self.scale + self.shift).float()
        return self.last(self.norm(narrow + torch.zeros(16)))


def test_rounding_before_a_normalisation_is_no_coupling_and_all_is_as_before():
    """In float32 networks of images of one pixel had rows that differed by 9.9e-4 with the batch."""
    torch.manual_seed(0)
    rows = torch.randn(5, 64)
    for seed in range(8):
        torch.manual_seed(seed)
        model = Rounds()
        with torch.no_grad():
            narrow = model(rows)
        before = {name: t.clone() for name, t in model.state_dict().items()}
        held = {name: t.data_ptr() for name, t in model.state_dict(keep_vars=True).items()}
        model.first.weight.grad = torch.ones_like(model.first.weight)
        with in_double(model):
            exact = model(rows.double())
            assert exact.dtype == torch.float64
            assert not torch.allclose(narrow, exact.float(), rtol=1e-5)  # rounding alone
            others = [(rows[:n].double(), n, tuple((i, i) for i in range(n))) for n in (1, 2, 3)]
            check_rows(model, lambda x, model=model: model(x)[:, 0], rows.double(), 5, others)
        assert {name: t.data_ptr() for name, t in model.state_dict(keep_vars=True).items()} == held
        assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
        assert model.shift.dtype == torch.float32
        assert model.first.weight.grad is not None


def test_float64_follows_what_code_for_float32_does():
    """Narrow results, factories, views, writing in place and gradients; outside, nothing has changed."""
    weight = nn.Linear(3, 2)
    exact = nn.Linear(3, 2).double()
    exact.load_state_dict({name: t.double() for name, t in weight.state_dict().items()})
    x = torch.rand(4, 3)

    def of(layer: nn.Module, x: Tensor, kind: torch.dtype) -> Tensor:
        total = torch.zeros(4, 2, dtype=kind)
        total += layer(x.view(4, 3).to(kind)) / 3
        total[:, 0] = torch.ones(4, dtype=kind) / 3 * total[:, 0]
        return torch.cat([total.to(kind), torch.full((4, 1), 0.1, dtype=kind)], 1).exp()

    with in_double(weight):
        found = of(weight, x.double(), torch.float32)
        found.sum().backward()
        assert weight.weight.grad is not None
        gradient = weight.weight.grad.clone()
    wanted = of(exact, x.double(), torch.float64)
    wanted.sum().backward()
    assert torch.allclose(found, wanted, rtol=1e-14)
    assert torch.allclose(gradient, exact.weight.grad, rtol=1e-14)
    assert weight.weight.grad is None
    assert weight(x).dtype == torch.float32
