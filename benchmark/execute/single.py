"""One cell of a plan in this process, as a job of a cluster runs it: under the cell's lease, beaten while it lasts."""

from __future__ import annotations

import os
import signal
import threading

import torch

from .. import plan_file
from ..config import ConfigError, nearest
from ..interrupts import interrupted_by
from ..looks import cells_of
from ..plan import Cell
from ..prepare import Places, default_places
from ..record import Record, read, write
from ..run import checkpoint_seconds, describe, run_cell
from .lease import Lease

STOP = (signal.SIGTERM, signal.SIGUSR2)
"""How a cluster says that the time is over: SIGTERM by itself, SIGUSR2 by submitit."""


def run_one(name: str, cell_id: str, *, data: str | None = None, results: str | None = None) -> Record:
    """Run one cell from its checkpoint to its record; a finished cell is returned as it is.

    Told to stop, it raises KeyboardInterrupt, gives the lease back and keeps the checkpoint.

    Raises:
        ConfigError: the plan has no such cell, or another process is at it, or took it over while this one slept.
    """
    cell, places = _find(name, cell_id, data, results)
    torch.set_num_threads(1)
    lease, lost = Lease(places.folder(cell)), threading.Event()

    def give_up() -> None:
        lost.set()
        os.kill(os.getpid(), signal.SIGTERM)

    with interrupted_by(*STOP):
        if not lease.take():
            raise ConfigError(f"cell {cell_id} is being run by another process; wait for it, see `status {name}`")
        try:
            with lease.kept(give_up):
                return run_cell(cell, places, checkpoint_seconds=checkpoint_seconds())
        except KeyboardInterrupt:
            if not lost.is_set():
                raise
            raise ConfigError(f"cell {cell_id} was taken over by another process; see `status {name}`") from None


def record_killed(name: str, cell_id: str, reason: str, seconds: float, *, results: str | None = None) -> None:
    """Write the record that the process of a cell could not write, unless it had finished or another is at it."""
    cell, places = _find(name, cell_id, None, results)
    folder = places.folder(cell)
    Lease(folder).sweep()
    if Lease(folder).alive():
        return
    done = read(folder)
    if done is None or done.status != "finished":
        write(folder, Record(cell.id, describe(cell), "killed", reason, seconds={"total": seconds}))


def _find(name: str, cell_id: str, data: str | None, results: str | None) -> tuple[Cell, Places]:
    plan, places = plan_file.load(name), default_places(data, results)
    cells = {cell.id: cell for cell in cells_of(plan, places.results / plan.name)}
    if cell_id not in cells:
        raise ConfigError(f"plan {name} has no cell {cell_id!r}{nearest(cell_id, cells)}")
    return cells[cell_id], places
