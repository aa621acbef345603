"""Time and memory of a private training step, as a multiple of a plain one on the same rows.

Ours stands beside Opacus' hooks, functorch and ghost clipping, and beside ``vmap`` of the whole network.
Each step is forward, gradients, clipping, noise and Adam. Methods take turns, one step each a round, so a
busy machine slows all alike; figures are medians over rounds of the ratio to the plain step of the same
round. Memory is the peak above the start, of a process of its own. Opacus' gradients of the U-Nets with
attention are wrong (channels_last inputs); their time is shown all the same.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import json
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.noisy_sum import NoisySum
from synthgen.privacy.noise import NoiseSource

CLIP, SIGMA = 1.0, 1.0
Losses = Callable[[nn.Module, Tensor], Tensor]
Step = Callable[[], None]


class Denoiser(nn.Module):
    """A UNet2DModel as a function of one tensor, so that every method can call it."""

    def __init__(self, channels: tuple[int, ...], layers: int) -> None:
        super().__init__()
        from diffusers import UNet2DModel

        n = len(channels)
        self.unet = UNet2DModel(
            sample_size=28, in_channels=1, out_channels=1, layers_per_block=layers,
            block_out_channels=channels,
            norm_num_groups=8, attention_head_dim=8,
            down_block_types=("DownBlock2D",) * (n - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (n - 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's output at one noise level."""
        return self.unet(x, torch.full((x.shape[0],), 10, device=x.device)).sample


def critic() -> nn.Module:
    """Return DCGAN's critic for 32x32, with GroupNorm in place of BatchNorm."""
    sizes = (3, 64, 128, 256)
    blocks: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        norm = [nn.GroupNorm(8, b)] if i else []
        blocks += [nn.Conv2d(a, b, 4, 2, 1, bias=not norm), *norm, nn.LeakyReLU(0.2)]
    return nn.Sequential(*blocks, nn.Conv2d(256, 1, 4, 1, 0), nn.Flatten())


def mlp() -> nn.Module:
    """Return a tabular network of four hidden layers of 512."""
    sizes = (64, 512, 512, 512, 512)
    pairs = itertools.pairwise(sizes)
    return nn.Sequential(*[m for a, b in pairs for m in (nn.Linear(a, b), nn.ReLU())], nn.Linear(512, 64))


def denoising(model: nn.Module, x: Tensor) -> Tensor:
    """Return one loss a row: how far the output is from the input."""
    return (model(x) - x).square().flatten(1).mean(1)


def hinge(model: nn.Module, x: Tensor) -> Tensor:
    """Return one loss a row: the critic's hinge on real images."""
    return torch.relu(1 - model(x).flatten())


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Losses]] = {
    "unet_small": (lambda: Denoiser((16, 24), 2), (32, 1, 28, 28), denoising),
    "unet_large": (lambda: Denoiser((32, 64, 64), 2), (32, 1, 28, 28), denoising),
    "critic": (critic, (64, 3, 32, 32), hinge),
    "mlp": (mlp, (256, 64), denoising),
}


def plain(model: nn.Module, x: Tensor, losses: Losses) -> Step:
    """Return a step without privacy."""
    adam = torch.optim.Adam(model.parameters())

    def step() -> None:
        adam.zero_grad()
        losses(model, x).mean().backward()
        adam.step()

    return step


def ours(model: nn.Module, x: Tensor, losses: Losses) -> Step:
    """Return our step, with noise from the operating system."""
    adam = torch.optim.Adam(model.parameters())
    engine = UnitGradients(model)
    noisy = NoisySum(engine.parameters, sigma=SIGMA * CLIP, denominator=len(x), noise=NoiseSource.system())

    def step() -> None:
        noisy.prepare()
        noisy.add(engine.clipped_sum(lambda: losses(model, x), n_units=len(x), max_grad_norm=CLIP))
        noisy.release()
        adam.step()

    return step


def opacus(model: nn.Module, x: Tensor, losses: Losses, *, functorch: bool = False) -> Step:
    """Return a step by Opacus' hooks, or by its functorch samplers."""
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    wrapped = GradSampleModule(model, loss_reduction="sum", force_functorch=functorch)
    adam = DPOptimizer(
        torch.optim.Adam(wrapped.parameters()), noise_multiplier=SIGMA, max_grad_norm=CLIP,
        expected_batch_size=len(x), loss_reduction="mean",
    )  # fmt: skip

    def step() -> None:
        adam.zero_grad()
        losses(wrapped, x).sum().backward()
        adam.step()

    return step


