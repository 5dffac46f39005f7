"""Complementary masks, what two players minimise, the critic of patches, and batch statistics that are kept."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from methods.losses.adversarial import as_made, as_real, straight_through
from methods.networks.discriminators import PatchCritic
from methods.networks.statistics import kept_statistics
from methods.perturb import checkerboard, visible_cells

CPU = torch.device("cpu")


# masks ---------------------------------------------------------------------------------------------------------------
def test_half_of_1024_cells_of_eight_pixels_are_visible_and_each_is_whole():
    seen = visible_cells(3, (256, 256), cell=8, share=0.5, device=CPU)
    cells = seen.float().view(3, 32, 8, 32, 8).mean(dim=(2, 4))
    assert set(cells.unique().tolist()) == {0.0, 1.0}
    assert cells.sum(dim=(1, 2)).tolist() == [512, 512, 512]
    assert not torch.equal(seen[0], seen[1])


def test_the_share_is_rounded_down_and_cells_are_cut_at_the_far_border():
    # 20 x 12 pixels in cells of 8: 3 x 2 cells, of which floor(.4 · 6) = 2 are seen; the last ones are 4 pixels wide
    seen = visible_cells(50, (20, 12), cell=8, share=0.4, device=CPU)
    assert seen.shape == (50, 1, 20, 12)
    corners = seen[:, 0, ::8, ::8]  # one pixel of each cell
    assert (corners.sum(dim=(1, 2)) == 2).all()
    assert (seen[:, 0, 16:, 8:].sum(dim=(1, 2)) % 16 == 0).all()


def test_every_cell_is_seen_about_as_often_as_the_share_says():
    often = visible_cells(4000, (4, 4), cell=2, share=0.5, device=CPU).float().mean(dim=0)
    # 2 of 4 cells: probability ½, standard deviation ½ / sqrt(4000) = .008; five of them
    assert (often - 0.5).abs().max() < 0.04


@pytest.mark.parametrize(("cell", "share"), [(32, 0.5), (8, 0.05), (8, 0.01)])
def test_masks_that_would_show_a_branch_nothing_are_refused(cell: int, share: float):
    with pytest.raises(ValueError, match=r"0 of (1|16) would be visible .*; take smaller cells"):
        visible_cells(2, (32, 32), cell=cell, share=share, device=CPU)
    assert visible_cells(2, (32, 32), cell=8, share=1 / 16, device=CPU).any()


def test_a_checkerboard_alternates_between_cells():
    assert checkerboard((4, 6), cell=2, device=CPU).int().tolist() == [
        [1, 1, 0, 0, 1, 1],
        [1, 1, 0, 0, 1, 1],
        [0, 0, 1, 1, 0, 0],
        [0, 0, 1, 1, 0, 0],
    ]


# players -------------------------------------------------------------------------------------------------------------
def test_what_the_players_minimise_by_hand():
    # a logit of ln 3 says real with probability 3/4
    verdict = torch.full((2, 1, 3, 3), math.log(3))
    assert as_real(verdict).item() == pytest.approx(math.log(4 / 3))
    assert as_made(verdict).item() == pytest.approx(math.log(4))
    assert as_real(torch.zeros(1)).item() == pytest.approx(math.log(2))


def test_a_certain_verdict_is_finite_also_in_half_precision():
    verdict = torch.tensor([-3e4, 3e4], dtype=torch.float16, requires_grad=True)
    value = as_real(verdict) + as_made(verdict)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(3e4, rel=1e-3)
    assert verdict.grad.isfinite().all()


def test_straight_through_is_one_hot_exactly_and_has_the_gradient_of_the_probabilities():
    probs = torch.rand(2, 3, 4, 4).softmax(dim=1).requires_grad_()
    hard = straight_through(probs)
    assert torch.equal(hard.argmax(dim=1), probs.argmax(dim=1))
    assert set(hard.unique().tolist()) == {0.0, 1.0}
    weights = torch.randn(2, 3, 4, 4)
    (gradient,) = torch.autograd.grad((hard * weights).sum(), probs)
    assert torch.equal(gradient, weights)


def test_the_patch_critic_has_the_published_size_and_eight_by_eight_patches():
    # 4² c d + d weights and biases of 1-64-128-256-512-1: 1088 + 131200 + 524544 + 2097664 + 8193
    critic = PatchCritic(1, ndim=2)
    assert sum(p.numel() for p in critic.parameters()) == 2_762_689
    assert critic(torch.zeros(1, 1, 256, 256)).shape == (1, 1, 8, 8)
    with pytest.raises(ValueError, match="32 or more"):
        critic(torch.zeros(1, 1, 64, 16))


def test_the_patch_critic_works_in_three_dimensions():
    assert PatchCritic(4, ndim=3, width=2)(torch.zeros(1, 4, 32, 32, 64)).shape == (1, 1, 1, 1, 2)


# batch statistics ----------------------------------------------------------------------------------------------------
def test_kept_statistics_normalise_by_the_batch_and_stay_as_they_were():
    norm, image = nn.BatchNorm2d(2), 3 + torch.randn(4, 2, 5, 5)
    with kept_statistics(nn.Sequential(norm)):
        normalised = norm(image)
    assert torch.equal(normalised, nn.BatchNorm2d(2)(image))
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_var.tolist() == [1, 1]
    norm(image)  # afterwards it moves as before, by a tenth of the batch's mean
    torch.testing.assert_close(norm.running_mean, 0.1 * image.mean(dim=(0, 2, 3)))


def test_momenta_come_back_after_an_error():
    norm = nn.BatchNorm2d(2, momentum=0.3)

    def fail() -> None:
        with kept_statistics(norm):
            raise RuntimeError("meant")

    with pytest.raises(RuntimeError, match="meant"):
        fail()
    assert norm.momentum == 0.3
