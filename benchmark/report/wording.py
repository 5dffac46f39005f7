"""Numbers and lists as sentences have them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

OPEN = "[to be filled in]"


def listed(names: Iterable[str]) -> str:
    """Such as ``a, b and c``; names with a comma in them are quoted."""
    found = [f"“{name}”" if ", " in name else name for name in names]
    return found[0] if len(found) == 1 else ", ".join(found[:-1]) + f" and {found[-1]}" if found else ""


def counted(number: int, what: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def ranged(values: Sequence[int]) -> str:
    """The least to the most of sorted numbers, such as ``3 to 6``; left open where there is none."""
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}" if values else OPEN


def lasting(seconds: float) -> str:
    """In the unit that people would use.

    >>> lasting(11520), lasting(1500), lasting(89), lasting(0.2)
    ('3.2 hours', '25 minutes', '89 seconds', '1 second')
    """
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} hours"
    return counted(round(seconds / 60), "minute") if seconds >= 90 else counted(max(1, round(seconds)), "second")
