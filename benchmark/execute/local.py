"""Many cells on one machine: a forkserver with torch preloaded, one fresh process per cell, one slot per core.

A crash, a hang, an out-of-memory kill or a NaN ends its own cell with a recorded reason; the rest goes on. What is
shared between cells lies on disk (decoded data, memory-mapped), so a dead worker takes nothing with it.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ..interrupts import interrupted_by
from ..plan import Cell
from ..prepare import Places
from ..record import Record, read, write
from ..run import describe
from . import child, redo
from .lease import BEAT_SECONDS, Lease
from .server import GONE, fork_server, launch

POLL_SECONDS = 0.2

SILENCE_SECONDS = 3600.0
"""A cell of which nothing is heard for this long hangs; one that goes on says so by time, see ``pulse``."""

MPS = Path("/tmp/nvidia-mps/control")
"""There where NVIDIA's Multi-Process Service runs with its own settings."""


@dataclass(frozen=True)
class Limits:
    """When a cell is ended from outside. Seconds; None = never."""

    wall: float | None = None
    silence: float | None = SILENCE_SECONDS


@dataclass
class Running:
    """One cell in its process."""

    cell: Cell
    process: Any
    pipe: Any
    lease: Lease
    device: str | None
    started: float
    heard: float
    beaten: float
    phase: str = "start"
    step: int = 0
    reason: str = ""
    lost: bool = False


Kind = Literal["started", "progress", "finished", "skipped"]


@dataclass(frozen=True)
class Event:
    """What the supervisor tells its listener."""

    kind: Kind
    cell: Cell
    folder: Path
    record: Record | None = None
    running: Running | None = None


@dataclass
class Summary:
    """How a run ended."""

    finished: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


def default_workers() -> int:
    """One per core that this process may use; on a GPU, unless told otherwise, two cells share it, or four under MPS.

    Without NVIDIA's Multi-Process Service a GPU runs one process at a time: the second cell starts, or is tested, while
    the first trains. With it they train together, 1.4 times (256²) to 1.8 times (128²) as many steps in all
    (results/reference/gpu).
    """
    gpus = [name for name in devices() if name and name.startswith("cuda")]
    served = "CUDA_MPS_PIPE_DIRECTORY" in os.environ or MPS.exists()
    return (4 if served else 2) * len(gpus) if gpus else max(1, len(os.sched_getaffinity(0)))


def devices() -> list[str | None]:
    """What cells are spread over: ``BENCH_DEVICE`` if set, else every GPU, else None: the CPU."""
    given = os.environ.get("BENCH_DEVICE")
    return [given] if given else [f"cuda:{i}" for i in range(torch.cuda.device_count())] or [None]


@interrupted_by(signal.SIGTERM)
def run_cells(
    cells: Sequence[Cell],
    places: Places,
    *,
    workers: int | None = None,
    threads: int = 1,
    limits: Limits = Limits(),
    checkpoint_seconds: float = 60.0,
    again: Mapping[str, str] | None = None,
    listen: Callable[[Event], None] = lambda event: None,
) -> Summary:
    """Run every cell that has no finished record, ``workers`` at a time, each with ``threads`` threads.

    Cells that another live runner holds, has ended since this call began, or takes over while this one sleeps, are
    skipped. On KeyboardInterrupt or SIGTERM the workers are ended; their checkpoints stay, and the next call goes on
    from there.

    ``again``: marks of finished records (`redo.mark`) by cell id, each of which is removed once its cell is taken.
    """
    context = fork_server()
    waiting, summary = list(cells), Summary()
    running: list[Running] = []
    seen = {cell.id: _written(places.folder(cell)) for cell in cells}
    hardware = devices()
    slots = workers or default_workers()
    try:
        while waiting or running:
            while waiting and len(running) < slots:
                cell = waiting.pop(0)
                marked = (again or {}).get(cell.id, "")
                if not _take(lease := Lease(places.folder(cell)), places.folder(cell), seen[cell.id], marked):
                    summary.skipped += 1
                    listen(Event("skipped", cell, places.folder(cell), read(places.folder(cell))))
                    continue
                settings = (places, threads, _least_used(hardware, running), checkpoint_seconds)
                running.append(_start(context, cell, lease, *settings))
                listen(Event("started", cell, places.folder(cell), running=running[-1]))
            _wait(running)
            for one in list(running):
                if _hear(one, limits):
                    listen(Event("progress", one.cell, places.folder(one.cell), running=one))
                if not one.process.is_alive():
                    running.remove(one)
                    record = _end(one, places)
                    if record is None:
                        summary.skipped += 1
                        listen(Event("skipped", one.cell, places.folder(one.cell), read(places.folder(one.cell))))
                        continue
                    summary.finished += record.status == "finished"
                    summary.failed += record.status != "finished"
                    if record.status != "finished":
                        summary.reasons[one.cell.id] = record.reason
                    listen(Event("finished", one.cell, places.folder(one.cell), record))
    finally:
        for one in running:
            one.process.kill()
            one.process.join()
            one.lease.release()
    return summary


