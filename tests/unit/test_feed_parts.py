"""Parts of a batch: streams of their own, views, shapes, and what of the feed reaches their augmentation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.sampling import halves
from datasets.store import Canonical, Store
from datasets.types import Batch, Case

from .feed_toys import feed, pools, stream
from .toy_data import toy


# Streams -------------------------------------------------------------------------------------------------------------
def reseeded(name: str) -> Callable[..., int]:
    """The stream in which one name gives other numbers."""
    return lambda *names: stream("another", *names) if names[0] == name else stream(*names)


def parts(batch: Batch) -> dict[str, object]:
    """Which samples each part of a batch holds, and how it looks."""
    return {
        "labelled samples": batch.labelled.keys,
        "labelled images": batch.labelled.image,
        "unlabelled samples": batch.unlabelled.keys,
        "unlabelled images": batch.unlabelled.image,
        "shapes": batch.shapes,
    }


def equal(one: object, other: object) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else one == other


CHANGED = {
    "labelled": {"labelled samples", "labelled images"},
    "unlabelled": {"unlabelled samples", "unlabelled images"},
    "shapes": {"shapes"},
    "augment/labelled": {"labelled images"},
    "augment/unlabelled": {"unlabelled images"},
    "augment/shapes": {"shapes"},
}


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("name", CHANGED)
def test_each_part_of_a_batch_draws_from_a_stream_of_its_own(name: str, ndim: int) -> None:
    labelled, unlabelled = pools(ndim, labelled=3, space=(5, 6, 6), patch=(6, 6) if ndim == 2 else (3, 4, 4))
    found = []
    for given in (stream, reseeded(name)):
        made = feed(labelled, unlabelled, shapes=labelled, labelled_batch=2, unlabelled_batch=2, stream=given)
        found.append([parts(made.batch(step)) for step in range(20)])
    steps = list(zip(*found, strict=True))
    changed = {part for one, other in steps for part in one if not equal(one[part], other[part])}
    assert changed == CHANGED[name]


def test_a_batch_asks_for_no_other_stream() -> None:
    labelled, unlabelled = pools()
    asked: list[tuple[object, ...]] = []

    def listening(*names: object) -> int:
        asked.append(names)
        return stream(*names)

    made = feed(labelled, unlabelled, shapes=labelled, stream=listening)
    assert asked == []
    made.batch(3)
    assert {names[0] for names in asked} == set(CHANGED)
    assert {names[1] for names in asked if str(names[0]).startswith("augment/")} == {3}


# Views ---------------------------------------------------------------------------------------------------------------
def test_two_views_never_share_a_patient_and_come_in_order() -> None:
    labelled, _ = pools(labelled=6)  # three patients of two cases of three slices
    made = feed(labelled, views=2, labelled_batch=6)
    group = dict(zip(labelled.sample_keys, labelled.groups, strict=True))
    first, second = set(), set()
    for step in range(20):
        keys = made.batch(step).labelled.keys
        first |= set(keys[:3])
        second |= set(keys[3:])
    assert first | second == set(labelled.sample_keys)
    assert {group[key] for key in first}.isdisjoint({group[key] for key in second})


def test_views_are_cut_by_case_where_there_is_one_patient_and_by_sample_where_there_is_one_case() -> None:
    one_patient, _ = pools(labelled=2)
    first, second = halves(one_patient, np.random.default_rng(0))
    cases = np.array(one_patient.cases)
    assert set(cases[first]).isdisjoint(cases[second])
    assert len(first) + len(second) == 6
    one_case, _ = pools(labelled=1)
    first, second = halves(one_case, np.random.default_rng(0))
    assert (len(first), len(second), set(first) | set(second)) == (2, 1, {0, 1, 2})


def test_two_views_of_one_sample_and_an_odd_batch_are_refused() -> None:
    single, _ = pools(3, space=(4, 4, 4), labelled=1)
    with pytest.raises(ValueError, match="two views need at least two labelled samples"):
        feed(single, views=2)
    labelled, _ = pools()
    with pytest.raises(ValueError, match="even labelled batch"):
        feed(labelled, views=2, labelled_batch=3)


def views(given: Callable[..., int]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The keys of both views, batch by batch."""
    labelled, _ = pools(labelled=6)
    made = feed(labelled, views=2, labelled_batch=4, stream=given)
    keys = [made.batch(step).labelled.keys for step in range(20)]
    return [(each[:2], each[2:]) for each in keys]


