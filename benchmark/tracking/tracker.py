"""`Tracker` shows a plan while it runs. It only says what the files in the cells' folders say."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from .. import record as records
from . import log, views
from .experiment import open_store
from .replay import INTERRUPTED, Leftovers, cells
from .store import BUSY_SECONDS, Store, public_name, resolve_uri
from .writer import Writer

_REPLAY = "what earlier runs left"


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
        called: the plan as the command line had it, for advice; "": its name.
        busy_seconds: how long a locked sqlite file is waited for at a time.
    """

    def __init__(
        self,
        plan: PlanLike,
        results: Path,
        *,
        uri: str | None = None,
        called: str = "",
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._called, self._folder = called or plan.name, results / plan.name
        self._running: dict[Path, tuple[dict[str, Any], str]] = {}
        self._notes: list[str] = []
        self._uri = resolve_uri(uri)
        described = f"## {plan.title}\n\n{plan.protocol}"
        opened = partial(open_store, plan.name, results, self._uri, described, busy_seconds=busy_seconds)
        self._writer: Writer[Store] = Writer(opened, Store.check)
        self._writer.submit(_REPLAY, self._replay)

    def started(self, cell: Mapping[str, Any], cell_id: str, folder: Path) -> None:
        """A cell starts or resumes; ``cell`` is what its record will hold under that name."""
        self._running[folder] = (dict(cell), cell_id)
        self.progressed(folder)

    def progressed(self, folder: Path | None = None) -> None:
        """New rows may be in ``train.csv`` of one cell, or of any that runs. Call it every ten seconds or so."""
        for where in list(self._running) if folder is None else [folder]:
            if where in self._running:
                cell, cell_id = self._running[where]
                self._writer.submit(where.name, partial(log.log_running, folder=where, cell=cell, cell_id=cell_id))

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
        for folder, (cell, cell_id) in self._running.items():
            job = partial(self._log_interrupted, folder=folder, cell=cell, cell_id=cell_id)
            self._writer.submit(folder.name, job)
        self._running.clear()
        waiting = [key for key in self._writer.close(timeout) if key != _REPLAY]
        sentences = list(dict.fromkeys(self._notes))
        sentences += [f"could not be tracked: {failure}" for failure in self._writer.failures]
        if waiting:
            why = self._writer.down or f"not done within {timeout:g} s"
            sentences.append(
                f"the tracker {public_name(self._uri)} is behind ({why}): {cells(len(waiting))} not shown; all "
                f"records are safe, run `python -m benchmark sync {self._called}` later"
            )
        return sentences

    def _log_ended(self, store: Store, folder: Path) -> None:
        record = records.read(folder)
        if record is not None:
            self._notes += log.log_ended(store, folder, record)

    def _log_interrupted(self, store: Store, folder: Path, cell: Mapping[str, Any], cell_id: str) -> None:
        if (folder / "record.json").exists():
            self._log_ended(store, folder)
        else:
            log.log_killed(store, log.log_running(store, folder, cell, cell_id), INTERRUPTED)

    def _replay(self, store: Store) -> None:
        left = Leftovers.of(store, self._folder)
        for folder, _ in left.unseen:
            self._writer.submit(folder.name, partial(self._log_ended, folder=folder))
        for run_id in left.abandoned:
            log.log_killed(store, run_id, INTERRUPTED)
