"""Tuning in MLflow: one run per study with its trials nested under it, in an experiment of its own.

Nesting hides children until they are asked for: right for trials, wrong for cells.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import ROOT
from . import describe, log
from .store import BUSY_SECONDS, Store, public_name, resolve_uri, translated
from .writer import Writer

STATES = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "pruned": "FINISHED",
    "failed": "FAILED",
    "killed": "KILLED",
}
"""State of a trial -> state of its run; a pruned one did what it should, and says so in its tag."""


@dataclass(frozen=True)
class _Trial:
    number: int
    params: dict[str, Any]
    points: dict[int, float]
    final: float | None
    state: str


class StudyTracker:
    """Shows one study and its trials, from a thread of its own. No method raises, and only those that end it wait.

    Calls may be repeated after a restart: a trial that is there already is brought up to date, not logged again.
    A study that an exception ended is failed: by `fail`, or else when the process exits.

    Args:
        experiment: name of the experiment, ``<plan>-tune``.
        study: name of the study; its run is found again after a restart.
        params: what the study's trials share (budget, dimensions).
        results: artifacts go to ``artifacts/<experiment>/`` in it.
    """

    def __init__(
        self,
        experiment: str,
        study: str,
        params: Mapping[str, Any],
        *,
        uri: str | None = None,
        results: Path = ROOT / "results",
        busy_seconds: float = BUSY_SECONDS,
    ) -> None:
        self._uri, self._study, self._params = resolve_uri(uri), study, dict(params)
        self._known: dict[int, str] = {}
        self._parent = ""
        opened = partial(Store, self._uri, experiment, results / "artifacts" / experiment, busy_seconds=busy_seconds)
        self._writer: Writer[Store] = Writer(opened, Store.check)
        self._writer.submit("study", self._start)
        atexit.register(self.fail)

    def trial(
        self,
        number: int,
        params: Mapping[str, Any],
        values_by_step: Mapping[int, float],
        final: float | None,
        state: str,
    ) -> None:
        """A trial started, went on or ended.

        Args:
            number: Optuna's number of the trial.
            params: the tuned hyper-parameters.
            values_by_step: validation Dice at the rungs so far.
            final: the trial's value, None while it has none.
            state: one of `STATES`, in upper or lower case.
        """
        told = _Trial(number, dict(params), dict(values_by_step), final, state.lower())
        self._writer.submit(f"trial {number}", partial(self._log, trial=told))

    def finish(self, best: Mapping[str, Any] | None = None, timeout: float = 30) -> list[str]:
        """Close the study's run, with the best setting as its tags. Returns sentences on what could not be logged."""
        atexit.unregister(self.fail)
        self._writer.submit("end of the study", partial(self._finish, best=dict(best or {})))
        waiting = self._writer.close(timeout)
        sentences = [f"could not be tracked: {failure}" for failure in self._writer.failures]
        if waiting:
            why = self._writer.down or f"not done within {timeout:g} s"
            sentences.append(
                f"the tracker {public_name(self._uri)} is behind ({why}): {len(waiting)} entries of study "
                f"{self._study!r} are not shown; the study itself is complete on disk"
            )
        return sentences

    def fail(self, timeout: float = 10) -> None:
        """Close the study's run as failed: it ended before its budget."""
        atexit.unregister(self.fail)
        self._writer.submit("end of the study", self._fail)
        self._writer.close(timeout)

    def _start(self, store: Store) -> None:
        if self._parent:
            return
        runs = [run for run in store.runs(f"tags.study = '{self._study}'") if run.info.lifecycle_stage == "active"]
        tags = {run.info.run_id: run.data.tags for run in runs}
        parents = [run_id for run_id, found in tags.items() if found.get("kind") == "study"]
        if parents:
            parent = parents[0]
            with translated():
                store.client.update_run(parent, status="RUNNING")
                store.client.set_tag(parent, "status_note", "")
        else:
            parent = store.create_run(self._study, {"kind": "study", "study": self._study}, log.now_ms())
            log.log_batch(store, parent, params={describe.clean(k): _text(v) for k, v in self._params.items()})
        for run_id, found in tags.items():
            if found.get("mlflow.parentRunId") == parent and found.get("trial", "").isdigit():
                self._known[int(found["trial"])] = run_id
        self._parent = parent

    def _log(self, store: Store, trial: _Trial) -> None:
        run_id = self._known.get(trial.number)
        if run_id is None:
            tags = {"kind": "trial", "study": self._study, "trial": str(trial.number)}
            tags["mlflow.parentRunId"] = self._parent
            run_id = self._known[trial.number] = store.create_run(f"trial {trial.number}", tags, log.now_ms())
        began = store.started_ms(run_id) or 0
        points = [("val/dice", value, step) for step, value in trial.points.items()]
        if trial.final is not None:
            points.append(("val/final", trial.final, max(trial.points, default=0)))
        log.log_batch(
            store,
            run_id,
            # the same time at every repetition: MLflow then sees the same point, not a second one
            metrics=[(name, value, step, began + step) for name, value, step in points if math.isfinite(value)],
            params={describe.clean(name): _text(value) for name, value in trial.params.items()},
            tags={"state": trial.state},
        )
        if trial.state != "running":
            with translated():
                store.client.set_terminated(run_id, STATES[trial.state])

    def _finish(self, store: Store, best: dict[str, Any]) -> None:
        log.log_batch(store, self._parent, tags={f"best.{describe.clean(k)}": _text(v) for k, v in best.items()})
        with translated():
            store.client.set_terminated(self._parent)

    def _fail(self, store: Store) -> None:
        with translated():
            store.client.set_tag(self._parent, "status_note", "ended before its budget; tune again to go on with it")
            store.client.set_terminated(self._parent, "FAILED")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
