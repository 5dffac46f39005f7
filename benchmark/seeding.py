"""One seed, many independent named streams: the same for every method, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

STREAMS = ("split", "init", "batches", "augment", "method")


def derive(seed: int, *names: object) -> int:
    """A 63-bit seed that depends on ``seed`` and every name; neighbouring names give unrelated streams.

    >>> derive(0, "init") == derive(0, "init"), derive(0, "init") == derive(1, "init")
    (True, False)
    """
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def streams(seed: int) -> Callable[..., int]:
    """``derive`` with the seed given: what the feed and the trainer draw their streams from."""
    return partial(derive, seed)
