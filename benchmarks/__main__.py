"""Every part, one after the other, each in a process of its own: ``make speed``, or ``python -m benchmarks``.

Parts that are done for this code are skipped, so an interrupted run goes on where it stood. A part that takes twice
its budget is ended.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile

from benchmark import ROOT

from .output import FULL, PARTS, QUICK, arguments_of

_PASSED_ON = ("data", "out", "repeats", "threads", "budget")
_GRACE_SECONDS = 120.0  # to start, and to end what was begun


def main() -> int:
    """Run the parts; the number of those that failed."""
    parser = arguments_of(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    options = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory(prefix="scant-speed-") as temporary:
        shared = ["--scratch", str(options.scratch or temporary)]
        shared += [f"--{name}" for name in ("quick", "again") if getattr(options, name)]
        for name in _PASSED_ON:
            if getattr(options, name) is not None:
                shared += [f"--{name}", str(getattr(options, name))]
        for part in options.only or PARTS:
            title, budget = PARTS[part]
            print(f"== {part}: {title}", flush=True)
            command = [sys.executable, "-m", f"benchmarks.{part}", *shared]
            try:
                ended = subprocess.run(
                    command, cwd=ROOT, check=False, timeout=2 * (options.budget or budget) + _GRACE_SECONDS
                ).returncode
            except subprocess.TimeoutExpired:
                print(f"{part}: ended, for it took more than twice its budget; its rows so far are kept", flush=True)
                ended = 1
            failed += [part] if ended else []
    print(f"tables: {options.out or (QUICK if options.quick else FULL)}/table.md")
    if failed:
        print(f"failed: {', '.join(failed)}; the same command tries them again")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
