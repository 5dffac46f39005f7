"""Arrays on disk, written once and memory-mapped after that, so that the workers of a machine share their pages.

A file is the arrays one after the other, then a JSON table of what lies where, then a fixed trailer. The trailer comes
last, so a file that was cut short, at any byte, has none and counts as absent. So does one whose table or whose sampled
blocks do not match their checksums: blocks that a crash left empty are found, a single flipped bit may not be.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_MAGIC = b"scantarr"
_TRAILER = struct.Struct("<QQII8s")  # start of the table, its length, its checksum, that of sampled blocks, magic
_ALIGN = 64
_BLOCK, _BLOCKS = 4096, 64
_ABANDONED_SECONDS = 24 * 3600


class Stored(NamedTuple):
    """Arrays by name, and what was written about them."""

    arrays: dict[str, np.ndarray]
    about: dict[str, Any]


def save(path: Path, arrays: Mapping[str, Sequence[np.ndarray]], about: Mapping[str, Any]) -> None:
    """Write arrays, each given as pieces to be joined along their first axis, so that readers see all or nothing.

    Several processes may write the same file at once: each writes its own temporary file, and the last rename wins.

    Raises:
        OSError: disk full, no permission. Nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "r+b") as file:
            table = {"about": dict(about), "arrays": {key: _append(file, pieces) for key, pieces in arrays.items()}}
            start = file.tell()
            text = json.dumps(table).encode()
            file.flush()
            probe = _probe(np.memmap(name, dtype=np.uint8, mode="r", shape=(start,)))
            file.write(text)
            file.write(_TRAILER.pack(start, len(text), zlib.crc32(text), probe, _MAGIC))
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> Stored | None:
    """The arrays of a file, mapped rather than read; None where it is absent, unreadable, cut short or damaged.

    The mapping is private: writing to an array would copy the page and never reach the file.
    """
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TRAILER.size))
            trailer = file.read()
            if len(trailer) != _TRAILER.size:
                return None
            start, length, checksum, probe, magic = _TRAILER.unpack(trailer)
            if magic != _MAGIC or start + length + _TRAILER.size != size:
                return None
            file.seek(start)
            text = file.read(length)
            if zlib.crc32(text) != checksum:
                return None
            raw = np.memmap(file, dtype=np.uint8, mode="c", shape=(start,))
    except OSError:
        return None
    if _probe(raw) != probe:
        return None
    table = json.loads(text)
    return Stored({key: _view(raw, **entry) for key, entry in table["arrays"].items()}, table["about"])


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold an advisory lock beside ``path``, so that one process builds it and the others wait and read.

    Only saves work, never needed for correctness: where the file system knows no locks, nobody waits.
    """
    import fcntl  # not on every platform; only building a cache needs it

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f".{path.name}.lock").open("w")
    except OSError:
        yield
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _append(file: Any, pieces: Sequence[np.ndarray]) -> dict[str, Any]:
    offset = -(-file.tell() // _ALIGN) * _ALIGN
    file.write(bytes(offset - file.tell()))
    for piece in pieces:
        file.write(np.ascontiguousarray(piece).data)
    shape = (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])
    return {"offset": offset, "shape": shape, "dtype": pieces[0].dtype.str}


def _view(raw: np.ndarray, offset: int, shape: Sequence[int], dtype: str) -> np.ndarray:
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.asarray(raw[offset : offset + count]).view(dtype).reshape(shape)


def _probe(raw: np.ndarray) -> int:
    """Checksum of blocks spread evenly over the file: reading all of it would cost each start a second per gigabyte."""
    starts = np.unique(np.linspace(0, max(0, len(raw) - _BLOCK), _BLOCKS, dtype=np.int64))
    checksum = 0
    for start in starts.tolist():
        checksum = zlib.crc32(raw[start : start + _BLOCK].data, checksum)
    return checksum


def _sweep(path: Path) -> None:
    """Remove temporary files of writers that were killed long ago."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                left.unlink()
