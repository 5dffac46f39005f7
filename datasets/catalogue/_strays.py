"""What lies beside photographs and masks and is not read: said, so that nothing is left out silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..base import DataError
from ..faults import fault
from ..scans import ENDINGS

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
"""Endings of the files that are read."""
UNREAD = (".txt", ".csv", ".json", ".md")
"""Endings of files that may lie beside images without being one."""


def look_for_strays(name: str, *folders: Path) -> None:
    """A fault for files and folders beside the images that look like data and are not read."""
    words = [words for folder in folders for path in sorted(folder.glob("*")) if (words := _stray(path))]
    if words:
        fault(DataError(f"{name}: {first_of(words)}. Nothing is left out silently: do so, or move them elsewhere"))


def _stray(path: Path) -> str:
    """Why a file or folder is not read; "" where it is, or where nobody would miss it."""
    suffix = path.suffix.lower()
    if path.name.startswith(".") or path.name.lower() == "thumbs.db" or suffix in (*SUFFIXES, *UNREAD):
        return ""
    if path.is_dir():
        inside = any(p.is_file() and not p.name.startswith(".") for p in path.rglob("*"))
        return f"{path}/ is not looked into; move its images up" if inside else ""
    if path.name.lower().endswith(ENDINGS):
        return f"{path}: a scan, which is not read here; use csv_manifest (scans: true) or an nnU-Net folder"
    return f"{path}: {suffix or 'a file without an ending'} is not read; convert to PNG"


def first_of(sentences: Sequence[str]) -> str:
    """The first eight, and how many more there are."""
    more = f" (and {len(sentences) - 8} more)" if len(sentences) > 8 else ""
    return "; ".join(sentences[:8]) + more
