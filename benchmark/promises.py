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
    """Refuse a method of which a network that is tested does not predict probabilities; asked of an empty image.

    Raises:
        BrokenPromise: naming the hook and what it returned.
    """
    patch, training_mode = training.patch or method.task.patch, method.training
    image = torch.zeros(1, method.task.channels, *patch, device=device)
    others = method.other_predictions()
    if not isinstance(others, Mapping) or not all(isinstance(name, str) and callable(others[name]) for name in others):
        raise BrokenPromise(
            f"method {method.name()}: other_predictions must return functions by name, such as "
            f"{{'teacher': self.teach}}, got {others!r}"
        )
    asked = {"predict": method.predict} | {f"other_predictions()[{name!r}]": others[name] for name in others}
    method.eval()
    for hook, predict in asked.items():
        with torch.random.fork_rng(devices=[]), as_written(device), autocast(device, dtype):
            found = predict(image)
        _require_probabilities(method, hook, found, (1, method.task.n_classes, *patch))
    method.train(training_mode)


def _require_probabilities(method: Method, hook: str, found: object, wanted: tuple[int, ...]) -> None:
    allowed = f"method {method.name()}: {hook} must return probabilities (n, classes, *space)"
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
