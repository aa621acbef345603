"""Networks, data, a naive loop, and checks of the engine that tests and planted defects share.

Each check is named after its number in the list of tests that must exist so that a DP claim is true. It
returns nothing and raises AssertionError, or the engine's own error, when the engine is wrong.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synthgen.dpsgd import module as module_file
from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.module import PrivateModule, fit
from synthgen.dpsgd.patient_sampling import Patients, TensorRecords
from synthgen.dpsgd.step_accounting import MemoryBook
from synthgen.dpsgd.training_plan import TrainingPlan
from synthgen.privacy.noise import NoiseSource

torch.set_num_threads(1)  # test processes share the cores
C = 0.5
Losses = Callable[[nn.Module, Tensor], Tensor]


class Denoiser(nn.Module):
    """A small UNet2DModel with attention: its blocks return channels_last tensors."""

    def __init__(self) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        self.unet = UNet2DModel(
            sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8, 16),
            norm_num_groups=4, attention_head_dim=4, num_class_embeds=3,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the output at a noise level and a class that depend on the row's own content."""
        level = torch.nan_to_num(x.flatten(1)[:, 0].float(), 0.0, 0.0, 0.0).abs().clamp(max=9).long()
        return self.unet(x, level * 100, class_labels=level % 3).sample


def critic() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Conv2d(8, 16, 4, 2, 1, bias=False),
        nn.GroupNorm(4, 16), nn.LeakyReLU(0.2), nn.Conv2d(16, 1, 2), nn.Flatten(),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LayerNorm(32), nn.SiLU(), nn.Linear(32, 64))


def squared(model: nn.Module, x: Tensor) -> Tensor:
    return (model(x).flatten(1) - x.flatten(1)).square().mean(1)


def hinge(model: nn.Module, x: Tensor) -> Tensor:
    return torch.relu(1 - model(x).flatten())


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Losses]] = {
    "unet": (Denoiser, squared),
    "critic": (critic, hinge),
    "mlp": (mlp, squared),
}


