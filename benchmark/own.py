"""Somebody's own folder of images as a benchmark: a plan is written for it, to be read, changed and run again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from textwrap import fill
from typing import Any

import datasets
from datasets.base import Dataset
from datasets.guess import Guess, guess
from datasets.types import Task

from .config import ConfigError, from_mapping
from .record import atomic_write

SHARES = (0.05, 0.2, 0.5)
"""Labelled shares of the plan, where they leave two labelled groups or more and an unlabelled one."""
SEMI = ("mean_teacher", "cps", "bcp")
SCRIBBLE = ("pce_gated_crf", "wsl4mis")
STANDARDISED = {"pce_gated_crf": {"sigma_intensity": 0.5}}
"""Settings for images of mean 0 and standard deviation 1, where the default supposes values in [0, 1]."""

_INDENTED: Any = {"initial_indent": "  ", "subsequent_indent": "  "}


def plan_for(folder: Path, results: Path) -> tuple[Path, tuple[str, ...]]:
    """The plan of a folder: written anew, or as it is where it was written before (a person may have changed it).

    Args:
        folder: images and masks, or an nnU-Net or decathlon folder.
        results: the plan goes to ``<results>/plans/``.

    Returns:
        The plan's path and remarks for the reader.

    Raises:
        DataError: the folder has no known layout or a file in it is wrong.
        ConfigError: there are too few images.
    """
    folder = folder.expanduser().absolute()
    name = re.sub(r"[^A-Za-z0-9_-]", "_", folder.name)
    path = results / "plans" / f"{name}.yaml"
    if path.is_file():
        return path, ("the plan was there already and is used as it is; delete it to have it written anew",)
    found = guess(folder)
    cls = datasets.get(found.dataset)
    dataset = cls(folder.parent, from_mapping(cls.Options, found.options, f"dataset {found.dataset}: options"))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _text(name, folder, found, dataset).encode())
    return path, found.remarks


def _text(name: str, folder: Path, found: Guess, dataset: Dataset) -> str:
    """The plan as YAML, with a comment wherever a person may want to change something."""
    task = dataset.task
    ratios = _ratios(folder, dataset, "dense" in task.annotations)
    methods = _methods(task)
    lines = [
        f"# Written for {folder}. Change what you like and run: make bench PLAN=<this file> DATA={folder.parent}",
        *(f"# Mind: {remark}." for remark in found.remarks),
        f"title: {json.dumps(f'{name}, a first look')}",
        "protocol: >",
        fill(f"No published protocol. {_division(dataset)} {_size(task)}", 118, **_INDENTED),
        "datasets:",
        f"  - name: {found.dataset}",
        f"    options: {_flow(dict(found.options))}",
        f"ratios: {_flow(ratios)}",
        "methods:             # python -m benchmark list shows all",
        *(f"  - {_flow(method)}" for method in methods),
        "seeds: 2             # two seeds support no verdict; five do",
        "training:",
        "  steps: 500",
        "  labelled_batch: 4",
        "  unlabelled_batch: 4",
        "  width: 8",
        "  optimizer: adam",
        "  lr: 0.001",
        "  augment: dihedral  # every orientation; none or flip where left and right, or up and down, mean something",
        "  validations: 2",
    ]
    return "\n".join(lines) + "\n"


def _methods(task: Task) -> list[Any]:
    if "dense" not in task.annotations:
        plain = list(SCRIBBLE)
    else:
        plain = [*SEMI, *(SCRIBBLE if "scribble" in task.annotations else ())]
    return [{"name": m, "hyper": STANDARDISED[m]} if task.unit == "mm" and m in STANDARDISED else m for m in plain]


def _ratios(folder: Path, dataset: Dataset, dense: bool) -> list[float]:
    """Shares that leave two labelled groups and an unlabelled one; all of them where there are scribbles only."""
    try:
        part = dataset.partition(1)
    except ValueError as error:
        raise ConfigError(f"{folder}: too few images or patients: {error}") from error
    training = len(part.train) - (0 if part.val else max(1, round(0.1 * len(part.train))))
    if training < 3:
        raise ConfigError(
            f"{folder}: {training} training image(s) or patient(s) are left after test and validation; 3 are the least"
        )
    if not dense:
        return [1.0]
    fitting = [share for share in SHARES if round(share * training) >= 2]
    return fitting or [round(2 / training, 3)]


def _division(dataset: Dataset) -> str:
    part = dataset.partition(1)
    counts = f"{len(part.train)} groups train, {len(part.test)} test"
    if dataset.folds == 1:
        return f"The folder's own division: {counts}."
    return f"Fold 1 of {dataset.folds}: {counts}."


def _size(task: Task) -> str:
    sides = "x".join(map(str, task.patch))
    return (
        f"U-Net of width 8 on {sides}, Adam 1e-3, 500 steps of 4 labelled images, a size for two cores: enough to see "
        f"what runs, too little to rank methods. Scored on the native grid, in {task.unit}, with the last weights."
    )


def _flow(value: Any) -> str:
    """YAML on one line: JSON is YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
