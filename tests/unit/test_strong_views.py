"""Strong views: jitter, blur and boxes against slow references, what is drawn for whom, and what stays as it is."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from methods import strong_views
from methods.strong_views import blurred, jittered, mix_boxes

CPU = torch.device("cpu")
SPACES = pytest.mark.parametrize("space", [(9, 7), (6, 5, 7)])
jitter = partial(jittered, p=1.0, brightness=0.5, contrast=0.5)


# jitter ---------------------------------------------------------------------------------------------------------------
def with_draws(monkeypatch: pytest.MonkeyPatch, *draws: list[float]) -> None:
    """``torch.rand`` gives these numbers, one list for a call, one number for each sample."""
    left = iter(draws)
    monkeypatch.setattr(torch, "rand", lambda n, *ones, **_: torch.tensor(next(left)).view(n, *ones), raising=True)


def scaled(image: np.ndarray, about: float, by: float, low: float, high: float) -> np.ndarray:
    return np.clip(about + by * (image - about), low, high)


@SPACES
def test_brightness_scales_about_black_and_contrast_about_the_mean_in_the_drawn_order(
    space: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    image = 3 * torch.randn(3, 2, *space) - 1
    # changed (the last sample is not), contrast first, brightness at 3/4 and 1/4 of 0.5..1.5, contrast likewise
    with_draws(monkeypatch, [0.1, 0.7, 0.9], [0.4, 0.6, 0.4], [0.75, 0.25, 0.0], [0.25, 0.75, 0.0])
    found = jittered(image, p=0.8, brightness=0.5, contrast=0.5).numpy()
    for channel in range(2):
        one, two = image[:2, channel].double().numpy()
        low, high = one.min(), one.max()
        expected = scaled(one, one.mean(), 0.75, low, high)  # contrast comes first
        np.testing.assert_allclose(found[0, channel], scaled(expected, low, 1.25, low, high), atol=1e-5)
        low, high = two.min(), two.max()
        expected = scaled(two, low, 0.75, low, high)  # brightness comes first, and the mean is taken after it
        np.testing.assert_allclose(found[1, channel], scaled(expected, expected.mean(), 1.25, low, high), atol=1e-5)
        np.testing.assert_array_equal(found[2, channel], image[2, channel].numpy())
        assert (found[:2, channel] != image[:2, channel].numpy()).any()


@SPACES
def test_jitter_commutes_with_any_change_of_scale_of_any_channel(space: tuple[int, ...]):
    image = torch.rand(4, 2, *space, dtype=torch.float64)
    gain = torch.tensor([300.0, 0.01]).view(1, 2, *[1] * len(space))
    shift = torch.tensor([-1000.0, 5.0]).view_as(gain)
    views = []
    for one in (image, gain * image + shift):
        torch.manual_seed(2)
        views.append(jitter(one))
    torch.testing.assert_close(views[1], gain * views[0] + shift)
    assert not torch.allclose(views[0], image, atol=0.01)


def test_jitter_stays_within_the_extremes_of_each_image():
    image = torch.randn(50, 2, 8, 8)
    view = jittered(image, p=1.0, brightness=0.8, contrast=0.8)
    low, high = image.amin((2, 3), keepdim=True), image.amax((2, 3), keepdim=True)
    assert (view >= low).all()
    assert (view <= high).all()
    assert (view == high).flatten(1).sum(1).max() > 5  # some were cut off there


def factors(**limits: float) -> Tensor:
    """Slopes of a view of values 0.45 and 0.55 of a range from 0 to 1 that nothing is clipped of: products of both."""
    image = torch.tensor([0.0, 0.45, 0.55, 1.0]).view(1, 1, 2, 2).expand(4000, 1, 2, 2)
    view = jittered(image, p=1.0, **limits)
    return (view[:, 0, 1, 0] - view[:, 0, 0, 1]) / 0.1


def test_factors_are_uniform_around_one_and_each_sample_draws_its_own():
    for limits in ({"brightness": 0.5, "contrast": 0.0}, {"brightness": 0.0, "contrast": 0.5}):
        drawn = factors(**limits)
        # uniform in 0.5..1.5: mean 1, standard deviation 1 / sqrt(12) = 0.289; standard errors 0.005 and 0.002
        assert 0.5 <= drawn.min() < 0.51
        assert 1.49 < drawn.max() <= 1.5 + 1e-4
        assert drawn.mean().item() == pytest.approx(1, abs=0.02)
        assert drawn.std().item() == pytest.approx(1 / math.sqrt(12), abs=0.01)
        assert len(drawn.unique()) > 3000


def test_brightness_and_contrast_draw_apart():
    # the product of two independent factors: variance (1 + 1/12)² - 1 = 0.174; of one factor twice it would be 0.34
    assert factors(brightness=0.5, contrast=0.5).var().item() == pytest.approx(0.174, abs=0.03)


def test_a_factor_is_never_negative():
    drawn = factors(brightness=0.0, contrast=1.5)
    assert 0 <= drawn.min() < 0.01  # an image would be its own negative
    assert 2.45 < drawn.max() <= 2.5 + 1e-4
    assert drawn.mean().item() == pytest.approx(1.25, abs=0.04)  # uniform in 0..2.5, standard error 0.011


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_share_of_samples_is_changed_and_the_others_not_at_all(p: float):
    image = torch.randn(2000, 1, 3, 3)
    sharp = blurred(image, p=p, sigma=(0.5, 2.0))
    for view in (jittered(image, p=p, brightness=0.5, contrast=0.5), sharp):
        changed = (view != image).flatten(1).any(dim=1).float().mean().item()
        assert changed == pytest.approx(p, abs=0.04)  # standard error 0.01


def test_a_flat_image_stays_flat():
    image = torch.full((3, 1, 6, 6), 2.5)
    torch.testing.assert_close(jitter(image), image)
    torch.testing.assert_close(blurred(image, p=1.0, sigma=(0.1, 2.0)), image)


# blur -----------------------------------------------------------------------------------------------------------------
def slow_blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Pixel by pixel along each axis: the mean of its line, weighed by a Gaussian of the distance."""
    for axis in range(image.ndim):
        lines = np.moveaxis(image, axis, -1)
        smooth = np.empty_like(lines)
        for i in range(lines.shape[-1]):
            weights = np.exp(-((np.arange(lines.shape[-1]) - i) ** 2) / (2 * sigma**2))
            smooth[..., i] = (lines * weights).sum(axis=-1) / weights.sum()
        image = np.moveaxis(smooth, -1, axis)
    return image


