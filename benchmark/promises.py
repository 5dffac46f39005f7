"""What a method must return, asked where it costs nothing: before the first step, and at each descent."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

import methods
from methods.base import Method

from . import ROOT
from .device import autocast
from .plan import Training
from .stepping import as_written

CLOSE = 0.02
"""By how much probabilities of a pixel may miss the sum of 1: bfloat16 keeps 8 bits."""


class BrokenPromise(TypeError):
    """A method does not return what its hooks say; the message names it, the hook, and what is allowed."""


def require_terms(method: Method, terms: object) -> None:
    """Refuse loss terms that are not named scalar tensors of floating-point numbers.

    Raises:
        BrokenPromise: naming the term.
    """
    if not isinstance(terms, Mapping) or not terms:
        found = "no term" if isinstance(terms, Mapping) else type(terms).__name__
        raise BrokenPromise(
            f"method {method.name()}: losses must return named scalar terms, such as {{'ce': loss}}, got {found}"
        )
    for name, term in terms.items():
        if not isinstance(term, Tensor) or term.ndim or not term.is_floating_point():
            found = (
                f"a tensor of {term.dtype} and shape {tuple(term.shape)}" if isinstance(term, Tensor) else repr(term)
            )
            raise BrokenPromise(
                f"method {method.name()}: loss term {name!r} must be a floating-point tensor without dimensions, such "
                f"as loss.mean(), got {found}"
            )


@torch.no_grad()
def require_probabilities(method: Method, training: Training, *, device: torch.device, dtype: torch.dtype) -> None:
    """Refuse a method that does not predict probabilities; asked of an empty image, before any training.

    Raises:
        BrokenPromise: naming what it returned.
    """
    task, patch = method.task, training.patch or method.task.patch
    image, training_mode = torch.zeros(1, task.channels, *patch, device=device), method.training
    method.eval()
    with torch.random.fork_rng(devices=[]), as_written(device), autocast(device, dtype):
        found = method.predict(image)
    method.train(training_mode)
    wanted = (1, task.n_classes, *patch)
    allowed = f"method {method.name()}: predict must return probabilities (n, classes, *space)"
    if not isinstance(found, Tensor) or tuple(found.shape) != wanted:
        shape = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise BrokenPromise(f"{allowed}, of one image {wanted}, got {shape}")
    if found.isnan().any():
        return  # cases of which this is so are scored as failed
    off = (found.float().sum(dim=1) - 1).abs().amax()
    if not (off < CLOSE and found.amin() >= 0):
        raise BrokenPromise(
            f"{allowed}, positive and with the sum of 1 in every pixel; take torch.softmax(logits, dim=1)"
        )


def place(error: BaseException) -> str:
    """The line of a method's file that led to an error, as `` (methods/semi/cps.py, line 40)``; "" where none did."""
    homes = [ROOT / "methods" / family for family in methods.FAMILIES]
    inside = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).parent in homes]
    if not inside:
        return ""
    return f" ({Path(inside[-1].filename).relative_to(ROOT).as_posix()}, line {inside[-1].lineno})"
