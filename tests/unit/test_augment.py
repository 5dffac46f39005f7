"""Augmentation: the right set of orientations, and images and label maps that move together.

Most tests use a sample that says where each pixel came from: the label map numbers the pixels of a 12 x 12 grid (so
that all fit below IGNORE), and the image holds their row and column.
"""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.augment import KINDS, Params, _reorient_at_once, _reorient_each, apply, draw
from datasets.types import IGNORE

SIDE = 12
NUMBERS = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def places(n: int, height: int = SIDE, width: int = SIDE) -> tuple[torch.Tensor, torch.Tensor]:
    """n copies of (image of row and column, label map of pixel numbers)."""
    label = torch.arange(height * width, dtype=torch.uint8).view(1, height, width)
    image = torch.stack([label // width, label % width], dim=1).float()
    return image.repeat(n, 1, 1, 1), label.repeat(n, 1, 1)


def params(
    n: int = 1, *, mirror: tuple[bool, ...] = (False, False), swap: bool = False, degrees: float = 0.0
) -> Params:
    return Params(np.tile(mirror, (n, 1)), np.full(n, swap), np.full(n, degrees))


def upright(drawn: Params) -> Params:
    """The same without its small rotations."""
    return Params(drawn.mirror, drawn.swap, np.zeros_like(drawn.degrees))


EIGHT = {
    np.rot90(side, k).tobytes(): (name, k)
    for name, side in (("turn", NUMBERS), ("mirror", NUMBERS.T))
    for k in range(4)
}


def orientations(kind: str, n: int) -> Counter:
    """How often each orientation of the square comes up among n samples, small rotations left out."""
    _, (labels,) = apply(upright(draw(kind, n, 2, (SIDE, SIDE), rng())), None, [places(n)[1].long()])
    return Counter(EIGHT[label.numpy().tobytes()] for label in labels)


def within_four_sigma(count: int, n: int, share: float) -> bool:
    return abs(count - n * share) < 4 * np.sqrt(n * share * (1 - share))


def test_dihedral_draws_all_eight_orientations_equally_often() -> None:
    counts = orientations("dihedral", 2000)
    assert len(counts) == 8
    assert all(within_four_sigma(count, 2000, 1 / 8) for count in counts.values())


def test_released_draws_reflections_only_and_never_a_pure_turn() -> None:
    # Slow reference of the recipe: a random number of quarter turns, then always one flip on a random axis.
    published = {EIGHT[np.flip(np.rot90(NUMBERS, k), axis).tobytes()] for k in range(4) for axis in (0, 1)}
    assert {name for name, _ in published} == {"mirror"}
    counts = orientations("released", 2000)
    untouched = counts.pop(("turn", 0))
    assert set(counts) == published
    assert within_four_sigma(untouched, 2000, 1 / 2)
    assert all(within_four_sigma(count, 2000, 1 / 8) for count in counts.values())


def test_released_reflects_half_rotates_a_quarter_and_leaves_a_quarter() -> None:
    drawn = draw("released", 4000, 2, (SIDE, SIDE), rng())
    reflected = drawn.mirror.any(axis=1) | drawn.swap
    rotated = drawn.degrees != 0
    assert not (reflected & rotated).any()
    assert within_four_sigma(reflected.sum(), 4000, 1 / 2)
    assert within_four_sigma(rotated.sum(), 4000, 1 / 4 * 39 / 40)  # one of the forty angles is 0 degrees


def test_released_angles_are_the_whole_degrees_from_minus_20_to_19() -> None:
    degrees = draw("released", 4000, 2, (SIDE, SIDE), rng()).degrees
    assert set(degrees.tolist()) == set(range(-20, 20))


def test_dihedral_rotates_half_of_the_samples_by_at_most_20_degrees_either_way() -> None:
    degrees = draw("dihedral", 4000, 2, (SIDE, SIDE), rng()).degrees
    assert within_four_sigma((degrees != 0).sum(), 4000, 1 / 2)
    assert -20 <= degrees.min() < -19
    assert 19 < degrees.max() <= 20


def test_a_patch_with_unequal_sides_keeps_its_shape_in_four_orientations() -> None:
    wide = np.arange(6 * 10).reshape(6, 10).astype(np.uint8)
    keep = {wide.tobytes(), wide[::-1].tobytes(), wide[:, ::-1].tobytes(), wide[::-1, ::-1].tobytes()}
    for kind, expected in (
        ("dihedral", keep),
        ("released", {wide.tobytes(), wide[::-1].tobytes(), wide[:, ::-1].tobytes()}),
    ):
        _, (labels,) = apply(upright(draw(kind, 200, 2, wide.shape, rng())), None, [places(200, 6, 10)[1]])
        assert {label.numpy().tobytes() for label in labels} == expected


def test_flip_only_mirrors_and_none_does_nothing() -> None:
    assert set(orientations("flip", 400)) == {("turn", 0), ("turn", 2), ("mirror", 1), ("mirror", 3)}
    assert set(orientations("none", 50)) == {("turn", 0)}
    for kind in ("flip", "none"):
        assert not draw(kind, 50, 2, (SIDE, SIDE), rng()).degrees.any()


def test_in_3d_the_last_axis_is_mirrored_by_flip_alone_and_nothing_rotates() -> None:
    depth = torch.arange(5, dtype=torch.uint8).expand(60, 4, 4, 5).contiguous()
    for kind in KINDS:
        drawn = draw(kind, 60, 3, (4, 4, 5), rng())
        assert not drawn.degrees.any()
        _, (labels,) = apply(drawn, None, [depth])
        seen = {tuple(label[0, 0].tolist()) for label in labels}
        forward, backward = (0, 1, 2, 3, 4), (4, 3, 2, 1, 0)
        assert seen == ({forward, backward} if kind == "flip" else {forward})


def test_in_3d_released_reflects_every_sample_in_the_plane() -> None:
    label = torch.from_numpy(NUMBERS.astype(np.int64))[None, :, :, None].repeat(200, 1, 1, 2)
    _, (labels,) = apply(draw("released", 200, 3, (SIDE, SIDE, 2), rng()), None, [label])
    seen = {EIGHT[one[..., 1].contiguous().numpy().tobytes()] for one in labels}
    assert seen == {("mirror", k) for k in range(4)}


@pytest.mark.parametrize("kind", ["dihedral", "released"])
def test_volumes_with_the_slices_first_are_turned_in_the_plane_of_the_last_two_axes(kind: str) -> None:
    """As those with the slices last are turned in that of the first two: the same fates, seen along another axis."""
    label = torch.randint(0, 9, (200, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    _, (first,) = apply(draw(kind, 200, 3, (4, 4, 4), rng(), (1, 2)), None, [label])
    planes = {tuple(one.flatten(1).sum(dim=1).tolist()) for one in label}
    assert {tuple(one.flatten(1).sum(dim=1).tolist()) for one in first} == planes, "every slice stays where it is"
    turned = [not torch.equal(one, other) for one, other in zip(first, label, strict=True)]
    assert np.mean(turned) > 0.8
    _, (thick,) = apply(draw("dihedral", 100, 3, (4, 4, 6), rng(), (1, 2)), None, [torch.zeros(100, 4, 4, 6).long()])
    assert thick.shape == (100, 4, 4, 6), "axes of different length do not change places"


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("kind", KINDS)
def test_right_angles_and_mirrors_move_image_and_label_to_the_same_place_exactly(kind: str, interpolation: str) -> None:
    image, label = places(40)
    moved, (numbers,) = apply(
        upright(draw(kind, 40, 2, (SIDE, SIDE), rng())), image, [label], interpolation=interpolation
    )
    assert torch.equal(moved[:, 0] * SIDE + moved[:, 1], numbers.float())


def test_nearest_rotation_keeps_an_image_that_is_a_function_of_its_label_exactly_so() -> None:
    label = torch.from_numpy(rng().integers(0, 3, (60, 9, 14)).astype(np.uint8))
    image = (label[:, None].float() + 1) / 4  # 1/4, 1/2, 3/4
    drawn = draw("released", 60, 2, (9, 14), rng())
    moved, (labels,) = apply(drawn, image, [label], interpolation="nearest")
    known = labels != IGNORE
    assert not known.all()  # some corners were uncovered
    assert torch.equal(moved[:, 0][known], (labels[known].float() + 1) / 4)
    assert (moved[:, 0][~known] == 1 / 4).all()  # every sample holds class 0, whose 1/4 is its minimum


def test_linear_rotation_and_nearest_label_read_the_same_point_to_half_a_pixel() -> None:
    image, label = places(40)
    moved, (numbers,) = apply(draw("dihedral", 40, 2, (SIDE, SIDE), rng()), image, [label])
    row, column = numbers // SIDE, numbers % SIDE
    # A pixel whose four neighbours all lie inside is interpolated; nearer the border the fill blends in.
    inner = (numbers != IGNORE) & (row > 0) & (row < SIDE - 1) & (column > 0) & (column < SIDE - 1)
    assert inner.float().mean() > 0.5
    assert (moved[:, 0] - row)[inner].abs().max() <= 0.5 + 1e-5
    assert (moved[:, 1] - column)[inner].abs().max() <= 0.5 + 1e-5


@pytest.mark.parametrize(("height", "width"), [(SIDE, SIDE), (8, 15), (15, 8)])
def test_linear_rotation_of_a_ramp_is_the_ramp_at_the_rotated_position(height: int, width: int) -> None:
    # Linear interpolation is exact on a linear ramp: output (y, x) from the centre reads row cos t y + sin t x. Angles
    # are in pixels, so unequal sides do not shear the picture.
    image, _ = places(1, height, width)
    moved, _ = apply(params(degrees=17.0), image)
    t = np.deg2rad(17.0)
    y, x = np.arange(height)[:, None] - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    row = np.cos(t) * y + np.sin(t) * x + (height - 1) / 2
    column = np.cos(t) * x - np.sin(t) * y + (width - 1) / 2
    inner = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    assert inner.mean() > 0.5
    np.testing.assert_allclose(moved[0, 0].numpy()[inner], row[inner], atol=1e-4)
    np.testing.assert_allclose(moved[0, 1].numpy()[inner], column[inner], atol=1e-4)


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_a_rotation_by_90_degrees_is_a_quarter_turn(interpolation: str) -> None:
    # np.rot90 turns from the first axis towards the second, as `degrees` says it does.
    image, label = places(1)
    moved, (numbers,) = apply(params(degrees=90.0), image, [label], interpolation=interpolation)
    assert np.array_equal(numbers[0], np.rot90(NUMBERS))
    np.testing.assert_allclose(moved[0, 0] * SIDE + moved[0, 1], np.rot90(NUMBERS), atol=1e-4)


def test_uncovered_corners_hold_ignore_and_the_minimum_of_each_channel() -> None:
    # A corner of a square turned by 20 degrees reads |(cos 20 + sin 20)| = 1.28 half sides away: outside.
    image = torch.rand(3, 2, SIDE, SIDE) - 0.5
    label = torch.zeros(3, SIDE, SIDE, dtype=torch.int64)
    for interpolation in ("linear", "nearest"):
        moved, (labels,) = apply(params(3, degrees=20.0), image, [label], interpolation=interpolation)
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            assert (labels[:, *corner] == IGNORE).all()
            np.testing.assert_allclose(moved[:, :, *corner], image.amin((2, 3)), atol=1e-6)
        assert (labels[:, SIDE // 2] == 0).all()  # the middle row reads at most half a side away


def test_mirror_comes_before_swap() -> None:
    _, (numbers,) = apply(params(mirror=(True, False), swap=True), None, [places(1)[1]])
    assert np.array_equal(numbers[0], NUMBERS[::-1].T)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(2, 7), min_size=2, max_size=3),
    st.integers(1, 5),
    st.integers(0, 2**32),
    st.sampled_from(["linear", "nearest"]),
)
def test_shapes_types_and_label_values_are_preserved(kind: str, space: list[int], n: int, seed: int, mode: str) -> None:
    label = torch.from_numpy(rng(seed).integers(0, 4, (n, *space)))
    pseudo = label.to(torch.uint8)
    image = label[:, None].repeat(1, 3, *[1] * len(space)).float()
    before = image.clone(), label.clone()
    moved, maps = apply(draw(kind, n, len(space), space, rng(seed)), image, [label, pseudo], interpolation=mode)
    assert moved.shape == image.shape
    assert moved.dtype == image.dtype
    assert [(m.shape, m.dtype) for m in maps] == [(label.shape, torch.int64), (pseudo.shape, torch.uint8)]
    assert torch.equal(maps[0], maps[1].long())
    assert all(
        set(m.unique().tolist()) <= set(o.unique().tolist()) | {IGNORE} for m, o in zip(maps[0], label, strict=True)
    )
    assert moved.min() >= image.min() - 1e-5  # linear weights add up to 1 within rounding
    assert moved.max() <= image.max() + 1e-5
    assert torch.equal(image, before[0])
    assert torch.equal(label, before[1])


def test_a_sample_does_not_depend_on_what_else_is_in_the_batch() -> None:
    image, label = places(8)
    drawn = draw("dihedral", 8, 2, (SIDE, SIDE), rng())
    moved, (labels,) = apply(drawn, image, [label])
    for i in range(8):
        one = Params(drawn.mirror[i : i + 1], drawn.swap[i : i + 1], drawn.degrees[i : i + 1])
        alone, (alone_labels,) = apply(one, image[:1], [label[:1]])
        assert torch.equal(alone[0], moved[i])
        assert torch.equal(alone_labels[0], labels[i])


def test_every_recipe_takes_equally_much_from_the_stream() -> None:
    after = set()
    for kind in KINDS:
        stream = rng()
        draw(kind, 5, 2, (4, 4), stream)
        after.add(stream.random())
    assert len(after) == 1


def test_an_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'released'"):
        draw("release", 1, 2, (4, 4), rng())


def test_swapping_unequal_sides_is_refused() -> None:
    with pytest.raises(ValueError, match="different length 6 and 10"):
        apply(params(swap=True), None, [places(1, 6, 10)[1]])


@pytest.mark.parametrize(
    ("space", "plane"), [((6, 6), (0, 1)), ((6, 6, 4), (0, 1)), ((6, 4, 5), (0, 1)), ((4, 6, 6), (1, 2))]
)
def test_a_core_and_a_gpu_reorient_alike(space: tuple[int, ...], plane: tuple[int, int]) -> None:
    square = space[plane[0]] == space[plane[1]]
    every = list(itertools.product((False, True), repeat=len(space) + 1))
    fates = [fate for fate in every if square or not fate[-1]]
    mirror, swap = np.array([fate[:-1] for fate in fates]), np.array([fate[-1] for fate in fates])
    given = Params(mirror, swap, np.zeros(len(fates)), plane)
    image = torch.randn(len(fates), 2, *space)
    for values, first in ((image, 2), (image[:, 0].mul(100).long(), 1)):
        assert torch.equal(_reorient_each(values, first, given), _reorient_at_once(values, first, given))
