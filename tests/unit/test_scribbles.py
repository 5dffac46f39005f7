"""Simulated weak labels: right wherever they say anything, repeatable, and of the shape that their names promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from datasets import scribbles
from datasets.scribbles import Marks, boxes, curves, drawn, outlines, points, skeleton
from datasets.streams import stream
from datasets.types import IGNORE

EIGHT = np.ones((3, 3), bool)
KINDS: dict[str, Callable[..., Marks]] = {"skeleton": skeleton, "curves": curves, "points": points, "boxes": boxes}


def heart(side: int = 96) -> np.ndarray:
    """A ring of class 1 around a disc of class 2, and a crescent of class 3 that runs into the image's corner."""
    y, x = np.indices((side, side))
    radius = np.hypot(y - 0.55 * side, x - 0.55 * side)
    label = np.zeros((side, side), np.uint8)
    label[np.hypot(y, x) < 0.25 * side] = 3
    label[radius < 0.3 * side] = 1
    label[radius < 0.2 * side] = 2
    return label


def speckled(seed: int) -> np.ndarray:
    """Noise of four classes: parts of one pixel, at every border and corner."""
    return np.random.default_rng(seed).integers(0, 4, (23, 17)).astype(np.uint8)


LABELS = {
    "heart": heart(), "small heart": heart(20), "speckles": speckled(0), "background": np.zeros((30, 20), np.uint8),
    "full": np.full((9, 9), 2, np.uint8), "one pixel": np.ones((1, 1), np.uint8),
    "thin": np.pad(np.ones((1, 60), np.uint8), ((5, 5), (0, 0))), "corner": np.eye(12, dtype=np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("kind", KINDS)
def test_marks_never_contradict_the_label(kind: str, name: str) -> None:
    label = LABELS[name]
    for seed in range(3):
        marks, strokes = KINDS[kind](label, stream(seed, name))
        known = marks != IGNORE
        assert marks.dtype == np.uint8
        assert marks.shape == label.shape
        assert np.array_equal(marks[known], label[known])
        assert known.any() or kind == "boxes"
        assert strokes > 0 or kind == "boxes"


@pytest.mark.parametrize("kind", ["skeleton", "curves", "points"])
@pytest.mark.parametrize("name", ["heart", "small heart", "speckles"])
def test_every_class_that_is_there_is_marked(kind: str, name: str) -> None:
    marks, _ = KINDS[kind](LABELS[name], stream(0, name))
    assert set(np.unique(marks)) - {IGNORE} == set(np.unique(LABELS[name]))


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_stream_draws_the_same_marks_and_the_label_is_left_alone(kind: str) -> None:
    label = heart()
    first, again = (KINDS[kind](label, stream(1, "a")) for _ in range(2))
    assert np.array_equal(first.labels, again.labels)
    assert first.strokes == again.strokes
    assert np.array_equal(label, heart())
    if kind != "boxes":  # a box has nothing to draw
        assert not np.array_equal(first.labels, KINDS[kind](label, stream(2, "a")).labels)


@pytest.mark.parametrize(("kind", "most"), [("skeleton", 0.08), ("curves", 0.12), ("points", 0.01)])
def test_marks_are_a_small_part_of_the_image(kind: str, most: float) -> None:
    # points: four parts of classes, 13 pixels a disc of radius 2: at most 52 of 9216 pixels, 0.6 %
    assert 0 < (KINDS[kind](heart(), stream(0, "share")).labels != IGNORE).mean() < most


def test_a_skeleton_is_one_unbranched_stroke_three_pixels_wide() -> None:
    # A cross of two bars, 5 wide and 59 long: its skeleton has four arms of about 29, of which a walk keeps two at the
    # most: 3 × 59 pixels, and a few at the ends. All four would be some 340.
    label = np.zeros((99, 99), np.uint8)
    label[47:52, 20:79] = label[20:79, 47:52] = 1
    for seed in range(5):
        marks, strokes = skeleton(label, stream(seed, "cross"))
        stroke = marks == 1
        assert ndimage.label(stroke, EIGHT)[1] == 1
        assert 0 < stroke.sum() <= 3 * 65
        assert strokes == 2  # one for the cross; the background's lines hang together around it


def test_a_walk_goes_all_around_a_ring_from_neighbour_to_neighbour() -> None:
    ring = np.zeros((11, 11), bool)
    ring[1, 1:10] = ring[9, 1:10] = ring[1:10, 1] = ring[1:10, 9] = True  # 4 sides of 9 less 4 corners counted twice
    for seed in range(10):
        way = scribbles._walk(ring, stream(seed, "ring"))
        assert np.abs(np.diff(way, axis=0)).max() == 1
        assert len({tuple(place) for place in way.tolist()}) == len(way) == 32


def test_a_long_line_needs_no_recursion() -> None:
    snake = np.zeros((203, 101), bool)
    snake[::2] = True
    snake[1::4, -1] = snake[3::4, 0] = True  # 102 rows of 101 pixels, joined by 101 pixels at alternating ends
    assert len(scribbles._walk(snake, stream(0, "snake"))) == 102 * 101 + 101


def test_speckles_beside_a_long_skeleton_are_dropped() -> None:
    line = np.zeros((20, 60), bool)
    line[3, 2:50] = True
    line[10, 2:17] = True  # 15 pixels: a speckle
    line[15, 2:18] = True  # 16: none
    assert [int(part.sum()) for part in scribbles._large(line)] == [48, 16]
    assert [int(part.sum()) for part in scribbles._large(line[9:12])] == [15]  # the largest stays whatever its size


def test_the_edge_of_the_image_is_no_border_of_a_class_when_it_is_eroded() -> None:
    # The left half of 10 × 10: only its right side meets another class, so two layers less leave 3 of 5 columns.
    half = np.zeros((10, 10), bool)
    half[:, :5] = True
    assert np.array_equal(np.flatnonzero(scribbles._eroded(half, 2).all(0)), [0, 1, 2])
    assert np.array_equal(scribbles._eroded(half, 99).any(0), np.arange(10) < 1)  # the last layer stays


def test_a_straight_way_ends_before_it_leaves_the_region() -> None:
    region = np.ones((5, 20), bool)
    region[:, 8] = False
    seen = scribbles._in_sight(region, np.array([2, 1]), np.array([2, 15]))
    assert seen.tolist() == [2, 7]
    assert scribbles._in_sight(region, np.array([2, 1]), np.array([0, 6])).tolist() == [0, 6]


def test_a_boundary_curve_runs_within_the_class_and_not_along_the_edge_of_the_image() -> None:
    # A disc of radius 30: the curve's middle is 2 to 5 pixels within, so its pixels are 1 to 7 deep.
    y, x = np.indices((80, 80))
    disc = np.hypot(y - 40, x - 40) < 30
    depth = ndimage.distance_transform_edt(disc)
    for seed in range(8):
        line = scribbles._boundary(disc, stream(seed, "disc"))
        assert line.any()
        assert depth[line].min() >= 1
        assert depth[line].max() <= 8
        assert line.sum() <= 3 * 0.15 * 2 * np.pi * 30 * 1.5  # the longest, three wide, in a corner-cutting grid
        outside = scribbles._boundary(~disc, stream(seed, "disc"))
        assert not outside[:3].any()
        assert not outside[:, -3:].any()


def test_points_are_discs_of_the_radius_asked_for_one_per_part() -> None:
    # Two squares of class 1, 21 wide, and the background: three parts. A disc of radius 2 has 13 pixels:
    # 5 in its middle row, 3 + 3 ... = 1 + 3 + 5 + 3 + 1. The deepest half keeps every disc whole.
    label = np.zeros((60, 90), np.uint8)
    label[10:31, 10:31] = label[10:31, 50:71] = 1
    marks, strokes = points(label, stream(0, "two"))
    assert strokes == 3
    assert (marks == 1).sum() == 2 * 13
    many, strokes = points(label, stream(0, "two"), count=4, radius=0)
    assert strokes == 3 * 4
    assert (many == 1).sum() == 2 * 4
    assert (many == 0).sum() == 4


def test_boxes_leave_their_inside_open_and_call_the_rest_background() -> None:
    label = np.zeros((12, 12), np.uint8)
    label[2:5, 3:7] = 1
    label[3, 4] = 2
    label[11, 11] = 1
    marks, strokes = boxes(label, stream(0, "box"))
    expected = np.zeros((12, 12), np.uint8)
    expected[2:5, 3:7] = expected[11, 11] = IGNORE
    assert np.array_equal(marks, expected)
    assert strokes == 3
    wide, _ = boxes(label, stream(0, "box"), margin=3)
    expected[0:8, 0:10] = expected[8:12, 8:12] = IGNORE
    assert np.array_equal(wide, expected)


def test_strokes_of_labels_that_exist_are_their_connected_parts() -> None:
    label = np.array([[1, 0, 2], [0, 1, 2], [0, 0, 1]], np.uint8)  # 1 hangs together at corners; 2 is one part
    assert outlines(label).strokes == 2
    scribble = np.array([[1, IGNORE, 0], [IGNORE, IGNORE, IGNORE], [1, 1, 0]], np.uint8)
    assert drawn(scribble).strokes == 4  # background strokes count, unmarked pixels do not


def test_a_stroke_that_is_shaken_out_of_its_class_is_drawn_with_a_steady_hand(monkeypatch: Any) -> None:
    monkeypatch.setattr(scribbles, "JITTER_AREA", 0)
    monkeypatch.setattr(scribbles, "JITTER_PIXELS", 40)
    label = np.zeros((90, 90), np.uint8)
    label[44:46, 5:85] = 1
    assert all((skeleton(label, stream(seed, "thin")).labels == 1).any() for seed in range(10))
