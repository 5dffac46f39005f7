"""A lease file with a heartbeat: two runners on one results folder never compute the same cell at the same time."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import psutil

STALE_SECONDS = 120.0
"""A lease of another host whose heartbeat is older than this is taken over."""


class Lease:
    """The right to run one cell. Take it, keep its heartbeat, release it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lease.json"

    def take(self) -> bool:
        """Whether the cell is ours now. A lease whose owner is dead or silent is taken over."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            try:
                handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                if self.alive():
                    return False
                self._path.unlink(missing_ok=True)
                continue
            owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}
            with os.fdopen(handle, "w") as file:
                json.dump(owner, file)
            return True
        return False

    def alive(self) -> bool:
        """Whether somebody holds this lease and still lives: by process on this host, by heartbeat on another."""
        try:
            owner = json.loads(self._path.read_text())
            age = time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return False
        except json.JSONDecodeError:
            return time.time() - self._path.stat().st_mtime < 10  # being written right now, or damaged
        if owner["host"] != socket.gethostname():
            return age < STALE_SECONDS
        try:
            return abs(psutil.Process(owner["pid"]).create_time() - owner["born"]) < 1
        except psutil.NoSuchProcess:
            return False

    def beat(self) -> None:
        """Say that the owner lives."""
        if self._path.exists():
            os.utime(self._path)

    def release(self) -> None:
        """Give the cell up."""
        self._path.unlink(missing_ok=True)
