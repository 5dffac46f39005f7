"""The runner. Run it from the repository root as ``python -m benchmark``; imports methods and datasets."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The checkout that this package lives in."""

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def _guard() -> None:
    for name in ("datasets", "methods"):
        spec = importlib.util.find_spec(name)
        origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
        if origin != ROOT / name / "__init__.py":
            raise ImportError(
                f"`import {name}` finds {origin or 'nothing'} instead of {ROOT / name}: another package of that name "
                f"comes first on the path. Run `python -m benchmark` from {ROOT}, or uninstall the other package here."
            )


try:
    _guard()
except ImportError as error:
    if sys.argv[:1] != ["-m"]:  # what Python puts there while it looks for the module of `python -m`
        raise
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)
