"""Nothing to write: the phantom is generated; small and few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth

OPTIONS: dict[str, Any] = {"patients": 8, "shape": (25, 20, 16), "patch": (16, 16, 16)}
TRUTH = {"patient001_scan1": Truth((25, 20, 16), (2.0, 2.5, 3.0))}  # a field of 50 × 50 × 48 mm
DAMAGES: dict[str, Any] = {}


def write(root: Path) -> None:
    """Procedural: no file."""


def grow(root: Path) -> dict[str, Any]:
    return OPTIONS | {"patients": 9}
