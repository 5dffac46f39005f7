"""How the intensities of an image spread within and between soft classes."""

from __future__ import annotations

from torch import Tensor

_NO_MASS = 1e-12
_NO_VARIANCE = 1e-12


def class_means(weights: Tensor, image: Tensor) -> Tensor:
    """Mean intensity of each class: ``(n, c, channels)``, ``Σ p I / Σ p`` over the pixels.

    Args:
        weights: ``(n, c, *space)``; a class without mass has mean 0.
        image: ``(n, channels, *space)``.
    """
    maps, grey = _paired(weights, image)
    return (maps * grey).sum(dim=3) / maps.sum(dim=3).clamp_min(_NO_MASS)


def within_class_variance(probs: Tensor, image: Tensor, *, floor: float) -> Tensor:
    """Mean over samples, channels and foreground classes of ``Σ p (I - μ)² / (Σ p + floor · pixels)``.

    The background is left out, as it is not one tissue. The floor lets an absent class, whose variance is that of
    noise, cost nothing.

    Args:
        probs: ``(n, c, *space)``, background first.
        image: ``(n, channels, *space)``.
        floor: share of the pixels that a class must have to count by half.
    """
    maps, grey = _paired(probs[:, 1:], image)
    # the mean minimises the variance, so no gradient flows through it
    mean = class_means(probs[:, 1:], image).detach().unsqueeze(3)
    squared = (maps * (grey - mean).square()).sum(dim=3)
    return (squared / (maps.sum(dim=3) + floor * maps.shape[3])).mean()


def between_class_variance(probs: Tensor, image: Tensor) -> Tensor:
    """Variance of the mean intensities of all classes, background included; mean over samples and channels."""
    return class_means(probs, image).var(dim=1, correction=0).mean()


def spread_difference(probs: Tensor, image: Tensor) -> Tensor:
    """What WSL4MIS minimises: standard deviation between classes minus that within, of the products p · I.

    Between: over classes, of the mean of p · I. Within: over pixels, of p · I, mean over classes. Both with n - 1. As p
    is not divided by its mass, the first is mostly the spread of areas, and minimising it brings the classes closer.
    Below a variance of 1e-12 the square root is constant, for at 0 it has no gradient.

    Source: https://github.com/HiLab-git/WSL4MIS/blob/a594da8/code/train_weakly_supervised_pCE_Inter&Intra_Class_2D.py
    """
    maps, grey = _paired(probs, image)
    products = maps * grey
    between = products.mean(dim=3).var(dim=1)
    within = products.var(dim=3)
    return between.clamp_min(_NO_VARIANCE).sqrt().mean() - within.clamp_min(_NO_VARIANCE).sqrt().mean()


def _paired(probs: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """``(n, c, 1, pixels)`` and ``(n, 1, channels, pixels)`` in float32."""
    return probs.float().flatten(2).unsqueeze(2), image.float().flatten(2).unsqueeze(1)