@SPACES
def test_blur_is_a_gaussian_of_the_sigma_that_each_sample_draws(
    space: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
):
    image = torch.randn(3, 2, *space)
    with_draws(monkeypatch, [0.0, 0.5, 1.0], [0.0, 0.0, 0.0])
    found = blurred(image, p=0.5, sigma=(0.3, 2.1)).numpy()
    for sample, sigma in enumerate((0.3, 1.2, 2.1)):
        for channel in range(2):
            expected = slow_blur(image[sample, channel].double().numpy(), sigma)
            np.testing.assert_allclose(found[sample, channel], expected, atol=2e-6)


def test_blur_leaves_the_images_it_was_given_and_takes_any_layout():
    image = torch.randn(4, 3, 8, 6)
    before = image.clone()
    torch.manual_seed(1)
    expected = blurred(image, p=0.7, sigma=(0.1, 2.0))
    assert torch.equal(image, before)
    torch.manual_seed(1)
    torch.testing.assert_close(blurred(image.to(memory_format=torch.channels_last), p=0.7, sigma=(0.1, 2.0)), expected)


def test_blur_is_in_single_precision_under_autocast_too():
    image, found = torch.randn(4, 1, 16, 16), []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            found.append(blurred(image, p=1.0, sigma=(0.1, 2.0)))
    assert torch.equal(*found)


def test_the_weights_of_a_narrow_blur_hold_no_denormal_numbers():
    """They would slow the products down twenty times on some processors."""
    weights = strong_views._bells(torch.tensor([[0.1], [0.4], [2.0]]), 64)
    assert weights[weights > 0].min() > 1e-8
    assert (weights[:, range(64), range(64)] == 1).all()


# boxes ----------------------------------------------------------------------------------------------------------------
def sides_of(boxes: Tensor) -> Tensor:
    """``(n, ndim)`` lengths of the boxes, which are full: no holes, no second one."""
    axes = range(2, boxes.ndim)
    sides = [boxes.amax([1, *(a for a in axes if a != axis)]).sum(dim=1) for axis in axes]
    found = torch.stack(sides, dim=1)
    assert torch.equal(boxes.flatten(1).sum(dim=1), found.prod(dim=1))
    return found


