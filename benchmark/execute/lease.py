"""A lease file with a heartbeat: two runners on one results folder never compute the same cell at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

STALE_SECONDS = 120.0
"""A lease of another host whose heartbeat is older than this is taken over."""

BEAT_SECONDS = 10.0

WRITING_SECONDS = 10.0
"""A lease file without an owner in it is one that is being written, for this long; then it is a damaged one."""


class Lease:
    """The right to run one cell. Take it, keep its heartbeat, release it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lease.json"
        self._owner: dict[str, Any] = {}

    def take(self) -> bool:
        """Whether the cell is ours now. A lease whose owner is dead or silent is taken over."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._one_taker():
            if self.alive():
                return False
            self._path.unlink(missing_ok=True)
            owner = {"host": socket.gethostname(), "pid": os.getpid(), "born": psutil.Process().create_time()}
            self._owner = owner | {"taken": uuid.uuid4().hex}
            try:
                self._create(json.dumps(self._owner))
            except FileExistsError:
                return False
            return True

    def alive(self) -> bool:
        """Whether somebody holds this lease and still lives: by process on this host, by heartbeat on another."""
        try:
            owner, age = self._read(), time.time() - self._path.stat().st_mtime
        except FileNotFoundError:
            return False
        if owner is None:
            return age < WRITING_SECONDS
        if owner["host"] != socket.gethostname():
            return age < STALE_SECONDS
        try:
            return abs(psutil.Process(owner["pid"]).create_time() - owner["born"]) < 1
        except psutil.NoSuchProcess:
            return False

    def beat(self) -> None:
        """Say that the owner lives."""
        with contextlib.suppress(FileNotFoundError):
            if self._ours():
                os.utime(self._path)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the lease that was taken alive for as long as the block lasts, then release it."""
        over = threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_SECONDS):
                self.beat()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.release()

    def release(self) -> None:
        """Give the cell up. A lease that somebody else took over meanwhile is left alone."""
        if self._ours():
            self._path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove a lease whose owner is gone, as one that was killed just after its record was written."""
        if self._path.exists():
            with self._one_taker():
                if not self.alive():
                    self._path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _one_taker(self) -> Iterator[None]:
        """A lock, for two takers may find the same dead lease, and one would remove what the other just made."""
        with self._path.with_name(".lease.lock").open("w") as guard:
            with contextlib.suppress(OSError):  # a file system without locks: the window stays, and is short
                fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _create(self, content: str) -> None:
        """The file, whole at once: whoever is killed meanwhile must not leave an empty one, which nobody may take."""
        draft = self._path.with_name(f".lease.{self._owner['taken']}")
        try:
            draft.write_text(content)
            try:
                os.link(draft, self._path)
            except OSError:  # a file system without hard links; or there is a lease already, which "x" says as well
                with self._path.open("x") as file:
                    file.write(content)
        finally:
            draft.unlink(missing_ok=True)

    def _ours(self) -> bool:
        try:
            return bool(self._owner) and self._read() == self._owner
        except FileNotFoundError:
            return False

    def _read(self) -> dict[str, Any] | None:
        """What the file says; None while it is being written, or damaged."""
        try:
            owner = json.loads(self._path.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError):
            return None
        return owner if isinstance(owner, dict) and {"host", "pid", "born"} <= set(owner) else None
