"""Many cells on a SLURM cluster: one job array, each job of which runs the idempotent command of one cell.

submitit writes the batch script, and asks a job that reaches its time limit for what to queue again: the same command,
which goes on from the checkpoint.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from typing import Any

from .. import ROOT
from ..config import ConfigError, from_mapping
from . import redo

CLUSTER = "slurm"
"""The executor of submitit. It has others, of which "local" needs no cluster."""

LEAST_MINUTES = 5
"""submitit ends a job 90 s before its limit, and SLURM's clock may be a minute early; less leaves no time to train."""

STOPPED = (-signal.SIGTERM, -signal.SIGUSR2, -signal.SIGINT)
"""Exit codes of a cell that was told to end, which is no fault of its own."""


@dataclass(frozen=True)
class Request:
    """What one job asks for, in sbatch's words, but that ``cpus`` stands for cpus-per-task."""

    time: str
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gres: str | None = None
    gpus: str | None = None
    constraint: str | None = None
    cpus: str = "1"
    mem: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    reservation: str | None = None

    def __post_init__(self) -> None:
        if not self.cpus.isdecimal() or int(self.cpus) < 1:
            raise ValueError(f"cpus must be a whole number from 1, got {self.cpus!r}")
        if self.minutes < LEAST_MINUTES:
            raise ValueError(
                f"time must be at least {LEAST_MINUTES} minutes, got {self.time!r}, which SLURM reads as "
                f"{self.minutes}; write hours:minutes:seconds, such as 08:00:00"
            )

    @property
    def minutes(self) -> int:
        """The time limit, rounded up. SLURM reads min, min:s, h:min:s, days-h, days-h:min and days-h:min:s."""
        found = re.fullmatch(r"(?:(\d+)-)?(\d+(?::\d+){0,2})", self.time)
        if not found:
            raise ValueError(
                f"time must be hours:minutes:seconds or days-hours:minutes:seconds, such as 08:00:00, got {self.time!r}"
            )
        days, clock = int(found[1] or 0), [int(part) for part in found[2].split(":")]
        if not found[1] and len(clock) < 3:
            clock = [0, *clock]
        hours, minutes, seconds = [*clock, 0, 0][:3]
        return (days * 24 + hours) * 60 + minutes + ceil(seconds / 60)


def parse(text: str, where: str = "--slurm") -> Request:
    """``"time=08:00:00 partition=gpu gres=gpu:1"`` as a request.

    Raises:
        ConfigError: a word that is no key=value, an unknown or repeated key, no time, or a value that is not allowed.
    """
    found: dict[str, str] = {}
    for word in text.split():
        key, equals, value = word.partition("=")
        if not (key and equals and value):
            raise ConfigError(f"{where}: {word!r} must be key=value, such as time=08:00:00 partition=gpu gres=gpu:1")
        if key in found:
            raise ConfigError(f"{where}: {key} is given twice, {found[key]!r} and {value!r}; leave one")
        found[key] = value
    if "time" not in found:
        raise ConfigError(f"{where}: say how long one cell may take, such as time=08:00:00; got {text!r}")
    return from_mapping(Request, found, where)


@dataclass(frozen=True)
class Job:
    """One cell. submitit pickles it, calls it in the job, and asks for its checkpoint at the time limit.

    ``outdated``: the cell's folder and the mark of a finished record there that is to be computed again, see `redo`.
    """

    plan: str
    cell_id: str
    data: str
    results: str
    environment: Mapping[str, str]
    outdated: tuple[str, str] | None = None

    @property
    def command(self) -> list[str]:
        """What the job runs, in the folder of the checkout."""
        places = ["--data", self.data, "--results", self.results]
        return [sys.executable, "-m", "benchmark", "cell", self.plan, self.cell_id, *places]

    def __call__(self) -> None:
        """Run the cell in a process of its own; a crash is put on record, and every failure fails this job only."""
        print(" ".join(self.command), flush=True)
        if self.outdated:
            folder, marked = self.outdated
            redo.take_and_remove(Path(folder), marked)
        began = time.monotonic()
        code = subprocess.run(self.command, cwd=ROOT, env=os.environ | self.environment, check=False).returncode
        if code < 0 and code not in STOPPED:
            from .single import record_killed

            hint = "; perhaps out of memory: ask for more (mem=)" if code == -signal.SIGKILL else ""
            reason = f"ended by {signal.Signals(-code).name}{hint}"
            record_killed(self.plan, self.cell_id, reason, time.monotonic() - began, results=self.results)
        if code:
            raise RuntimeError(f"cell {self.cell_id} ended with exit code {code}, see above")

    def checkpoint(self) -> Any:
        """What is queued again when the time is over: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def executor(folder: Path) -> Any:
    """What submits, with scripts and logs below ``folder``. Made before any work is done, for it may be missing.

    Raises:
        ModuleNotFoundError: submitit is not installed.
        ConfigError: this machine cannot submit.
    """
    import submitit

    absent = [name for name in ("sbatch", "srun") if CLUSTER == "slurm" and not shutil.which(name)]
    if absent:
        raise ConfigError(
            f"{absent[0]} is not on the PATH of this machine; submit from a login node of the cluster, or `run` here"
        )
    return submitit.AutoExecutor(folder=folder, cluster=CLUSTER)


def submit(jobs: Sequence[Job], request: Request, through: Any, *, name: str, at_once: int) -> list[str]:
    """Submit jobs as one array of which ``at_once`` run at a time; the cluster's id of each job.

    Raises:
        ConfigError: the cluster refuses; with what it says.
    """
    asked = {key: value for key, value in asdict(request).items() if value is not None and key not in ("time", "cpus")}
    through.update_parameters(
        name=name,
        timeout_min=request.minutes,
        cpus_per_task=int(request.cpus),
        slurm_array_parallelism=at_once,
        slurm_additional_parameters=asked | {"chdir": str(ROOT)},
    )
    try:
        return [str(job.job_id) for job in through.submit_array(jobs)]
    except RuntimeError as error:  # of sbatch, or of what it printed
        raise ConfigError(
            f"the cluster refused {len(jobs)} jobs: {' '.join(str(error).split())}; nothing was submitted. Change "
            "--slurm, or submit parts of the plan with --only where an array may not have as many jobs"
        ) from error
