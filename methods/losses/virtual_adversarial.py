"""Virtual adversarial training: how far a prediction is moved by the noise, of a given length, that moves it most."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..networks.statistics import kept_statistics
from .overlap import SMOOTH

Predict = Callable[[Tensor], Tensor]
Distance = Callable[[Tensor, Tensor], Tensor]

_LEAST = 1e-30
"""Lengths below it count as it: where nothing changes the prediction, there is no noise."""


def virtual_adversarial(
    network: nn.Module, image: Tensor, logits: Tensor, distance: Distance, *, probe: float, length: float
) -> Tensor:
    """``distance`` of the network's probabilities under :func:`adversarial_noise` and without it, the latter fixed.

    Both passes run in the network's mode, normalised by the batch if that is training, and leave the running statistics
    as they are.

    Args:
        network: logits ``(n, classes, *space)`` of images.
        logits: its own of ``image``; no gradient flows into them.
        image, distance, probe, length: see :func:`adversarial_noise`.
    """
    target = torch.softmax(logits.detach().float(), dim=1)

    def predict(seen: Tensor) -> Tensor:
        return torch.softmax(network(seen).float(), dim=1)

    with kept_statistics(network):
        noise = adversarial_noise(predict, image, target, distance, probe=probe, length=length)
        return distance(predict(image + noise), target)


def adversarial_noise(
    predict: Predict, image: Tensor, target: Tensor, distance: Distance, *, probe: float, length: float
) -> Tensor:
    """Noise ``(n, c, *space)`` of Euclidean length ``length`` per sample, without gradient.

    It lies along the gradient of ``distance(predict(image + probe d), target)`` in d, at a random d of length 1: one
    step of power iteration. Gradients of parameters are neither computed nor kept.

    Source: Miyato et al., TPAMI 2019, arXiv:1704.03976.

    Args:
        predict: probabilities of images.
        image: ``(n, c, *space)``.
        target: ``(n, classes, *space)``, what ``predict`` should say of the images.
        distance: of two maps of probabilities, a scalar.
        probe: length of the first, random noise.
        length: of the noise; it spans a whole sample, so that a larger one is changed less per pixel.
    """
    direction = _unit(torch.rand_like(image) - 0.5).requires_grad_(True)
    (gradient,) = torch.autograd.grad(distance(predict(image + probe * direction), target), direction)
    return length * _unit(gradient)


def dice_distance(probs: Tensor, target: Tensor) -> Tensor:
    """Mean over classes of 1 - (2 Σpq + ε) / (Σp² + Σq² + ε), sums over the batch: 0 where p = q, 1 without overlap.

    Source: SS-Net in 2-D, https://github.com/ycwu1997/SS-Net/blob/8b3ec97/code/utils/losses.py (there ε = 1e-10).

    Args:
        probs, target: ``(n, c, *space)``, sum 1 over classes.
    """
    p, q, axes = probs.float(), target.float(), [0, *range(2, probs.ndim)]
    return (1 - (2 * (p * q).sum(axes) + SMOOTH) / ((p.square() + q.square()).sum(axes) + SMOOTH)).mean()


def joint_dice_distance(probs: Tensor, target: Tensor) -> Tensor:
    """1 - 2 Σpq / (Σp + Σq), sums over classes too: as both sum to 1 over classes, 1 less the mean over pixels of p·q.

    It is 0 only where both are certain of the same class. Of predictions that are equal but unsure, it rewards surer
    ones.

    Source: SS-Net in 3-D, https://github.com/ycwu1997/SS-Net/blob/8b3ec97/code/utils/losses.py.

    Args:
        probs, target: ``(n, c, *space)``, sum 1 over classes.
    """
    return 1 - (probs.float() * target.float()).sum(dim=1).mean()


def _unit(noise: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(noise.flatten(1), dim=1).clamp_min(_LEAST)
    return noise / length.view(-1, *[1] * (noise.ndim - 1))
