"""The content hash of a dataset's files, remembered for as long as their names, sizes and times stay."""

from __future__ import annotations

import json
from pathlib import Path

from .base import Dataset
from .files import atomic_write


def manifest_of(dataset: Dataset, cache: Path) -> str:
    """``dataset.manifest()``, read from ``cache`` where the dataset's fingerprint is known there.

    Args:
        dataset: opened.
        cache: folder; where it cannot be written, the files are read again the next time.
    """
    memo = cache / f"manifest-{dataset.name}-{dataset.fingerprint()}.json"
    try:
        return str(json.loads(memo.read_text())["manifest"])
    except (OSError, ValueError, KeyError):
        found = dataset.manifest()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        atomic_write(memo, json.dumps({"manifest": found}).encode())
    except OSError:
        pass
    return found