@functools.cache
def _made(name: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return NETWORKS[name][0]().to(dtype).train()


def network(name: str, dtype: torch.dtype = torch.float32) -> tuple[nn.Module, Losses]:
    return _made(name, dtype), NETWORKS[name][1]


def images(n: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(
        dtype
    )


def clipped(model: nn.Module, losses: Losses, x: Tensor, rows: int = 1, bound: float = C) -> Tensor:
    """Return the engine's clipped sum as one float64 vector."""
    found = UnitGradients(model).clipped_sum(
        lambda: losses(model, x), n_units=len(x) // rows, augmult=rows, max_grad_norm=bound
    )
    return torch.cat([g.double().flatten() for g in found.sums.values()])


def naive(model: nn.Module, losses: Losses, x: Tensor, rows: int = 1, bound: float = C) -> Tensor:
    """Return the same by one patient at a time, with plain autograd."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    n_units = len(x) // rows
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    for unit in range(n_units):
        loss = losses(model, x[unit::n_units]).mean()
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        pairs = zip(gradients, parameters, strict=True)
        flat = torch.cat([(torch.zeros_like(p) if g is None else g).double().flatten() for g, p in pairs])
        total += flat * min(1.0, bound / max(float(flat.norm()), 1e-300))
    return total


def far(a: Tensor, b: Tensor) -> float:
    """Return the distance of two vectors over the length of the second."""
    return float((a - b).norm() / b.norm())


def expect(error: Exception, words: str) -> None:
    assert words in str(error), error


# The checks, by number.


def check_1_sensitivity(name: str = "mlp", rows: int = 1, autocast: bool = False) -> None:
    dtype = torch.float32 if autocast else torch.float64
    model, losses = network(name, dtype)
    x = images(3 * rows, dtype)
    others = torch.cat([x[r * 3 + 1 : r * 3 + 3] for r in range(rows)])
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        without = clipped(model, losses, others, rows)
        before = clipped(model, losses, x, rows) - without
        for value in (0.0, 1e3, 1e12, 1e38, float("inf"), float("nan")):
            x[0::3] = value  # every row of unit 0
            moved = clipped(model, losses, x, rows) - without
            assert float(moved.norm()) <= C * (1 + 1e-5), (
                f"a patient of {value} moved the sum by {moved.norm()}"
            )
            assert float((before - moved).norm()) <= 2 * C * (1 + 1e-5), "replaced"


def check_1_one_alone(rows: int = 1, autocast: bool = False, bound: float = 1e-3) -> None:
    """A batch of one clipped patient has norm C, and not a rounding more."""
    for name in NETWORKS:
        model, losses = network(name)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            norm = float(clipped(model, losses, 100 * images(rows), rows, bound).norm())
        assert bound * (1 - 2e-5) <= norm <= bound, f"{name}: {norm / bound - 1:.1e}"


def check_2_oracle(name: str = "unet", rows: int = 1, dtype: torch.dtype = torch.float64) -> None:
    model, losses = network(name, dtype)
    x = images(3 * rows, dtype)
    for bound in (1e-2, 1e3):
        error = far(clipped(model, losses, x, rows, bound), naive(model, losses, x, rows, bound))
        assert error < (1e-10 if dtype == torch.float64 else 1e-5), f"relative error {error}"


def check_3_multiplicity(copies: int = 16) -> None:
    """K noise draws of a patient move the sum by C, not by K C; measured in a whole step."""
    for records in (1, 4):
        plan = TrainingPlan(1.0, 1, 1.0, C, 1.0, augmult=copies, records_per_unit=records)
        seen = released(plan, Linear(plan), patients(1, records=4, value=100.0))
        assert C * 0.99 < float(seen[0].norm()) <= C * (1 + 1e-5), f"moved by {float(seen[0].norm()) / C} C"


def check_4_coupling(name: str = "unet") -> None:
    model, losses = network(name, torch.float64)
    first = images(4, torch.float64)
    second = 3 * images(4, torch.float64, seed=1)
    second[0] = first[0]
    found = [UnitGradients(model).per_unit(lambda x=x: losses(model, x), n_units=4) for x in (first, second)]
    for key in found[0]:
        assert torch.allclose(found[0][key][0], found[1][key][0], rtol=1e-9, atol=1e-12), key


class Linear(PrivateModule):
    """The smallest private module: the loss is linear, so the gradient of a record is the record."""

    def __init__(self, plan: TrainingPlan, **options: Any) -> None:
        super().__init__(plan, **options)
        self.net = nn.Linear(4, 1, bias=False)
        nn.init.zeros_(self.net.weight)

    def private_model(self) -> nn.Module:
        return self.net

    def losses(self, batch: Any) -> Tensor:
        return self.net(batch["x"])[:, 0]

    def private_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=1.0)


def patients(n: int, records: int = 1, value: float = 1.0) -> Patients:
    """Return n patients with the same records in the first coordinate."""
    x = torch.zeros(n * records, 4)
    x[:, 0] = value
    return Patients(TensorRecords({"x": x}), [f"p{i // records}" for i in range(n * records)])


def released(
    plan: TrainingPlan,
    module: PrivateModule,
    data: Patients,
    noise: NoiseSource | None = None,
    **options: Any,
) -> list[Tensor]:
    """Train, and return the released gradient of each step."""
    seen: list[Tensor] = []
    keep = module_file.NoisySum.release

    def release(sums: Any) -> None:
        keep(sums)
        seen.append(torch.cat([p.grad.double().flatten().clone() for p in sums._parameters.values()]))

    module_file.NoisySum.release = release
    try:
        fit(module, data, book=MemoryBook(plan), noise=noise or NoiseSource.none(), **options)
    finally:
        module_file.NoisySum.release = keep
    return seen


def check_6_sampler(steps: int = 400, rate: float = 0.05) -> None:
    """Masks of what the Trainer iterates: rate, independence over patients and steps, sizes incl. zero."""
    masks = iterated(steps, rate, n=40)
    n = masks.size
    spread = 5 * np.sqrt(rate * (1 - rate) / n)  # false alarms below 1e-6
    assert abs(masks.mean() - rate) < spread, masks.mean()
    both = (masks[:, :20] & masks[:, 20:]).mean()  # pairs of patients in the same step
    next_ = (masks[1:] & masks[:-1]).mean()  # the same patient in consecutive steps
    for joint in (both, next_):
        assert abs(joint - rate**2) < 5 * np.sqrt(rate**2 / (n / 2)), joint
    sizes = masks.sum(1)
    assert sizes.min() == 0
    assert abs(sizes.var() / (40 * rate * (1 - rate)) - 1) < 0.5, sizes.var()


def iterated(steps: int, rate: float, n: int) -> np.ndarray:
    """Return the masks of a real training, "step patient"."""
    seen: list[np.ndarray] = []

    class Watching(Linear):
        def training_step(self, batch: Any) -> None:
            seen.append(np.asarray(batch.units))
            super().training_step(batch)

    plan = TrainingPlan(rate, steps, 1.0, C, rate * n)
    fit(Watching(plan), patients(n), book=MemoryBook(plan), noise=NoiseSource.system())
    assert len(seen) == steps, f"{len(seen)} of {steps} steps"
    masks = np.zeros((steps, n), dtype=bool)
    for step, chosen in enumerate(seen):
        assert len(set(chosen.tolist())) == len(chosen), "a patient twice in a step"
        masks[step, chosen] = True
    return masks


def check_7_noise(steps: int = 300) -> None:
    """On zero gradients the release is white Gaussian of sigma C / denominator; restarts differ."""
    from scipy import stats

    plan = TrainingPlan(0.1, steps, 2.0, C, 5.0)
    runs = [
        torch.stack(released(plan, Linear(plan), patients(9, value=0.0), NoiseSource.system())) for _ in "ab"
    ]
    for run in runs:
        scaled = run.numpy().ravel() / (2.0 * C / 5.0)
        low, high = stats.chi2.ppf([1e-7, 1 - 1e-7], scaled.size)
        assert low < (scaled**2).sum() < high, f"variance {scaled.var()}"
        assert abs(np.corrcoef(run[1:].ravel(), run[:-1].ravel())[0, 1]) < 5.5 / np.sqrt(scaled.size)
    across = np.corrcoef(runs[0].ravel(), runs[1].ravel())[0, 1]
    assert abs(across) < 5.5 / np.sqrt(runs[0].numel()), f"correlation of two runs {across}"


def check_8_steps(max_physical_batch_size: int = 3) -> None:
    """Noised = booked = logical steps = the plan's, and each step is the whole logical batch."""
    plan = TrainingPlan(1.0, 6, 1.0, C, 10.0)
    book = MemoryBook(plan)
    seen = released(
        plan, Linear(plan, max_physical_batch_size=max_physical_batch_size), patients(10, value=100.0)
    )
    assert len(seen) == 6
    for gradient in seen:
        assert abs(float(gradient.norm()) - 10 * C / 10.0) < 1e-5, "a step is not its whole logical batch"
    fit(Linear(plan), patients(10), book=book, noise=NoiseSource.none())
    assert book.drawn == 6


def check_8_empty() -> None:
    """Steps without a patient are noised steps too, and nobody replaces the missing."""
    plan = TrainingPlan(1e-9, 5, 1.0, C, 1.0)
    module = Linear(plan)
    seen = released(plan, module, patients(3, value=100.0), NoiseSource.for_tests(0))
    assert module.steps_done == len(seen) == 5
    expected = NoiseSource.for_tests(0)
    assert max(float(g.norm()) for g in seen) < 6 * C, "a patient in an empty step"
    plan = TrainingPlan(1e-9, 5, 1e-6, C, 1.0)
    seen = released(plan, Linear(plan), patients(3, value=100.0), expected)
    assert max(float(g.norm()) for g in seen) < 1e-4, "a patient in an empty step"


def check_11_public() -> None:
    """One patient more changes neither the rate nor the denominator: the sum moves by one contribution."""
    plan = TrainingPlan.calibrate(
        patients=10, expected_batch_size=5, steps=1, epsilon=1.0, delta=1e-5, max_grad_norm=C
    )
    few, many = (float(released(plan, Linear(plan), patients(n, value=100.0))[0].norm()) for n in (10, 11))
    assert abs(few - 10 * C / 5) < 1e-5
    assert abs(many - few - C / 5) < 1e-5


class Gan(PrivateModule):
    """A pair: the critic is private, the generator learns from the critic alone."""

    def __init__(self, plan: TrainingPlan, **options: Any) -> None:
        super().__init__(plan, **options)
        torch.manual_seed(3)
        self.critic = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
        self.generator = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))

    def private_model(self) -> nn.Module:
        return self.critic

    def losses(self, batch: Any) -> Tensor:
        """One loss a patient: its own record against its own fake, in the rows of one unit."""
        x = batch["x"]
        half = len(x) // 2
        with torch.no_grad():
            fake = self.generator(self.draws(batch).normal(2)[:half])
        scores = self.critic(torch.cat([x[:half], fake]))[:, 0]
        return torch.relu(1 + torch.cat([-scores[:half], scores[half:]]))

    def private_optimizer(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, 1e-2)

    def data_free_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.Adam(self.generator.parameters(), 1e-2)]

    def after_step(self) -> None:
        optimizer = self.optimizers()[1]
        optimizer.zero_grad()
        (-self.critic(self.generator(torch.randn(8, 2, generator=self.open))).mean()).backward()
        optimizer.step()


