"""What a trial of a study is while it runs, what its log says of its end, and who may run a study: one process."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .execute.child import FAULTS
from .execute.lease import Lease
from .preflight import NotReady
from .studies import Study

_NO_MEMORY = re.compile(
    r"^(?:[\w.]*MemoryError\b|[\w.]*Error: .*(?:out of memory|can't allocate memory|_ALLOC_FAILED))", re.MULTILINE
)
"""How a traceback ends that was for want of memory, on a GPU or a CPU."""

_FAULT = re.compile(rf"^OSError: (\[Errno (?:{'|'.join(str(int(code)) for code in sorted(FAULTS))})\].*)", re.MULTILINE)
"""How one ends that was for a fault of the machine."""

NO_MEMORY = "out of memory"


@dataclass
class Trial:
    """One setting while it runs or waits."""

    study: Study
    handle: Any
    number: int
    folder: Path
    params: dict[str, Any]
    process: Any = None
    pipe: Any = None
    values: dict[int, float] | None = None
    sealed: str = ""
    device: str | None = None
    fault: str = ""
    """The machine's, as the worker told it: on a full disk, its log has no room for it."""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def no_fault_of_its_own(self) -> str:
        """What ended it without saying anything of its setting: memory, which others used, the machine, or a signal.

        Empty: nothing of the kind.
        """
        if self.process.exitcode <= 0:
            return "killed" if self.process.exitcode < 0 else ""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            text = ""
        if _NO_MEMORY.search(text):
            return NO_MEMORY
        found = _FAULT.search(text.rpartition("Traceback (most recent call last):")[2])
        return self.fault or (found[1] if found else "")


def clear(folder: Path) -> None:
    """Remove the weights that an ended trial leaves, also half-written ones: none is resumed. Curves and log stay."""
    for path in (folder / "checkpoint.pt", *folder.glob("snapshot-*.pt"), *folder.glob(".*.pt.*")):
        with contextlib.suppress(OSError):
            path.unlink()


@contextlib.contextmanager
def alone(study: Study, root: Path) -> Iterator[None]:
    """Hold the lease of a study for as long as the block lasts.

    Raises:
        NotReady: another process has it; with which, and what to do.
    """
    folder = root / "leases" / study.id
    lease = Lease(folder)
    if not lease.take():
        raise NotReady(
            f"{study.name} is being tuned by {_holder(folder)}; wait for it, or end it, and start again: finished "
            "trials are kept"
        )
    with lease.kept():
        yield


def _holder(folder: Path) -> str:
    try:
        owner = json.loads((folder / "lease.json").read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


def short(params: Mapping[str, Any]) -> str:
    """A setting for one line."""
    return ", ".join(f"{k.split('.', 1)[1]}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in params.items())
