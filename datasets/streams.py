"""Seeded random streams that depend on names alone, so that no draw moves another."""

from __future__ import annotations

import hashlib

import numpy as np


def stream(seed: int, *names: object) -> np.random.Generator:
    """A PCG64 generator that depends on the seed and the names only, not on what was drawn before."""
    text = "|".join(str(part) for part in (seed, *names))
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())))
