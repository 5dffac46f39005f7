"""How firmly its surroundings hold a pixel in a class, and the loss of the classes that a pixel is not of.

Source: ZScribbleSeg (Zhang, Wang, Zhou and Zhuang, arXiv:2605.06266), as its second author restates it in
https://github.com/DLwbm123/phd-thesis/blob/120b2ff/chapters/ch05_scribble_samcl.tex
"""

from __future__ import annotations

import torch
from torch import Tensor

from .crf import gated_crf


def spatial_energy(probs: Tensor, image: Tensor, *, radius: int, sigma_xy: float, sigma_intensity: float) -> Tensor:
    """p_ik Σ_j k_ij p_jk of every pixel i and class k, over the other pixels j of a window; without gradient.

    The kernel and what is beyond the border are those of :func:`~methods.losses.crf.gated_crf`, whose gradient in p
    is -2/n Σ_j k_ij p_jk, so it is asked for that.

    Args:
        probs: ``(n, c, *space)``.
        image: ``(n, channels, *space)``; sigma_intensity is in its units.
        radius: of the window, in pixels.

    Returns:
        ``(n, c, *space)``, at least 0.
    """
    held = probs.detach().float().requires_grad_(True)
    with torch.enable_grad():
        crf = gated_crf(held, image, radius=radius, sigma_xy=sigma_xy, sigma_intensity=sigma_intensity)
        (gradient,) = torch.autograd.grad(crf, held)
    return gradient * held.detach() * (-0.5 * held[:, 0].numel())


def exclusion_loss(logits: Tensor, excluded: Tensor) -> Tensor:
    """Sum over excluded classes of ``-log (1 - p)``, mean over all pixels; nothing excluded: 0.

    1 - p is added up from the other classes, so that a pixel that is sure of an excluded class still has a gradient.

    Args:
        logits: ``(n, c, *space)``, two classes or more.
        excluded: booleans ``(n, c, *space)``; each class of a pixel is judged by itself.
    """
    probs = torch.softmax(logits.float(), dim=1)
    none = torch.zeros_like(probs[:, :1])
    before = torch.cat([none, probs[:, :-1].cumsum(dim=1)], dim=1)
    after = torch.cat([probs[:, 1:].flip(1).cumsum(dim=1).flip(1), none], dim=1)
    others = (before + after).clamp_min(torch.finfo(probs.dtype).tiny)
    return -(others.log() * excluded).sum() / excluded[:, 0].numel()
