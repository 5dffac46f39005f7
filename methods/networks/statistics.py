"""Control over the running statistics of batch normalisation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """For a while, batch normalisation in training mode leaves the running statistics of ``module`` as they are.

    It still normalises by the statistics of the batch, and counts it. Momenta are as before afterwards, also after an
    error.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
