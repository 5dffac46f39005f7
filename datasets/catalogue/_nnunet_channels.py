"""One file per channel, numbered _0000, _0001, ... in nnU-Net's folders: found, and none missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..base import DataError
from ..faults import fault
from ._nnunet_json import READ, Descriptor
from ._strays import first_of

_IMAGES = (*READ, ".jpg", ".jpeg", ".nhdr", ".mhd")
"""Endings of what looks like data, of which a folder holds one."""


def find_channels(folder: Path, about: Descriptor) -> dict[str, dict[int, Path]]:
    """Case -> number of the channel -> file."""
    found: dict[str, dict[int, Path]] = {}
    for path in named(folder, about.ending).values():
        case, number = split_name(path, about.ending)
        if number is None:
            fault(DataError(f"nnunet: {path} is not named <case>_0000{about.ending} or the like; rename it"))
        else:
            found.setdefault(case, {})[number] = path
    return found


def whole(folder: Path, case: str, channels: Mapping[int, Path], about: Descriptor) -> tuple[Path, ...]:
    """The channels _0000, _0001, ... in order; of photographs fewer, for one may hold several. Else a fault, and none.

    Raises:
        DataError: naming the channel that is missing, or one that dataset.json does not name.
    """
    stated = f"dataset.json names {about.channels} channel(s)"
    count = about.channels if about.is_scan else min(about.channels, max(channels) + 1)
    lost = [number for number in range(count) if number not in channels]
    extra = [path for number, path in channels.items() if number >= about.channels]
    if lost:
        words = f"no file {channel_file(folder, case, lost[0], about)}, though {stated}; add it"
        fault(DataError(f"nnunet: {words}").of("unpaired"))
    elif extra:
        fault(DataError(f"nnunet: {extra[0]}: {stated}, from _0000; name the channel there, or remove the file"))
    return () if lost or extra else tuple(channels[number] for number in sorted(channels))


def channel_file(folder: Path, case: str, channel: int, about: Descriptor) -> Path:
    """Where a channel of a case lies."""
    return folder / f"{case}_{channel:04d}{about.ending}"


def split_name(path: Path, ending: str) -> tuple[str, int | None]:
    """The case and the number of the channel in a file's name; None where it has none."""
    name = path.name.removesuffix(ending)
    found = re.fullmatch(r"(.+)_(\d{4})", name)
    return (found[1], int(found[2])) if found else (name, None)


def named(folder: Path, ending: str) -> Mapping[str, Path]:
    """File name without its ending -> path, sorted; a fault for images that end otherwise, which are not read."""
    alike = sorted(p for p in folder.glob("*") if p.name.lower().endswith(_IMAGES) and not p.name.startswith("."))
    strays = [f"{path} is not read" for path in alike if not path.name.endswith(ending)]
    if strays:
        words = f"nnunet: {first_of(strays)}: dataset.json says file_ending {ending!r}"
        fault(DataError(f"{words}. Nothing is left out silently: convert to {ending}, or move them elsewhere"))
    found = {p.name.removesuffix(ending): p for p in folder.glob(f"*{ending}") if not p.name.startswith(".")}
    return dict(sorted(found.items()))
