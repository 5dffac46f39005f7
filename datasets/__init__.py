"""The data: the folder ``catalogue`` is the list of datasets, one file each; file name = registered name."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from pathlib import Path

from .base import Dataset

_CATALOGUE = Path(__file__).parent / "catalogue"


def names() -> tuple[str, ...]:
    """Registered datasets, sorted: the modules on disk, none imported."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules([str(_CATALOGUE)]) if not m.name.startswith("_")))


def get(name: str) -> type[Dataset]:
    """The dataset class of one module of the catalogue.

    Raises:
        KeyError: no such dataset; the message names the nearest.
    """
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise KeyError(f"unknown dataset {name!r}{hint} (known: {', '.join(names())})")
    module = importlib.import_module(f"{__name__}.catalogue.{name}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Dataset) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"datasets/catalogue/{name}.py must define exactly one Dataset class, found {len(found)}")
    return found[0]
