"""The JSON files of an nnU-Net v2 folder: its descriptor and its folds."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ..base import DataError
from ..faults import fault
from ..io import read_json
from ..scans import ENDINGS

CONVERT = "nnUNetv2_convert_old_nnUNet_dataset <folder> Dataset<NNN>_<Name>"
"""nnU-Net's own command for a folder of its first version."""

READ = (*ENDINGS, ".png", ".bmp", ".tif", ".tiff")
"""Endings of the files that are read."""


class Descriptor(NamedTuple):
    """What dataset.json says."""

    channels: int
    classes: tuple[str, ...]
    ignore: int | None
    ending: str

    @property
    def is_scan(self) -> bool:
        """Volumes with a spacing, not photographs."""
        return self.ending in ENDINGS


def read_descriptor(path: Path) -> Descriptor:
    """Check and read dataset.json.

    Raises:
        DataError: a key is missing; labels are not numbered from 0 with "ignore" last; an unknown ending.
    """
    content = read_json(path)
    if "modality" in content and "file_ending" not in content:
        raise DataError(
            f"nnunet: {path}: describes nnU-Net v1 or the decathlon ('modality', no 'file_ending'). Convert v1 with "
            f"`{CONVERT}`; the decathlon is read as it is by the dataset msd"
        )
    absent = [key for key in ("channel_names", "labels", "file_ending") if key not in content]
    if absent:
        raise DataError(
            f"nnunet: {path}: no {absent[0]!r}; an nnU-Net v2 descriptor has channel_names, labels, file_ending"
        )
    labels, ending = content["labels"], content["file_ending"]
    if not isinstance(labels, dict) or sorted(map(str, labels.values())) != sorted(map(str, range(len(labels)))):
        raise DataError(f"nnunet: {path}: labels must be numbered 0, 1, 2, ...; regions are not read; got {labels!r}")
    names = sorted(labels, key=lambda name: int(labels[name]))
    ignore = int(labels["ignore"]) if "ignore" in labels else None
    if (
        names[0] != "background"
        or (ignore is not None and names[-1] != "ignore")
        or len(names) - ("ignore" in labels) < 2
    ):
        raise DataError(f"nnunet: {path}: background must be 0, ignore the highest number, got {labels!r}")
    if ending not in READ:
        raise DataError(f"nnunet: {path}: file_ending {ending!r} is not read here; convert to {', '.join(READ)}")
    classes = tuple(name for name in names if name != "ignore")
    return Descriptor(len(content["channel_names"]), classes, ignore, ending)


def read_folds(path: Path) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """(train, val) of every fold of splits_final.json; none where there is no such file.

    Raises:
        DataError: it is no list of objects with train and val.
    """
    if not path.is_file():
        return ()
    folds = read_json(path, list)
    if not folds or not all(isinstance(fold, dict) and {"train", "val"} <= set(fold) for fold in folds):
        raise DataError(f'nnunet: {path}: must be a list of {{"train": [..], "val": [..]}}')
    return tuple((tuple(fold["train"]), tuple(fold["val"])) for fold in folds)


def check_fold(path: Path, fold: int, listed: Collection[str], there: Collection[str]) -> None:
    """A :func:`fault` where a fold of splits_final.json and the cases of labelsTr differ.

    Args:
        path: splits_final.json.
        fold: its number, from 1.
        listed: cases that the fold names.
        there: cases with files.
    """
    absent, extra = sorted(set(listed) - set(there)), sorted(set(there) - set(listed))
    words = [f"lists {_some(absent)}, absent from labelsTr"] * bool(absent)
    words += [f"does not list {_some(extra)}, present in labelsTr"] * bool(extra)
    if words:
        found = f"nnunet: {path}: fold {fold} {' and '.join(words)}"
        fault(DataError(f"{found}; mend the list, or add or remove the files"))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