def gan_plan(steps: int = 3, bound: float = C) -> TrainingPlan:
    return TrainingPlan(1.0, steps, 1.0, bound, 5.0, augmult=2)


def check_12_gan() -> None:
    """What the generator and the average learn depends on the critic's noised weights alone."""
    weights = []
    for value in (1.0, 50.0):
        module = Gan(gan_plan(), ema_decay=0.5)
        frozen = [p.detach().clone() for p in module.critic.parameters()]
        step = module.after_step

        def with_the_same_critic(module: Any = module, frozen: Any = frozen, step: Any = step) -> None:
            for p, value in zip(module.critic.parameters(), frozen, strict=True):
                p.data.copy_(value)
            step()

        module.after_step = with_the_same_critic
        torch.manual_seed(0)
        fit(module, patients(5, value=value), book=MemoryBook(module.plan), noise=NoiseSource.none())
        weights.append(torch.cat([p.detach().flatten() for p in module.generator.parameters()]))
    assert bool((weights[0] == weights[1]).all()), "the generator saw records beside the critic"


def check_5_state() -> None:
    """Neighbouring data change no tensor of the state but those that the noised step writes."""
    states = []
    for value in (1.0, 50.0):
        torch.manual_seed(0)
        module = Linear(TrainingPlan(1.0, 3, 1.0, C, 5.0))
        module.net.register_buffer("kept", torch.ones(2))
        fit(module, patients(5, value=value), book=MemoryBook(module.plan), noise=NoiseSource.none())
        states.append({k: v for k, v in module.state_dict().items() if k != "net.weight"})
    assert states[0].keys() == states[1].keys() == {"net.kept"}
    assert all(bool((states[0][k] == states[1][k]).all()) for k in states[0])


