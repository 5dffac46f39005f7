"""Readers of files, but for scans (``scans``): every failure becomes a DataError that names the file and what to do.

The readers are imported when first used, so that training on phantoms needs none of them.
"""

from __future__ import annotations

import csv
import json
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .base import DataError

_DEPTH = {"1": np.uint8, "L": np.uint8, "RGB": np.uint8, "I;16": np.uint16, "I;16B": np.uint16, "I": np.uint16}
"""Mode of Pillow -> type of pixels; 16-bit PNG files open as "I" in older releases."""

_OPAQUE = {"RGBA": "RGB", "LA": "L"}
"""Mode with a transparency -> the same without, which is read where all pixels are equally transparent."""

_WIDE = (";16B", ";16L", ";16N")
"""Ends of Pillow's raw modes of 16 bits per channel ("BGR;16" is 16 bits per pixel)."""

_BITS = 258
"""Number of the TIFF tag of the bits per channel: where each channel lies apart, the raw mode does not say them."""

_ORIENTATION = 274
"""Number of the EXIF tag that says how a viewer should turn an image; 1 and numbers beyond 8 say: not at all."""

COLOURS = "its colours: convert it to RGB, or to grey"
"""How a palette photograph should be saved."""
CLASSES = "one grey value per class, or the indices if they are the classes (Pillow: Image.fromarray(np.array(image)))"
"""How a palette mask should be saved."""


