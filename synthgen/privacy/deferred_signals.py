"""Let a signal wait while a draw is counted, made and stored, so that an interrupt loses no answer."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a verb by an exception of Python."""


@contextmanager
def signals_wait() -> Iterator[None]:
    """Hold back the first signal that stops a process until the block is over; a second one ends it at once.

    Only signals that Python handles wait, and only in the main thread, where Python handles them. What the
    operating system does by itself, such as SIGKILL, does not wait.
    """
    waiting: list[int] = []

    def wait(number: int, _frame: FrameType | None) -> None:
        if waiting:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        waiting.append(number)

    before = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                handler = signal.getsignal(number)
                if callable(handler):
                    before[number] = handler
                    signal.signal(number, wait)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for late in waiting:
            signal.raise_signal(late)
