"""``tracked.json`` beside each record: which run of which tracker holds it, and how much of it is there already."""

from __future__ import annotations

import fcntl
import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from datasets.files import atomic_write


@dataclass(frozen=True)
class Tracked:
    """One cell at one tracker.

    Attributes:
        run_id: MLflow's id of the run.
        rows, step: how many rows of ``train.csv`` are logged, and the step of the last of them.
        final: digest of the ``record.json`` whose final numbers are logged; empty while the cell runs.
        first: digest of the first row, see `describe.first_row`; another one is of another training.
        source: hash of the method's file in that record, or in the one before while the cell runs.
    """

    run_id: str
    rows: int = 0
    step: int = -1
    final: str = ""
    first: str = ""
    source: str = ""


def load(folder: Path, tracker: str) -> Tracked | None:
    """What the tracker of that name holds of a cell; None if nothing, or if the file is damaged."""
    entry = _read(folder).get(tracker)
    try:
        return None if entry is None else Tracked(**entry)
    except TypeError:
        return None


def save(folder: Path, tracker: str, tracked: Tracked) -> None:
    """Note it, beside what other trackers hold."""
    text = json.dumps(_read(folder) | {tracker: asdict(tracked)}, indent=1, sort_keys=True)
    atomic_write(folder / "tracked.json", (text + "\n").encode())


def digest(folder: Path) -> str:
    """Digest of ``record.json``; empty where there is none."""
    try:
        return hashlib.blake2b((folder / "record.json").read_bytes(), digest_size=8).hexdigest()
    except FileNotFoundError:
        return ""


def place(plan_folder: Path) -> str:
    """Name of a results folder on this machine, so that nobody takes the runs of another one for his own."""
    text = f"{socket.gethostname()}:{plan_folder.resolve()}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


@contextmanager
def lock(path: Path, *, shared: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold a lock file; yields whether it was had. Where the file system has no locks there is nothing to wait for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(file, mode)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass  # no locks here, such as on some network file systems
        yield True


def _read(folder: Path) -> dict[str, dict]:
    try:
        found = json.loads((folder / "tracked.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