def read_h5(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The named arrays of an HDF5 file and the file's attributes.

    Raises:
        DataError: the file is absent, truncated or not HDF5, or lacks a required array.
    """
    import h5py

    must_exist(path)
    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in required if key not in file]
            if missing:
                raise DataError(
                    f"{path}: no array {', '.join(map(repr, missing))} in this file; it holds "
                    f"{', '.join(map(repr, file)) or 'nothing'}. Convert it to the layout that the dataset describes."
                )
            arrays = {key: np.asarray(file[key][()]) for key in dict.fromkeys((*required, *optional)) if key in file}
            return arrays, dict(file.attrs)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise damaged(path, "HDF5", error) from error


def read_h5_names(path: Path) -> frozenset[str]:
    """Names of the arrays of an HDF5 file, without reading any.

    Raises:
        DataError: the file is absent, truncated or not HDF5.
    """
    import h5py

    must_exist(path)
    try:
        with h5py.File(path, "r") as file:
            return frozenset(file)
    except (OSError, RuntimeError) as error:
        raise damaged(path, "HDF5", error) from error


def read_h5_attributes(path: Path) -> dict[str, Any]:
    """The attributes of an HDF5 file, without its arrays.

    Raises:
        DataError: the file is absent, truncated or not HDF5.
    """
    return read_h5(path, ())[1]


def write_h5(path: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, np.ndarray]) -> None:
    """Write arrays, compressed, and attributes of an HDF5 file; readers see all of it or nothing.

    Raises:
        OSError: the disk is full or not writable.
    """
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    with h5py.File(unfinished, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, compression="gzip")
        file.attrs.update(attributes)
    unfinished.replace(path)


def read_image(path: Path, *, instead: str = COLOURS) -> np.ndarray:
    """The pixels of a PNG, JPEG, BMP or TIFF file: ``(h, w)`` or ``(h, w, 3)``, uint8 or uint16; black and white: 0, 1.

    Args:
        path: the file.
        instead: how a palette image should be saved, for the message: ``COLOURS``, or ``CLASSES`` for a mask.

    Raises:
        DataError: the file is absent, truncated or no image; it has colour indices (a palette), transparency, several
            pages or floating-point pixels, which nobody can map without knowing what they mean; it has several channels
            of 16 bits; or viewers turn it.
    """
    from PIL import Image

    must_exist(path)
    try:
        with Image.open(path) as image:
            _refuse_lost_bits(path, image)
            mode, pages = image.mode, getattr(image, "n_frames", 1)
            pixels = np.array(image)
            turned = image.getexif().get(_ORIENTATION, 1)  # after the pixels: of TIFF files Pillow turns them itself
    except DataError:
        raise
    except (OSError, SyntaxError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise damaged(path, "an image", error) from error
    if mode == "P":
        indices = np.unique(pixels)[:8].tolist()
        raise DataError(
            f"{path}: a palette image (colour indices {indices}), whose numbers mean nothing by themselves; save it "
            f"with {instead}"
        ).of("palette")
    if turned in range(2, 9):
        raise DataError(
            f"{path}: viewers turn or mirror this image (EXIF orientation {turned}), and its mask may be drawn either "
            "way. Turn the pixels and drop the tag (ImageMagick: mogrify -auto-orient); or, where the mask fits "
            "the pixels as stored, drop the tag alone (exiftool -Orientation= FILE)"
        ).of("geometry")
    if mode in _OPAQUE and (pixels[..., -1] == pixels[..., -1].max()).all():
        pixels = np.ascontiguousarray(pixels[..., 0] if mode == "LA" else pixels[..., :3])
        mode = _OPAQUE[mode]
    if pages > 1 or mode not in _DEPTH or (mode == "I" and not 0 <= pixels.min() <= pixels.max() < 2**16):
        raise DataError(
            f"{path}: {pages} page(s) of mode {mode}; allowed is one page of {', '.join(_DEPTH)}, or "
            f"{' or '.join(_OPAQUE)} where nothing is transparent; convert the file"
        )
    return pixels.astype(_DEPTH[mode])


def _refuse_lost_bits(path: Path, image: Any) -> None:
    """Refuse several channels of 16 bits: Pillow keeps the high eight alone, and classes 0, 1, 2, ... become 0."""
    stated = [tile[3] if isinstance(tile[3], tuple) else (tile[3],) for tile in image.tile]  # the raw mode among others
    wide = any(isinstance(word, str) and word.endswith(_WIDE) for words in stated for word in words)
    wide = wide or max(getattr(image, "tag_v2", {}).get(_BITS, ()), default=0) > 8
    if wide and len(image.getbands()) > 1:
        raise DataError(
            f"{path}: several channels of 16 bits, of which only the high 8 could be read; allowed are several "
            "channels of 8 bits and one of 16: save it with 8 bits per channel, or as one 16-bit grey channel"
        )


def read_npz(path: Path) -> Mapping[str, np.ndarray]:
    """All arrays of a NumPy archive; none may hold Python objects.

    Raises:
        DataError: the file is absent, truncated or no archive of plain arrays.
    """
    must_exist(path)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zlib.error, zipfile.BadZipFile) as error:
        raise damaged(path, "a NumPy archive", error) from error


def read_table(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> list[dict[str, str]]:
    """The rows of a CSV file with a header line; cells are stripped, absent optional columns are "".

    Raises:
        DataError: the file is absent, is not text, lacks a column, has an unknown one, or a row of another length.
    """
    must_exist(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [row for row in csv.reader(file, strict=True) if row] or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, "CSV", error) from error
    header = [name.strip() for name in header]
    absent, unknown = set(required) - set(header), set(header) - {*required, *optional}
    if absent or unknown or len(set(header)) < len(header):
        raise DataError(
            f"{path}: columns are {header}; wanted are {', '.join(required)}, perhaps {', '.join(optional)}, each once"
        )
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise DataError(f"{path}: row {number} has {len(row)} cells, the header {len(header)}; mend the row")
    blank = dict.fromkeys(optional, "")
    return [blank | {name: cell.strip() for name, cell in zip(header, row, strict=True)} for row in rows]


def read_list(path: Path) -> tuple[str, ...]:
    """The lines of a text file without blanks, in order.

    Raises:
        DataError: the file is absent or is not text, or names something twice.
    """
    must_exist(path)
    try:
        lines = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, ValueError) as error:
        raise damaged(path, "text", error) from error
    twice = sorted({line for line in lines if lines.count(line) > 1})
    if twice:
        raise DataError(f"{path}: lists {', '.join(twice[:5])} twice; restore the published list").of("repeated_case")
    return lines


def read_json(path: Path, form: type = dict) -> Any:
    """A JSON file that holds an object, or a ``list`` where that is asked for.

    Raises:
        DataError: the file is absent, not JSON, or holds something else.
    """
    must_exist(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path, "JSON", error) from error
    if not isinstance(content, form):
        what = "object" if form is dict else form.__name__
        raise DataError(f"{path}: expected a JSON {what}, got a {type(content).__name__}")
    return content


def must_exist(path: Path) -> None:
    """Refuse a file that is not there."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; the copy is incomplete: fetch this file again").of("unpaired")


def damaged(path: Path, kind: str, error: Exception) -> DataError:
    """What to raise for a file that cannot be read as ``kind``."""
    return DataError(
        f"{path}: cannot be read as {kind} ({path.stat().st_size} bytes; {type(error).__name__}: {error}). The file is "
        "truncated or damaged: fetch it again"
    ).of("truncated")
