"""A lease file with a heartbeat: two runners on one results folder never compute the same cell at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from ..pulse import meanwhile

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
            self._owner = owner | _birth(os.getpid()) | _space() | {"taken": uuid.uuid4().hex}
            try:
                self._create(json.dumps(self._owner))
            except FileExistsError:
                return False
            return True

    def alive(self) -> bool:
        """Whether somebody holds this lease and still lives: by process on this host, by heartbeat elsewhere."""
        try:
            owner, age = self._read(), self._age()
        except FileNotFoundError:
            return False
        if owner is None:
            return age < WRITING_SECONDS
        # of another boot: before a restart, or on another machine that has the same name
        if owner["host"] != socket.gethostname() or owner.get("boot", _boot()) != _boot():
            return age < STALE_SECONDS
        # of another container on this machine: its process numbers mean other processes here, or none
        if "space" in owner and owner["space"] != _space().get("space"):
            return age < STALE_SECONDS
        return _lives(owner)

    def beat(self) -> bool:
        """Say that the owner lives; False where the lease is gone or somebody else's: the work on it must end."""
        try:
            if self._read() != self._owner:
                return False
            os.utime(self._path)
        except FileNotFoundError:
            return False
        except OSError:  # a file system that does not answer says nothing about whose the lease is
            return True
        return True

    @contextlib.contextmanager
    def kept(self, lost: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Keep the lease that was taken alive for as long as the block lasts, then release it.

        ``lost`` is called once, by another thread, when the lease is found to be ours no more.
        """

        def beat() -> bool:
            ours = self.beat()
            if not ours:
                lost()
            return ours

        try:
            with meanwhile(beat, BEAT_SECONDS):
                yield
        finally:
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

    def _age(self) -> float:
        """Seconds since the last heartbeat. One in the future, by another clock, counts from when it is first seen."""
        age = time.time() - self._path.stat().st_mtime
        if age < -BEAT_SECONDS:
            with contextlib.suppress(OSError):
                os.utime(self._path, (time.time(), time.time()))
        return max(age, 0.0)

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


def _lives(owner: dict[str, Any]) -> bool:
    """Whether a process of this host is the owner and runs; one that ended and waits for its parent does not."""
    try:
        process = psutil.Process(owner["pid"])
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        if "ticks" in owner and (birth := _birth(owner["pid"])):
            return bool(birth["ticks"] == owner["ticks"])
        return bool(abs(process.create_time() - owner["born"]) < 1)
    except psutil.NoSuchProcess:
        return False


def _birth(pid: int) -> dict[str, Any]:
    """When a process began, in ticks since which boot, which no change of the clock moves; empty without a /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return {}
    return {"boot": _boot(), "ticks": int(stat.rpartition(")")[2].split()[19])} if _boot() else {}


def _space() -> dict[str, str]:
    """Among which processes the numbers of processes hold, as containers have their own; empty where nobody says."""
    try:
        return {"space": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