@pytest.mark.parametrize("view", [0, 1])
def test_each_view_draws_from_a_stream_of_its_own(view: int) -> None:
    before, after = views(stream), views(reseeded(f"labelled/view{view}"))
    assert [each[1 - view] for each in before] == [each[1 - view] for each in after]
    assert [each[view] for each in before] != [each[view] for each in after]
    assert {key for each in before for key in each[view]} == {key for each in after for key in each[view]}


def test_the_seed_cuts_the_views_and_nothing_else_does() -> None:
    def cut(given: Callable[..., int]) -> frozenset[str]:
        return frozenset(key for each in views(given) for key in each[0])

    usual = cut(stream)
    assert all(cut(reseeded(name)) == usual for name in ("labelled", "labelled/view0", "augment/labelled"))
    assert len({cut(lambda *names, seed=seed: stream(seed, *names)) for seed in range(10)}) > 1
    assert any(
        cut(lambda *names, seed=seed: stream(seed, *names) if names[0] == "views" else stream(*names)) != usual
        for seed in range(10)
    )


# Shapes --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 3])
def test_shapes_are_one_label_map_per_sample_and_hold_classes_only(ndim: int) -> None:
    patch = (6, 6) if ndim == 2 else (3, 4, 4)
    labelled, unlabelled = pools(ndim, space=(5, 6, 6), patch=patch)
    made = feed(labelled, unlabelled, unlabelled_batch=3, shapes=labelled)
    for step in range(5):
        shapes = made.batch(step).shapes
        assert (shapes.shape, shapes.dtype) == ((4 + 3, *patch), torch.int64)
        assert set(shapes.unique().tolist()) <= {0, 1, 2}
    assert not torch.equal(shapes[:4], made.batch(4).labelled.label)  # unpaired, under their own augmentation


def test_shapes_are_each_shown_once_per_epoch() -> None:
    labelled, unlabelled = pools()  # six slices, three to a batch
    made = feed(labelled, unlabelled, shapes=labelled, labelled_batch=2, unlabelled_batch=1, augment="none")
    for epoch in range(3):
        shown = torch.cat([made.batch(2 * epoch + step).shapes for step in range(2)])
        assert len(torch.unique(shown, dim=0)) == len(labelled) == 6


# What augmentation is told -------------------------------------------------------------------------------------------
def numbered(key: str) -> Case:
    """A volume whose label numbers its voxels, and whose image shows the numbers."""
    label = np.arange(4 * 4 * 4).reshape(4, 4, 4).astype(np.uint8)
    return Case(key, key, label[None].astype(np.float32), label)


@pytest.mark.parametrize(("in_plane", "through"), [((0, 1), 2), ((1, 2), 0)])
def test_volumes_turn_in_the_plane_that_the_feed_is_told(in_plane: tuple[int, int], through: int) -> None:
    dataset = toy(ndim=3, space=(4, 4, 4), cases=2)
    dataset.load, dataset.check = numbered, lambda case: case  # type: ignore[method-assign]
    store = Store.open(dataset, ["c0", "c1"], Canonical((4, 4, 4)), cache=None)
    labelled, unlabelled = store.pool(["c0"], "dense"), store.pool(["c1"], None)
    made = feed(labelled, unlabelled, shapes=labelled, in_plane=in_plane)
    batches = [made.batch(step) for step in range(10)]
    found = (
        torch.cat([batch.labelled.label for batch in batches]),
        torch.cat([batch.labelled.image[:, 0].long() for batch in batches]),
        torch.cat([batch.unlabelled.image[:, 0].long() for batch in batches]),
        torch.cat([batch.shapes for batch in batches]),
    )
    for maps in found:
        places = np.stack(np.unravel_index(maps.numpy(), (4, 4, 4)))  # where each voxel came from
        order = np.arange(4).reshape([4 if axis == through else 1 for axis in range(3)])
        assert (places[through] == order).all()
        orientations = {tuple(places[:, n].ravel()) for n in range(len(maps))}
        assert len(orientations) == 8  # all of the square's


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_images_are_rotated_by_the_interpolation_of_their_pool(interpolation: str) -> None:
    labelled, unlabelled = pools(interpolation=interpolation)
    made = feed(labelled, unlabelled)
    batches = [made.batch(step) for step in range(3)]
    for images in ([b.labelled.image for b in batches], [b.unlabelled.image for b in batches]):
        few = set(torch.cat(images).unique().tolist()) == {0.125, 0.375, 0.625}  # what the toy images are made of
        assert few == (interpolation == "nearest")
