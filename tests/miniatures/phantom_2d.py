"""Nothing to write: the phantom is generated; small and few."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import Truth

OPTIONS: dict[str, Any] = {"patients": 8, "slices": 2, "side": 32}
TRUTH = {"patient001_scan1": Truth((2, 32, 32), (8.0, 3.5, 3.5))}  # 112 mm / 32 pixels
DAMAGES: dict[str, Any] = {}


def write(root: Path) -> None:
    """Procedural: no file."""


def grow(root: Path) -> dict[str, Any]:
    return OPTIONS | {"patients": 9}
