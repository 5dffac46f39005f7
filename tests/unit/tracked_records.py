"""Cells for the tests of tracking: folders as the runner leaves them, at any moment of a cell's life."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmark import record
from benchmark.tracking.experiment import open_store
from tests.unit.report_records import score, write_cell

TERMS = ("supervised", "consistency")


DOWN = "http://127.0.0.1:9"
"""The discard service's port, where nobody listens."""


@dataclass(frozen=True)
class SomePlan:
    """What a tracker needs to know of a plan."""

    name: str
    title: str = "A plan of tests"
    protocol: str = "Nobody's."


def finished_cell(results: Path, *, plan: str, seed: int = 0, rows: int = 3, **more: Any) -> tuple[Path, record.Record]:
    """A cell with curves, scores of two patients and a record. ``test/dice`` is 0.6875 and ``test/hd95`` 14.5.

    Patient a, two scans: Dice of the left ventricle 0.8 and 0.6, so 0.7; of the right 0.5 and missed (0), so 0.25;
    together 0.475. Patient b: 0.9, its right ventricle is in neither map and left out; so 0.9. (0.475 + 0.9) / 2.
    HD95 likewise: a has (2 + 4) / 2 = 3 and (6 + 100) / 2 = 53, a missed one counting the diagonal, so 28; b has 1.
    """
    scores = [
        score("a1", group="a", class_name="LV", dice=0.8, hd95=2.0),
        score("a1", group="a", class_name="RV", dice=0.5, hd95=6.0),
        score("a2", group="a", class_name="LV", dice=0.6, hd95=4.0),
        score("a2", group="a", class_name="RV", status="missed"),
        score("b1", group="b", class_name="LV", dice=0.9, hd95=1.0),
        score("b1", group="b", class_name="RV", status="both_empty"),
        score("b1", group="b", class_name="LV", dice=0.1, hd95=50.0, selection="best_val"),
    ]
    folder = write_cell(results, scores, plan=plan, seed=seed, **more)
    curves(folder, rows)
    found = record.read(folder)
    assert found is not None
    return folder, found


def failed_cell(results: Path, *, plan: str, seed: int = 0) -> tuple[Path, record.Record]:
    """A cell that diverged."""
    folder = write_cell(results, plan=plan, seed=seed, status="failed", reason="loss term 'ce' is nan at step 40")
    found = record.read(folder)
    assert found is not None
    return folder, found


def running_cell(results: Path, *, plan: str, seed: int = 0, rows: int = 2) -> tuple[Path, record.Record]:
    """A cell without a record yet; what the record will say of the cell is returned."""
    folder, found = finished_cell(results, plan=plan, seed=seed, rows=rows)
    (folder / "record.json").rename(folder / "record.later")
    return folder, found


def finish(folder: Path, rows: int = 3) -> None:
    """The cell of `running_cell` ends: its curves are whole and its record is there."""
    curves(folder, rows)
    (folder / "record.later").rename(folder / "record.json")


def curves(folder: Path, rows: int) -> None:
    """``train.csv`` with rows at steps 10, 20, …; validation Dice at every second."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").unlink(missing_ok=True)
    lines = [
        [10 * i, 0.5 * i, repr(0.01 / i), repr(1.0 / i), repr(0.1 * i), repr(0.3 + 0.1 * i) if i % 2 == 0 else ""]
        for i in range(1, rows + 1)
    ]
    record.append_rows(folder / "train.csv", ["step", "seconds", "lr", *TERMS, "val_dice"], lines)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that is created once, which takes seconds; the file is the same for every test module."""
    path = tmp_path_factory.getbasetemp() / "tracked" / "mlflow.db"
    path.parent.mkdir(exist_ok=True)
    open_store("first", path.parent, f"sqlite:///{path}")
    return path


@pytest.fixture
def uri(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> SomePlan:
    return SomePlan(request.node.name)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is down is asked once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
