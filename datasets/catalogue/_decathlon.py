"""The training cases that a decathlon folder's dataset.json lists, and the files that it does not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..base import DataError
from ..faults import fault
from ..io import read_json
from ._nnunet_json import CONVERT


def read_pairs(descriptor: Path) -> Mapping[str, tuple[Path, Path | None]]:
    """Case -> image and label file of every listed training case, sorted; both exist. None: no label is listed.

    What is wrong with single files is a :func:`fault`: `verify` goes on with the cases that are whole.

    Raises:
        DataError: nothing is listed, an entry has another form, a case is listed twice, or one of its files is absent.
    """
    pairs: dict[str, tuple[Path, Path | None]] = {}
    for image, label in _listed(descriptor):
        key = image.name.removesuffix(".gz").removesuffix(".nii")
        gone = [(what, path) for what, path in (("image", image), ("label", label)) if path and not path.is_file()]
        if key in pairs:
            words = f"msd: case {key!r} is listed twice in {descriptor}; restore the published file"
            fault(DataError(words).of("repeated_case"))
        elif gone:
            words = f"msd: case {key!r}: no {gone[0][0]} file {gone[0][1]}, though dataset.json lists it"
            fault(DataError(f"{words}{_first_version(image, key) or '; fetch it'}").of("unpaired"))
        else:
            pairs[key] = (image, label)
    return dict(sorted(pairs.items()))


def unlisted(descriptor: Path) -> list[str]:
    """A sentence on the scans in imagesTr and labelsTr that dataset.json does not list; nothing where it lists all."""
    listed = {path for pair in _listed(descriptor) for path in pair}
    there = [path for kind in ("imagesTr", "labelsTr") for path in sorted((descriptor.parent / kind).glob("*.nii*"))]
    extra = [path for path in there if path not in listed and not path.name.startswith(".")]
    words = f"{len(extra)} file(s) of imagesTr and labelsTr are not listed in {descriptor} and not read"
    return [f"{words}, such as {', '.join(str(path) for path in extra[:3])}"] if extra else []


def _listed(descriptor: Path) -> list[tuple[Path, Path | None]]:
    entries = read_json(descriptor).get("training")
    if not entries:
        raise DataError(f"msd: {descriptor} lists no training case; restore the published file")
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) not in ({"image", "label"}, {"image"}):
            raise DataError(
                f'msd: {descriptor}: "training" must list {{"image": .., "label": ..}}, or {{"image": ..}} for an '
                f"unlabelled case, got {entry!r}"
            )
    folder = descriptor.parent
    return [(folder / entry["image"], folder / entry["label"] if "label" in entry else None) for entry in entries]


def _first_version(image: Path, key: str) -> str:
    """A word on nnU-Net v1, whose dataset.json lists images without the number of the channel that their names have."""
    if not image.with_name(image.name.replace(key, f"{key}_0000")).is_file():
        return ""
    return f". There is {key}_0000, so this is a folder of nnU-Net v1: convert it with `{CONVERT}` and use nnunet"
