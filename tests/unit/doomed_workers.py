"""What runs in the process of a cell instead of the real thing. Pickled by name: the process is a fresh one."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

from benchmark.execute import child
from benchmark.plan import Cell
from benchmark.prepare import Places
from benchmark.train import Trainer
from methods.base import Clock

KILLED_AT = 3
"""Steps done when the process ends."""


def killed_half_way(cell: Cell, places: Places, *rest: Any) -> None:
    """The cell of seed 0 is killed in its fourth step, as by the kernel when memory is out; others are as they are."""
    if cell.seed == 0:
        _kill_in_step(KILLED_AT)
    child.main(cell, places, *rest)


def leaves_without_a_word(cell: Cell, places: Places, *rest: Any) -> None:
    """The cell of seed 0 ends the process from inside, as a fault in a library does; others are as they are."""
    if cell.seed == 0:
        os._exit(7)
    child.main(cell, places, *rest)


def hangs(cell: Cell, places: Places, *rest: Any) -> None:
    """The cell of seed 0 waits for what never comes; others are as they are."""
    if cell.seed == 0:
        threading.Event().wait()
    child.main(cell, places, *rest)


def trial_killed_once(cell: Cell, places: Places, folder: Any, *rest: Any) -> None:
    """The first trial that gets here is killed in its second step; the file ``died`` remembers it."""
    mark = places.results / "died"
    if not mark.exists():
        mark.touch()
        _kill_in_step(1)
    child.trial(cell, places, folder, *rest)


def _kill_in_step(step: int) -> None:
    one_step = Trainer._one_step

    def last_step(self: Trainer, clock: Clock) -> None:
        if clock.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        one_step(self, clock)

    Trainer._one_step = last_step  # type: ignore[method-assign]
