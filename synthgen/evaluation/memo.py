"""Do what several metrics need once, while the inputs that it was done for live."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from synthgen.evaluation.base import Inputs

Answer = TypeVar("Answer")
_memo: dict[tuple[Any, int], tuple[weakref.ref[Inputs], Any]] = {}


def remembered(function: Callable[[Inputs], Answer]) -> Callable[[Inputs], Answer]:
    """Return a function that works once while its inputs live. It must draw from fixed seeds alone."""

    @functools.wraps(function)
    def once(inputs: Inputs) -> Answer:
        key = (function, id(inputs))
        held = _memo.get(key)
        if held is not None and held[0]() is inputs:
            answer: Answer = held[1]
            return answer
        made = function(inputs)
        _memo[key] = (weakref.ref(inputs, lambda _: _memo.pop(key, None)), made)
        return made

    return once
