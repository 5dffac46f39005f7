"""The networks: file name = name. Methods compose extra heads, decoders and critics from their parts (see ``base``)."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .base import SegmentationNetwork

ENCODER = "encoder:"
"""A name that begins so is a network on an encoder of timm, see ``_encoder``; it may end in PRETRAINED."""
PRETRAINED = "@pretrained"

_PARTS = frozenset(
    {"apart", "base", "blocks", "discriminators", "elementwise", "fused", "pixelwise", "spatial", "statistics", "trust"}
)
"""Modules that networks and methods are made of, not networks themselves."""

_SIZES = ("ndim", "channels", "classes", "width")
"""What every network is told."""


def names() -> tuple[str, ...]:
    """Registered networks, sorted: the modules of this folder; none is imported."""
    found = (module.name for module in pkgutil.iter_modules([str(Path(__file__).parent)]))
    return tuple(sorted(name for name in found if name not in _PARTS and not name.startswith("_")))


def known(name: str) -> bool:
    """Whether :func:`make` would try to build it: one of :func:`names`, or an encoder by name."""
    return name in names() or (name.startswith(ENCODER) and len(name.removesuffix(PRETRAINED)) > len(ENCODER))


def encoder_of(name: str) -> str:
    """The model of timm in ``encoder:MODEL`` and ``encoder:MODEL@pretrained``; of another network, its name."""
    return name.removeprefix(ENCODER).removesuffix(PRETRAINED)


def get(name: str) -> Any:
    """The class of a network that is :func:`known`."""
    module = "_encoder" if name.startswith(ENCODER) else name
    return importlib.import_module(f"{__name__}.{module}").Network


def make(name: str, *, ndim: int, channels: int, classes: int, width: int = 16, **options: Any) -> SegmentationNetwork:
    """A freshly initialised network.

    Args:
        name: one of :func:`names`, or ``encoder:MODEL`` with a model of timm, perhaps followed by ``@pretrained``.
        ndim: 2 or 3.
        channels: image channels.
        classes: output classes, background included.
        width: channels of the first level; each level doubles it.
        **options: further options of that network.

    Raises:
        KeyError: no such network; the message names the nearest.
        ValueError: an option that the network does not have, or a value out of range.
    """
    if not known(name):
        nearest = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise KeyError(f"unknown network {name!r}{hint} (known: {', '.join(names())}, {ENCODER}MODEL)")
    if name.startswith(ENCODER):
        options = {"model": encoder_of(name), "pretrained": name.endswith(PRETRAINED)} | options
    if ndim not in (2, 3):
        raise ValueError(f"network {name!r}: ndim must be 2 or 3, got {ndim}")
    for field, value, least in (("channels", channels, 1), ("classes", classes, 2), ("width", width, 1)):
        if value < least:
            raise ValueError(f"network {name!r}: {field} must be {least} or more, got {value}")
    network = get(name)
    unknown = sorted(set(options) - set(network.OPTIONS))
    if unknown:
        nearest = difflib.get_close_matches(unknown[0], network.OPTIONS, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(
            f"network {name!r} has no option {unknown[0]!r}{hint} (its options: {', '.join(network.OPTIONS)})"
        )
    return network(ndim=ndim, channels=channels, classes=classes, width=width, **options)


def builder(name: str, **fields: Any) -> Callable[..., SegmentationNetwork]:
    """What methods are given as ``build``: it makes the network ``name`` anew, as :func:`make` does.

    Keyword arguments of ``build`` override ``fields``. Among them, ``name`` asks for another kind of network, of the
    same dimensions, channels, classes and width: it gets those options of the first kind that it has as well, such as
    ``levels``, and each of the two takes images of the same sizes.
    """

    def build(**overrides: Any) -> SegmentationNetwork:
        kind = overrides.pop("name", name)
        if kind == name or not known(kind):
            return make(kind, **(fields | overrides))
        shared = {*_SIZES, *get(kind).OPTIONS}
        return make(kind, **({field: value for field, value in fields.items() if field in shared} | overrides))

    return build
