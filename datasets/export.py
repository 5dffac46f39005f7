"""Weak labels written to disk as an nnU-Net folder, which Scant's dataset ``nnunet`` and nnU-Net itself read as it is.

``labelsTr`` are the weak labels, with "ignore" where nothing is marked; ``labelsTr_dense`` those that they are made
of. Images are as the dataset's card says they are normalised: floats in NIfTI, 8 bits a channel in PNG.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataError
from .cost import SOURCE, Cost
from .types import IGNORE, Case
from .weak import Weakened

GROUP_PATTERN = "^(.+?)__"
"""Finds the patient or video in the name of a case, which is ``<group>__<case>`` where groups are not cases."""


def to_nnunet(weak: Weakened, folder: Path, *, say: Callable[[str], None] = lambda _: None) -> Cost:
    """Write every case, what its marks cost (costs.csv) and where all of it comes from (weak.json).

    A published test set becomes ``imagesTs``; several folds become ``splits_final.json``. Files of the same names are
    replaced.

    Returns:
        What all weak labels together cost.

    Raises:
        DataError: two cases would have one name, or images do not fit the file format.
    """
    groups = weak.groups()
    names = _names(groups)
    if len(set(names.values())) < len(names):
        raise DataError(f"{weak.name}: two cases would be written under one name; rename them")
    parts = [weak.partition(fold) for fold in range(1, weak.folds + 1)]
    tests = {key for key in groups if weak.folds == 1 and groups[key] in parts[0].test}
    costs: dict[str, Cost] = {}
    for number, (key, name) in enumerate(names.items(), 1):
        case = weak.check(weak.dense.load(key))
        ending = _write_images(case, folder / ("imagesTs" if key in tests else "imagesTr"), name)
        if case.label is None:
            raise DataError(f"{weak.name}: case {key!r} has no dense label; leave it out")
        if key in tests:
            _write(folder / "labelsTs" / f"{name}{ending}", case.label, case)
        else:
            marks, costs[name] = weak.simulate(case)
            ignored = np.where(marks == IGNORE, weak.task.n_classes, marks).astype(np.uint8)
            _write(folder / "labelsTr" / f"{name}{ending}", ignored, case)
            _write(folder / "labelsTr_dense" / f"{name}{ending}", case.label, case)
        if number % 20 == 0:
            say(f"{number} of {len(names)} cases")
    labels = {name: place for place, name in enumerate((*weak.task.classes, "ignore"))}
    channels = {str(place): f"channel {place}" for place in range(weak.task.channels)}
    about = {"channel_names": channels, "labels": labels, "numTraining": len(costs), "file_ending": ending}
    _json(folder / "dataset.json", about)
    if weak.folds > 1:
        folds = [({names[key] for key in groups if groups[key] in part.test}) for part in parts]
        splits = [{"train": sorted(set(costs) - held_out), "val": sorted(held_out)} for held_out in folds]
        _json(folder / "splits_final.json", splits)
    total = sum(costs.values(), Cost())
    _json(folder / "weak.json", _provenance(weak, total))
    with (folder / "costs.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, ["case", *Cost().as_json()], lineterminator="\n")
        rows.writeheader()
        rows.writerows({"case": name, **cost.as_json()} for name, cost in costs.items())
    return total


def options_of(weak: Weakened, folder: Path) -> dict[str, Any]:
    """The options under which the dataset ``nnunet`` opens what was written."""
    grouped = any(key != group for key, group in weak.groups().items())
    return {
        "folder": folder.name,
        "patch": list(weak.task.patch),
        "channels": weak.task.channels,
        "foreground": weak.task.n_classes - 1,
        "annotations": ["dense", "scribble"],
        "group_pattern": GROUP_PATTERN if grouped else "",
    }


def _names(groups: Mapping[str, str]) -> dict[str, str]:
    """Case -> its name in files."""
    plain = {key: key.replace("/", "_") for key in groups}
    if all(key == group for key, group in groups.items()):
        return plain
    return {key: f"{group.replace('/', '_')}__{plain[key]}" for key, group in groups.items()}


def _provenance(weak: Weakened, total: Cost) -> dict[str, Any]:
    return {
        "dataset": weak.name,
        "version": weak.version,
        "fingerprint": weak.dense.fingerprint(),
        "manifest": weak.manifest(),
        "licence": weak.card.licence,
        "recipe": weak.weak.canonical(),
        "cost": total.as_json(),
        "source of the minutes": SOURCE,
        "spacing": "in mm" if weak.task.unit == "mm" else "unknown: volumes say 1, which stands for a voxel",
    }


def _json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_images(case: Case, folder: Path, name: str) -> str:
    """The channels of a case; returns the ending of its files."""
    if len(case.space) == 3:
        for place, channel in enumerate(case.image):
            _write(folder / f"{name}_{place:04d}.nii.gz", channel, case)
        return ".nii.gz"
    if case.image.min() < 0 or case.image.max() > 1 or len(case.image) not in (1, 3):
        raise DataError(f"case {case.key!r}: only images of one or three channels in [0, 1] can be written as PNG")
    pixels = np.rint(255 * case.image).astype(np.uint8)
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
