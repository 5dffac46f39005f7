"""README and docs: their commands exist and run, their example method is complete and passes the contract."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import datasets
from benchmark import plan_file
from benchmark.plan import DataEntry, MethodEntry, Plan, Training
from benchmark.prepare import open_dataset
from datasets.verify import verify

from .miniatures.paired_images import save
from .unit.slurm_commands import cluster
from .unit.tiny_cells import places_in

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def commands() -> list[tuple[str, str]]:
    """(page, command) for every shell line, comments stripped."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                command = line.split("  #")[0].strip()
                if command:
                    found.append((page.name, command))
    return found


def run(command: list[str], where: Path, results: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "BENCH_RESULTS": str(results), "BENCH_CACHE": str(results / "cache"), "COLUMNS": "200"}
    return subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(("page", "command"), [c for c in commands() if c[1].startswith("make")])
def test_every_make_command_of_the_docs_is_a_target(page: str, command: str, tmp_path: Path) -> None:
    words = [word.replace("<folder>", str(tmp_path)) for word in shlex.split(command)]
    done = run(["make", "-n", *words[1:]], ROOT, tmp_path)
    assert done.returncode == 0, f"{page}: `{command}`: {done.stderr}"


def test_the_table_of_the_docs_opens_under_the_plan_beside_it(tmp_path: Path) -> None:
    page = ROOT / "docs" / "add_a_dataset.md"
    (table,), (plan,) = blocks(page, "csv"), blocks(page, "yaml")
    (tmp_path / "my_scans").mkdir()
    (tmp_path / "my_scans" / "manifest.csv").write_text(table)
    (tmp_path / "mine.yaml").write_text(plan)
    for number, row in enumerate(csv.DictReader(io.StringIO(table))):
        image = np.random.default_rng(number).integers(0, 256, (32, 32)).astype(np.uint8)
        save(tmp_path / "my_scans" / row["image"], image)
        save(tmp_path / "my_scans" / row["label"], (image > 127).astype(np.uint8) * 255)
    cells = list(plan_file.load(str(tmp_path / "mine.yaml")).cells())
    dataset = open_dataset(cells[0], dataclasses.replace(places_in(tmp_path), data=tmp_path))
    report = verify(type(dataset), tmp_path, dataset.options)
    assert (report.cases, report.groups, report.findings) == (6, 5, [])
    assert dataset.partition(1).test == ("emil",)


@pytest.mark.timeout(900)
def test_every_python_command_of_the_docs_runs(tmp_path: Path) -> None:
    (plan,) = blocks(ROOT / "docs" / "tutorial.md", "yaml")
    (tmp_path / "mine.yaml").write_text(plan)
    wanted = dict.fromkeys(c for _, c in commands() if c.startswith("python") and c.split()[3:4] != ["submit"])
    assert len(wanted) >= 5
    for command in wanted:
        words = [
            str(tmp_path / w) if w == "mine.yaml" else w for w in shlex.split(command.replace("/tmp/", f"{tmp_path}/"))
        ]
        untracked = ["--no-track"] if words[3:4] == ["run"] else []
        done = run([sys.executable, *words[1:], *untracked], ROOT, tmp_path / "results")
        assert done.returncode == 0, f"`{command}`: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert len(list((tmp_path / "results" / "mine").glob("*/scores.csv"))) == 8  # (upper + pce + 2 methods) x 2 seeds


def test_the_submission_of_the_tutorial_reaches_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    (command,) = [c for page, c in commands() if page == "tutorial.md" and c.split()[3:4] == ["submit"]]
    (plan,) = blocks(ROOT / "docs" / "tutorial.md", "yaml")
    (tmp_path / "mine.yaml").write_text(plan)
    script = cluster(tmp_path, monkeypatch)
    words = [str(tmp_path / w) if w == "mine.yaml" else w for w in shlex.split(command)]
    done = run([sys.executable, *words[1:]], ROOT, tmp_path / "results")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "8 cells submitted as job array 4711, each for up to 4 h 00 min" in done.stdout
    assert {"#SBATCH --array=0-7%8", "#SBATCH --gres=gpu:1"} <= set(script.read_text().splitlines())


