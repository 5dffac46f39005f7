"""The checkout keeps the rules of the house; each rule catches a planted breach; and a cell runs on four libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from . import architecture
from .architecture import HOMES, NEEDED_TO_RUN, RULES

ROOT = Path(__file__).resolve().parents[1]

Rule = Callable[[Path], list[str]]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_checkout_keeps_the_rule(rule: Rule) -> None:
    found = rule(ROOT)
    assert not found, "\n".join(found)


CLEAN = {
    "datasets/__init__.py": "",
    "datasets/types.py": "import torch",
    "datasets/scans.py": "def read():\n    import nibabel\n",
    "methods/__init__.py": "",
    "methods/semi/__init__.py": "",
    "methods/semi/mine.py": "from datasets.types import Batch\n\nfrom ..base import Method",
    "methods/base.py": "from datasets import types",
    "benchmark/__init__.py": "",
    "benchmark/run.py": "from methods.base import Method\n\nfrom . import train",
    "benchmark/train.py": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import pandas\n",
    "benchmark/evaluate.py": "import scipy.ndimage",
    "benchmark/tune.py": "def tune():\n    import optuna\n",
    "tests/test_it.py": "import medpy\nimport benchmark.run",
}


def _planted(root: Path, file: str, source: str) -> Path:
    for name, text in {**CLEAN, file: source}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_checkout_without_breaches_keeps_the_rule(rule: Rule, tmp_path: Path) -> None:
    assert rule(_planted(tmp_path, "datasets/types.py", "import torch")) == []


@pytest.mark.parametrize(
    ("file", "source", "rule", "sentence"),
    [
        ("datasets/base.py", "from methods.base import Clock", "imports_run_one_way", "datasets imports methods.base"),
        ("methods/base.py", "import benchmark.train", "imports_run_one_way", "methods imports benchmark.train"),
        ("methods/base.py", "from datasets.base import Dataset", "imports_run_one_way", "datasets.types only"),
        (
            "methods/base.py",
            "def f():\n    import datasets",
            "imports_run_one_way",
            "types only, not datasets",
        ),
        ("methods/base.py", "from datasets.types_of import x", "imports_run_one_way", "datasets.types only"),
        (
            "benchmark/plan.py",
            "from benchmark.train import x",
            "packages_import_themselves_relatively",
            "benchmark/plan.py:1: import benchmark.train.x relatively",
        ),
        ("benchmark/run.py", "def f():\n    import mlflow", "heavy_libraries_stay_at_home", "in benchmark/tracking/"),
        ("benchmark/tune.py", "import optuna.samplers", "heavy_libraries_stay_at_home", "inside the function"),
        (
            "benchmark/tune.py",
            "try:\n    import optuna\nfinally:\n    x = 1",
            "heavy_libraries_stay_at_home",
            ":2",
        ),
        (
            "benchmark/metrics/x.py",
            "def f():\n    from medpy import x",
            "heavy_libraries_stay_at_home",
            "is for tests",
        ),
        ("datasets/base.py", "def f():\n    import_module('PIL.Image')", "heavy_libraries_stay_at_home", "datasets/io"),
        ("methods/base.py", "import skimage.segmentation", "heavy_libraries_stay_at_home", "inside the function"),
        ("benchmark/run.py", "import yaml", "training_needs_four_libraries", "benchmark/run.py:1: yaml is needed"),
        ("benchmark/train.py", "from .seeding import x", "training_needs_four_libraries", ""),
        ("methods/semi/mine.py", "print('here')", "methods_neither_print_nor_log", "methods do not print"),
        ("methods/semi/mine.py", "import logging", "methods_neither_print_nor_log", "methods do not log"),
        ("methods/semi/mine.py", "x = 1\n" * 151, "files_are_short", "151 lines; 150 is the most"),
        ("benchmark/train.py", "x = 1\n" * 301, "files_are_short", "301 lines; 300 is the most"),
        ("benchmark/utils.py", "", "files_are_named_after_their_idea", "benchmark/utils.py"),
        ("tests/unit/helpers.py", "", "files_are_named_after_their_idea", "tests/unit/helpers.py"),
        ("methods/losses/crf.py", "", "every_package_says_so", "methods/losses/ has no __init__.py"),
        ("datasets/a/b/c.py", "", "every_package_says_so", "datasets/a/ has no __init__.py"),
    ],
)
def test_a_planted_breach_is_reported(file: str, source: str, rule: str, sentence: str, tmp_path: Path) -> None:
    root = _planted(tmp_path, file, source)
    if not sentence:  # the breach is one import further on
        (root / "benchmark/seeding.py").write_text("import rich")
        sentence = "benchmark/seeding.py:1: rich is needed"
    found = getattr(architecture, rule)(root)
    assert any(sentence in each for each in found), found


# In a real process --------------------------------------------------------------------------------------------------
UNAVAILABLE = sorted(
    set(HOMES)
    | {"pandas", "pydantic", "yaml", "typer", "rich", "psutil", "skimage", "sklearn", "seaborn", "tqdm", "sqlalchemy"}
)
"""What a machine that only trains need not have. None in ``sys.modules`` makes a module look absent."""

ONE_CELL = """
import json, sys
from pathlib import Path

sys.modules.update(dict.fromkeys({unavailable!r}))
from benchmark.config import from_mapping
from benchmark.plan import Plan
from benchmark.prepare import Places
from benchmark.run import run_cell

plan = from_mapping(Plan, {plan!r}, "plan")
folder = Path(sys.argv[1])
places = Places(results=folder / "results", data=folder / "data", cache=folder / "cache")
record = run_cell(next(plan.cells()), places)
print(json.dumps([record.status, record.reason, sorted(p.name for p in places.folder(next(plan.cells())).iterdir())]))
"""

TINY_PLAN = {
    "name": "tiny",
    "title": "Tiny",
    "protocol": "none",
    "datasets": [{"name": "phantom_2d", "options": {"patients": 6, "slices": 2, "side": 32}}],
    "methods": [{"name": "mean_teacher"}],
    "ratios": [0.5],
    "bounds": False,
    "training": {"steps": 2, "labelled_batch": 2, "unlabelled_batch": 2, "width": 4, "validations": 0},
}


@pytest.mark.slow
def test_a_cell_trains_and_is_evaluated_with_torch_numpy_scipy_and_h5py_alone(tmp_path: Path) -> None:
    assert not NEEDED_TO_RUN & set(UNAVAILABLE)
    script = ONE_CELL.format(unavailable=UNAVAILABLE, plan=TINY_PLAN)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    status, reason, files = json.loads(done.stdout.splitlines()[-1])
    assert status == "finished", reason
    assert {"record.json", "scores.csv"} <= set(files)
