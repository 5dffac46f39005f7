"""The table of a CSV manifest, checked: every row a case, every file there, every part a known one."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..base import DataError
from ..faults import fault
from ..io import read_table
from ..scans import Volume
from ._images import map_values, read_mask
from ._volumes import read_zyx, same_grid

FILES = ("image", "label", "scribble")
PARTS = ("train", "val", "test")
_NAMES = ("case", "group", "stratum")
_GIVES = {"dense": "label", "scribble": "scribble"}


def read_rows(table: Path, annotations: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
    """Case -> its row, sorted by case.

    Args:
        table: the CSV file; paths in it are relative to its folder, and stay below it.
        annotations: what training rows give, and rows of no part a label too; or nothing: such train unlabelled in
            every fold. Others need a label.

    Raises:
        DataError: naming the case and what is wrong with its row.
    """
    rows: dict[str, Mapping[str, str]] = {}
    strata: dict[str, str] = {}
    drawn: dict[str, str] = {}
    given = [_composed(r) for r in read_table(table, (*_NAMES[:2], *FILES[:2]), (FILES[2], "part", _NAMES[2]))]
    divided = any(row["part"] for row in given)
    for row in given:
        where = f"csv_manifest: case {row['case']!r} in {table}"
        if not row["case"] or not row["group"] or not row["image"]:
            raise DataError(f"{where}: case, group and image must not be empty, got {row}")
        if row["case"] in rows:
            raise DataError(f"{where}: listed twice; remove one row").of("repeated_case")
        if divided and row["part"] not in PARTS:
            raise DataError(f"{where}: part must be {', '.join(PARTS)} in every row or in none, got {row['part']!r}")
        training = row["part"] in ("", "train")
        wanted = {_GIVES[kind] for kind in annotations} if training else set()
        wanted |= {"label"} if not row["part"] or not training else set()
        absent = sorted(kind for kind in wanted if not row[kind])
        if absent and (not training or row["label"] or row["scribble"]):
            raise DataError(
                f"{where}: no {absent[0]}; training rows give {' and '.join(_GIVES[kind] for kind in annotations)}, as "
                "the option annotations says, or neither label nor scribble; others a label. Mend the row or the option"
            ).of("unpaired")
        extra = sorted(kind for kind in FILES[1:] if row[kind] and training and kind not in wanted)
        if extra:
            raise DataError(f"{where}: gives a {extra[0]}, which the option annotations ({annotations}) does not say")
        for kind in FILES:
            if os.path.isabs(row[kind]) or os.path.normpath(row[kind]).split(os.sep)[0] == os.pardir:
                raise DataError(
                    f"{where}: column {kind} must be a path below {table.parent}, relative to it, got {row[kind]!r}; "
                    "move or link the file there, and mend the row"
                )
        gone = [kind for kind in FILES if row[kind] and not (table.parent / row[kind]).is_file()]
        if gone:
            fault(DataError(f"{where}: no {gone[0]} file {table.parent / row[gone[0]]}; mend the row").of("unpaired"))
            continue
        twice = _used_twice(row, drawn)
        if twice:
            fault(DataError(f"{where}: {twice}").of("unpaired"))
            continue
        rows[row["case"]] = row
        if row["stratum"] != strata.setdefault(row["group"], row["stratum"]):
            raise DataError(f"{where}: group {row['group']!r} has two strata; a group belongs to one")
    if not rows:
        raise DataError(f"csv_manifest: {table} lists no case; add a row for each")
    return dict(sorted(rows.items()))


def _composed(row: Mapping[str, str]) -> Mapping[str, str]:
    """A row whose names are equal where they look equal: Unicode writes ü as one character or as two."""
    return {column: unicodedata.normalize("NFC", cell) if column in _NAMES else cell for column, cell in row.items()}


def _used_twice(row: Mapping[str, str], drawn: dict[str, str]) -> str:
    """What is wrong with a row that names a file twice, or a label or scribble of another row; else "".

    Args:
        row: of the table.
        drawn: label or scribble file -> case that uses it; the row's own are added.
    """
    paths = {kind: os.path.normpath(row[kind]) for kind in FILES if row[kind]}
    if len(set(paths.values())) < len(paths):
        return f"{', '.join(paths)} must be different files, got {', '.join(paths.values())}; mend the row"
    for kind in FILES[1:]:
        other = drawn.setdefault(paths[kind], row["case"]) if kind in paths else row["case"]
        if other != row["case"]:
            return (
                f"{kind} file {paths[kind]} is also that of case {other!r}; mend the row, or copy the file where both "
                "images truly share it"
            )
    return ""


def read_map(
    root: Path, name: str, scan: Volume | None, codes: Mapping[int, int], classes: Sequence[str]
) -> np.ndarray | None:
    """The label map in a cell of the table, on the grid of the scan where there is one; None where nothing is given."""
    if not name:
        return None
    path = root / name
    if scan is None:
        return read_mask(path, codes, classes)
    stored = read_zyx(name, path)
    same_grid(name, scan, stored, path)
    return map_values(stored.voxels, codes, classes, str(path))