def check_5_optimizers() -> None:
    """A trainable parameter without an optimizer, or in two, is refused."""

    class Forgotten(Gan):
        def data_free_optimizers(self) -> list[torch.optim.Optimizer]:
            return []

        def after_step(self) -> None:
            pass

    class Both(Gan):
        def data_free_optimizers(self) -> list[torch.optim.Optimizer]:
            return [torch.optim.Adam(self.parameters())]

    for kind in (Forgotten, Both):
        module = kind(gan_plan())
        try:
            fit(module, patients(3), book=MemoryBook(module.plan), noise=NoiseSource.none())
        except ValueError as error:
            expect(error, "one optimizer")
        else:
            raise AssertionError(f"{kind.__name__} trains a parameter that no private optimizer holds")


def check_3_loader() -> None:
    """A Trainer that is given the records' own loader does not train."""
    plan = TrainingPlan(0.1, 5, 1.0, C, 5.0)
    module = Linear(plan)
    loader = torch.utils.data.DataLoader([{"x": torch.ones(4)}] * 8, batch_size=2)
    import pytorch_lightning as pl

    keep = pl.Trainer.fit

    def with_a_loader(trainer: Any, model: Any, **options: Any) -> None:
        keep(trainer, model, train_dataloaders=loader, **options)

    pl.Trainer.fit = with_a_loader
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit(module, patients(8), book=MemoryBook(plan), noise=NoiseSource.none())
    except ValueError as error:
        expect(error, "loader of its own")
    else:
        raise AssertionError("trained on a loader that is not the sampler")
    finally:
        pl.Trainer.fit = keep
    assert module.steps_done == 0


