"""Our kernels inside Opacus: its hooks then compute with them, and its optimizer accepts our gradients.

Two ways to mix. `register` gives Opacus' own hooks our kernels, which are right where its convolutions are
wrong (channels_last inputs) and faster. `write` puts our per-unit gradients where Opacus' optimizer looks for
them, so that units may have several rows, which Opacus' hooks cannot do. Neither adds the guards of
`synthgen.dpsgd.module`: sampling, booking and noise are then Opacus' own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from synthgen.dpsgd.clipped_gradients import UnitGradients
from synthgen.dpsgd.kernels.layers import LAYERS, GroupNormLayer, LayerNormLayer
from synthgen.dpsgd.kernels.layout import Layout


def grad_sampler(
    module: nn.Module, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """Return per-sample gradients in the form of Opacus' grad samplers.

    Args:
        module: a layer of a kind that `register` registers.
        activations: its input, "sample ...".
        backprops: gradient of its output.
    """
    layer = LAYERS[type(module)](module)
    with torch.no_grad():
        x = layer.prepare(activations[0].to(backprops.dtype) if _is_real(activations[0]) else activations[0])
        normed = isinstance(layer, GroupNormLayer | LayerNormLayer)
        saved = layer.forward(x)[1] if normed else ()
        layout = Layout(x.shape[0], 1)
        _, given = layer.backward(backprops, x, saved, layout, needs_input=False)
        return {parameter: record.per_unit() for parameter, record in given}


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


def register() -> Callable[[], None]:
    """Give Opacus our kernels for all layers that we know. Returns what puts its own back."""
    from opacus.grad_sample import GradSampleModule, register_grad_sampler
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import (
        GradSampleModuleFastGradientClipping as Fast,
    )

    kept = [(table, dict(table)) for table in (GradSampleModule.GRAD_SAMPLERS, Fast.GRAD_SAMPLERS)]
    register_grad_sampler(list(LAYERS))(grad_sampler)

    def undo() -> None:
        for table, before in kept:
            table.clear()
            table.update(before)

    return undo


def write(engine: UnitGradients, losses: Callable[[], Tensor], *, n_units: int, augmult: int = 1) -> Any:
    """Put each unit's gradient where ``opacus.optimizers.DPOptimizer`` reads it, ``p.grad_sample``."""
    found = engine.per_unit(losses, n_units=n_units, augmult=augmult)
    for name, parameter in engine.parameters.items():
        parameter.grad_sample = found[name]  # type: ignore[attr-defined]
