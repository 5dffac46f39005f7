"""Which parts of two images a mixture takes from the first: Puzzle Mix, with no parts moved and no graph cut."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from datasets.types import Labelled

from .base import as_judge
from .losses.cross_entropy import cross_entropy
from .perturb import checkerboard

GRIDS = (2, 4, 8, 16)
"""Cells along every side, one of these per call."""
_SWEEPS = 5
"""Measured on random saliencies, the energy then lies within 0.02 % of where it comes to rest."""
_LEAST = 1e-8
"""Added to a probability inside the logarithm, as released."""


def saliency(network: nn.Module, samples: Labelled) -> Tensor:
    """How much each pixel moves the cross-entropy, ``(n, 1, *space)``; the root mean square over channels."""
    image = samples.image.detach().requires_grad_(True)
    with as_judge(network):
        logits = network(image)
    # the sum over pixels: only proportions count, and a mean would vanish in half precision
    (gradient,) = torch.autograd.grad(cross_entropy(logits, samples.label) * samples.label.numel(), image)
    return gradient.float().square().mean(dim=1, keepdim=True).sqrt()


@torch.no_grad()
def puzzle(first: Tensor, second: Tensor, share: Tensor, *, smooth: float, prior: float) -> Tensor:
    """The share of the first image in every pixel: 0, ½ or 1, cell by cell of a grid, where little salient is lost.

    Minimised is, over the cells, what is salient and lost, m·s₂ + (1 - m)·s₁ with s the saliency of a cell and 1 that
    of the image; ``smooth``/16 over the cells of a side times the squared differences of neighbours; and ``prior``
    over the number of cells times -ln of the probability of m, half the number of heads in two throws of a coin that
    shows them with probability ``share``. Each cell begins at what is best for it alone, and sweeps over every second
    cell follow: to a minimum that no single cell improves, where the released code cuts a graph.

    Source: Kim et al., "Puzzle Mix", ICML 2020, as in https://github.com/BWGZK/CycleMix/blob/443fe95/mixup.py, which
    also weighs borders by the contrast across them (its γ = 0.5) and then moves parts.

    Args:
        first, second: saliency ``(n, 1, *space)``, at least 0; the mixture takes cells of n pairs.
        share: scalar in [0, 1].

    Returns:
        ``(n, 1, *space)`` float32. The grid is drawn on the device; on a GPU, masks of all are made and one is taken.
    """
    drawn, masks = torch.randint(len(GRIDS), (1,), device=first.device), []
    for cells in (GRIDS[int(drawn)],) if drawn.device.type == "cpu" else GRIDS:
        a, b = shares_of_cells(first, cells), shares_of_cells(second, cells)
        mask = _solved(a, b, share, smooth / (16 * cells), prior)
        masks.append(F.interpolate(mask, size=first.shape[2:], mode="nearest"))
    return masks[0] if len(masks) == 1 else torch.stack(masks).index_select(0, drawn).squeeze(0)


def energies(first: Tensor, second: Tensor, share: Tensor, prior: float) -> Tensor:
    """What each of the three levels costs a cell that has no neighbours: ``(3, n, 1, *grid)``."""
    cells = math.prod(first.shape[2:])
    throws = (share.square(), 2 * share * (1 - share), (1 - share).square())
    costs = []
    for level, chance in zip((0.0, 0.5, 1.0), reversed(throws), strict=True):
        costs.append(level * second + (1 - level) * first - prior / cells * (chance + _LEAST).log())
    return torch.stack(costs)


def shares_of_cells(saliency: Tensor, cells: int) -> Tensor:
    """The saliency of every cell, as a share of the image's; of an image without any: 0."""
    pool = F.adaptive_avg_pool2d if saliency.ndim == 4 else F.adaptive_avg_pool3d
    pooled = pool(saliency.float(), cells)
    total = pooled.flatten(1).sum(dim=1).clamp_min(torch.finfo(pooled.dtype).tiny)
    return pooled / total.view(-1, *[1] * (pooled.ndim - 1))


def _solved(first: Tensor, second: Tensor, share: Tensor, smooth: float, prior: float) -> Tensor:
    """The levels ``(n, 1, *grid)`` of lowest energy that the sweeps find."""
    alone = energies(first, second, share, prior)
    level = torch.arange(3, device=first.device).view(-1, *[1] * first.ndim) / 2
    degree = _of_neighbours(torch.ones_like(first[:1]))
    even = checkerboard(first.shape[2:], cell=1, device=first.device)
    found = alone.argmin(dim=0) / 2
    for sweep in range(2 * _SWEEPS):
        bound = smooth * (degree * level.square() - 2 * level * _of_neighbours(found))
        better = (alone + bound).argmin(dim=0) / 2
        found = torch.where(even if sweep % 2 == 0 else ~even, better, found)
    return found


def _of_neighbours(values: Tensor) -> Tensor:
    """The sum over the neighbours of every cell along the axes of space."""
    total = torch.zeros_like(values)
    for axis in range(2, values.ndim):
        side = values.shape[axis]
        total.narrow(axis, 1, side - 1).add_(values.narrow(axis, 0, side - 1))
        total.narrow(axis, 0, side - 1).add_(values.narrow(axis, 1, side - 1))
    return total
