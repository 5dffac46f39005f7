"""GridMask: the share it hides, the lattice it draws, and what it leaves alone."""

from __future__ import annotations

import math

import pytest
import torch

from methods.grid_mask import grid_mask, visible_stripes

CPU = torch.device("cpu")


def test_the_share_hidden_is_that_of_the_squares_between_stripes():
    # a pixel is hidden if it is off the stripes of both directions: (1 - ceil(0.4 d) / d)², d uniform in 20..79
    expected = sum((1 - math.ceil(0.4 * d) / d) ** 2 for d in range(20, 80)) / 60
    assert 0.30 < expected < 0.42
    hidden = 1 - visible_stripes(600, (64, 48), device=CPU).float().mean().item()
    assert hidden == pytest.approx(expected, abs=0.03)


def test_every_pixel_is_as_likely_hidden_as_any_other():
    # 36 % everywhere for period 10; standard error of a pixel's mean over 4000 lattices: 0.0076
    hidden = 1 - visible_stripes(4000, (12, 9), periods=(10, 10), device=CPU).float().mean(dim=0)
    assert (hidden - 0.36).abs().max() < 0.04


def test_an_upright_lattice_has_stripes_of_the_stated_width_and_period():
    seen = visible_stripes(1500, (60, 40), periods=(10, 10), device=CPU)[:, 0]
    rows, columns = seen.all(dim=2), seen.all(dim=1)
    upright = (seen == (rows[:, :, None] | columns[:, None])).flatten(1).all(dim=1)
    assert upright.any()  # one in 90 is turned by 0 degrees
    for lines, sides in ((rows[upright], 60), (columns[upright], 40)):
        assert (lines.sum(dim=1) == 0.4 * sides).all()
        assert torch.equal(lines[:, 10:], lines[:, :-10])
        assert (lines[:, 1:] != lines[:, :-1]).sum(dim=1).max() <= 2 * sides // 10


def test_lattices_differ_between_samples_and_nearly_all_are_turned():
    seen = visible_stripes(90, (60, 60), periods=(10, 10), device=CPU)[:, 0]
    assert len({one.numpy().tobytes() for one in seen}) > 80
    rows, columns = seen.all(dim=2), seen.all(dim=1)
    upright = (seen == (rows[:, :, None] | columns[:, None])).flatten(1).all(dim=1)
    assert upright.sum() < 10  # one in 90 is expected


@pytest.mark.parametrize("space", [(40, 30), (4, 40, 30)])
def test_what_is_seen_is_unchanged_and_the_rest_is_the_mean_of_its_channel(space: tuple[int, ...]):
    image = 1 + torch.rand(6, 2, *space)
    masked = grid_mask(image, 1.0)
    hidden = masked != image
    means = image.flatten(2).mean(2)
    for sample, channel in ((0, 0), (5, 1)):
        gone = masked[sample, channel][hidden[sample, channel]]
        torch.testing.assert_close(gone, means[sample, channel].expand_as(gone))
    assert torch.equal(hidden[:, 0], hidden[:, 1])  # all channels alike
    assert 0.1 < hidden.float().mean() < 0.6
    if len(space) == 3:
        assert torch.equal(hidden[:, :, :1].expand_as(hidden), hidden)  # all planes alike


def test_a_sample_is_spared_with_the_stated_probability():
    image = torch.rand(1000, 1, 24, 24)
    assert torch.equal(grid_mask(image, 0.0), image)
    spared = (grid_mask(image, 0.8, periods=(6, 8)) == image).flatten(1).all(dim=1).float().mean().item()
    assert spared == pytest.approx(0.2, abs=0.05)  # standard error 0.013


def test_the_image_itself_is_not_changed():
    image = torch.rand(2, 1, 50, 50)
    kept = image.clone()
    grid_mask(image, 1.0)
    assert torch.equal(image, kept)
