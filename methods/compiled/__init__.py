"""Loops compiled by numba, which is optional; here is when they can take a map, and how they see it."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode

TYPES = (torch.float32, torch.bfloat16)
"""What the loops compute with, as float32."""


def every() -> list[Any]:
    """All modules of this folder that hold loops; each has ``warm_up``.

    Raises:
        ImportError: no numba, or one that does not fit NumPy.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [module for module in found if hasattr(module, "warm_up")]


@cache
def loops(module: str) -> Any:
    """A module of this folder, or None without numba, or with one that does not fit NumPy: PyTorch's own, then."""
    try:
        return importlib.import_module(f"{__name__}.{module}")
    except (ImportError, OSError):
        return None


def takes(maps: Tensor) -> bool:
    """Whether maps ``(n, channels, *space)`` are of a CPU, channels-last, of one thread, and nobody watches."""
    return maps.ndim in (4, 5) and maps.is_contiguous(memory_format=channels_last(maps)) and takes_any(maps)


def takes_any(numbers: Tensor) -> bool:
    """Whether they are of a CPU, of one thread, and of a type that the loops know, and nobody watches."""
    return numbers.dtype in TYPES and takes_labels(numbers)


def takes_labels(label: Tensor) -> bool:
    """:func:`takes_any` of whatever type."""
    return label.device.type == "cpu" and torch.get_num_threads() == 1 and not watched()


def takes_flat(maps: Tensor) -> bool:
    """:func:`takes_any` of what lies in memory without gaps, in the order of its axes or channels-last."""
    return takes(maps) or (maps.is_contiguous() and takes_any(maps))


def channels_last(maps: Tensor) -> torch.memory_format:
    """The layout of images, or of volumes, with the channels innermost."""
    return torch.channels_last_3d if maps.ndim == 5 else torch.channels_last


def watched() -> bool:
    """Whether something looks at every operation, to count them, say: those are to be PyTorch's own, then."""
    return _get_current_dispatch_mode() is not None


def numbers(maps: Tensor) -> Any:
    """A contiguous tensor as the compiled loops see it: float32 or, bfloat16, uint16."""
    return maps.view(torch.int16).numpy().view(np.uint16) if maps.dtype == torch.bfloat16 else maps.numpy()


def rows(maps: Tensor) -> Any:
    """Channels-last maps ``(n, channels, *space)`` as :func:`numbers` ``(positions, channels)``."""
    return numbers(maps.detach().movedim(1, -1).view(-1, maps.shape[1]))


def flat(maps: Tensor) -> Any:
    """:func:`numbers` ``(numbers,)`` as they lie in memory, where :func:`takes_flat` says that there are no gaps."""
    return numbers(maps.detach().as_strided((maps.numel(),), (1,)))
