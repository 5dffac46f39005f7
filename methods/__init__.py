"""The algorithms: the folders ``semi`` and ``scribble`` are the list of methods, one file each; file name = name."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from .base import Method
from .hyper import misdeclared

FAMILIES = ("semi", "scribble")
"""The folders of methods."""
_OURS = ("benchmark", "methods", "datasets")
_SUPERVISION = ("full", "semi", "scribble")


class BrokenMethod(ImportError):
    """A method's file cannot be used; the message says where and why. It takes no other method along."""


def families() -> Mapping[str, str]:
    """Method name -> family folder, from the modules on disk; none is imported."""
    found: dict[str, str] = {}
    for family in FAMILIES:
        for module in pkgutil.iter_modules([str(Path(__file__).parent / family)]):
            if module.name.startswith("_"):
                continue
            if module.name in found:
                homes = f"methods/{found[module.name]} and methods/{family}"
                raise BrokenMethod(f"two method files are called {module.name!r}, in {homes}; rename one")
            found[module.name] = family
    return dict(sorted(found.items()))


def names() -> tuple[str, ...]:
    """Registered methods, sorted."""
    return tuple(families())


def get(name: str) -> type[Method]:
    """The method class of one module.

    Raises:
        KeyError: no such method; the message names the nearest.
        BrokenMethod: its file cannot be imported, holds no method or several, or one that states nonsense of itself.
    """
    known = families()
    if name not in known:
        nearest = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        if (Path(__file__).parent / f"{name}.py").is_file():
            hint = f"; methods/{name}.py is none: a method's file lies in methods/semi or methods/scribble"
        raise KeyError(f"unknown method {name!r}{hint} (known: {', '.join(known)})")
    file = f"methods/{known[name]}/{name}.py"
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise BrokenMethod(f"method {name} cannot be loaded: {file} is its name in tables and plans too; rename it to "
                           "small letters, digits and _, beginning with a letter")  # fmt: skip
    try:
        module = importlib.import_module(f"{__name__}.{known[name]}.{name}")
    except Exception as error:  # whatever may be raised by a file that somebody is writing
        raise BrokenMethod(f"method {name} cannot be loaded: {file}{_cause(error, file)}") from error
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        told = f"{len(found)} ({', '.join(cls.__name__ for cls in found)})" if found else "none"
        raise BrokenMethod(
            f"method {name} cannot be loaded: {file} must define exactly one Method class, found {told}; the name of a "
            "file without a method begins with _"
        )
    if not dataclasses.is_dataclass(found[0].Hyper):
        raise BrokenMethod(f"method {name} cannot be loaded: {file}: Hyper must be a frozen dataclass; put @dataclass("
                           "frozen=True) above it")  # fmt: skip
    if told := misdeclared(found[0].Hyper) or misstated(found[0]):
        raise BrokenMethod(f"method {name} cannot be loaded: {file}: {told}")
    return found[0]


def misstated(cls: type[Method]) -> str:
    """What is wrong with the facts that a method states; "" if nothing is."""
    if cls.supervision not in _SUPERVISION:
        nearest = difflib.get_close_matches(str(cls.supervision), _SUPERVISION, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"supervision must be one of {', '.join(map(repr, _SUPERVISION))}, got {cls.supervision!r}{hint}"
    ndims: object = cls.ndims
    if not (isinstance(ndims, tuple) and ndims and all(n in (2, 3) for n in ndims) and len({*ndims}) == len(ndims)):
        return f"ndims must be the tuple (2,), (3,) or (2, 3), got {ndims!r}; for images alone write ndims = (2,)"
    if isinstance(cls.views, bool) or cls.views not in (1, 2):
        return f"views must be 1, or 2 where every labelled batch has two disjoint halves, got {cls.views!r}"
    return ""


def _cause(error: Exception, file: str) -> str:
    """The line of a method's file that could not be executed, why, and what to do."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError):
        frames.append((error.filename or "", error.lineno))
    lines = [line for path, line in frames if Path(path).as_posix().endswith(file.removeprefix("methods"))]
    where = f", line {lines[-1]}" if lines else ""
    remedy = "mend the file, or move it elsewhere"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in _OURS:
        remedy = (
            f"install what holds {error.name} into {sys.prefix} yourself (`make env` installs Scant's own "
            "requirements only)"
        )
    return f"{where}: {type(error).__name__}: {error}; {remedy}"
