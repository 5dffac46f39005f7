"""Weak labels written to disk as an nnU-Net folder, which Scant's dataset ``nnunet`` and nnU-Net itself read as it is.

``labelsTr`` are the weak labels, with "ignore" where nothing is marked; ``labelsTr_dense`` those that they are made
of. Images are as the dataset's card says they are normalised: floats in NIfTI; in PNG 8 bits a channel, or 16 where 8
would not give the image back, one file per channel.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .axes import slices_first, stored_slices_first
from .base import DataError, Partition
from .cost import SOURCE, Cost
from .io import read_json
from .types import IGNORE, Case
from .weak import Weakened

GROUP_PATTERN = "^(.+?)__"
"""Finds the patient or video in the name of a case, which is ``<group>__<case>`` where groups are not cases."""

LOSSLESS = 1e-6
"""Rounding of float32 in [0, 1]; a level of 16 bits that is none of 8 is 1.5e-5 away from it."""


def to_nnunet(weak: Weakened, folder: Path, *, say: Callable[[str], None] = lambda _: None) -> Cost:
    """Write every case, what its marks cost (costs.csv) and where all of it comes from (weak.json).

    A published test set becomes ``imagesTs``; several folds, or a published validation set, ``splits_final.json``. The
    folder appears when all is written, so that a case that is refused leaves none behind. A folder of the same labels
    is written again.

    Returns:
        What all weak labels together cost.

    Raises:
        DataError: two cases would have one name, images do not fit the file format, or the folder holds something else.
    """
    groups = weak.groups()
    names = _names(groups)
    if len(set(names.values())) < len(names):
        raise DataError(f"{weak.name}: two cases would be written under one name; rename them")
    origin = _origin(weak)
    _must_be_free(folder, origin)
    parts = [weak.partition(fold) for fold in range(1, weak.folds + 1)]
    published = set(parts[0].test) if all(set(part.test) == set(parts[0].test) for part in parts) else set()
    tests = {key for key, group in groups.items() if group in published}
    if parts[0].val and not tests:
        say("no case tests: where Scant opens the folder as nnunet, the validation cases do")
    with _unfinished(folder) as draft:
        costs, ending = _write_cases(weak, names, tests, draft, say)
        total = sum(costs.values(), Cost())
        _write_tables(weak, names, costs, draft, ending)
        if folds := _folds(parts, groups, names, tests):
            _json(draft / "splits_final.json", folds)
        _json(draft / "weak.json", origin | _provenance(weak, total))
    return total


def options_of(weak: Weakened, folder: Path) -> dict[str, Any]:
    """The options under which the dataset ``nnunet`` opens what was written."""
    grouped = any(key != group for key, group in weak.groups().items())
    return {
        "folder": folder.name,
        "patch": list(weak.task.patch if stored_slices_first(weak.task) else weak.task.patch[::-1]),
        "channels": weak.task.channels,
        "foreground": weak.task.n_classes - 1,
        "annotations": ["dense", "scribble"],
        "group_pattern": GROUP_PATTERN if grouped else "",
    }


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    """A hidden folder beside ``folder``, whose files go there at the end, and nowhere after an error."""
    folder = folder.absolute()
    draft = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    draft.mkdir(parents=True)
    try:
        yield draft
        folder.mkdir(exist_ok=True)
        (draft / "weak.json").replace(folder / "weak.json")  # first: it says whose folder this is
        shutil.copytree(draft, folder, copy_function=os.replace, dirs_exist_ok=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_cases(
    weak: Weakened, names: Mapping[str, str], tests: Collection[str], folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, Cost], str]:
    """Name of every training case -> what its marks cost; and the ending of the files."""
    costs: dict[str, Cost] = {}
    for number, (key, name) in enumerate(names.items(), 1):
        case = weak.check(weak.dense.load(key))
        if case.label is None:
            raise DataError(f"{weak.name}: case {key!r} has no dense label; leave it out")
        if (case.label == IGNORE).any():
            raise DataError(f"{weak.name}: case {key!r} has pixels of no class, which cannot be written; leave it out")
        marks, cost = (None, None) if key in tests else weak.simulate(case)
        case = slices_first(replace(case, scribble=marks), weak.task)
        assert case.label is not None
        ending = _write_images(case, folder / ("imagesTs" if key in tests else "imagesTr"), name)
        if key in tests:
            _write(folder / "labelsTs" / f"{name}{ending}", case.label, case)
        else:
            assert case.scribble is not None
            assert cost is not None
            costs[name] = cost
            ignored = np.where(case.scribble == IGNORE, weak.task.n_classes, case.scribble).astype(np.uint8)
            _write(folder / "labelsTr" / f"{name}{ending}", ignored, case)
            _write(folder / "labelsTr_dense" / f"{name}{ending}", case.label, case)
        if number % 20 == 0:
            say(f"{number} of {len(names)} cases")
    return costs, ending


def _write_tables(
    weak: Weakened, names: Mapping[str, str], costs: Mapping[str, Cost], folder: Path, ending: str
) -> None:
    """What nnU-Net reads beside the files of the cases, and costs.csv."""
    labels = {name: place for place, name in enumerate((*weak.task.classes, "ignore"))}
    channels = {str(place): f"channel {place}" for place in range(weak.task.channels)}
    about = {"channel_names": channels, "labels": labels, "numTraining": len(costs), "file_ending": ending}
    _json(folder / "dataset.json", about)
    with (folder / "costs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, ["case", *Cost().as_json()], lineterminator="\n")
        rows.writeheader()
        rows.writerows({"case": name, **cost.as_json()} for name, cost in costs.items())


def _folds(
    parts: Sequence[Partition], groups: Mapping[str, str], names: Mapping[str, str], tests: Collection[str]
) -> list[dict[str, list[str]]]:
    """The content of splits_final.json: what each fold tests, or validates on where the test set is one; else nothing.

    Args:
        parts: one a fold.
        groups, names: case -> its group, its name in files.
        tests: cases of imagesTs.
    """
    one = bool(tests) or len(parts) == 1
    if one and not any(part.val for part in parts):
        return []
    known = {names[key] for key in groups if key not in tests}
    folds = [{names[key] for key in groups if groups[key] in (part.val if one else part.test)} for part in parts]
    return [{"train": sorted(known - held_out), "val": sorted(held_out)} for held_out in folds]


def _names(groups: Mapping[str, str]) -> dict[str, str]:
    """Case -> its name in files."""
    plain = {key: key.replace("/", "_") for key in groups}
    if all(key == group for key, group in groups.items()):
        return plain
    return {key: f"{group.replace('/', '_')}__{plain[key]}" for key, group in groups.items()}


def _origin(weak: Weakened) -> dict[str, Any]:
    """What the labels are made of, and how: equal for equal folders."""
    return {
        "dataset": weak.name,
        "version": weak.version,
        "options": asdict(weak.options),
        "fingerprint": weak.dense.fingerprint(),
        "recipe": weak.weak.canonical(weak.task.ndim),
    }


def _must_be_free(folder: Path, origin: Mapping[str, Any]) -> None:
    """Refuse a folder with anything in it, unless its weak.json says that it is the same."""
    if not folder.exists() or not any(folder.iterdir()):
        return
    path, wanted = folder / "weak.json", json.loads(json.dumps(origin, default=str))
    there = read_json(path) if path.is_file() else {}
    other = [
        f"{name} {there.get(name)} there, {value} now" for name, value in wanted.items() if there.get(name) != value
    ]
    if other:
        why = f"its weak.json names another: {'; '.join(other)}" if there else "has no weak.json"
        raise DataError(f"{folder}: is not empty and {why}. Both would be mixed: choose another folder, or remove it")


def _provenance(weak: Weakened, total: Cost) -> dict[str, Any]:
    return {
        "manifest": weak.manifest(),
        "licence": weak.card.licence,
        "cost": total.as_json(),
        "source of the minutes": SOURCE,
        "spacing": "in mm" if weak.task.unit == "mm" else "unknown: volumes say 1, which stands for a voxel",
    }


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def _write_images(case: Case, folder: Path, name: str) -> str:
    """The channels of a case; returns the ending of its files."""
    if len(case.space) == 3:
        for place, channel in enumerate(case.image):
            _write(folder / f"{name}_{place:04d}.nii.gz", channel, case)
        return ".nii.gz"
    if case.image.min() < 0 or case.image.max() > 1 or len(case.image) not in (1, 3):
        raise DataError(f"case {case.key!r}: only images of one or three channels in [0, 1] can be written as PNG")
    levels = np.rint(255 * case.image)
    if np.abs(levels / 255 - case.image).max() > LOSSLESS:
        for place, channel in enumerate(np.rint(65535 * case.image.astype(np.float64)).astype(np.uint16)):
            _write(folder / f"{name}_{place:04d}.png", channel, case)
        return ".png"
    pixels = levels.astype(np.uint8)
    _write(folder / f"{name}_0000.png", np.moveaxis(pixels, 0, 2) if len(pixels) == 3 else pixels[0], case)
    return ".png"


def _write(path: Path, array: np.ndarray, case: Case) -> None:
    """One file, all or nothing; volumes with axes (z, y, x), as ``nnunet`` and most pipelines of slices read them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    if len(case.space) == 3:
        import nibabel

        sizes = (case.spacing or (1.0, 1.0, 1.0))[::-1]
        image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), np.diag([*sizes, 1.0]))
        image.header.set_xyzt_units("mm" if case.spacing else "unknown")
        nibabel.save(image, unfinished)
    else:
        from PIL import Image

        Image.fromarray(array).save(unfinished, format="PNG")
    unfinished.replace(path)
