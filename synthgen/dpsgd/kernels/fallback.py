"""Per-unit gradients of layers that have no closed form: the layer is run once more for each unit alone.

``vmap`` over units of the layer's vector-Jacobian product gives the gradient of the input and of the
parameters at once. Each unit is computed without its batch-mates, so it is right by construction for any
layer that does not draw random numbers, which ``vmap`` refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from synthgen.dpsgd.kernels.gradient_factors import Stored, wide
from synthgen.dpsgd.kernels.layout import Given, Layout

_HOLE = object()  # where a tensor stands; None may be a module's own output


class Fallback:
    """One module (with all that lies inside it) as a function of its tensors."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.module = module
        self.trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
        leaves, self._spec = pytree.tree_flatten((args, kwargs))
        self._constant = [None if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        self._places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        self.tensors: list[Tensor] = [leaves[i] for i in self._places]
        self.out_spec: Any = None
        self._out: list[Any] = []

    def check_rows(self, layout: Layout) -> None:
        """Check that every tensor has one entry a row along its first axis.

        Raises:
            ValueError: one has not.
        """
        if any(t.dim() == 0 or t.shape[0] != layout.n_rows for t in self.tensors):
            raise ValueError(
                f"Expected the inputs of {type(self.module).__name__} with one entry a row along the first "
                "axis, got another shape. Wrap the shared input into the module."
            )

    def run(self, tensors: Sequence[Tensor], parameters: dict[str, Tensor] | None = None) -> list[Tensor]:
        """Return the tensors of the module's output."""
        leaves = list(self._constant)
        for place, tensor in zip(self._places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = pytree.tree_unflatten(leaves, self._spec)
        if parameters is None:
            out = self.module(*args, **kwargs)
        else:
            out = functional_call(self.module, parameters, args, kwargs)
        flat, self.out_spec = pytree.tree_flatten(out)
        self._out = [_HOLE if isinstance(leaf, Tensor) else leaf for leaf in flat]
        return [leaf for leaf in flat if isinstance(leaf, Tensor)]

    def rebuild(self, tensors: Sequence[Tensor]) -> Any:
        """Return the module's output with these tensors in place of its own."""
        left = iter(tensors)
        return pytree.tree_unflatten([next(left) if o is _HOLE else o for o in self._out], self.out_spec)

    def backward(
        self, gradients: Sequence[Tensor | None], tensors: Sequence[Tensor], layout: Layout
    ) -> tuple[list[Tensor | None], Given]:
        """Return the gradients of the tensors, and each parameter's per-unit gradients."""
        moving = [i for i, t in enumerate(tensors) if t.is_floating_point()]
        inputs = [layout.by_unit(wide(t) if t.is_floating_point() else t) for t in tensors]
        seeds = [None if g is None else layout.by_unit(wide(g)) for g in gradients]

        def one_unit(rows: list[Tensor], seed: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
            def call(parameters: dict[str, Tensor], moved: list[Tensor]) -> list[Tensor]:
                full = list(rows)
                for place, tensor in zip(moving, moved, strict=True):
                    full[place] = tensor
                out = self.run(full, parameters)
                return [o for o, s in zip(out, seeds, strict=True) if s is not None]

            pull: Any = vjp(call, dict(self.trainable), [rows[i] for i in moving])[1]
            return pull(seed)  # type: ignore[no-any-return]

        used = [seed for seed in seeds if seed is not None]
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no batching rule
            given, moved = vmap(one_unit, in_dims=1, out_dims=(0, 1), randomness="error")(inputs, used)
        found: list[Tensor | None] = [None] * len(tensors)
        for place, gradient in zip(moving, moved, strict=True):
            found[place] = gradient.reshape(tensors[place].shape).to(tensors[place].dtype)
        return found, [(p, Stored(given[name])) for name, p in self.trainable.items()]