def check_11_refused() -> None:
    """Layers that mix rows, and buffers that data write, are refused with and without parameters."""

    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(4))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += x.detach().mean(0)
            return x

    class Statistics(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0)

    for bad in (nn.BatchNorm1d(4, affine=False), Seen(), Statistics()):
        plan = TrainingPlan(1.0, 1, 1.0, C, 5.0)
        module = Linear(plan)
        module.net = nn.Sequential(bad, nn.Linear(4, 1))
        try:
            fit(module, patients(5), book=MemoryBook(plan), noise=NoiseSource.none())
        except ValueError:
            continue
        raise AssertionError(f"{type(bad).__name__} was accepted")


def check_10_rollback() -> None:
    """What was drawn and not kept is charged again before it is drawn anew."""
    import tempfile
    from pathlib import Path

    from synthgen.dpsgd.step_accounting import LedgerBook
    from synthgen.privacy.ledger.ledger import Ledger

    plan = TrainingPlan(0.5, 20, 2.0, C, 5.0)
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.connect("sqlite:///ledger.db", base=Path(folder))
        ledger.open_cohort("icu", epsilon=50.0, delta=1e-5)
        book = LedgerBook.reserve(ledger, "icu", plan, run="r", stretch=1)
        book.resume(0)
        for step in range(9):
            book.before(step)
        again = LedgerBook(ledger, "icu", plan, run="r", entry=book.entry, stretch=1)
        again.resume(4)
        assert [event.count for event in again.spent()] == [20, 5], "a rollback was free"


def check_13_epsilon() -> None:
    """The claim is not below what the privacy loss distribution proves to be needed."""
    epsilon = TrainingPlan(0.02, 1000, 1.0, 1.0, 20.0).epsilon(1e-5)
    assert 3.89 < epsilon < 3.92, f"epsilon {epsilon}"


def check_10_adaptive_clipping_is_refused() -> None:
    values = TrainingPlan(0.5, 20, 2.0, C, 5.0).to_json()
    for name in ("target_unclipped_quantile", "clipbound_learning_rate"):
        try:
            TrainingPlan.from_json({**values, name: 0.5})
        except ValueError:
            continue
        raise AssertionError("a clipping norm that follows the data was accepted")


def check_20_weights_are_refused() -> None:
    try:
        TrainingPlan([0.1, 0.9], 20, 2.0, C, 5.0)  # type: ignore[arg-type]
    except ValueError:
        return
    raise AssertionError("a rate of its own for each patient was accepted")
