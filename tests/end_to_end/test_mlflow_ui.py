"""MLflow's own pages on tracked cells: a small server, saved views in a headless browser, tracking through it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from benchmark import ROOT
from benchmark.tracking import Tracker, sync, views
from benchmark.tracking.experiment import links, open_store
from benchmark.tracking.server import experiments, free_port, serving
from tests.unit.tracked_records import SomePlan, failed_cell, finished_cell

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
QUIET = [
    "--headless",
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    # no connections of its own
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # charts are drawn once they are in the window, and only if it is painted
    "--window-size=1600,2500",
    "--run-all-compositor-stages-before-draw",
    "--virtual-time-budget=30000",
]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods at two ratios, and a cell that failed."""
    results = tmp_path_factory.mktemp("results")
    for method in ("cps", "uamt"):
        for ratio in (0.05, 0.2):
            finished_cell(results, plan="shown", method=method, ratio=ratio)
    failed_cell(results, plan="shown", seed=7)
    uri = f"sqlite:///{results / 'mlflow.db'}"
    assert sync("shown", results, uri).logged == 5
    return results / "mlflow.db"


@pytest.fixture(scope="module")
def address(database: Path) -> Iterator[str]:
    with serving(f"sqlite:///{database}", artifacts=database.parent / "uploaded") as found:
        yield found


@pytest.fixture(scope="module")
def seeded(address: str) -> dict[str, str]:
    """Name -> address of every saved view of the plan."""
    (key,) = [key for key, name, ours in experiments(address) if ours and name == "shown"]
    return {name: address + path for name, path in views.links(key)}


def page(url: str, profile: Path) -> str:
    """What the browser shows once the page has loaded, as HTML."""
    picture = f"--screenshot={profile / 'page.png'}"
    command = [CHROMIUM, *QUIET, f"--user-data-dir={profile / 'profile'}", picture, "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_server_is_two_processes_and_takes_both_with_it(database):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with serving(f"sqlite:///{database}", artifacts=database.parent / "uploaded"):
        ours = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
        assert len(ours) == 2
    assert not [child for child in ours if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]


def test_ctrl_c_ends_the_page_and_its_server(database):
    program = "import sys; from benchmark.tracking import ui; ui(int(sys.argv[1]), uri=sys.argv[2])"
    command = [sys.executable, "-c", program, str(free_port()), f"sqlite:///{database}"]
    told = ""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told += line
            if "Ctrl-C" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert len(children) == 2
    assert not [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    assert "workflowType=machine_learning&viewStateShareKey=by-method" in told


def test_cells_are_tracked_through_a_server_as_into_a_file(tmp_path, database, address):
    plan = SomePlan("through-http")
    folder, found = finished_cell(tmp_path, plan=plan.name)
    failed, _ = failed_cell(tmp_path, plan=plan.name, seed=1)
    tracker = Tracker(plan, tmp_path, uri=address)
    tracker.started(found.cell, found.id, folder)
    tracker.finished(folder)
    tracker.finished(failed)
    assert tracker.close(120) == []
    assert tracker.links() == [(name, path.removeprefix(address)) for name, path in links(plan.name, address)]
    runs = {run.data.params["seed"]: run for run in open_store(plan.name, tmp_path, address).runs()}
    assert runs["0"].info.status == "FINISHED"
    assert runs["0"].data.metrics["test/dice"] == pytest.approx(0.6875)  # as derived in finished_cell
    assert runs["1"].info.status == "FAILED"
    assert (database.parent / "uploaded").is_dir()
    assert sync(plan.name, tmp_path, address).already == 2


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine; Debian's package is called chromium")
@pytest.mark.parametrize(
    ("view", "shown"),
    [
        ("Every cell", ["cps phantom_2d 5% s0", "uamt phantom_2d 20% s0", "5</strong> matching runs"]),
        ("By method", ["Failures and learning", "test/failure_rate", "val/dice", "method: uamt"]),
        ("Label ratio", ["Parallel Coordinates", "labels/ratio vs. test/dice"]),
        ("Method × ratio", ["test/hd95", "method: cps, amount: 5%"]),
    ],
)
def test_the_saved_views_open_and_show_the_cells(tmp_path, seeded, view, shown):
    html = page(seeded[view], tmp_path)
    for text in shown:
        assert text in html
