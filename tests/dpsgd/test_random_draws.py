"""What is drawn, from where: a patient's numbers from its key, the rest from public generators of its own."""

from __future__ import annotations

import ast
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

import synthgen
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.module import PrivateModule, fit
from synthgen.dpsgd.patient_sampling import Patients, TensorRecords
from synthgen.dpsgd.random_draws import KEYS, Draws, drawing_from, no_shared_draws, open_generator
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.privacy.noise import NoiseSource
from tests.support import coupling
from tests.support.dpsgd import Gan, Linear, gan_plan, patients

DRAWING = {
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli",
    "multinomial", "normal", "poisson", "binomial", "gumbel_softmax", "dropout", "dropout1d", "dropout2d",
    "dropout3d", "alpha_dropout", "feature_alpha_dropout", "rrelu", "bernoulli_", "normal_", "uniform_",
    "exponential_", "random_", "geometric_", "cauchy_", "log_normal_", "Dropout", "Dropout1d", "Dropout2d",
    "Dropout3d", "AlphaDropout",
}  # fmt: skip
SEEDING = {
    "manual_seed", "manual_seed_all", "seed_all", "seed_everything", "fork_rng", "set_rng_state",
    "set_rng_state_all", "initial_seed", "get_rng_state", "RandomState",
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    """Return a dotted name, with ? for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def offences(source: str) -> list[str]:
    """Return calls that seed a global generator, or draw from torch's or Python's own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node.func)
        last = name.rpartition(".")[2]
        owner = name.rpartition(".")[0].rpartition(".")[2]
        own = isinstance(node.func, ast.Attribute) and name_of(
            node.func.value.func if isinstance(node.func.value, ast.Call) else node.func.value
        ).endswith("Generator")
        drawn = owner in ("torch", "functional", "nn", "F", "?") or last.endswith("_") or owner == "Tensor"
        names = {k.arg for k in node.keywords}
        if last in SEEDING and not own:
            found.append(f"{node.lineno}: {name} seeds or moves a global generator")
        elif last == "seed" and owner in ("random", "torch", "cuda"):
            found.append(f"{node.lineno}: {name} seeds a global generator")
        elif last in DRAWING and drawn and owner != "init" and "generator" not in names:
            found.append(f"{node.lineno}: {name} draws without a generator")
        elif name.startswith(("np.random.", "numpy.random.")) and last not in ("default_rng", "Generator"):
            found.append(f"{node.lineno}: {name} draws from numpy's global generator")
        elif name.startswith("random.") and last not in ("Random", "SystemRandom"):
            found.append(f"{node.lineno}: {name} draws from Python's global generator")
    return found


def test_no_module_seeds_a_global_generator_or_draws_from_one() -> None:
    root = Path(synthgen.__file__).parent
    found = {
        str(file.relative_to(root)): wrong
        for file in sorted(root.rglob("*.py"))
        if (wrong := offences(file.read_text(encoding="utf-8")))
    }
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "torch.manual_seed(0)", "torch.cuda.manual_seed_all(0)", "np.random.seed(1)", "random.seed(1)",
        "with torch.random.fork_rng(devices=[]): pass", "torch.rand(3)", "torch.randn_like(x)",
        "functional.dropout(x, 0.5)", "nn.Dropout(0.5)", "x.normal_()", "torch.normal(x, 1.0)",
        "functional.gumbel_softmax(x)", "pl.seed_everything(3)", "np.random.normal(3)", "random.random()",
        "torch.cuda.set_rng_state(s)", "np.random.RandomState(0)", "torch.randint(3, (2,), device=d)",
    ],
)  # fmt: skip
def test_the_search_finds_each_of_these(line: str) -> None:
    assert offences(line)


@pytest.mark.parametrize(
    "line",
    [
        "torch.Generator().manual_seed(0)", "torch.rand(3, generator=g)", "rng.random(3)", "draws.normal(4)",
        "np.random.default_rng(0)", "nn.init.normal_(w, std=0.1)", "generator.manual_seed",
    ],
)  # fmt: skip
def test_the_search_leaves_these_alone(line: str) -> None:
    assert not offences(line)


class Recorder(TorchDispatchMode):
    """Stands in for a device whose generators tell what they were asked: each draw, and with which seed."""

    def __init__(self) -> None:
        super().__init__()
        self.shared: list[str] = []
        self.drawn: list[tuple[str, int]] = []
        self.private = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in func.tags:
            generator = (kwargs or {}).get("generator")
            if generator is None or self.private:
                self.shared.append(str(func))
            else:
                self.drawn.append((str(func), generator.initial_seed()))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", coupling.MODULES)