def _written(folder: Path) -> int | None:
    """When the record of a cell was written, to tell a new one from the one that this runner knew; None without."""
    try:
        return (folder / "record.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _take(lease: Lease, folder: Path, seen: int | None, marked: str) -> bool:
    """Whether the cell is ours: nobody else holds it, it is not finished, and nobody else tried it meanwhile.

    ``marked``: a finished record that is to be computed again goes now.
    """
    if not lease.take():
        return False
    redo.remove(folder, marked)
    done = read(folder)
    if done is not None and (done.status == "finished" or _written(folder) != seen):
        lease.release()
        return False
    return True


def _least_used(found: Sequence[str | None], running: Sequence[Running]) -> str | None:
    """The device with the fewest running cells."""
    return min(found, key=[one.device for one in running].count)


def _start(
    context: Any,
    cell: Cell,
    lease: Lease,
    places: Places,
    threads: int,
    device: str | None,
    checkpoint_seconds: float,
) -> Running:
    ours, theirs = context.Pipe()
    process = launch(context, child.main, (cell, places, theirs, threads, device, checkpoint_seconds))
    theirs.close()
    now = time.monotonic()
    return Running(cell, process, ours, lease, device, now, now, now)


def _wait(running: list[Running]) -> None:
    ready = [one.process.sentinel for one in running] + [one.pipe for one in running if not one.pipe.closed]
    multiprocessing.connection.wait(ready, timeout=POLL_SECONDS)


def _hear(one: Running, limits: Limits) -> bool:
    """Read what the cell said, keep its lease alive, end it if it is over a limit; whether it said anything."""
    now, said = time.monotonic(), False
    try:
        while not one.pipe.closed and one.pipe.poll():
            one.phase, one.step = one.pipe.recv()
            one.heard, said = now, True
    except (EOFError, OSError):
        one.pipe.close()
    if now - one.beaten > BEAT_SECONDS:
        one.lost = not one.lease.beat()
        one.beaten = now
    if one.lost:
        one.process.kill()
    elif limits.wall is not None and now - one.started > limits.wall:
        one.reason = f"ended after {limits.wall:g} s: over the wall-clock limit"
        one.process.kill()
    elif limits.silence is not None and now - one.heard > limits.silence:
        one.reason = f"ended: no progress for {limits.silence:g} s (last seen: {one.phase} {one.step})"
        one.process.kill()
    return said


def _end(one: Running, places: Places) -> Record | None:
    """The record of a cell whose process is over; a process that left none gets a ``killed`` record with the reason.

    None: the cell is another runner's now, and so is its record.
    """
    one.process.join()
    one.pipe.close()
    if one.lost or not one.lease.beat():
        return None
    folder = places.folder(one.cell)
    record = read(folder)
    code = one.process.exitcode
    if record is None or (code != 0 and record.status != "finished"):
        reason = one.reason or _exit_reason(code, folder)
        record = Record(
            one.cell.id, describe(one.cell), "killed", reason, seconds={"total": time.monotonic() - one.started}
        )
        try:
            write(folder, record)
        except OSError as error:  # a full disk ends no other cell; this one has no record, so it is run again
            record = replace(record, reason=f"{reason}; its record could not be written: {error}")
    one.lease.release()
    return record


def _exit_reason(code: int | None, folder: Path) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = "; perhaps out of memory: run fewer --workers" if name == "SIGKILL" else ""
        return f"worker ended by {name}{hint}"
    ended = f"worker ended with exit code {code} and no record"
    if code == GONE:
        ended = "lost: the process that starts workers was ended; perhaps out of memory: run fewer --workers"
    return f"{ended}; see {folder.name}/log.txt"
