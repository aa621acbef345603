"""Random numbers of training: what each patient's loss draws, and what no patient reaches.

Inside a private step every number that a row's loss draws follows from a key of the row's patient and from
nothing else. So a patient more or less leaves the numbers of all others as they were, and the bound of a
step's sensitivity holds for each value of the keys, whether or not anyone knows them. The keys come from the
operating system, anew in each step.

What sees no patient (initial weights, pretraining, the generator of a GAN) draws from a generator of its own
with a public seed. Nothing here seeds, forks or reads torch's process-wide generators: on a GPU these are
others than on the CPU, and whoever seeded them knows what they will draw.

Source: Steele, Lea and Flood (2014), doi:10.1145/2660193.2660195, for SplitMix64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

KEYS = "draw_keys"
"""Name of a batch's keys, " unit": the one tensor of a batch that has an entry a patient, not a row."""


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word


_STEP, _FIRST, _SECOND = (_signed(w) for w in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def open_generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own with a public seed, for what no patient reaches."""
    return torch.Generator(device).manual_seed(seed)


class Draws:
    """Random numbers of the rows of a batch. Row ``r * n_units + p`` is row r of patient p.

    Guarantee:
        A number depends on its patient's key, on the row's place among the patient's own rows, and on what
        was drawn before: never on how many patients there are, nor on their order.

    Example:
        >>> three = Draws(torch.tensor([7, 8, 9]), augmult=2).uniform(4)
        >>> one = Draws(torch.tensor([8]), augmult=2).uniform(4)
        >>> bool((three[1::3] == one).all())
        True
    """

    def __init__(self, keys: Tensor, augmult: int = 1) -> None:
        """Begin with the first number of each key.

        Args:
            keys: int64, " unit", where the numbers shall lie.
            augmult: rows of each patient.
        """
        self.keys, self.augmult = keys, augmult
        self._taken = 0

    @classmethod
    def open(cls, n_rows: int, generator: torch.Generator) -> Draws:
        """Return numbers of rows that no patient has, by a public generator."""
        keys = torch.randint(
            -(2**63), 2**63 - 1, (n_rows,), generator=generator, device=generator.device, dtype=torch.int64
        )
        return cls(keys)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.keys) * self.augmult

    def _words(self, rows: int, shape: tuple[int, ...]) -> Tensor:
        """Return the next 64-bit words of SplitMix64, of so many rows of each unit, "row *shape"."""
        each = math.prod(shape)
        counter = torch.arange(1, rows * each + 1, device=self.keys.device) + self._taken
        self._taken += rows * each
        word = self.keys[None, :, None] + (counter * _STEP).view(rows, 1, each)
        word = (word ^ _shifted(word, 30)) * _FIRST
        word = (word ^ _shifted(word, 27)) * _SECOND
        word = word ^ _shifted(word, 31)
        return word.view(rows * len(self.keys), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """Return numbers strictly between 0 and 1, "row *shape": multiples of 2**-23, and a half of one."""
        return _between(self._words(self.augmult, shape))

    def uniform_of_unit(self) -> Tensor:
        """Return one number between 0 and 1 for each patient, the same in all its rows, " row"."""
        return _between(self._words(1, ())).repeat(self.augmult)

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal numbers, "row *shape"."""
        words = _shifted(self._words(self.augmult, shape), 12).double()
        drawn: Tensor = torch.special.ndtri((words + 0.5) * 2.0**-52)
        return drawn.float()

    def gumbel(self, *shape: int) -> Tensor:
        """Return numbers of the standard Gumbel distribution, "row *shape"."""
        return -torch.log(-torch.log(self.uniform(*shape)))

    def below(self, bound: int | Tensor, *shape: int) -> Tensor:
        """Return whole numbers from 0 to below a bound, "row *shape"; a tensor gives each its own bound."""
        words = _shifted(self._words(self.augmult, shape), 12).double()
        drawn = (words * 2.0**-52 * bound).long()
        return torch.minimum(drawn, torch.as_tensor(bound, device=drawn.device) - 1)


def _shifted(words: Tensor, bits: int) -> Tensor:
    """Return words shifted to the right, as if they had no sign."""
    return (words >> bits) & ((1 << (64 - bits)) - 1)


def _between(words: Tensor) -> Tensor:
    """Return float32 numbers strictly between 0 and 1 of the 23 leading bits of words."""
    return (_shifted(words, 41).float() + 0.5) * 2.0**-23


class _Drawing(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives each operation that would draw from a process-wide generator to a handler."""

    def __init__(self, handle: Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._handle = handle

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if torch.Tag.nondeterministic_seeded in func.tags and named.get("generator") is None:
            return self._handle(func, args, named)
        return func(*args, **named)


@contextmanager
def drawing_from(generator: torch.Generator) -> Iterator[None]:
    """Let what is drawn inside without a generator, as initial weights are, come from this one.

    Raises:
        ValueError: an operation takes no generator.
    """

    def handle(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for name in ("default", "generator"):
            overload = getattr(func.overloadpacket, name, None)
            chosen = func if name == "default" else overload
            if chosen is not None and any(a.name == "generator" for a in chosen._schema.arguments):
                return chosen(*args, **{**kwargs, "generator": generator})
        raise ValueError(f"Expected draws that take a generator, got {func}. Draw the numbers beforehand.")

    with _Drawing(handle):
        yield


@contextmanager
def no_shared_draws(what: str) -> Iterator[None]:
    """Refuse draws from a process-wide generator.

    Raises:
        ValueError: names the operation.
    """

    def handle(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise ValueError(
            f"Expected {what} to draw from its batch's keys alone (`PrivateModule.draws`), got {func}, which "
            "draws from torch's process-wide generator: its seed may be public, and a patient more would "
            "change what the others draw."
        )

    with _Drawing(handle):
        yield
