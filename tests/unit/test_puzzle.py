"""The mixture of Puzzle Mix: the energy it minimises, cell by cell, and what it comes to."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import Labelled
from methods import puzzle as puzzles
from methods.puzzle import puzzle

SMOOTH, PRIOR = 1.2, 0.2


def slow_energy(levels: np.ndarray, first: np.ndarray, second: np.ndarray, share: float, smooth: float) -> float:
    """Of one sample's grid: what is salient and lost, the drawn share, and differences of neighbours."""
    side = levels.shape[0]
    found = 0.0
    for at in np.ndindex(*levels.shape):
        m = float(levels[at])
        chance = {0.0: (1 - share) ** 2, 0.5: 2 * share * (1 - share), 1.0: share**2}[m]
        found += m * float(second[at]) + (1 - m) * float(first[at]) - PRIOR / levels.size * math.log(chance + 1e-8)
        for axis in range(levels.ndim):
            beyond = tuple(place + (axis == k) for k, place in enumerate(at))
            if beyond[axis] < side:
                found += smooth / (16 * side) * (m - float(levels[beyond])) ** 2
    return found


def cells_of(saliency: Tensor, cells: int) -> np.ndarray:
    """The saliency of cells of equal size, as shares of the image's."""
    side = saliency.shape[0] // cells
    blocks = saliency.numpy().reshape(cells, side, cells, side).mean(axis=(1, 3))
    return blocks / blocks.sum()


def with_grid(place: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The grid that is drawn; how many cells its sides have."""
    monkeypatch.setattr(torch, "randint", lambda *args, **_: torch.tensor([place]))
    return puzzles.GRIDS[place]


def mixed(first: Tensor, second: Tensor, share: float, smooth: float = SMOOTH) -> Tensor:
    return puzzle(first[None, None], second[None, None], torch.tensor(share), smooth=smooth, prior=PRIOR)[0, 0]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_mixture_of_four_cells_is_the_one_of_lowest_energy(share: float, monkeypatch: pytest.MonkeyPatch):
    cells = with_grid(0, monkeypatch)
    for seed in range(5):
        torch.manual_seed(seed)
        first, second = torch.rand(16, 16) ** 3, torch.rand(16, 16) ** 3
        a, b = cells_of(first, cells), cells_of(second, cells)
        found = mixed(first, second, share).numpy()[::8, ::8]
        every = [np.array(levels).reshape(2, 2) for levels in itertools.product((0.0, 0.5, 1.0), repeat=4)]
        lowest = min(slow_energy(levels, a, b, share, SMOOTH) for levels in every)
        assert slow_energy(found, a, b, share, SMOOTH) == pytest.approx(lowest, rel=1e-5)


@pytest.mark.parametrize("place", [1, 2, 3])
def test_no_single_cell_of_a_finer_mixture_would_lower_the_energy(place: int, monkeypatch: pytest.MonkeyPatch):
    cells, smooth = with_grid(place, monkeypatch), 8.0  # smooth enough that neighbours matter
    first, second = torch.rand(32, 32) ** 3, torch.rand(32, 32) ** 3
    a, b = cells_of(first, cells), cells_of(second, cells)
    every = mixed(first, second, 0.4, smooth)
    found = every.numpy()[:: 32 // cells, :: 32 // cells].copy()
    assert np.array_equal(np.kron(found, np.ones((32 // cells, 32 // cells))), every.numpy())
    lowest = slow_energy(found, a, b, 0.4, smooth)
    for at in np.ndindex(*found.shape):
        kept = found[at]
        for level in (0.0, 0.5, 1.0):
            found[at] = level
            assert slow_energy(found, a, b, 0.4, smooth) >= lowest - 1e-6
        found[at] = kept
    assert (mixed(first, second, 0.4, 0.0) != every).any()


def test_a_mixture_takes_each_image_where_it_is_salient_and_more_of_the_one_of_the_larger_share(
    monkeypatch: pytest.MonkeyPatch,
):
    with_grid(1, monkeypatch)
    left = torch.zeros(16, 16)
    left[:, :8] = 1
    assert mixed(left, 1 - left, 0.5)[:, :8].mean() > 0.9
    assert mixed(left, 1 - left, 0.5)[:, 8:].mean() < 0.1
    flat = torch.ones(16, 16)
    means = [mixed(flat, flat, share).mean().item() for share in (0.01, 0.5, 0.99)]
    assert means == [0, 0.5, 1]


def test_grids_of_two_to_sixteen_cells_are_drawn_and_volumes_have_them_as_well():
    first, second = torch.rand(32, 32) ** 3, torch.rand(32, 32) ** 3
    seen = set()
    for seed in range(40):
        torch.manual_seed(seed)
        found = mixed(first, second, 0.5, 0.0)
        changes = (found[:, 1:] != found[:, :-1]).any(dim=0).nonzero().flatten() + 1
        seen.add(next(side for side in (16, 8, 4, 2) if (changes % side == 0).all()))
    assert seen == {32 // cells for cells in (2, 4, 8, 16)}
    volume = puzzle(torch.rand(2, 1, 8, 8, 8), torch.rand(2, 1, 8, 8, 8), torch.tensor(0.5), smooth=1.0, prior=0.2)
    assert volume.shape == (2, 1, 8, 8, 8)
    assert set(volume.unique().tolist()) <= {0.0, 0.5, 1.0}


def test_images_without_anything_salient_are_mixed_by_the_drawn_share(monkeypatch: pytest.MonkeyPatch):
    with_grid(2, monkeypatch)
    nothing = torch.zeros(16, 16)
    assert mixed(nothing, nothing, 0.99).unique().tolist() == [1]


def test_neighbours_of_a_voxel_are_six():
    values = torch.zeros(1, 1, 3, 3, 3)
    values[0, 0, 1, 1, 1] = 1
    found = puzzles._of_neighbours(values)
    assert found.sum() == 6
    assert found[0, 0, 1, 1, 0] == 1


def test_saliency_is_the_root_mean_square_over_channels():
    network = torch.nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).view(2, 2, 1, 1))
    samples = Labelled(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64))
    # both classes are as probable, so the gradient is -(3, 4) / 2
    torch.testing.assert_close(puzzles.saliency(network, samples), torch.full((1, 1, 4, 4), math.sqrt(12.5) / 2))
