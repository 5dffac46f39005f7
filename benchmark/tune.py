"""Tuning under an equal budget: the same trials, steps, rungs and number of dimensions for every method.

The supervisor alone owns each study (ask and tell over a journal file), so workers never touch Optuna: a dead worker
is one failed trial that is asked again. Scores are validation Dice; test labels stay sealed. The only file that
imports optuna, lazily.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from datasets.base import SealedLabel
from datasets.files import atomic_write
from methods.hyper import Range

from .execute import child
from .execute.local import default_workers, devices
from .execute.server import fork_server, launch
from .plan import Plan
from .preflight import NotReady
from .prepare import Places
from .seeding import derive
from .studies import Study, on_data, studies, tuned_plan
from .trials import NO_MEMORY, Trial, alone, clear, short

POLL_SECONDS = 0.05


def tune(
    plan: Plan,
    places: Places,
    *,
    workers: int | None = None,
    say: Callable[[str], None] = print,
    tracker: Callable[[str, Mapping[str, Any]], Any] | None = None,
) -> Path:
    """Tune every method of a plan and write the best settings as a plan of its own.

    Killed and started again, it goes on: finished trials are kept, trials that were running are asked again. Trials
    from before the method's file or the data changed are left where they are, which is said.

    Args:
        plan: its ``tuning`` is the budget.
        places: results go to ``results/<plan>/tune``.
        workers: trials at a time.
        say: told one line per trial.
        tracker: ``StudyTracker`` of ``benchmark.tracking``, or None.

    Returns:
        Path of the tuned plan, to be run with ``bench``.

    Raises:
        NotReady: another process tunes the plan, a journal is damaged, or workers keep being killed.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    root = places.results / plan.name / "tune"
    root.mkdir(parents=True, exist_ok=True)
    best: list[tuple[Study, Mapping[str, Any]]] = []
    for study in on_data(studies(plan), places):
        for sentence in _left_behind(study, root):
            say(sentence)
        with alone(study, root):
            runner = _Runner(plan, study, root, places, workers or default_workers(), say)
            budget = {
                "trials": plan.tuning.trials,
                "steps": study.cell.training.steps,
                "dimensions": sorted(study.dimensions),
            }
            log = tracker(study.id, budget) if tracker else None
            best.append((study, runner.run(log)))
    path = root / f"{plan.name}_tuned.yaml"
    atomic_write(path, yaml.safe_dump(tuned_plan(plan, best), sort_keys=False).encode())
    return path


def _left_behind(study: Study, root: Path) -> list[str]:
    """What to say of trials that a study would go on with, had nothing changed since; nothing once it has its own."""
    mine = f"{study.id}.journal"
    if (root / mine).exists():
        return []
    return [
        f"{study.name}: the file of {study.cell.method} or data that it reads changed since the trials "
        f"in {path.name}; none of them is reused"
        for path in sorted(root.glob(f"{study.stem}*.journal"))
    ]


def _refuse_damaged(journal: Path) -> None:
    """A line that was cut would be joined with the next one that Optuna writes.

    Raises:
        NotReady: with the first line that is damaged, and what to do about it.
    """
    lines = journal.read_bytes().splitlines(keepends=True) if journal.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            whole = line.endswith(b"\n") and "op_code" in json.loads(line)
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise NotReady(
                f"{journal}: line {number} of {len(lines)} is damaged, so its trials cannot be gone on with. Cut it "
                f"off with all that follows (sed -i '{number},$d' {journal}): what those lines tell of is tried "
                "again; or move the file away, and all is."
            )


