"""Boxes, halves and perturbed features: bounds, counts, and what stays as it is."""

from __future__ import annotations

import pytest
import torch

from methods.perturb import drop_attended, halves, random_box, random_turn, scale_values

CPU = torch.device("cpu")


def test_the_box_has_two_thirds_of_every_side_as_published():
    # BCP on the left atrium: 112 x 112 x 80 -> 74 x 74 x 53
    box = random_box((112, 112, 80), 2 / 3, CPU)
    sides = [box.any(dim=[a for a in range(3) if a != axis]).sum().item() for axis in range(3)]
    assert sides == [74, 74, 53]
    assert box.sum() == 74 * 74 * 53  # a full box, without holes


def test_the_box_reaches_every_place_and_no_other():
    # side 4 of 6: it starts at 0, 1 or 2
    starts = {int(random_box((6,), 0.7, CPU).nonzero()[0, 0]) for _ in range(60)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize(("side", "expected"), [(4, {0, 1, 2, 3}), (3, {0, 2})])
def test_all_maps_are_turned_alike_by_every_turn_that_fits(side: int, expected: set[int]):
    image, probs = torch.rand(2, 1, 4, side), torch.rand(2, 3, 4, side)
    seen = set()
    for _ in range(60):
        turn = random_turn(image)
        (k,) = [k for k in range(4) if torch.equal(turn(image), torch.rot90(image, k, (2, 3)))]
        assert torch.equal(turn(probs), torch.rot90(probs, k, (2, 3)))
        seen.add(k)
    assert seen == expected


def test_volumes_are_turned_in_the_plane_of_their_first_two_axes():
    image, seen = torch.rand(1, 1, 4, 4, 3), set()
    for _ in range(60):
        turned = random_turn(image)(image)
        (k,) = [k for k in range(4) if torch.equal(turned, torch.rot90(image, k, (2, 3)))]
        seen.add(k)
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("count", "n", "first", "last"),
    [
        (4, 2, [0, 1], [2, 3]),
        (3, 2, [0, 1], [1, 2]),
        (1, 1, [0], [0]),
        (1, 2, [0, 0], [0, 0]),
        (2, 2, [0, 1], [0, 1]),
        (2, 3, [0, 1, 0], [1, 0, 1]),
    ],
)
def test_halves_of_any_batch(count: int, n: int, first: list[int], last: list[int]):
    found = halves(torch.arange(count), n)
    assert [half.tolist() for half in found] == [first, last]


def test_scaled_values_change_by_the_limit_at_most_and_alike_in_all_samples():
    features = [torch.ones(3, 4, 5, 5), torch.ones(3, 2, 2, 2)]
    found = scale_values(features, 0.3, training=True)
    for each in found:
        assert (each - 1).abs().max() <= 0.3 + 1e-6
        assert each.std() > 0.1  # uniform in ±0.3: 0.17
        assert torch.equal(each[0], each[1])
    assert all(a is b for a, b in zip(scale_values(features, 0.3, training=False), features, strict=True))


def test_attended_positions_are_dropped_in_all_channels_and_the_others_kept():
    # activity, the mean over channels, is 0..8 of a maximum of 8; with a share of exactly ½, 4 and more go
    activity = torch.arange(9.0).view(1, 1, 3, 3)
    feature = torch.cat([activity - 1, activity + 1], dim=1)
    (found,) = drop_attended([feature], 0.5, 0.5, training=True)
    assert torch.equal(found, feature * (activity < 4))
    assert drop_attended([feature], 0.5, 0.5, training=False)[0] is feature


def test_the_share_that_is_dropped_is_drawn_between_its_bounds():
    feature = torch.linspace(0, 1, 101).view(1, 1, 101)
    kept = [(drop_attended([feature], 0.7, 0.9, training=True)[0] > 0).sum().item() for _ in range(40)]
    assert min(kept) >= 69
    assert max(kept) <= 90
    assert max(kept) - min(kept) > 5
