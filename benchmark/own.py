"""Somebody's own folder of images as a benchmark: a plan is written for it, to be read, changed and run again."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from textwrap import fill
from typing import Any

import datasets
from datasets.base import DataError, Dataset
from datasets.files import atomic_write
from datasets.guess import Guess, guess
from datasets.types import Task

from . import plan_file
from .config import ConfigError, from_mapping
from .examined import Say, examine, recall, remember
from .plan import DataEntry, resolve_options
from .prepare import Places

SHARES = (0.05, 0.2, 0.5)
"""Labelled shares of the plan, where they leave two labelled groups or more and an unlabelled one."""
SEMI = ("mean_teacher", "cps", "bcp")
SCRIBBLE = ("pce_gated_crf", "wsl4mis")
STANDARDISED = {"pce_gated_crf": {"sigma_intensity": 0.5}}
"""Settings for images of mean 0 and standard deviation 1, where the default supposes values in [0, 1]."""

FOLDER_OPTION = {"image_folder": "folder", "nnunet": "folder", "msd": "task_folder"}
"""Datasets that are found in a folder, and the option that names it."""
_INDENTED: Any = {"initial_indent": "  ", "subsequent_indent": "  "}


def located(folder: Path) -> Path:
    """The absolute path of a folder, without ``..``, links as they are."""
    return Path(os.path.abspath(folder.expanduser()))


def plan_for(folder: Path, places: Places, say: Say = lambda line: None) -> tuple[Path, tuple[str, ...]]:
    """The plan of a folder: written anew, or as it is where it was written before (a person may have changed it).

    Every case is read and the parts of every fold are compared before a plan is written or used again; that is
    remembered in the cache until a file or an option changes.

    Args:
        folder: images and masks, or an nnU-Net or decathlon folder.
        places: the plan goes to ``<results>/plans/``.
        say: hears how far it is.

    Returns:
        The plan's path and remarks for the reader.

    Raises:
        DataError: the folder has no known layout, a file in it is wrong, an image is on two sides of a split, or
            the options of its plan no longer fit it.
        ConfigError: there are too few images; or the plan of its name does not say whose it is.
    """
    folder = located(folder)
    path, notes = _place(folder, places.results / "plans")
    if path.is_file():
        return path, (*notes, *_again(path, folder, places, say))
    found = guess(folder)
    cls = datasets.get(found.dataset)
    options: Any = from_mapping(cls.Options, found.options, f"dataset {found.dataset}: options")
    dataset = cls(folder.parent, options)
    _amounts(folder, dataset, "dense" in dataset.task.annotations)  # too few images are no fault of any file
    remarks = (*found.remarks, *examine(dataset, folder, say))
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, _text(path.stem, folder, Guess(found.dataset, found.options, remarks), dataset).encode())
    remember(dataset, places, remarks)
    return path, (*notes, *remarks)


def _place(folder: Path, plans: Path) -> tuple[Path, tuple[str, ...]]:
    """Where the plan of a folder is or will be, and a remark where another folder has taken its name.

    Raises:
        ConfigError: there is a plan of this name that does not say which folder it is for.
    """
    digest = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=3).hexdigest()
    name = re.sub(r"[^A-Za-z0-9_-]", "_", folder.name)
    name = name if re.search(r"[A-Za-z0-9]", name) else f"images_{digest}"
    path = plans / f"{name}.yaml"
    apart = plans / f"{name}_{digest}.yaml"
    if apart.is_file() or not path.is_file():
        return (apart if apart.is_file() else path), ()
    owner = plan_file.load(str(path)).images
    if owner is None:
        line = f"images: {json.dumps(str(folder), ensure_ascii=False)}"
        raise ConfigError(
            f"{path}: does not say which folder it was written for. If it is for this one, add the line {line}; else "
            "rename or delete the plan, or choose another folder of results (--results)"
        )
    if located(Path(owner)).resolve() == folder.resolve():
        return path, ()
    return apart, (
        f"the plan {path} is for another folder of this name, {owner}, and is left alone; if that one was moved here, "
        f"write the new path after images in that plan and delete {apart}",
    )


def _again(path: Path, folder: Path, places: Places, say: Say) -> tuple[str, ...]:
    """Remarks on a plan that was there already, after a look at whether its options still fit the folder."""
    kept = "the plan was there already and is used as it is; delete it to have it written anew"
    try:
        return (kept, *(words for entry in _entries(path, folder) for words in _fit(entry, folder, places, say)))
    except DataError as error:
        raise DataError(
            f"{path}: its options no longer fit {folder}: {error}. Mend the files, change the options in the plan, or "
            "delete the plan to have it written anew"
        ).of(error.kind) from error


def _entries(path: Path, folder: Path) -> list[DataEntry]:
    """What a plan reads in the folder."""
    plan = plan_file.load(str(path))
    options = [FOLDER_OPTION.get(entry.name) for entry in plan.datasets]
    mine = [e for e, o in zip(plan.datasets, options, strict=True) if o and e.options.get(o) == folder.name]
    if not mine:
        raise ConfigError(
            f"{path}: no dataset of this plan reads the folder {folder}; put {folder.name} into its options, run it "
            f"with make bench PLAN={path}, or delete it to have it written anew"
        )
    return mine


def _fit(entry: DataEntry, folder: Path, places: Places, say: Say) -> tuple[str, ...]:
    dataset = datasets.get(entry.name)(folder.parent, resolve_options(entry))
    known = recall(dataset, places)
    if known is not None:
        return known
    found = guess(folder, entry.options)
    if found.dataset != entry.name:
        raise DataError(f"it is a folder for the dataset {found.dataset}, the plan reads it as {entry.name}")
    there, stated = found.options.get("colour"), entry.options.get("colour", "rgb")
    other = (f"the plan says colour: {stated}, the images are {there}",) if there and there != stated else ()
    remarks = (*found.remarks, *other, *examine(dataset, folder, say))
    remember(dataset, places, remarks)
    return remarks


def _text(name: str, folder: Path, found: Guess, dataset: Dataset) -> str:
    """The plan as YAML, with a comment wherever a person may want to change something."""
    task = dataset.task
    key, amounts = _amounts(folder, dataset, "dense" in task.annotations)
    methods = _methods(task)
    lines = [
        f"# Written for {folder}. Change what you like and run: make bench PLAN=<this file> DATA={folder.parent}",
        *(f"# Mind: {remark}." for remark in found.remarks),
        f"# When this was written: {_sizes(dataset)}.",
        f"images: {json.dumps(str(folder), ensure_ascii=False)}  # the folder that this plan is for",
        f"title: {json.dumps(f'{name}, a first look')}",
        "protocol: >",
        fill(_protocol(dataset), 118, **_INDENTED),
        "datasets:",
        f"  - name: {found.dataset}",
        f"    options: {_flow(dict(found.options))}",
        f"{key}: {_flow(amounts)}" + ("  # groups; the last is all that have labels" if key == "labelled" else ""),
        "methods:             # python -m benchmark list shows all",
        *(f"  - {_flow(method)}" for method in methods),
        "seeds: 2             # two seeds support no verdict; five do",
        "# A size for two cores: enough to see what runs, too little to rank methods",
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


def _amounts(folder: Path, dataset: Dataset, dense: bool) -> tuple[str, list[float] | list[int]]:
    """Shares that leave two labelled groups and an unlabelled one, or where cases lack labels how many of the others.

    With scribbles only, all of them.
    """
    bare = dataset.unannotated("dense" if dense else "scribble")
    known = {group for key, group in dataset.groups().items() if key not in bare}
    try:
        parts = [dataset.partition(fold) for fold in range(1, dataset.folds + 1)]
    except DataError:
        raise
    except ValueError as error:  # of k_fold
        raise ConfigError(f"{folder}: too few images or patients: {error}") from error
    able = min(len(known.intersection(part.train)) for part in parts)
    training = able - (0 if parts[0].val else max(1, round(0.1 * able)))
    least = 2 if bare else 3
    if training < least:
        raise ConfigError(
            f"{folder}: {training} training image(s) or patient(s) {'with labels ' if bare else ''}are left after test "
            f"and validation; {least} are the least"
        )
    if not dense:
        return "ratios", [1.0]
    if bare:
        return "labelled", sorted({max(2, training // 2), training})
    fitting = [share for share in SHARES if round(share * training) >= 2]
    return "ratios", fitting or [round(2 / training, 3)]


def _protocol(dataset: Dataset) -> str:
    """Without numbers that the plan or the files have too: a person changes them there, and the report counts anew."""
    one = dataset.folds == 1
    division = "The folder's own division." if one else f"Folds as the plan says, of {dataset.folds} in all."
    return (
        f"No published protocol. {division} Network, patch and training are those of the plan. Scored on the native "
        f"grid, in {dataset.task.unit}, with the last weights."
    )


def _sizes(dataset: Dataset) -> str:
    part = dataset.partition(1)
    return f"{len(part.train)} groups train, {len(part.test)} test"


def _flow(value: Any) -> str:
    """YAML on one line: JSON is YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
