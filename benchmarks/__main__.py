"""Every speed script of this folder, one after the other: ``make speed``. Each prints ratios measured in one run."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def scripts() -> list[str]:
    """The scripts, sorted: the modules of this folder."""
    return sorted(m.name for m in pkgutil.iter_modules([str(FOLDER)]) if not m.name.startswith("_") and not m.ispkg)


def main() -> int:
    """Run each in a process of its own; the number of those that failed."""
    failed = 0
    for name in scripts():
        print(f"== {name}", flush=True)
        failed += (
            subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=False).returncode != 0
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
