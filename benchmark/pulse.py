"""Signs of life told by time: a cell that is silent for too long is ended, however well what it is at goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 20.0
"""Between signs of life, where no single step, case or batch takes longer; a third of the least ``--silence``."""


class Pulse:
    """A heartbeat that can be repeated from where nobody knows the phase."""

    def __init__(self, tell: Callable[[str, int], None]) -> None:
        self._tell, self._last, self._told = tell, ("start", 0), time.monotonic()

    def __call__(self, phase: str, step: int) -> None:
        """Tell where the work is."""
        self._tell(phase, step)
        self._last, self._told = (phase, step), time.monotonic()

    def again(self) -> None:
        """Tell what was told last, if that is a while ago."""
        if time.monotonic() - self._told > SECONDS:
            self(*self._last)


@contextmanager
def meanwhile(act: Callable[[], bool | None], every: float | None = None) -> Iterator[None]:
    """Do something again and again, by another thread, for as long as the block lasts, or until it returns False.

    Args:
        act: such as a sign of life, while the block waits for other processes or reads all data.
        every: seconds between; default: :data:`SECONDS`.
    """
    over, pause = threading.Event(), SECONDS if every is None else every

    def again() -> None:
        while not over.wait(pause) and act() is not False:
            pass

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