def test_steps_seed_nothing_global_and_draw_no_loss_from_any_generator(name, monkeypatch) -> None:
    """Also not from one with the run's public seed: inside the private step all follows from fresh keys."""

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a global generator was seeded or forked")

    for owner, names in (  # Lightning puts states back that it took: that seeds nothing
        (torch, ("manual_seed", "seed")),
        (torch.random, ("manual_seed", "fork_rng", "seed")),
        (torch.cuda, ("manual_seed", "manual_seed_all", "seed", "seed_all")),
        (np.random, ("seed",)),
        (random, ("seed",)),
    ):
        for what in names:
            monkeypatch.setattr(owner, what, refuse)
    seen, keys = Recorder(), []
    private, losses = UnitGradients.clipped_sum, PrivateModule.draws

    def step(self: UnitGradients, *args: Any, **kwargs: Any) -> Any:
        seen.private = True
        try:
            return private(self, *args, **kwargs)
        finally:
            seen.private = False

    def draws(self: PrivateModule, batch: Any) -> Draws:
        if seen.private:
            keys.append(batch[KEYS].clone())
        return losses(self, batch)

    monkeypatch.setattr(UnitGradients, "clipped_sum", step)
    monkeypatch.setattr(PrivateModule, "draws", draws)
    module = coupling.module_of(name, 1, steps=3)
    rows = coupling.rows_of(name, 4, 1)
    rows.pop(KEYS)
    before = torch.get_rng_state()
    with seen:
        fit(
            module,
            Patients(TensorRecords(rows), list("abcd")),
            book=MemoryBook(module.plan),
            noise=NoiseSource.system(),
            options={"accelerator": "cpu"},
        )
    assert not seen.shared
    assert torch.equal(before, torch.get_rng_state())
    assert len(keys) == 3  # a step each
    assert len({int(k) for step_keys in keys for k in step_keys}) == 12  # fresh for each patient and step
    public = {seed for _, seed in seen.drawn}
    assert public <= {0, *(module.seed * 1_000_003 + step for step in range(3))}  # where no patient is


class DrawsFromTorch(Linear):
    def losses(self, batch: Any) -> Tensor:
        return super().losses(batch) * torch.rand(len(batch["x"]))


class DropsOut(Linear):
    def private_model(self) -> nn.Module:
        if not isinstance(self.net, nn.Sequential):
            self.net = nn.Sequential(self.net, nn.Dropout(0.5))
        return self.net


@pytest.mark.parametrize("kind", [DrawsFromTorch, DropsOut])
def test_a_loss_that_draws_from_the_shared_generator_is_refused(kind) -> None:
    module = kind(gan_plan())
    with pytest.raises(ValueError, match="process-wide generator"):
        fit(module, patients(4, 2), book=MemoryBook(module.plan), noise=NoiseSource.none())
    assert module.steps_done == 0


class Spread(Linear):
    """Levels spread evenly over the batch, as stratified sampling draws them."""

    def losses(self, batch: Any) -> Tensor:
        n = len(batch["x"])
        return super().losses(batch) * (1 + torch.arange(n) / n)


class ByOrder(Linear):
    """Fakes by the order of the rows."""

    def losses(self, batch: Any) -> Tensor:
        return super().losses(batch) * torch.arange(1, len(batch["x"]) + 1)


class BySize(Linear):
    """A weight by the number of patients."""

    def losses(self, batch: Any) -> Tensor:
        return super().losses(batch) / len(batch["x"]) ** 0.5