def ghost(model: nn.Module, x: Tensor, losses: Losses) -> Step:
    """Return a step by Opacus' ghost clipping: two backward passes."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Wrapper
    from opacus.optimizers import DPOptimizerFastGradientClipping as Optimizer
    from opacus.utils.fast_gradient_clipping_utils import DPTensorFastGradientClipping as Loss

    wrapped = Wrapper(model, max_grad_norm=CLIP, use_ghost_clipping=True, loss_reduction="mean")
    adam = Optimizer(
        torch.optim.Adam(wrapped.parameters()), noise_multiplier=SIGMA, max_grad_norm=CLIP,
        expected_batch_size=len(x), loss_reduction="mean",
    )  # fmt: skip

    def step() -> None:
        adam.zero_grad()
        Loss(wrapped, adam, losses(wrapped, x), "mean").backward()
        adam.step()

    return step


def vmapped(model: nn.Module, x: Tensor, losses: Losses) -> Step:
    """Return a step by ``vmap(grad)`` of the whole network."""
    from torch.func import functional_call, grad, vmap

    adam = torch.optim.Adam(model.parameters())
    parameters = dict(model.named_parameters())

    def loss(values: dict[str, Tensor], row: Tensor) -> Tensor:
        return losses(lambda batch: functional_call(model, values, (batch,)), row[None])[0]

    def step() -> None:
        found = vmap(grad(loss), in_dims=(None, 0))({k: p.detach() for k, p in parameters.items()}, x)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in found.values()]).norm(dim=0)
        weights = (CLIP / (norms + 1e-6)).clamp(max=1.0)
        for name, p in parameters.items():
            p.grad = torch.einsum("i,i...", weights, found[name])
            p.grad = (p.grad + torch.randn_like(p) * SIGMA * CLIP) / len(x)
        adam.step()

    return step


METHODS: dict[str, Callable[[nn.Module, Tensor, Losses], Step]] = {
    "plain": plain,
    "ours": ours,
    "opacus hooks": opacus,
    "opacus functorch": lambda *a: opacus(*a, functorch=True),
    "opacus ghost": ghost,
    "vmap": vmapped,
}


def build(case: str, method: str) -> Step:
    """Return one step of a method on a case."""
    warnings.simplefilter("ignore")
    make, shape, losses = CASES[case]
    torch.manual_seed(0)
    model, x = make(), torch.randn(shape)
    return METHODS[method](copy.deepcopy(model), x, losses)


def time_case(case: str, rounds: int, methods: list[str]) -> dict[str, dict[str, float]]:
    """Return the median ratio to the plain step, in wall and in processor time, and milliseconds."""
    steps = {name: build(case, name) for name in methods}
    for step in steps.values():
        step()
        step()
    wall: dict[str, list[float]] = {name: [] for name in steps}
    used: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            a, b = time.perf_counter(), time.process_time()
            step()
            wall[name].append(time.perf_counter() - a)
            used[name].append(time.process_time() - b)
    ratio = lambda t, name: statistics.median(x / y for x, y in zip(t[name], t["plain"], strict=True))  # noqa: E731
    return {
        name: {
            "wall": ratio(wall, name),
            "processor": ratio(used, name),
            "milliseconds": 1e3 * statistics.median(wall[name]),
        }
        for name in steps
    }


def _status(key: str) -> int:
    """Return a line of this process's status, in KiB. Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def _peak(case: str, method: str, threads: int, out: multiprocessing.Queue) -> None:
    torch.set_num_threads(threads)
    step = build(case, method)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = _status("VmRSS")
    for _ in range(3):
        step()
    out.put((_status("VmHWM") - before) / 1024)


def memory(case: str, method: str, threads: int) -> float:
    """Return the peak memory of three steps above the start, in MiB, measured in a process of its own."""
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue = context.Queue()
    process = context.Process(target=_peak, args=(case, method, threads, out))
    process.start()
    process.join()
    return out.get(timeout=10)


def main() -> None:
    """Print one table a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, no memory")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--methods", nargs="+", default=list(METHODS)[1:], choices=list(METHODS)[1:])
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rounds = args.rounds or (5 if args.quick else 25)
    results = {}
    for case in args.cases:
        make, shape, _ = CASES[case]
        size = sum(p.numel() for p in make().parameters())
        print(f"\n{case}: {size:,} parameters, {shape[0]} units, {args.threads} thread(s)")
        print(f"{'method':<18}{'x plain':>9}{'x (cpu)':>9}{'ms':>9}{'MiB':>9}")
        found = time_case(case, rounds, ["plain", *args.methods])
        for name, row in found.items():
            if not args.quick:
                row["mebibytes"] = memory(case, name, args.threads)
            shown = f"{row['mebibytes']:9.0f}" if "mebibytes" in row else ""
            print(f"{name:<18}{row['wall']:9.2f}{row['processor']:9.2f}{row['milliseconds']:9.1f}{shown}")
        results[case] = found
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
