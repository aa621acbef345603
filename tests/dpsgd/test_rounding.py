"""What a unit adds to the sum never exceeds the clipping norm, whatever floating point does to its rows.

The audit's case: rows that nearly cancel, whose norm was lost in float32 inner products while their rounding
went into the sum (394 C; at unit scale 1.6 C with C = 0.01). Here for each kind of record and each layer, at
scales from 1e-20 to 1e20, alone and among others.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synthgen.dpsgd.clipped_gradients import UnitGradients, clip_weights
from synthgen.dpsgd.kernels import convolution, gradient_factors
from synthgen.dpsgd.kernels.layout import Layout
from tests.dpsgd.test_gradients import LAYERS

MATES = 3


def nearly_cancelling(
    numbers: Tensor, closeness: float, scales: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return factors "unit token dim" of which unit 0's tokens come in pairs that nearly cancel."""
    left, right = numbers, numbers.flip(2).clone()
    for token in range(1, left.shape[1], 2):
        left[0, token] = -left[0, token - 1]
        right[0, token] = right[0, token - 1] * (1 + closeness)
    return left * scales[0], right * scales[1]


def convolved(kind: type[convolution.Convolved], left: Tensor, right: Tensor) -> convolution.Convolved:
    """Return a convolution in this form: each token is a row of its unit, an image of one patch."""
    units, tokens, dim = left.shape
    shape, numbers = torch.Size((dim, dim // 2, 1, 2)), ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)
    flat = (t.transpose(0, 1).reshape(units * tokens, -1) for t in (left, right))
    forms = ((dim, 1, 1), (dim // 2, 1, 2))
    images = (t.reshape(-1, *form).contiguous() for t, form in zip(flat, forms, strict=True))
    return kind(*images, shape, numbers, Layout(units, tokens))


def rows_of_a_table(left: Tensor, right: Tensor) -> gradient_factors.Rows:
    return gradient_factors.Rows(left, (right[..., 0] > 0).long(), torch.Size((2, left.shape[2])))


RECORDS = {
    "linear": lambda a, b: gradient_factors.Outer(a, b, torch.Size((a.shape[2], b.shape[2]))),
    "stored": lambda a, b: gradient_factors.Stored(
        gradient_factors.Outer(a, b, torch.Size((a.shape[2],) * 2)).per_unit()
    ),
    "embedding": rows_of_a_table,
    "convolution, pixels": lambda a, b: convolved(convolution.Convolved, a, b),
    "convolution, patches": lambda a, b: convolved(convolution.Patched, a, b),
    "convolution, twice": lambda a, b: convolved(convolution.Passing, a, b),
}


def without_first(make, left: Tensor, right: Tensor):
    return make(left[1:].clone(), right[1:].clone())


@pytest.mark.parametrize("kind", RECORDS)
@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    tokens=st.sampled_from([1, 2, 4, 6]),
    closeness=st.sampled_from([0.0, 1e-7, 3e-6, 3e-5, 1e-3, 1.0]),
    exponents=st.tuples(st.integers(-20, 20), st.integers(-20, 20)),
    bound=st.sampled_from([1e-6, 0.01, 1.0, 1e4]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_a_record_moves_the_sum_by_at_most_the_clipping_norm(
    kind, seed, tokens, closeness, exponents, bound, dtype
):
    numbers = torch.randn(1 + MATES, tokens, 8, generator=torch.Generator().manual_seed(seed))
    factors = nearly_cancelling(numbers, closeness, (10.0 ** exponents[0], 10.0 ** exponents[1]))
    left, right = (factor.to(dtype).float() for factor in factors)
    with_, others = RECORDS[kind](left, right), without_first(RECORDS[kind], left, right)
    sums = []
    for record in (with_, others):
        norms = record.norms().sqrt() * gradient_factors.margin(torch.float32)
        drop = ~torch.isfinite(norms)
        sums.append(record.weighted(clip_weights(norms, bound), drop if bool(drop.any()) else None))
    assert bool(torch.isfinite(sums[0]).all())
    assert float((sums[0] - sums[1]).norm()) <= bound


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=12, derandomize=True, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rows=st.sampled_from([2, 3, 4]),
    closeness=st.sampled_from([0.0, 1e-7, 1e-5, 1e-4]),
    exponent=st.integers(-20, 20),
    bound=st.sampled_from([0.01, 1.0]),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_rows_that_cancel_stay_within_the_clipping_norm_in_each_layer(
    name, seed, rows, closeness, exponent, bound, dtype
):
    generator = torch.Generator().manual_seed(seed)
    model = made(name)
    first = torch.randn(1, 2, 8, 8, generator=generator)
    x = torch.cat([first * (1 + closeness * (r % 2)) for r in range(rows)])
    with torch.no_grad():
        direction = torch.randn(model(first).shape, generator=generator) * 10.0**exponent
    sign = torch.tensor([1.0, -1.0, 1.0, -1.0])[:rows]

    def losses() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return (model(x).float() * direction).flatten(1).sum(1) * sign

    found = UnitGradients(model).clipped_sum(losses, n_units=1, augmult=rows, max_grad_norm=bound)
    total = torch.cat([g.double().flatten() for g in found.sums.values()])
    assert bool(torch.isfinite(total).all())
    assert float(total.norm()) <= bound


def made(name: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(*LAYERS[name]())


@pytest.mark.parametrize(("scale", "bound"), [(1e4, 1.0), (1e8, 1.0), (1.0, 0.01), (1e19, 1.0)])
def test_the_audits_patient_of_two_rows_that_cancel(scale, bound):
    model = nn.Linear(64, 64, bias=False)
    worst = 0.0
    for seed in range(40):
        x = scale * torch.randn(1, 64, generator=torch.Generator().manual_seed(seed))
        rows, sign = torch.cat([x, x * (1 + 10.0 ** -(seed % 6 + 2))]), torch.tensor([1.0, -1.0])
        found = UnitGradients(model).clipped_sum(
            lambda rows=rows, sign=sign: model(rows).sum(1) * sign,
            n_units=1,
            augmult=2,
            max_grad_norm=bound,
        )
        worst = max(worst, float(found.sums["weight"].double().norm()))
    assert worst <= bound


def test_equal_numbers_of_any_length_are_clipped_to_the_bound():
    # Squares that all round the same way: float32 sums of them lose a part in 10,000.
    for n in (100, 4096, 300_000):
        for value in (0.1, 0.3, 1e-25, 1e25):
            record = gradient_factors.Stored(torch.full((2, n), value))
            weights = clip_weights(record.norms().sqrt() * gradient_factors.margin(torch.float32), 1e-3)
            total = float(record.weighted(weights[:1].repeat(2) * torch.tensor([1.0, 0.0]), None).norm())
            exact = float(torch.tensor(value).double() * n**0.5)
            assert total <= 1e-3
            assert total >= min(exact, 1e-3) * (1 - 1e-5)


def test_a_small_factor_does_not_hide_a_large_one():
    # 1e-25 squared is 0 in float32, though its product with 1e30 is not.
    left, right = torch.full((1, 1, 4), 1e-25), torch.full((1, 1, 4), 1e30)
    record = gradient_factors.Outer(left, right, torch.Size((4, 4)))
    assert float(record.norms().sqrt()) == pytest.approx(4e5, rel=1e-5)


def test_patients_without_rows_or_numbers_add_nothing():
    model = nn.Linear(4, 2)
    found = UnitGradients(model).clipped_sum(lambda: torch.zeros(0), n_units=0, max_grad_norm=1.0)
    assert all(not g.any() and g.dtype == torch.float64 for g in found.sums.values())
    for kind in ("linear", "embedding", "convolution, pixels"):
        left = torch.ones(3, 2, 8)
        left[1, 0, 0], left[2, 1, 3] = float("nan"), float("inf")
        record = RECORDS[kind](left, torch.ones(3, 2, 8))
        norms = record.norms().sqrt()
        assert torch.isfinite(norms).tolist() == [True, False, False]
        total = record.weighted(clip_weights(norms, 1.0), ~torch.isfinite(norms))
        assert float(total.norm()) == pytest.approx(1.0, abs=1e-6)
