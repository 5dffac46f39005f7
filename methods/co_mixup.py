"""Which parts of all images of a batch each of its mixtures is made of: Co-Mixup, without its graph cut."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Dirichlet
from torch.nn import functional as F

from .perturb import checkerboard
from .puzzle import shares_of_cells

_SIDE, _WINDOW = 32, 8
"""An image is salient most where a window of 8 x 8 of its 32 x 32 parts is (released for images of 32 x 32)."""
_SWEEPS = 3
"""On random saliencies of 6 and 12 images, more of them changed nothing."""
_BONUS = 5e-4
"""How much cheaper than the mean of two images their mixture in a cell is, as released."""
_LEAST = 1e-8


class Parts(NamedTuple):
    """Of every pixel ``(n, 1, *space)`` of n mixtures: two images, by index, and the share of the first, ½ or 1."""

    first: Tensor
    second: Tensor
    share: Tensor


@torch.no_grad()
def co_mix(
    salient: Tensor,
    *,
    cells: int,
    smooth: float,
    diversity: float,
    threshold: float,
    distance: float,
    prior: float,
    alpha: float,
    rounds: int,
) -> Parts:
    """As many mixtures as images, cell by cell of a grid, that together keep much that is salient and differ.

    Minimised is the sum over mixtures j and their K cells k, each with shares z of the images, of: minus the saliency
    s·z, images having a sum of 1; ``smooth``/K times half the squared differences of neighbours; and ``prior``/K times
    -ln λ·z, with λ of a Dirichlet distribution. To this comes ``diversity``/K times the sum, over mixtures and images,
    of the cells that the one has of the other times those that all other mixtures have of it, where these are more than
    ``threshold``·K. Mixtures take turns at what is best for each while the others stay; from the second round on a cell
    may be half and half of two of the three images that its mixture holds most of. In the last round, of two mixtures
    of the same images each lets go of one.

    Source: Kim et al., "Co-Mixup", ICLR 2021, arXiv:2102.03065; https://github.com/snu-mllab/Co-Mixup/tree/4c14a03
    (match.py, mixup.py). Its graph cuts are sweeps over every second cell here, from several beginnings, which end
    where no cell alone improves its mixture; all ``rounds`` are made, for a stop would make the host wait.

    Args:
        salient: saliency ``(n, 1, *space)`` of each image, at least 0.
        cells: along every side.
        distance: share, in [0, 1], of how far apart the most salient parts of two images lie in what counts as the
            same image; the rest is whether it is.
        alpha: all parameters of the Dirichlet distribution.
    """
    with torch.autocast(salient.device.type, enabled=False):  # in bfloat16 other cells would seem best
        n, grid, device = len(salient), (cells,) * (salient.ndim - 2), salient.device
        k = math.prod(grid)
        drawn = Dirichlet(torch.full((n,), alpha, device=device), validate_args=False).sample()
        cost = -shares_of_cells(salient, cells).view(n, k).T - prior / k * (drawn + _LEAST).log()
        same = (1 - distance) * torch.eye(n, device=device) + distance * _apart(salient)
        search = _Search(grid, smooth / k, device)
        pairs = torch.triu_indices(min(3, n), min(3, n), offset=1, device=device).T

        alone = torch.arange(n, device=device)[:, None].expand(n, 2)
        made = alone[torch.randint(n, (n, k), device=device)]
        count = F.one_hot(made[..., 0], n).sum(dim=1).float()
        extra = torch.zeros(n, n, device=device)
        for turn in range(rounds):
            if 0 < turn == rounds - 1:
                extra = _of_twins(count > 0)
            for j in range(n):
                near = same @ (count.sum(dim=0) - count[j])
                of_image = diversity / k * (2 * near * (near > threshold * k) + extra[j])
                allowed = alone if turn == 0 else torch.cat([alone, count[j].topk(min(3, n)).indices[pairs]])
                vectors = F.one_hot(allowed, n).float().mean(dim=1)
                halved = allowed[:, 0] != allowed[:, 1]
                missing = halved & (count[j] == 0)[allowed].any(dim=1)
                bonus = torch.where(missing, math.inf, -_BONUS * halved)
                best = search((cost + of_image) @ vectors.T + bonus, vectors)
                made[j], count[j] = allowed[best], vectors[best].sum(dim=0)
        spread = F.interpolate(
            made.movedim(-1, 0).reshape(2 * n, 1, *grid).float(), size=salient.shape[2:], mode="nearest"
        )
        first, second = spread.long().split(n)
        return Parts(first, second, 1 - 0.5 * (first != second))


class _Search:
    """What every cell of a mixture is best made of, while neighbours should be alike."""

    def __init__(self, grid: tuple[int, ...], smooth: float, device: torch.device) -> None:
        places = torch.cartesian_prod(*(torch.arange(side, device=device) for side in grid)).view(-1, len(grid))
        self.neighbours = smooth * ((places[:, None] - places).abs().sum(dim=2) == 1).float()
        self.degree = self.neighbours.sum(dim=1, keepdim=True)
        self.even = checkerboard(torch.Size(grid), cell=1, device=device).flatten()

    def __call__(self, alone: Tensor, vectors: Tensor) -> Tensor:
        """The row of ``vectors`` (m, n) for each of the k cells, whose own costs ``alone`` are (k, m).

        Begun once from what is best for each cell alone, and once from each row everywhere; the best end is taken.
        """
        alike = vectors @ vectors.T
        alone = alone + 0.5 * self.degree * alike.diagonal()
        everywhere = torch.arange(len(vectors), device=alone.device)[:, None].expand(-1, len(alone))
        found = torch.cat([alone.argmin(dim=1)[None], everywhere])
        for sweep in range(2 * _SWEEPS):
            better = (alone - self.neighbours @ alike[found]).argmin(dim=2)
            found = torch.where(self.even if sweep % 2 == 0 else ~self.even, better, found)
        energy = (alone - 0.5 * (self.neighbours @ alike[found])).gather(2, found[..., None]).sum(dim=(1, 2))
        return found[energy.argmin()]


def _apart(salient: Tensor) -> Tensor:
    """How far apart the most salient windows of every two images lie, ``(n, n)``, all together n."""
    pool: Any = F.adaptive_avg_pool2d if salient.ndim == 4 else F.adaptive_avg_pool3d
    mean: Any = F.avg_pool2d if salient.ndim == 4 else F.avg_pool3d
    small = pool(salient.float(), [min(_SIDE, side) for side in salient.shape[2:]])
    windows = mean(small, [min(_WINDOW, side) for side in small.shape[2:]], stride=1)
    at, place = windows.flatten(1).argmax(dim=1), []
    for side in reversed(windows.shape[2:]):
        place.append(at % side)
        at = at.div(side, rounding_mode="floor")
    where = torch.stack(place, dim=1).float()
    far = (where[:, None] - where).abs().sum(dim=2)
    return far * len(far) / far.sum().clamp_min(1)


def _of_twins(holds: Tensor) -> Tensor:
    """What images cost mixtures that hold the same ones as another, so that either lets go of another: ``(n, n)``."""
    twins = (holds[:, None] == holds).all(dim=2) & (holds.sum(dim=1) > 1)
    earlier = twins.triu(diagonal=1)
    rank = holds.cumsum(dim=1)
    one, other = holds & (rank == 1), holds & (rank == 2)
    return (one & earlier.any(dim=1, keepdim=True)).float() + (other & earlier.any(dim=0)[:, None]).float()
