"""What a number was made with: code, versions, hardware, data. One receipt per cell."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import methods
from datasets.base import Dataset

from . import ROOT
from .record import atomic_write

_PACKAGES = ("torch", "numpy", "scipy", "h5py", "numba", "nibabel", "pillow")


@cache
def code() -> dict[str, Any]:
    """Commit of this checkout, whether it has uncommitted changes, and the hash of their diff."""
    commit = _git("rev-parse", "HEAD")
    diff = _git("diff", "HEAD", "--", "*.py", "*.yaml")
    return {
        "commit": commit or "unknown",
        "dirty": bool(diff),
        "diff": hashlib.blake2b(diff.encode(), digest_size=6).hexdigest() if diff else "",
    }


def source(method: str) -> str:
    """Hash of a method's own file: a cell whose method changed since is stale."""
    family = methods.families()[method]
    content = (ROOT / "methods" / family / f"{method}.py").read_bytes()
    return hashlib.blake2b(content, digest_size=6).hexdigest()


@cache
def versions() -> dict[str, str]:
    """Python and the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> dict[str, Any]:
    """Processor, cores, accelerator."""
    model = platform.processor() or "unknown"
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    found: dict[str, Any] = {"cpu": model, "cores": os.cpu_count(), "machine": platform.machine()}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def manifest(dataset: Dataset, cache: Path) -> str:
    """Content hash of a dataset's files, remembered under its fingerprint (names, sizes, times)."""
    memo = cache / f"manifest-{dataset.name}-{dataset.fingerprint()}.json"
    try:
        return json.loads(memo.read_text())["manifest"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        found = dataset.manifest()
    cache.mkdir(parents=True, exist_ok=True)
    atomic_write(memo, json.dumps({"manifest": found}).encode())
    return found


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
