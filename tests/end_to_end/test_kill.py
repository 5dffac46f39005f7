"""Kill -9 of anything at any moment, then the same command: nothing is computed twice, and the numbers are the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psutil
import pytest

from benchmark.run import run_cell
from tests.unit.tiny_cells import curves_of, places_in, scores_of

from .processes import PATIENCE_SECONDS, Checkout, lasting, soon, workers_of

pytestmark = pytest.mark.timeout(1200)


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")


def same_as_uninterrupted(found: Checkout, root: Path) -> None:
    """Scores, curves and lasting parts of the records are those of an uninterrupted run elsewhere."""
    places = places_in(root)
    records = found.records()
    for cell in found.cells:
        expected = run_cell(cell, places)
        assert lasting(records[cell.id]) == lasting(expected)
        assert scores_of(found.folder(cell)) == scores_of(places.folder(cell))
        assert curves_of(found.folder(cell)) == curves_of(places.folder(cell))


def test_the_whole_thing_is_killed_and_the_same_command_finishes_it(tmp_path: Path) -> None:
    plan = Checkout(
        tmp_path,
        methods=["supervised", {"name": "mean_teacher", "hyper": {"weight": 5.0}}],
        seeds=3,
        training={"steps": 60},
    )
    with plan.start("run", "--no-track", "--workers", "2") as supervisor:
        soon("a cell is finished while another is half-way", lambda: plan.records() and plan.half_way())
        family = psutil.Process(supervisor.pid).children(recursive=True)
        assert family
        supervisor.kill()
        _, orphans = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
        assert orphans == []
    assert supervisor.returncode == -9
    assert "" in plan.statuses()
    assert set(plan.statuses()) == {"", "finished"}
    held = [json.loads(path.read_text())["pid"] for path in plan.results.glob("*/*/lease.json")]
    assert set(held) == {supervisor.pid}  # left behind, to be taken over
    done = {key: (plan.results / "tiny" / key / "record.json").stat().st_mtime_ns for key in plan.records()}

    code, text = plan.run("run", "--no-track", "--workers", "2")
    assert (code, plan.statuses()) == (0, ["finished"] * 6), text
    assert f"{6 - len(done)} finished, 0 failed, 0 left to another runner" in text
    assert {key: (plan.results / "tiny" / key / "record.json").stat().st_mtime_ns for key in done} == done
    assert not list(plan.results.glob("*/*/lease.json"))
    assert not list(plan.results.glob("*/*/*.pt.*")) + list(plan.results.glob("*/*/checkpoint.pt"))
    same_as_uninterrupted(plan, tmp_path / "uninterrupted")


def test_a_worker_is_killed_half_way_and_a_second_run_finishes_its_cell(tmp_path: Path) -> None:
    plan = Checkout(tmp_path, methods=["supervised", "pce"], training={"steps": 300})
    with plan.start("run", "--no-track", "--workers", "1") as supervisor:
        soon("a cell is half-way", plan.half_way)
        (worker,) = workers_of(supervisor.pid)
        worker.kill()
        text, _ = supervisor.communicate(timeout=2 * PATIENCE_SECONDS)
    reason = "worker ended by SIGKILL; perhaps out of memory: run fewer --workers"
    assert (supervisor.returncode, plan.statuses()) == (1, ["killed", "finished"]), text
    assert f"FAILED supervised phantom_2d 34% s0  {reason}" in text
    assert plan.records()[plan.cells[0].id].reason == reason

    code, text = plan.run("run", "--no-track")
    assert (code, plan.statuses()) == (0, ["finished"] * 2), text
    same_as_uninterrupted(plan, tmp_path / "uninterrupted")


def test_two_runners_on_one_folder_share_the_cells_and_compute_none_twice(tmp_path: Path) -> None:
    plan = Checkout(tmp_path, methods=["supervised", "pce"], seeds=4, training={"steps": 20})
    with (
        plan.start("run", "--no-track", "--workers", "1") as first,
        plan.start("run", "--no-track", "--workers", "1") as second,
    ):
        texts = [runner.communicate(timeout=2 * PATIENCE_SECONDS)[0] for runner in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), texts
    assert plan.statuses() == ["finished"] * 8
    done = [title for text in texts for title in re.findall(r"^done +(.*?)  ", text, flags=re.MULTILINE)]
    assert sorted(done) == sorted(cell.title for cell in plan.cells)
