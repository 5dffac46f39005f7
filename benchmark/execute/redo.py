"""A finished record whose cell is computed again: it stays until somebody takes the cell's lease to compute it.

Which record was meant is known by its mark: one that another runner has made meanwhile is no longer it, and stays.
"""

from __future__ import annotations

from pathlib import Path

from ..record import Record, digest, read
from .lease import Lease


def mark(record: Record) -> str:
    """What tells a record from a later one of the same cell."""
    return digest(repr(record).encode())  # its text, in which a NaN equals itself


def remove(folder: Path, marked: str) -> None:
    """Remove a cell's record where it is still the marked one. The caller holds the cell's lease."""
    record = read(folder)
    if record is not None and mark(record) == marked:
        (folder / "record.json").unlink(missing_ok=True)


def take_and_remove(folder: Path, marked: str) -> None:
    """The same under a lease of its own; a cell that somebody else is at is left to them."""
    lease = Lease(folder)
    if lease.take():
        try:
            remove(folder, marked)
        finally:
            lease.release()