class ByParity(Linear):
    """Only odd batches differ."""

    def losses(self, batch: Any) -> Tensor:
        return super().losses(batch) * (1 + len(batch["x"]) // self.plan.augmult % 2)


class ByRank(Linear):
    """A weight by a row's rank among all."""

    def losses(self, batch: Any) -> Tensor:
        return super().losses(batch) * (1 + batch["x"][:, 0].argsort().argsort())


class InBackwardOnly(Linear):
    """A gradient that is divided by the batch's size, with losses that are not."""

    def losses(self, batch: Any) -> Tensor:
        found = super().losses(batch)
        return found.detach() + (found - found.detach()) / len(found)


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("kind", [Spread, ByOrder, BySize, ByParity, ByRank, InBackwardOnly])
def test_what_the_batch_decides_for_a_patient_is_refused(kind, rows) -> None:
    module = kind(coupling.plan_of(rows))
    with pytest.raises(ValueError, match=r"do not depend on each other|each patient's own"):
        fit(module, patients(4), book=MemoryBook(module.plan), noise=NoiseSource.none())
    right = Linear(coupling.plan_of(rows))
    fit(right, patients(4), book=MemoryBook(right.plan), noise=NoiseSource.none())


class Faintly(Linear):
    """A loss that the batch's mean moves by 2e-4 of itself, and less."""

    size = 2e-4

    def losses(self, batch: Any) -> Tensor:
        found = super().losses(batch)
        return found * (1 + self.size * batch["x"].mean())


class FaintlyInBackward(Linear):
    """The same of gradients alone."""

    size = 2e-4

    def losses(self, batch: Any) -> Tensor:
        found = super().losses(batch)
        return found.detach() + (found - found.detach()) * (1 + self.size * len(found))


@pytest.mark.parametrize("size", [2e-4, 1e-6])
@pytest.mark.parametrize("kind", [Faintly, FaintlyInBackward])
def test_a_coupling_far_below_rounding_in_float32_is_refused(kind, size, monkeypatch) -> None:
    monkeypatch.setattr(kind, "size", size)
    module = kind(coupling.plan_of(2))
    before = [p.detach().clone() for p in module.parameters()]
    with pytest.raises(ValueError, match=r"do not depend on each other|each patient's own"):
        fit(module, patients(4), book=MemoryBook(module.plan), noise=NoiseSource.none())
    assert module.steps_done == 0
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


# The numbers themselves.


def test_words_are_those_of_splitmix64() -> None:
    known = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip
    assert [w % 2**64 for w in Draws(torch.tensor([1234567]))._words(1, (5,))[0].tolist()] == known


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_a_patients_numbers_are_bit_identical_in_any_batch(rows) -> None:
    keys = torch.tensor([5, -7, 11, 13])

    def all_of(keys: Tensor) -> list[Tensor]:
        draws = Draws(keys, rows)
        bound = torch.arange(1, 1 + draws.n_rows * 0 + 1).expand(draws.n_rows) * 9
        return [
            draws.uniform(3), draws.normal(2, 2), draws.uniform_of_unit(), draws.below(5), draws.gumbel(4),
            draws.below(bound), draws.below(7, 3),
        ]  # fmt: skip

    whole = all_of(keys)
    for units in ([0], [1, 2], [3, 1, 0], [0, 1, 2]):
        for a, b in zip(whole, all_of(keys[units]), strict=True):
            grouped = [t.view(rows, -1, *t.shape[1:]) for t in (a, b)]
            assert torch.equal(grouped[0][:, units], grouped[1])


def test_numbers_have_their_laws_and_wrong_ones_are_rejected() -> None:  # fixed keys: no false alarms
    draws = Draws(torch.from_numpy(NoiseSource.for_tests(3).keys(200)), 2)
    normal, uniform = draws.normal(200).flatten().numpy(), draws.uniform(200).flatten().numpy()
    assert stats.kstest(normal, "norm").pvalue > 1e-3
    assert stats.kstest(normal / 1.02, "norm").pvalue < 1e-3
    assert stats.kstest(uniform, "uniform").pvalue > 1e-3
    assert stats.kstest(uniform**1.02, "uniform").pvalue < 1e-3
    assert stats.kstest(draws.gumbel(200).flatten().numpy(), "gumbel_r").pvalue > 1e-3
    assert stats.chisquare(torch.bincount(draws.below(7, 200).flatten()).numpy()).pvalue > 1e-3
    by_unit = draws.normal(300).view(2, 200, 300).numpy()
    assert abs(np.corrcoef(by_unit[0].ravel(), by_unit[1].ravel())[0, 1]) < 5 / np.sqrt(by_unit[0].size)
    assert abs(np.corrcoef(by_unit[:, :-1].ravel(), by_unit[:, 1:].ravel())[0, 1]) < 5 / np.sqrt(120_000)
    low, high = draws.uniform(200).min(), draws.uniform(200).max()
    assert 0 < float(low) < float(high) < 1


def test_keys_are_fresh_for_the_system_and_repeat_for_a_seed() -> None:
    for source in (NoiseSource.system(), NoiseSource.none()):
        assert len(set(source.keys(1000).tolist()) | set(source.keys(1000).tolist())) == 2000
    assert (NoiseSource.for_tests(1).keys(9) == NoiseSource.for_tests(1).keys(9)).all()


def test_initial_weights_come_from_the_generator_that_is_given() -> None:
    torch.manual_seed(3)
    expected = nn.Conv2d(2, 3, 3).weight
    torch.manual_seed(4)
    with no_shared_draws("initial weights"), drawing_from(open_generator(3)):
        assert torch.equal(nn.Conv2d(2, 3, 3).weight, expected)
    with pytest.raises(ValueError, match="process-wide"), no_shared_draws("a loss"):
        nn.Conv2d(2, 3, 3)


def test_a_gan_of_tests_draws_its_generators_noise_alike_in_each_process() -> None:
    weights = []
    for _ in range(2):
        module = Gan(gan_plan())
        fit(module, patients(4, value=0.0), book=MemoryBook(module.plan), noise=NoiseSource.for_tests(0))
        weights.append(torch.cat([p.detach().flatten() for p in module.generator.parameters()]))
    assert torch.equal(*weights)
