"""What there is: methods, networks, datasets and plans; one that is broken says why and hides no other."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

import datasets
import methods
from methods import networks
from methods.hyper import describe

from . import plan_file
from .config import ConfigError, nearest


def listed() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Titles, and rows of name, family (of methods) and one line of text."""
    yield "methods", [(name, family, _said(_summary, name)) for name, family in methods.families().items()]
    encoders = (
        f"{networks.ENCODER}MODEL",
        "",
        "A U-Net on an encoder of timm; MODEL@pretrained starts from its weights.",
    )
    yield "networks", [*((name, "", _first_line(networks.get(name))) for name in networks.names()), encoders]
    yield "datasets", [(name, "", datasets.get(name).card.title) for name in datasets.names()]
    yield "plans", [(name, "", _said(_title, name)) for name in plan_file.available()]


def told(name: str) -> Iterator[RenderableType]:
    """All of one method, network or dataset, to be printed.

    Raises:
        ConfigError: there is none of this name.
    """
    if name in methods.names():
        cls = methods.get(name)
        yield _file_says(cls)
        table = Table("hyper-parameter", "type", "default", "allowed", "meaning", box=None)
        for row in describe(cls.Hyper):
            table.add_row(*map(str, row))
        yield table
    elif name in networks.names():
        network = networks.get(name)
        yield _file_says(network)
        yield f"{inspect.getdoc(network)}\n"
        yield f"network_options of a plan: {', '.join(network.OPTIONS) or 'none'}"
    elif name in datasets.names():
        dataset = datasets.get(name)
        for field in dataclasses.fields(dataset.card):
            yield Text.assemble((f"{field.name}: ", "bold"), str(getattr(dataset.card, field.name)))
        for option in dataclasses.fields(dataset.Options):
            yield f"option {option.name} = {option.default!r}"
    else:
        known = (*methods.names(), *networks.names(), *datasets.names(), *plan_file.available())
        raise ConfigError(f"no method, network, dataset or plan {name!r}{nearest(name, known)}")


def _said(tell: Callable[[str], str], name: str) -> str:
    try:
        return tell(name)
    except (ConfigError, methods.BrokenMethod) as error:
        return f"broken: {error}"


def _summary(name: str) -> str:
    return _first_line(methods.get(name))


def _title(name: str) -> str:
    return plan_file.load(name).title


def _file_says(cls: type) -> str:
    """The docstring of the file that a class is in."""
    return sys.modules[cls.__module__].__doc__ or ""


def _first_line(cls: type) -> str:
    lines = _file_says(cls).strip().splitlines()
    return lines[0] if lines else ""
