"""The runner as a person starts it: processes of their own, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmark import ROOT
from benchmark.plan import Cell
from benchmark.record import Record, read
from tests.unit.tiny_cells import raw_plan, tiny_plan

PATIENCE_SECONDS = 240.0
"""Deadline of whatever must happen soon; a machine that is busy takes its time to load torch."""


class Checkout:
    """One plan with results, caches and tracking store below a folder of its own.

    Args:
        root: the folder.
        plan: what the plan file holds beyond ``raw_plan``.
    """

    def __init__(self, root: Path, **plan: Any) -> None:
        self.root, self.results = root, root / "results"
        self.plan = root / "tiny.yaml"
        self.plan.write_text(yaml.safe_dump(raw_plan(**plan)))
        self.cells: list[Cell] = list(tiny_plan(**plan).cells())
        self.environment = {
            "BENCH_RESULTS": str(self.results),
            "BENCH_CACHE": str(root / "cache"),
            "BENCH_DATA": str(root / "data"),
            "BENCH_DEVICE": "cpu",  # equality to the last bit is promised there
            "BENCH_CHECKPOINT_SECONDS": "0",
            "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }

    def start(self, verb: str, *options: str, **settings: Any) -> subprocess.Popen[str]:
        """``python -m benchmark VERB plan OPTIONS``, not waited for."""
        command = [sys.executable, "-m", "benchmark", verb, str(self.plan), *options]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **settings,
        )

    def run(self, verb: str, *options: str, **settings: Any) -> tuple[int, str]:
        """The same, waited for: exit code and everything printed."""
        with self.start(verb, *options, **settings) as process:
            text, _ = process.communicate(timeout=2 * PATIENCE_SECONDS)
        return process.returncode, text

    def folder(self, cell: Cell) -> Path:
        return self.results / cell.plan / cell.id

    def records(self) -> dict[str, Record]:
        """Cell id -> record, of those that have one."""
        found = {cell.id: read(self.folder(cell)) for cell in self.cells}
        return {key: record for key, record in found.items() if record is not None}

    def statuses(self) -> list[str]:
        """In the order of the plan; "" without a record."""
        records = self.records()
        return [records[cell.id].status if cell.id in records else "" for cell in self.cells]

    def half_way(self) -> list[Cell]:
        """Cells with a checkpoint and without a record."""
        begun = [cell for cell in self.cells if (self.folder(cell) / "checkpoint.pt").exists()]
        return [cell for cell in begun if read(self.folder(cell)) is None]


def soon(what: str, happened: Callable[[], Any]) -> Any:
    """What ``happened`` returns, once that is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := happened()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS:g} s"
        time.sleep(0.02)
    return found


def workers_of(supervisor: int) -> list[psutil.Process]:
    """Processes of cells: they descend from the fork server, a child of the supervisor."""
    children = psutil.Process(supervisor).children()
    return [worker for child in children for worker in child.children()]


def lasting(record: Record) -> Mapping[str, Any]:
    """What two runs of one cell share: everything but times, memory and the receipt of the machine's state."""
    kept = ("id", "cell", "status", "reason", "split", "validation", "selections", "parameters", "notes", "schema")
    return {name: getattr(record, name) for name in kept}
