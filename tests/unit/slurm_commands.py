"""Commands that stand for those of SLURM: what is submitted is kept, and started task by task."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SBATCH = """#!/bin/sh
cp "$1" {folder}/script
echo "Submitted batch job 4711"
"""
SRUN = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do case $1 in --unbuffered) shift ;; *) shift 2 ;; esac; done
exec "$@"
"""


def cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Commands that stand for those of SLURM; the folder of which the batch script is kept in."""
    commands = folder / "slurm commands"
    commands.mkdir()
    for name, text in (("sbatch", SBATCH.replace("{folder}", f"'{folder}'")), ("srun", SRUN)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    return folder / "script"


def start(script: Path, task: int) -> subprocess.CompletedProcess[str]:
    """One task of an array, as SLURM starts it."""
    (folder,) = [line.partition("=")[2] for line in script.read_text().splitlines() if "--chdir" in line]
    own = {"SLURM_JOB_ID": str(4712 + task), "SLURM_ARRAY_JOB_ID": "4711", "SLURM_ARRAY_TASK_ID": str(task)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BENCH_")} | own
    return subprocess.run(
        ["sh", str(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
