"""What runs inside the fresh process of one cell. Preloaded by the forkserver, so that a start costs milliseconds."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from datasets.base import SealedLabel
from methods.base import Method

from ..plan import Cell
from ..prepare import Places, prepare
from ..run import run_cell

FAULTS = frozenset({errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.EDQUOT})
"""Errors of the system that tell of a machine, its disks and its memory, and not of what ran there."""


def main(
    cell: Cell,
    places: Places,
    pipe: Connection,
    threads: int,
    device: str | None,
    checkpoint_seconds: float,
) -> None:
    """Run one cell; tell the supervisor ``(phase, step)`` through ``pipe``; end at once when the supervisor dies.

    Everything printed goes to ``log.txt`` in the cell's folder.
    """
    _set_up(places.folder(cell), pipe, threads, device)
    record = run_cell(
        cell,
        places,
        heartbeat=lambda phase, step: pipe.send((phase, step)),
        checkpoint_seconds=checkpoint_seconds,
    )
    if record.status != "finished":
        print(record.traceback, file=sys.stderr, flush=True)


def trial(cell: Cell, places: Places, folder: Path, pipe: Connection, threads: int, device: str | None) -> None:
    """Train one trial of a tuning study; tell ``("val", (step, dice))`` at every rung. Test labels stay sealed.

    Whoever asks for one is told as ``("sealed", reason)``: such a study must not go on. A fault of the machine is told
    as ``("fault", reason)``: where the disk is full, the log does not hold it.
    """
    try:
        _set_up(folder, pipe, threads, device)
        _train(cell, places, folder, pipe)
    except OSError as error:
        if error.errno in FAULTS:
            pipe.send(("fault", str(error)))
        raise


def _train(cell: Cell, places: Places, folder: Path, pipe: Connection) -> None:
    ready = prepare(cell, places, folder)
    trainer = ready.trainer
    measured = trainer.validate
    assert measured is not None

    def validate(method: Method) -> float:
        dice = measured(method)
        pipe.send(("val", (trainer.step, dice)))
        return dice

    trainer.validate = validate
    try:
        with ready.vault.watch(f"method {cell.method} in plan {cell.plan}, tuned"):
            trainer.run()
    except SealedLabel as error:
        pipe.send(("sealed", str(error)))
        raise
    trainer.finished()


def _set_up(folder: Path, pipe: Connection, threads: int, device: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _redirect(folder / "log.txt")
    if device:
        os.environ["BENCH_DEVICE"] = device
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_supervisor, args=(pipe,), daemon=True).start()


def _end_with_supervisor(pipe: Connection) -> None:
    """The supervisor never sends: the pipe becomes readable only when it is gone."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv_bytes()
    os._exit(3)


def _redirect(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
