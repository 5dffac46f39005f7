"""Which values somebody's masks hold, and whether they can be classes: what is doubtful is refused with the file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataError

MOST_CLASSES = 20
"""More distinct values than that are no label map: a photograph, or a mask that was compressed with losses."""
LEAST_SHARE = 1e-4
"""A value in a smaller share of all pixels is taken for stray pixels: 26 of four masks of 256 × 256."""
INSTANCES = 4
"""So many values or more may be numbers of objects: fewer objects than that are seldom counted."""
INTERPOLATED = 3
"""More values than that between 0 and the highest, nearly all on borders, are no classes: rims have one or two."""
ON_BORDERS = 0.9
"""Share of their pixels that touch a lower and a higher value, where masks were interpolated; corners may not."""
VOID = 255
"""Value that many sets give to pixels of no class, beside classes 0, 1, 2, ..."""
JPEG = (".jpg", ".jpeg")
CONVENTIONS = ([0, 1], [0, 255])
"""Values of two classes that need no guess."""

_STATE = "write a plan with the options classes and values, as docs/add_a_dataset.md shows"


@dataclass
class Seen:
    """Where a value was seen: how many pixels, in how many masks, and the first of them."""

    pixels: int
    files: int
    first: Path


class MaskValues:
    """The values of masks, counted while the masks pass by."""

    def __init__(self) -> None:
        self.seen: dict[int, Seen] = {}
        self._sets: list[tuple[Path, list[int]]] = []
        self._between = self._on_borders = 0

    def add(self, path: Path, mask: np.ndarray) -> None:
        """Count the values of a mask ``(h, w)``.

        Raises:
            DataError: a JPEG of other values than 0 and 1, or 0 and 255; or too many values for a label map.
        """
        values, counts = np.unique(mask, return_counts=True)
        found = values.tolist()
        if path.suffix.lower() in JPEG and not any(set(found) <= set(pair) for pair in CONVENTIONS):
            raise DataError(
                f"{path}: a JPEG mask of {len(found)} values, {_few(found)}: JPEG alters values, so only 0 and 1, or 0 "
                "and 255, are taken. Save masks as PNG from their source; or, for two classes, write a plan with the "
                "option threshold: 127, as docs/add_a_dataset.md shows"
            ).of("unknown_label")
        if len(found) > MOST_CLASSES:
            raise DataError(
                f"{path}: {len(found)} distinct values, {_few(found)}: no label map. Save one value per class without "
                "lossy compression (PNG), or, for two classes, write a plan with the option threshold: 127; objects "
                "that are numbered one by one are no classes"
            ).of("unknown_label")
        for value, count in zip(found, counts.tolist(), strict=True):
            seen = self.seen.setdefault(value, Seen(0, 0, path))
            seen.pixels, seen.files = seen.pixels + count, seen.files + 1
        self._sets.append((path, found))
        between = (mask > 0) & (mask < found[-1])
        self._between += int(between.sum())
        if between.any():
            self._on_borders += int((_on_borders(mask) & between).sum())

    def options(self, folder: Path) -> dict[str, Any]:
        """Options classes and values; two classes as 0 and 1, or 0 and 255, need none.

        Raises:
            DataError: the values are not clearly one per class; the message names a file of each value.
        """
        values = sorted(self.seen)
        if len(values) < 2:
            raise DataError(f"{folder}: every mask holds the value {values} only; there is nothing to segment").of(
                "absent_class"
            )
        if values in CONVENTIONS:
            return {}
        doubts = (
            self._interpolated, self._mixed, self._void, self._numbered, self._many, self._without_background,
            self._stray,
        )  # fmt: skip
        for doubt in doubts:
            if words := doubt():
                raise DataError(f"{folder}: {words}").of("unknown_label")
        return {"classes": ["background", *(f"value {value}" for value in values[1:])], "values": values}

    def remark(self) -> str:
        """What was read off the masks, for a person to check."""
        told = [f"{v} ({seen.files} files, {seen.pixels} pixels)" for v, seen in sorted(self.seen.items())]
        return (
            f"the classes are the values of the {len(self._sets)} masks: {', '.join(told)}; the first is taken for the "
            "background"
        )

    def _interpolated(self) -> str:
        """Masks of two classes that were resized or smoothed: steps from 0 to the highest value along all borders."""
        _, *between, top = sorted(self.seen)
        if 0 not in self.seen or len(between) <= INTERPOLATED or self._on_borders < ON_BORDERS * self._between:
            return ""
        return (
            f"values between 0 and {top} ({_few(between)}) lie on borders only (as in {self.seen[between[0]].first}): "
            "the masks were interpolated. Resize masks by nearest neighbours; or, for two classes, write a plan with "
            f"the option threshold: {top // 2}, as docs/add_a_dataset.md shows. If these are classes, {_STATE}"
        )

    def _void(self) -> str:
        *classes, last = sorted(self.seen)
        if last != VOID or classes != list(range(len(classes))) or len(classes) < 3:
            return ""
        return (
            f"{self._places([VOID])} beside 0 to {classes[-1]}, and 255 often marks pixels of no class, which would "
            f"become a class here. Write a plan with the option ignore: 255 (nothing is learnt or scored there), as "
            f"docs/add_a_dataset.md shows; or, if 255 is a class, {_STATE}"
        )

    def _mixed(self) -> str:
        if not {1, 255} <= set(self.seen) <= {0, 1, 255}:
            return ""
        return f"{self._places([1, 255])}, and either may be the foreground; use one value"

    def _numbered(self) -> str:
        """Objects numbered 1, 2, 3, ... in every mask anew: as many values as there are objects."""
        marked = [(path, [v for v in found if v]) for path, found in self._sets]
        counts = {len(found): path for path, found in marked if found}
        each_from_one = all(found == list(range(1, len(found) + 1)) for _, found in marked)
        if not each_from_one or len(counts) < 3 or max(counts) < INSTANCES:
            return ""
        least, most = min(counts), max(counts)
        return (
            f"the masks look like numbered objects, not classes: {counts[most]} holds 1 to {most}, {counts[least]} "
            f"1 to {least}. Save one value per class (every object 1, say), or, if they are classes, {_STATE}"
        )

    def _many(self) -> str:
        values = sorted(self.seen)
        if len(values) <= MOST_CLASSES:
            return ""
        first, last = self._places(values[:3]), self._places(values[-1:])
        return f"the masks hold {len(values)} distinct values in all ({first}, ..., {last}); save one per class"

    def _without_background(self) -> str:
        if 0 in self.seen:
            return ""
        return (
            f"no mask holds 0, which stands for the background: {self._places(sorted(self.seen))}. If one is, {_STATE}"
        )

    def _stray(self) -> str:
        total = sum(seen.pixels for seen in self.seen.values())
        for value, seen in sorted(self.seen.items()):
            if seen.files == 1 or seen.pixels < LEAST_SHARE * total:
                where = "no other mask does" if seen.files == 1 else f"{seen.files} masks do"
                return (
                    f"{seen.first} holds {value} ({where}, {seen.pixels} of {total} pixels): stray pixels, or a rare "
                    f"class. Mend the mask, or {_STATE}"
                )
        return ""

    def _places(self, values: Iterable[int]) -> str:
        return ", ".join(f"{self.seen[value].first} holds {value}" for value in values)


def _on_borders(mask: np.ndarray) -> np.ndarray:
    """``(h, w)`` whether a pixel has both a lower and a higher value among its eight neighbours."""
    height, width = mask.shape
    around = np.pad(mask, 1, mode="edge")
    beside = [around[y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return (np.minimum.reduce(beside) < mask) & (np.maximum.reduce(beside) > mask)


def _few(values: list[int]) -> str:
    return ", ".join(map(str, values[:6])) + (" and so on" if len(values) > 6 else "")
