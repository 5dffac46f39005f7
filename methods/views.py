"""Two networks that learn from two views: the halves of a labelled batch, and what the two predict together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datasets.types import Labelled


def two_views(samples: Labelled) -> tuple[Labelled, Labelled]:
    """The first and the second half of a labelled batch of a method with ``views = 2``.

    Raises:
        ValueError: an odd number of samples.
    """
    n, odd = divmod(len(samples.image), 2)
    if odd:
        raise ValueError(f"two views need an even labelled batch, got {2 * n + 1} samples; make labelled_batch even")
    first, second = slice(0, n), slice(n, None)
    return Labelled(samples.image[first], samples.label[first]), Labelled(samples.image[second], samples.label[second])


def dual_prediction(first: nn.Module, second: nn.Module, image: Tensor, evaluate: str) -> Tensor:
    """Probabilities ``(n, classes, *space)`` float32 of the "first" network, the "second", or their "mean"."""
    chosen = {"mean": (first, second), "first": (first,), "second": (second,)}[evaluate]
    return torch.stack([torch.softmax(network(image).float(), dim=1) for network in chosen]).mean(dim=0)