@pytest.mark.timeout(900)
def test_the_example_method_of_the_readme_is_certified_and_runs_in_a_plan(tmp_path: Path) -> None:
    (example,) = blocks(ROOT / "README.md", "python")
    assert len(example.splitlines()) <= 45
    for package in ("benchmark", "datasets", "methods", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "methods" / "scribble" / "self_training.py").write_text(example)
    (tmp_path / "tiny.yaml").write_text(
        "title: tiny\nprotocol: none\nmethods: [self_training]\nratios: [0.5]\nbounds: false\n"
        "datasets: [{name: phantom_2d, options: {patients: 6, slices: 2, side: 32}}]\n"
        "training: {steps: 4, labelled_batch: 2, width: 4, validations: 1}\n"
    )
    certify = (
        "from tests.contracts.checks_methods import certify; import methods; certify(methods.get('self_training'))"
    )
    checked = run([sys.executable, "-c", certify], tmp_path, tmp_path / "results")
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr[-2000:]
    done = run([sys.executable, "-m", "benchmark", "run", "tiny.yaml", "--no-track"], tmp_path, tmp_path / "results")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(list((tmp_path / "results" / "tiny").glob("self_training-*/scores.csv"))) == 1


def test_every_link_of_the_docs_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which does not exist"


def test_the_script_for_the_nuclei_writes_the_layout_of_their_plan(tmp_path: Path) -> None:
    (script,) = blocks(ROOT / "docs" / "nuclei.md", "python")
    listed = (ROOT / "benchmark" / "plans" / "nuclei_test.txt").read_text().split("\n")[1:]
    tested, trained, large = listed[0] + "0" * 48, "f" * 64, "e" * 64
    for case, side in ((tested, 40), (trained, 30), (large, 400)):
        folder = tmp_path / "kaggle-dsbowl-2018-dataset-fixes" / "stage1_train" / case
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        Image.new("RGBA", (side, 20), (9, 8, 7, 255)).save(folder / "images" / f"{case}.png")
        for place in (2, 9):
            nucleus = np.zeros((20, side), np.uint8)
            nucleus[place : place + 3, :4] = 255
            Image.fromarray(nucleus).save(folder / "masks" / f"{place}.png")
    lists = tmp_path / "benchmark" / "plans"
    lists.mkdir(parents=True)
    shutil.copy(ROOT / "benchmark" / "plans" / "nuclei_test.txt", lists)
    done = run([sys.executable, "-c", script], tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    folders = datasets.get("image_folder")
    nuclei = folders(tmp_path / "data", folders.Options(folder="nuclei"))
    assert list(nuclei.groups()) == [f"test/{tested[:16]}", f"train/{trained[:16]}"]
    assert int(nuclei.load(f"train/{trained[:16]}").label.sum()) == 2 * 3 * 4
    assert len({line for line in listed if line}) == 113


def test_what_is_at_hand_for_a_method_is_where_the_page_says() -> None:
    """`a`, `b` (`file`): every name is defined in the file that follows it."""
    rows = [line for line in (ROOT / "docs" / "add_a_method.md").read_text().splitlines() if "(`methods/" in line]
    assert len(rows) > 5
    for row in rows:
        for names, file in re.findall(r"((?:`\w+`(?:, )?)+) \(`(methods/[\w/]+\.py)`\)", row):
            text = (ROOT / file).read_text()
            for name in re.findall(r"`(\w+)`", names):
                assert re.search(rf"^(def|class) {name}\b", text, flags=re.MULTILINE), f"{name} is not in {file}"


def test_the_tutorial_has_every_key_of_a_plan_and_what_it_is_when_left_out() -> None:
    text = (ROOT / "docs" / "tutorial.md").read_text()
    first, second = (part for part in text.split("## The keys of a plan")[1].split("\n\n") if part.startswith("| key"))
    mine = {name for line in first.splitlines()[2:] for name in re.findall(r"`([\w]+)`", line.split("|")[1])}
    written = {"tuned", "images"}  # by `tune` and `bench --images`
    assert mine == {field.name for field in dataclasses.fields(Plan)} - written
    inner = {field.name for of in (DataEntry, MethodEntry) for field in dataclasses.fields(of)}
    assert inner <= set(re.findall(r"`(\w+)`", first))
    for line in second.splitlines()[2:]:
        keys, defaults, _ = (cell.strip() for cell in line.strip("|").split("|", 2))
        for name, told in zip(re.findall(r"`(\w+)`", keys), defaults.split(", "), strict=False):
            default = getattr(Training(), name)
            assert told.strip("`") in {str(default), "the dataset's" if default is None else str(default)}, name
    named = {name for line in second.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == {field.name for field in dataclasses.fields(Training)}
