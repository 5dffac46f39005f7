"""How unsure a network is of every pixel, told by how its predictions change under dropout and noise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .perturb import noisy

_TOGETHER = 2  # copies of the batch in one pass of the network: what its batch normalisation sees, as released


@torch.no_grad()
def dropout_entropy(
    probabilities: Callable[[Tensor], Tensor], image: Tensor, *, passes: int, noise: float, noise_clip: float
) -> Tensor:
    """Entropy in nats ``(n, *space)`` of the mean prediction over noise and dropout; no gradient.

    Source: UA-MT, https://github.com/yulequan/UA-MT/blob/88ed29a/code/train_LA_meanteacher_certainty_unlabel.py

    Args:
        probabilities: of a batch of images, from a network that drops out, ``(n, classes, *space)``.
        image: ``(n, c, *space)``; each pass adds noise of its own (:func:`~methods.perturb.noisy`).
        passes: how many predictions the mean is of.
    """
    mean = torch.zeros((), device=image.device)
    for first in range(0, passes, _TOGETHER):
        copies = min(_TOGETHER, passes - first)
        probs = probabilities(noisy(image.repeat(copies, *[1] * (image.ndim - 1)), noise, noise_clip))
        mean = mean + probs.unflatten(0, (copies, len(image))).sum(dim=0) / passes
    return torch.special.entr(mean).sum(dim=1)
