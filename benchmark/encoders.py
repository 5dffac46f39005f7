"""What a pre-trained encoder starts from: a file of one's own, or what timm names for it."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path

from methods import networks

VARIABLE = "BENCH_WEIGHTS"
"""Names a folder of files ``<model>.safetensors``, ``.pth`` or ``.pt``."""


def folder() -> Path | None:
    """The folder that the environment names, absolute, ``~`` being one's home; None: there is none."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser().absolute() if named else None


def encoder_weights(network: str) -> tuple[dict[str, str], str]:
    """Where a pre-trained encoder's weights lie, as options of the network; and a sentence for the record."""
    if not network.startswith(networks.ENCODER):
        return {}, ""
    model = networks.encoder_of(network)
    if not network.endswith(networks.PRETRAINED):
        return {}, f"encoder {model} is trained from scratch"
    path, digest = weights_file(network)
    if path is not None:
        return {"weights": str(path)}, f"encoder {model} starts from {path.name} (blake2b {digest})"
    return {}, f"encoder {model} starts from the weights that timm names for it"


def weights_file(network: str) -> tuple[Path | None, str]:
    """The file that a pre-trained encoder starts from, and its digest; None: there is none."""
    root = folder()
    if root is None or not (network.startswith(networks.ENCODER) and network.endswith(networks.PRETRAINED)):
        return None, ""
    for end in (".safetensors", ".pth", ".pt"):
        path = root / f"{networks.encoder_of(network)}{end}"
        if path.is_file():
            state = path.stat()
            return path, _digest(path, state.st_mtime_ns, state.st_size)
    return None, ""


@lru_cache(maxsize=16)
def _digest(path: Path, changed: int, size: int) -> str:
    """Of hundreds of megabytes, which every start of a cell asks for twice."""
    del changed, size  # a file that was written anew is another one
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
