"""Numbers as people read them: rounded first, no negative zero, and a minus that is none of ASCII's hyphens.

Files of comma-separated numbers keep what `repr` writes; only what is printed for people comes through here.
"""

from __future__ import annotations

import re

MINUS = "\N{MINUS SIGN}"

_HYPHEN = re.compile(r"(?<![\w.)-])-(?=\.?\d)")
_ZERO = re.compile(rf"{MINUS}(0(?:\.0+)?)(?![\d.])")


def fixed(value: float, digits: int = 1, sign: str = "") -> str:
    """With so many digits behind the point; ``sign`` "+" shows it before positive numbers and before 0 too.

    >>> fixed(-0.04), fixed(-0.04, sign="+"), fixed(-1.26), fixed(1.26, sign="+")
    ('0.0', '+0.0', '−1.3', '+1.3')
    """
    return f"{value:{sign}z.{digits}f}".replace("-", MINUS)


def with_spread(value: float, spread: float, digits: int = 1, sign: str = "") -> str:
    """Such as ``72.0 ± 2.0``; without a spread where one seed has none."""
    return fixed(value, digits, sign) + (f" ± {fixed(spread, digits)}" if spread == spread else "")


def probability(p: float) -> str:
    """A p value, such as ``.012`` or ``< .001``; ``–`` where there is none."""
    return "–" if p != p else "< .001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def typeset(text: str) -> str:
    """The same of numbers that stand in a text already; hyphens of names stay.

    >>> typeset("-0.0 [-1.2, 0.4] of mask-mix-2")
    '0.0 [−1.2, 0.4] of mask-mix-2'
    """
    return _ZERO.sub(r"\1", _HYPHEN.sub(MINUS, text))
