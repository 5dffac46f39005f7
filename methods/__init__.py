"""The algorithms: the folders ``semi`` and ``scribble`` are the list of methods, one file each; file name = name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path

from .base import Method

_FAMILIES = ("semi", "scribble")


def families() -> Mapping[str, str]:
    """Method name -> family folder, from the modules on disk; none is imported."""
    found: dict[str, str] = {}
    for family in _FAMILIES:
        for module in pkgutil.iter_modules([str(Path(__file__).parent / family)]):
            if module.name.startswith("_"):
                continue
            if module.name in found:
                raise ImportError(f"two method files are called {module.name!r}: in {found[module.name]} and {family}")
            found[module.name] = family
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Registered methods, sorted."""
    return tuple(families())


def get(name: str) -> type[Method]:
    """The method class of one module.

    Raises:
        KeyError: no such method; the message names the nearest.
    """
    known = families()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise KeyError(f"unknown method {name!r}{hint} (known: {', '.join(known)})")
    module = importlib.import_module(f"{__name__}.{known[name]}.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"methods/{known[name]}/{name}.py must define exactly one Method class, found {len(found)}")
    return found[0]
