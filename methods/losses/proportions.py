"""What the proportions of the classes among unlabelled pixels say of single pixels: positive-unlabelled learning.

Source: ShapePU (Zhang and Zhuang, MICCAI 2022), https://github.com/BWGZK/ShapePU/tree/0283c3a (estimator, engine),
which iterates until the shares change by less than 1e-3, sorts in NumPy and adds 1e-12 inside the logarithm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datasets.types import IGNORE


@torch.no_grad()
def class_shares(probs: Tensor, label: Tensor, among: Tensor, rounds: int) -> Tensor:
    """Shares of the classes among some pixels, from probabilities learnt where the classes have other shares.

    Expectation-maximisation (Saerens et al., Neural Computation 2002), begun at the shares q of the annotated pixels:
    a pixel is of class k by π_k p_k / q_k, over the sum of that over classes, and π becomes the mean of it.

    Args:
        probs: ``(n, c, *space)``.
        label: ``(n, *space)`` int64, IGNORE where not annotated.
        among: ``(n, *space)`` booleans of the pixels whose shares are asked for.
        rounds: of both steps.

    Returns:
        ``(c,)``, sum 1. A class that is nowhere annotated has no known likelihood, and 0. No annotation: all 0.
    """
    flat = probs.float().transpose(0, 1).flatten(1)
    label, counted = label.flatten(), among.flatten().float()
    tiny = torch.finfo(flat.dtype).tiny
    classes = torch.arange(len(flat), device=label.device)[:, None]
    prior = (label == classes).sum(dim=1) / (label != IGNORE).sum().clamp_min(1)
    likelihood = flat * torch.where(prior > 0, 1 / prior.clamp_min(tiny), 0.0)[:, None]
    share = prior
    for _ in range(rounds):
        joint = likelihood * share[:, None]  # no matrix product, which autocast would round
        share = (joint * (counted / joint.sum(dim=0).clamp_min(tiny))).sum(dim=1) / counted.sum().clamp_min(1)
    return share


@torch.no_grad()
def beyond_share(probs: Tensor, share: Tensor, among: Tensor) -> Tensor:
    """The pixels less probable of a class than those that fill its share: taken to be of any class but this.

    Args:
        probs: ``(n, c, *space)``.
        share: ``(c,)`` in [0, 1]; a class of share 0 is unknown, and no pixel is beyond it.
        among: ``(n, *space)`` booleans: the pixels that are ranked, those of all samples together, and judged.

    Returns:
        Booleans ``(n, c, *space)``; the background, class 0, is left to every pixel.
    """
    values = probs.float().transpose(0, 1).flatten(1)[1:]
    ranked = torch.where(among.flatten(), values, torch.inf).sort(dim=1).values
    rank = ((1 - share[1:]) * among.sum()).long().sub(1).clamp_min(0)
    beyond = (values < ranked.gather(1, rank[:, None])) & among.flatten() & (share[1:] > 0)[:, None]
    beyond = torch.cat([torch.zeros_like(beyond[:1]), beyond])
    return beyond.unflatten(1, among.shape).transpose(0, 1)


def marginal_loss(logits: Tensor, excluded: Tensor) -> Tensor:
    """Mean of ``-log`` of the summed probability of the other classes, over pixels with an excluded class; none: 0.

    Args:
        logits: ``(n, c, *space)``.
        excluded: booleans ``(n, c, *space)``, never all of a pixel.
    """
    left = torch.log_softmax(logits.float(), dim=1).masked_fill(excluded, -torch.inf)
    counted = excluded.any(dim=1)
    return -(torch.logsumexp(left, dim=1) * counted).sum() / counted.sum().clamp_min(1)
