"""A plan as the command line had it, so that advice can be typed where it is read."""

from __future__ import annotations

import shlex


def typed(name: str, results: str | None = None) -> str:
    """What stands behind the verb, such as ``my.yaml --results elsewhere``; quoted where a shell needs it.

    >>> typed("my plan.yaml")
    "'my plan.yaml'"
    """
    return shlex.quote(name) + (f" --results {shlex.quote(results)}" if results else "")