class _Runner:
    """Runs one study to its budget."""

    def __init__(
        self, plan: Plan, study: Study, root: Path, places: Places, workers: int, say: Callable[[str], None]
    ) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.budget, self.study, self.root, self.places = plan.tuning, study, root, places
        self.plan = plan.name
        self.workers, self.say, self.devices, self.killed = workers, say, devices(), 0
        journal = root / f"{study.id}.journal"
        _refuse_damaged(journal)
        storage = JournalStorage(JournalFileBackend(str(journal)))
        self.optuna = optuna.create_study(
            study_name=study.id, storage=storage, direction="maximize", load_if_exists=True
        )
        # another stream after each interruption: the first one would draw again what it drew
        seed = derive(self.budget.seed, "tune", len(self.optuna.get_trials(deepcopy=False))) % 2**32
        self.optuna.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(3, self.budget.trials // 3))
        self.states = optuna.trial.TrialState
        self.distributions = {key: _distribution(r, study.default[key]) for key, r in study.dimensions.items()}
        self._recover()

    def run(self, log: Any) -> dict[str, Any]:
        """Ask, start, listen, tell until every trial of the budget is over; the best parameters."""
        context = fork_server()
        running: list[Trial] = []
        try:
            while self._over() < self.budget.trials or running:
                while len(running) < self.workers and self._over() + len(running) < self.budget.trials:
                    device = min(self.devices, key=[trial.device for trial in running].count)
                    running.append(self._start(context, device))
                time.sleep(POLL_SECONDS)
                for trial in list(running):
                    alive = trial.process.is_alive()  # asked first: what it said before it ended is then in the pipe
                    pruned = self._listen(trial)
                    if alive and not pruned:
                        continue
                    running.remove(trial)
                    self._tell(trial, pruned, log)
        finally:
            for trial in running:
                trial.process.kill()
                trial.process.join()
                clear(trial.folder)
        best = self._best()
        for sentence in log.finish(best) if log else ():
            self.say(sentence)
        return best

    def _best(self) -> dict[str, Any]:
        """Of the trials of the budget: an earlier one may have been larger."""
        ended = self._ended()
        if len(ended) > self.budget.trials:
            self.say(
                f"{self.study.name}: {len(ended)} trials are there, the plan asks for the first {self.budget.trials}"
            )
        scored = [trial for trial in ended[: self.budget.trials] if trial.state == self.states.COMPLETE]
        if not scored:
            self.say(f"{self.study.name}: every trial failed or was pruned; the default setting is kept")
            return self.study.default
        return max(scored, key=lambda trial: trial.value).params

    def _ended(self) -> list[Any]:
        """Every trial that counts, in the order in which they were asked for."""
        return self.optuna.get_trials(deepcopy=False, states=(self.states.COMPLETE, self.states.PRUNED))

    def _over(self) -> int:
        return len(self._ended())

    def _recover(self) -> None:
        trials = self.optuna.get_trials(deepcopy=False)
        if not trials:
            self.optuna.enqueue_trial(self.study.default)
        for trial in trials:
            if trial.state == self.states.RUNNING:
                # first the setting, then its end: a kill in between must not lose it. A trial that was killed while
                # it was asked for has some of its parameters only; the default's are known from where it was queued.
                self.optuna.enqueue_trial(trial.system_attrs.get("fixed_params", {}) | trial.params)
                self.optuna.tell(trial.number, state=self.states.FAIL)
                clear(self._folder(trial.number))

    def _folder(self, number: int) -> Path:
        return self.root / "trials" / f"{self.study.id}-{number}"

    def _start(self, context: Any, device: str | None) -> Trial:
        handle = self.optuna.ask(self.distributions)
        folder = self._folder(handle.number)
        shutil.rmtree(folder, ignore_errors=True)
        ours, theirs = context.Pipe()
        trial = Trial(self.study, handle, handle.number, folder, dict(handle.params), values={}, device=device)
        arguments = (self.study.at(trial.params), self.places, folder, theirs, 1, device)
        trial.process, trial.pipe = launch(context, child.trial, arguments), ours
        theirs.close()
        return trial

    def _listen(self, trial: Trial) -> bool:
        """Take what the trial measured; whether it is below the median of the others at that rung."""
        assert trial.values is not None
        try:
            while trial.pipe.poll():
                kind, told = trial.pipe.recv()
                if kind in ("sealed", "fault"):
                    setattr(trial, kind, told)
                    return False
                step, dice = told
                trial.values[step] = dice
                trial.handle.report(dice, step)
                if step < self.study.cell.training.steps and dice < self._median_at(step, trial):
                    trial.process.kill()
                    return True
        except (EOFError, OSError):
            return False
        return False

    def _median_at(self, step: int, trial: Trial) -> float:
        """Of the others at a rung; below every Dice while they are few, and always for the default setting."""
        others = [
            t.intermediate_values[step]
            for t in self.optuna.get_trials(deepcopy=False)
            if t.number != trial.number
            and step in t.intermediate_values
            and t.state in (self.states.COMPLETE, self.states.PRUNED)
        ]
        return median(others) if len(others) >= 3 and trial.params != self.study.default else -1.0

    def _tell(self, trial: Trial, pruned: bool, log: Any) -> None:
        """Close a trial. Diverged counts as pruned: it was tried. Ended by no fault of its own, it is asked again."""
        assert trial.values is not None
        trial.process.join()
        trial.pipe.close()
        clear(trial.folder)
        if trial.sealed:
            self.optuna.tell(trial.handle, state=self.states.FAIL)
            raise SealedLabel(
                f"plan {self.plan} would be tuned on test, and was stopped at {self.study.name}, trial {trial.number}: "
                f"{trial.sealed}"
            )
        final = trial.values.get(self.study.cell.training.steps)
        why = trial.no_fault_of_its_own() if not pruned and final is None else ""
        if why:
            state, kind = self._ask_again(trial, why), "killed"
        elif final is not None and isfinite(final):
            self.optuna.tell(trial.handle, final)
            state, kind = f"val Dice {final:.4f}", "finished"
        else:
            self.optuna.tell(trial.handle, state=self.states.PRUNED)
            kind = "pruned" if pruned else "failed"
            state = kind if pruned else f"failed, see {trial.log}"
        self.say(f"{self.study.name} trial {trial.number}: {state}  {short(trial.params)}")
        if log:
            log.trial(trial.number, trial.params, trial.values, final, kind)

    def _ask_again(self, trial: Trial, why: str) -> str:
        """Queue the setting of a trial that was not tried; what to say. Where memory was out, with fewer beside it.

        Raises:
            NotReady: it happens again and again.
        """
        self.optuna.tell(trial.handle, state=self.states.FAIL)
        self.optuna.enqueue_trial(trial.params)
        self.killed += 1
        self.workers = max(1, self.workers - (why == NO_MEMORY))
        if self.killed > self.budget.trials:
            keep = {NO_MEMORY: "running out of memory: run fewer --workers", "killed": "being killed"}
            raise NotReady(f"{self.study.name}: workers keep {keep.get(why, f'failing: {why}')}; see {trial.log}")
        return f"{why}, asked again" + (f", now {self.workers} at a time" if why == NO_MEMORY else "")


def _distribution(searched: Range, default: Any) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if searched.choices:
        return CategoricalDistribution(searched.choices)
    assert searched.low is not None
    assert searched.high is not None
    if isinstance(default, int):
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(searched.low, searched.high, log=searched.log)
