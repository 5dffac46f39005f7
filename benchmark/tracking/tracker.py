"""`Tracker` follows a plan that runs; `sync` replays what no tracker has seen. Both only show what the records say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from .. import record as records
from ..execute.lease import Lease
from ..record import Record
from . import log, state, views
from .store import BUSY_SECONDS, Store, Unavailable, first_line, public_name, resolve_uri
from .writer import Writer

INTERRUPTED = "interrupted; run the plan again to finish it"


class PlanLike(Protocol):
    """What tracking needs to know of a plan."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def protocol(self) -> str: ...


class Tracker:
    """Shows the cells of one plan in MLflow while they run, from a thread of its own. No method waits or raises.

    On opening it also replays what an earlier run could not log, and closes runs that a killed one left open.

    Args:
        plan: its name is the experiment's.
        results: folder that holds ``<plan>/<cell id>/``; artifacts go to ``artifacts/<plan>/`` in it.
        uri: None = ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the root.
        busy_seconds: how long a locked sqlite file is waited for at a time.
    """

    def __init__(
        self, plan: PlanLike, results: Path, *, uri: str | None = None, busy_seconds: float = BUSY_SECONDS
    ) -> None:
        self._plan, self._folder = plan, results / plan.name
        self._running: dict[Path, tuple[dict[str, Any], str]] = {}
        self._notes: list[str] = []
        self._uri = resolve_uri(uri)
        opened = partial(open_store, plan, results, self._uri, busy_seconds=busy_seconds)
        self._writer: Writer[Store] = Writer(opened, Store.check)
        self._writer.submit("what earlier runs left", self._replay)

    def started(self, cell: Mapping[str, Any], cell_id: str, folder: Path) -> None:
        """A cell starts or resumes; ``cell`` is what its record will hold under that name."""
        self._running[folder] = (dict(cell), cell_id)
        self.progressed(folder)

    def progressed(self, folder: Path) -> None:
        """New rows may be in ``train.csv``. Call it every ten seconds or so."""
        if folder in self._running:
            cell, cell_id = self._running[folder]
            self._writer.submit(folder.name, partial(log.log_running, folder=folder, cell=cell, cell_id=cell_id))

    def finished(self, folder: Path) -> None:
        """A cell has its record, whatever its status."""
        self._running.pop(folder, None)
        self._writer.submit(folder.name, partial(self._log_ended, folder=folder))

    def links(self) -> list[tuple[str, str]]:
        """Name and path (below MLflow's address) of the saved views; none while the tracker has not been reached."""
        store = self._writer.store
        return [] if store is None else views.links(store.experiment_id)

    def close(self, timeout: float = 30) -> list[str]:
        """Log what waits, mark what was interrupted as killed, and say in sentences what could not be done."""
        for folder in list(self._running):
            self._writer.submit(folder.name, partial(self._log_ended, folder=folder))
        self._running.clear()
        waiting = self._writer.close(timeout)
        sentences = list(dict.fromkeys(self._notes))
        sentences += [f"could not be tracked: {failure}" for failure in self._writer.failures]
        if waiting:
            why = self._writer.down or f"not done within {timeout:g} s"
            sentences.append(
                f"the tracker {public_name(self._uri)} is behind ({why}): {_cells(len(waiting))}; all records are "
                f"safe, run `python -m benchmark sync {self._plan.name}` later"
            )
        return sentences

    def _log_ended(self, store: Store, folder: Path) -> None:
        record = records.read(folder)
        tracked = state.load(folder, store.name)
        if record is not None:
            self._notes += log.log_ended(store, folder, record)
        elif tracked is not None:
            log.log_killed(store, tracked.run_id, INTERRUPTED)

    def _replay(self, store: Store) -> None:
        left = Leftovers.of(store, self._folder)
        for folder, _ in left.unseen:
            self._writer.submit(folder.name, partial(self._log_ended, folder=folder))
        for run_id in left.abandoned:
            log.log_killed(store, run_id, INTERRUPTED)


@dataclass(frozen=True)
class SyncReport:
    """What `sync` did: cells logged, cells that were there already, runs closed, and a sentence for each failure."""

    logged: int = 0
    already: int = 0
    closed: int = 0
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def sync(plan: PlanLike, results: Path, uri: str | None = None, *, busy_seconds: float = BUSY_SECONDS) -> SyncReport:
    """Log every record that the tracker does not hold yet; close runs that a killed runner left open. Never raises
    for a tracker that is down: every cell is then among the failed ones, with the reason.
    """  # noqa: D205
    folder = results / plan.name
    try:
        store = open_store(plan, results, resolve_uri(uri), busy_seconds=busy_seconds)
        left = Leftovers.of(store, folder)
        for run_id in left.abandoned:
            log.log_killed(store, run_id, INTERRUPTED)
    except Unavailable as error:
        n = len(records.read_all(folder))
        return SyncReport(failed=(f"the tracker {public_name(resolve_uri(uri))} cannot be used: {error}; {_cells(n)}",))
    logged, failed, notes = 0, [], []
    for n, (where, record) in enumerate(left.unseen):
        try:
            notes += log.log_ended(store, where, record)
            logged += 1
        except Unavailable as error:
            failed.append(f"the tracker {store.name} went away: {error}; {_cells(len(left.unseen) - n)}")
            break
        except Exception as error:  # one cell's error must not keep the others from being logged
            failed.append(f"{where.name}: {type(error).__name__}: {first_line(error)}")
    return SyncReport(logged, left.already, len(left.abandoned), tuple(failed), tuple(dict.fromkeys(notes)))


@dataclass(frozen=True)
class Leftovers:
    """What earlier runs left at one tracker: records unseen by it, how many it has, runs open without a runner."""

    unseen: list[tuple[Path, Record]]
    already: int
    abandoned: list[str]

    @classmethod
    def of(cls, store: Store, plan_folder: Path) -> Leftovers:
        """Compare a plan's folder with the runs of its experiment. Cells that somebody runs now are left out."""
        present = {run.info.run_id: run for run in store.runs("tags.kind = 'cell'")}
        unseen, already = [], 0
        alive = {path.parent.name for path in plan_folder.glob("*/lease.json") if Lease(path.parent).alive()}
        for folder, record in records.read_all(plan_folder):
            tracked = state.load(folder, store.name)
            if tracked is not None and tracked.run_id in present and tracked.final == state.digest(folder):
                already += 1
            elif folder.name not in alive:
                unseen.append((folder, record))
        pending = {folder.name for folder, _ in unseen}
        abandoned = [
            run_id
            for run_id, run in present.items()
            if run.info.status == "RUNNING"
            and run.info.lifecycle_stage == "active"
            and run.data.tags.get("cell") not in alive | pending
        ]
        return cls(unseen, already, abandoned)


def open_store(plan: PlanLike, results: Path, uri: str, *, busy_seconds: float = BUSY_SECONDS) -> Store:
    """The plan's experiment, with its saved views.

    Raises:
        Unavailable: the tracker cannot be used now.
    """
    store = Store(uri, plan.name, results / "artifacts" / plan.name, busy_seconds=busy_seconds)
    views.seed(store, plan.title, plan.protocol)
    return store


def _cells(n: int) -> str:
    return f"{n} cell{'s' * (n != 1)} wait{'s' * (n == 1)}"
