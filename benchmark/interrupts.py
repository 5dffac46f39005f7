"""Signals that end a process as Ctrl-C does: what it was at is given back, and checkpoints stay."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt in the block when one of these signals comes; what they did before is restored after it.

    As a decorator, for the time of each call. Main thread only, as Python demands.
    """
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
