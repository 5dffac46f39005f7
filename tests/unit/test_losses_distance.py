"""Distance transforms and signed distance maps: by hand, by brute force, by the released map, and at edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from datasets.types import IGNORE
from methods.losses import distance
from methods.losses.distance import distance_transform, signed_distance_maps
from tests.reference import oracles
from tests.reference import shapes as reference


def by_loops(mask: torch.Tensor) -> torch.Tensor:
    """As on one thread of a CPU, where SciPy is not called."""
    pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 1)
        patch.delattr(distance, "_by_scipy")
        return distance_transform(mask)


WAYS = [distance._by_scipy, distance._by_parabolas, by_loops]


def random_masks(*shape: int) -> torch.Tensor:
    """Mostly True, so that distances exceed 1."""
    return torch.rand(shape) < 0.9


@pytest.mark.parametrize("way", WAYS)
def test_distances_along_a_line_count_pixels(way):
    mask = torch.tensor([[[True, True, True, False, True]]])
    assert way(mask).flatten().tolist() == [3, 2, 1, 0, 1]


@pytest.mark.parametrize("way", WAYS)
def test_the_distance_to_a_corner_three_and_four_away_is_five(way):
    mask = torch.ones(1, 4, 5, dtype=torch.bool)
    mask[0, 0, 0] = False
    assert way(mask)[0, 3, 4].item() == 5
    assert way(mask)[0, 1, 1].item() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(2, 9, 7), (2, 5, 4, 6), (1, 1, 6)])
def test_distances_equal_brute_force(way, shape: tuple[int, ...]):
    masks = random_masks(*shape)
    masks[0].flatten()[0] = False
    expected = np.stack([reference.distances(mask) for mask in masks.numpy()])
    np.testing.assert_allclose(way(masks).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", [(12, 9, 7), (12, 5, 4, 6)])
def test_distances_in_small_regions_anywhere_equal_brute_force(way, shape: tuple[int, ...]):
    """Boxes inside, at a border, in a corner, across the sample, with or without a gap."""
    masks = torch.zeros(shape, dtype=torch.bool)
    for one in masks:
        sides = [sorted(torch.randint(0, side + 1, (2,)).tolist()) for side in one.shape]
        one[tuple(slice(low, high + 1) for low, high in sides)] = True
        one &= torch.rand(one.shape) < 0.95
    masks[0], masks[1] = True, True
    masks[0].flatten()[-1] = False
    masks[1, 0] = False
    expected = np.stack([reference.distances(mask) for mask in masks.numpy()])
    np.testing.assert_allclose(way(masks).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_without_an_outside_the_distance_is_infinite_and_without_an_inside_zero(way):
    masks = torch.stack([torch.ones(3, 4), torch.zeros(3, 4)]).bool()
    found = way(masks)
    assert (found[0] == math.inf).all()
    assert (found[1] == 0).all()


def test_both_ways_agree_to_rounding_on_larger_masks_and_in_chunks(monkeypatch: pytest.MonkeyPatch):
    masks = random_masks(2, 24, 20, 16)
    whole = distance._by_parabolas(masks)
    monkeypatch.setattr(distance, "_CHUNK", 1000)  # 2 lines of 24 at a time
    assert torch.equal(distance._by_parabolas(masks), whole)
    torch.testing.assert_close(distance._by_scipy(masks), whole, rtol=1e-6, atol=0)
    assert torch.equal(distance_transform(masks), distance._by_scipy(masks))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
@pytest.mark.parametrize(
    "shape", [(3, 70, 150), (3, 200, 9), (2, 1, 90), (2, 90, 1), (2, 1, 1), (2, 20, 33, 7), (2, 1, 9, 70)]
)
def test_loops_give_the_very_numbers_of_scipy(shape: tuple[int, ...], share: float):
    masks = torch.rand(shape) < share
    for given in (masks, ~masks, masks.transpose(1, 2)):
        found = by_loops(given)
        assert found.is_contiguous()
        assert torch.equal(found, distance._by_scipy(given))


@pytest.mark.parametrize("space", [(300, 280), (40, 52, 36)])
def test_loops_give_the_very_numbers_of_scipy_far_away_from_few_pixels(space: tuple[int, ...]):
    """Single pixels, blobs, all and nothing, inside and outside."""
    masks = torch.zeros(6, *space, dtype=torch.bool)
    masks[0].flatten()[0] = masks[1].flatten()[-1] = True
    masks[2].flatten()[torch.randint(0, masks[2].numel(), (3,))] = True
    masks[3][tuple(slice(side // 5, side // 2) for side in space)] = True
    masks[4][tuple(slice(side // 2, None) for side in space)] = True
    masks[4] &= torch.rand(space) < 0.9
    masks[5] = True
    for given in (masks, ~masks):
        assert torch.equal(by_loops(given), distance._by_scipy(given))


def test_masks_of_other_dimensions_are_left_to_scipy(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    line, more = random_masks(2, 9), random_masks(2, 3, 4, 3, 2)
    for masks in (line, more):
        assert torch.equal(distance_transform(masks), distance._by_scipy(masks))


def test_signed_map_of_a_line_by_hand():
    # inside: pixels 2..6 at depths 1 2 3 2 1 (of 3), the ends are boundary; outside: 2 and 1 left, 1 2 3 4 right (of 4)
    label = torch.zeros(1, 1, 11, dtype=torch.int64)
    label[..., 2:7] = 1
    expected = [2 / 4, 1 / 4, 0, -2 / 3, -1, -2 / 3, 0, 1 / 4, 2 / 4, 3 / 4, 1]
    torch.testing.assert_close(signed_distance_maps(label, 2).flatten(), torch.tensor(expected))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("absent", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(3, 8, 9), (3, 5, 6, 4)])
def test_signed_maps_equal_brute_force_class_by_class(
    shape: tuple[int, ...], absent: float, threads: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    label = torch.randint(0, 3, shape)
    label[0] = 0  # both classes absent
    label[1] = 2  # class 1 absent, class 2 everywhere
    label[2].flatten()[:3] = IGNORE  # outside of both
    found = signed_distance_maps(label, 3, absent=absent)
    assert found.shape == (3, 2, *shape[1:])
    for n in range(3):
        for k in (1, 2):
            expected = reference.signed_distances((label[n] == k).numpy(), absent)
            np.testing.assert_allclose(found[n, k - 1].numpy(), expected, rtol=1e-5, atol=1e-6)


def test_signed_map_is_the_released_one_also_of_an_empty_crop():
    mask, expected = oracles.load("sdm_mask", "sdm")
    found = signed_distance_maps(mask.long(), 2, absent=0.0)
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-5, atol=1e-6)
    assert not mask[2].any()  # the last crop holds no foreground: released 0 everywhere, here far away by default
    assert (signed_distance_maps(mask.long(), 2)[2] == 1).all()