def released_sides(size: int, n: int, generator: np.random.Generator) -> np.ndarray:
    """Boxes as UniMatch draws them, by trying again."""
    found = []
    while len(found) < n:
        area = generator.uniform(0.02, 0.4) * size * size
        while True:
            ratio = generator.uniform(0.3, 1 / 0.3)
            height, width = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
            if generator.integers(size) + width <= size and generator.integers(size) + height <= size:
                break
        found.append((height, width))
    return np.array(found)


def test_sides_are_distributed_as_those_that_the_released_code_draws_by_trying_again():
    n = 6000
    found = sides_of(mix_boxes(n, (64, 64), p=1.0, device=CPU)).double().numpy()
    expected = released_sides(64, n, np.random.default_rng(0))
    for axis in (0, 1):
        for q in (5, 25, 50, 75, 95):  # standard errors of some 0.2 pixels
            assert np.percentile(found[:, axis], q) == pytest.approx(np.percentile(expected[:, axis], q), abs=1.5)
        assert found[:, axis].mean() == pytest.approx(expected[:, axis].mean(), abs=0.7)
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(np.corrcoef(expected.T)[0, 1], abs=0.06)


def test_a_box_is_as_likely_at_one_place_as_at_any_other():
    # side 4 of 6 with aspect 1: it starts at 0, 1 or 2 along each axis, each with one third
    boxes = mix_boxes(6000, (6, 6), p=1.0, share=(4.1**2 / 36,) * 2, aspect=(1.0, 1.0), device=CPU)
    assert (sides_of(boxes) == 4).all()
    starts = torch.stack([boxes.amax([1, 5 - axis]).byte().argmax(dim=1) for axis in (2, 3)], dim=1)
    counts = torch.bincount(3 * starts[:, 0] + starts[:, 1], minlength=9)
    assert len(counts) == 9
    assert (counts / 6000 - 1 / 9).abs().max() < 0.02  # standard error 0.004


@pytest.mark.parametrize("space", [(40, 80), (20, 30, 40)])
def test_shares_and_aspects_are_relative_to_the_images_sides(space: tuple[int, ...]):
    boxes = mix_boxes(500, space, p=1.0, share=(0.1, 0.3), aspect=(0.5, 2.0), device=CPU)
    assert boxes.shape == (500, 1, *space)
    sides = sides_of(boxes).double()
    relative = sides / torch.tensor(space)
    one_more = (sides + 1) / torch.tensor(space)  # they were rounded down
    assert (relative.prod(dim=1) <= 0.3).all()
    assert (one_more.prod(dim=1) > 0.1).all()
    assert (relative[:, 0] / one_more[:, 1] <= 2.0).all()
    assert (one_more[:, 0] / relative[:, 1] >= 0.5).all()
    if len(space) == 3:  # the third side has the share of the geometric mean
        middle = (relative[:, 0] * relative[:, 1]).sqrt()
        assert (relative[:, 2] <= (one_more[:, 0] * one_more[:, 1]).sqrt()).all()
        assert (one_more[:, 2] >= middle).all()


def test_the_first_side_is_the_longer_one_of_a_large_aspect():
    sides = sides_of(mix_boxes(50, (64, 64), p=1.0, share=(0.2, 0.2), aspect=(2.9, 3.0), device=CPU))
    # sqrt(0.2 * 64² * 3) = 49.6 and sqrt(0.2 * 64² / 3) = 16.5
    assert (sides[:, 0] - 49).abs().max() <= 1
    assert (sides[:, 1] - 16).abs().max() <= 1


def test_a_share_of_samples_has_a_box_and_each_its_own():
    boxes = mix_boxes(2000, (16, 16), p=0.3, device=CPU)
    assert boxes.flatten(1).any(dim=1).float().mean().item() == pytest.approx(0.3, abs=0.04)  # standard error 0.01
    assert len({box.numpy().tobytes() for box in boxes if box.any()}) > 400
    assert not mix_boxes(50, (16, 16), p=0.0, device=CPU).any()
    assert mix_boxes(50, (16, 16), p=1.0, device=CPU).flatten(1).any(dim=1).all()


def test_views_draw_from_the_global_stream_alone():
    image = torch.randn(3, 1, 8, 8)
    for draw in (jitter, partial(blurred, p=1.0, sigma=(0.5, 2.0)), lambda _: mix_boxes(3, (8, 8), p=1.0, device=CPU)):
        torch.manual_seed(5)
        first, second = draw(image), draw(image)
        torch.manual_seed(5)
        assert torch.equal(draw(image), first)
        assert not torch.equal(first, second)
