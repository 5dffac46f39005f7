"""What there is: methods, datasets and plans, a line each; one that is broken says why and hides no other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import datasets
import methods

from . import plan_file
from .config import ConfigError


def listed() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Titles, and rows of name, family (of methods) and one line of text."""
    yield "methods", [(name, family, _told(_summary, name)) for name, family in methods.families().items()]
    yield "datasets", [(name, "", datasets.get(name).card.title) for name in datasets.names()]
    yield "plans", [(name, "", _told(_title, name)) for name in plan_file.available()]


def _told(tell: Callable[[str], str], name: str) -> str:
    try:
        return tell(name)
    except (ConfigError, methods.BrokenMethod) as error:
        return f"broken: {error}"


def _summary(name: str) -> str:
    lines = (sys.modules[methods.get(name).__module__].__doc__ or "").strip().splitlines()
    return lines[0] if lines else ""


def _title(name: str) -> str:
    return plan_file.load(name).title
