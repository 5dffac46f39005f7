"""The content hash of a dataset's files, remembered for as long as their names, sizes and times stay."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from .base import Dataset


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
        with tempfile.NamedTemporaryFile("w", dir=cache, prefix=f".{memo.name}.", delete=False) as file:
            json.dump({"manifest": found}, file)
        os.chmod(file.name, 0o644)
        os.replace(file.name, memo)
    except OSError:
        pass
    return found
