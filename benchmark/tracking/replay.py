"""`sync` replays what a tracker has not seen. Records are the truth, so it may be run at any time, and repeatedly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import record as records
from ..execute.lease import Lease
from ..record import Record
from . import log, state
from .experiment import open_store
from .report import attach
from .store import BUSY_SECONDS, Store, Unavailable, first_line, public_name, resolve_uri

INTERRUPTED = "interrupted; run the plan again to finish it"


@dataclass(frozen=True)
class SyncReport:
    """What `sync` did: cells logged, cells that were there already, runs closed, and a sentence for each failure."""

    logged: int = 0
    already: int = 0
    closed: int = 0
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        closed = f", {self.closed} closed that a killed runner left open" if self.closed else ""
        counts = f"{cells(self.logged)} logged, {self.already} there already{closed}"
        return "\n".join([counts, *(f"not logged: {text}" for text in self.failed), *self.notes])


def sync(name: str, results: Path, uri: str | None = None, *, busy_seconds: float = BUSY_SECONDS) -> SyncReport:
    """Log every record of a plan that the tracker does not hold yet; close runs that a killed runner left open.

    A tracker that is down is no error here: the report then says why nothing was logged.
    """
    folder, found = results / name, resolve_uri(uri)
    try:
        store = open_store(name, results, found, busy_seconds=busy_seconds)
        if (folder / "report").is_dir():
            attach(store, name, folder / "report")
        left = Leftovers.of(store, folder)
        closed = sum(log.log_killed(store, run_id, INTERRUPTED) for run_id in left.abandoned)
    except Unavailable as error:
        n = len(records.read_all(folder))
        return SyncReport(failed=(f"the tracker {public_name(found)} cannot be used ({error}): {cells(n)}",))
    logged, failed, notes = 0, [], []
    for n, (where, record) in enumerate(left.unseen):
        try:
            notes += log.log_ended(store, where, record)
            logged += 1
        except Unavailable as error:
            failed.append(f"the tracker {store.name} went away ({error}): {cells(len(left.unseen) - n)}")
            break
        except Exception as error:  # one cell's error must not keep the others from being logged
            failed.append(f"{where.name}: {type(error).__name__}: {first_line(error)}")
    notes += left.left_out
    return SyncReport(logged, left.already, closed, tuple(failed), tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class Leftovers:
    """What earlier runs left at one tracker: records unseen by it, how many it has, runs open without a runner.

    ``left_out``: sentences on files that are no record, or not that of their folder's cell.
    """

    unseen: list[tuple[Path, Record]]
    already: int
    abandoned: list[str]
    left_out: list[str]

    @classmethod
    def of(cls, store: Store, plan_folder: Path) -> Leftovers:
        """Compare a plan's folder with the runs of its experiment. Cells that somebody runs now are left out."""
        present = {run.info.run_id: run for run in store.runs("tags.kind = 'cell'")}
        unseen: list[tuple[Path, Record]] = []
        ended: set[str] = set()
        left_out: list[str] = []
        alive = {path.parent.name for path in plan_folder.glob("*/lease.json") if Lease(path.parent).alive()}
        for folder, record in records.read_all(plan_folder, left_out):
            tracked = state.load(folder, store.name)
            if tracked is not None and tracked.run_id in present and tracked.final == state.digest(folder):
                ended.add(tracked.run_id)
            elif folder.name not in alive:
                unseen.append((folder, record))
        pending, place = {folder.name for folder, _ in unseen}, state.place(plan_folder)
        abandoned = [
            run_id
            for run_id, run in present.items()
            if run_id not in ended  # since the runs were asked for
            and run.info.status == "RUNNING"
            and run.info.lifecycle_stage == "active"
            and run.data.tags.get("place") == place
            and run.data.tags.get("cell") not in alive | pending
        ]
        return cls(unseen, len(ended), abandoned, left_out)


def cells(n: int) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{n} cell{'s' * (n != 1)}"
