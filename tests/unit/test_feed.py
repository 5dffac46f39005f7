"""The feed: batches that depend on (stream, step) only, and everything of a sample moving together."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.augment import KINDS
from datasets.sampling import Chain
from datasets.store import Canonical, Store
from datasets.types import IGNORE, Batch, Case, Labelled, Unlabelled

from .feed_toys import feed, pools, stream
from .toy_data import intensity, toy


def tensors(batch: Batch) -> list[torch.Tensor]:
    labelled, unlabelled = batch.labelled, batch.unlabelled
    given = [labelled.image, labelled.label, labelled.pseudo, unlabelled and unlabelled.image, batch.shapes]
    return [tensor for tensor in given if tensor is not None]


def equal(a: Batch, b: Batch) -> bool:
    pairs = list(zip(tensors(a), tensors(b), strict=True))
    return a.labelled.keys == b.labelled.keys and all(torch.equal(x, y) for x, y in pairs)


# A pure function of the step -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("augment", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_batch_is_the_same_in_a_fresh_feed_and_in_a_used_one(ndim: int, augment: str) -> None:
    labelled, unlabelled = pools(ndim, space=(5, 6, 6), patch=(6, 6) if ndim == 2 else (3, 4, 4))
    used = feed(labelled, unlabelled, augment=augment, shapes=labelled)
    for step in (0, 7, 3, 100):
        used.batch(step)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global streams must not matter
    assert equal(used.batch(5), feed(labelled, unlabelled, augment=augment, shapes=labelled).batch(5))
    assert not equal(used.batch(5), used.batch(6))


def test_the_stream_decides_the_batch() -> None:
    labelled, _ = pools()
    assert not equal(feed(labelled).batch(0), feed(labelled, stream=lambda *names: stream(1, *names)).batch(0))


def test_labelled_samples_are_the_same_with_and_without_unlabelled_ones() -> None:
    # Fully supervised and semi-supervised methods are compared on equal labelled batches.
    labelled, unlabelled = pools()
    alone, beside = feed(labelled).batch(3), feed(labelled, unlabelled).batch(3)
    assert alone.unlabelled is None
    assert alone.shapes is None
    assert torch.equal(alone.labelled.image, beside.labelled.image)
    assert torch.equal(alone.labelled.label, beside.labelled.label)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 50))
def test_every_sample_is_drawn_once_per_epoch(n: int, size: int, start: int) -> None:
    chain = Chain(stream)
    taken = np.concatenate([chain.take("labelled", n, start * n + size * k, size) for k in range(n)])
    assert Counter(taken.tolist()) == dict.fromkeys(range(n), size)  # n batches of `size` are `size` whole epochs


def test_epochs_are_permuted_differently() -> None:
    chain = Chain(stream)
    assert len({tuple(chain.take("labelled", 8, 8 * epoch, 8)) for epoch in range(20)}) == 20


def test_a_batch_larger_than_the_pool_repeats_samples_equally_and_says_so() -> None:
    labelled, unlabelled = pools(labelled=1)  # three slices
    made = feed(labelled, unlabelled, labelled_batch=12)
    assert set(Counter(made.batch(0).labelled.keys).values()) == {4}
    assert made.notes == ("3 labelled sample(s) for a batch of 12: samples repeat within a batch",)


def test_samples_left_out_for_want_of_a_scribble_are_noted() -> None:
    dataset = toy(bare=2)
    store = Store.open(dataset, ["c0", "c1"], Canonical((12, 12)), cache=None)
    (note,) = feed(store.pool(["c0", "c1"], "scribble"), labelled_batch=2).notes
    assert note == "4 sample(s) of labelled cases carry no annotation and are left out"


# What a batch holds --------------------------------------------------------------------------------------------------
def test_types_and_shapes_are_those_of_the_vocabulary() -> None:
    labelled, unlabelled = pools(channels=3)
    batch = feed(labelled, unlabelled, labelled_batch=4, unlabelled_batch=6).batch(0)
    assert (batch.labelled.image.shape, batch.labelled.image.dtype) == ((4, 3, 12, 12), torch.float32)
    assert (batch.labelled.label.shape, batch.labelled.label.dtype) == ((4, 12, 12), torch.int64)
    assert batch.labelled.pseudo is None
    assert batch.unlabelled.image.shape == (6, 3, 12, 12)
    assert not hasattr(batch.unlabelled, "label")
    assert set(batch.labelled.keys) <= set(labelled.sample_keys)
    assert set(batch.unlabelled.keys) <= set(unlabelled.sample_keys)


@pytest.mark.parametrize("ndim", [2, 3])
def test_channels_are_innermost_only_if_asked(ndim: int) -> None:
    labelled, unlabelled = pools(ndim, channels=2, space=(4, 4, 4))
    for asked in (True, False):
        made = feed(labelled, unlabelled, channels_last=asked)
        _, canonical = next(made.relabel_samples())
        for image in (made.batch(0).labelled.image, made.batch(0).unlabelled.image, canonical.image):
            assert (image.stride(1) == 1) == asked


def test_without_augmentation_samples_come_as_the_pool_holds_them() -> None:
    labelled, _ = pools()
    batch = feed(labelled, augment="none").batch(2).labelled
    rows = np.array([labelled.sample_keys.index(key) for key in batch.keys])
    assert torch.equal(batch.image, labelled.images(rows))
    assert torch.equal(batch.label, labelled.labels(rows).long())


@pytest.mark.parametrize("ndim", [2, 3])
def test_image_and_label_stay_aligned_through_crop_and_right_angles(ndim: int) -> None:
    # The toy image is a function of its label; only small rotations interpolate, and "flip" has none.
    labelled, _ = pools(ndim, space=(6, 7, 7), patch=(7, 7) if ndim == 2 else (4, 4, 3))
    for augment in ("flip", "none") + (("dihedral",) if ndim == 3 else ()):
        batch = feed(labelled, augment=augment).batch(1).labelled
        assert np.array_equal(batch.image[:, 0], intensity(batch.label.numpy()))


def test_changing_a_batch_does_not_change_the_pool() -> None:
    labelled, _ = pools()
    made = feed(labelled, augment="none")
    before = made.batch(0).labelled.image.clone()
    made.batch(0).labelled.image.zero_()
    assert torch.equal(made.batch(0).labelled.image, before)


# Crops ---------------------------------------------------------------------------------------------------------------
def numbered(space: tuple[int, ...]) -> Callable[[str], Case]:
    """A case whose label numbers its voxels: a crop tells where it came from."""
    label = np.arange(np.prod(space)).reshape(space).astype(np.uint8)
    return lambda key: Case(key, key, label[None].astype(np.float32), label)


def test_all_legal_crop_offsets_are_drawn_and_no_other() -> None:
    # A (4, 3, 5) volume holds a (2, 2, 4) patch at 3 * 2 * 2 = 12 offsets; 60 voxels can be numbered in a byte.
    space, patch = (4, 3, 5), (2, 2, 4)
    dataset = toy(ndim=3, space=space, cases=1)
    dataset.load, dataset.check = numbered(space), lambda case: case
    pool = Store.open(dataset, ["c0"], Canonical(patch), cache=None).pool(["c0"], "dense")
    made = feed(pool, labelled_batch=10, augment="none")
    crops = torch.cat([made.batch(step).labelled.label for step in range(100)])
    counts = Counter(tuple(np.unravel_index(crop[0, 0, 0].item(), space)) for crop in crops)
    assert set(counts) == {(i, j, k) for i in range(3) for j in range(2) for k in range(2)}
    sigma = np.sqrt(1000 * 1 / 12 * 11 / 12)
    assert all(abs(count - 1000 / 12) < 4 * sigma for count in counts.values())
    whole = torch.from_numpy(np.arange(60).reshape(space))
    for crop in crops[:50]:
        i, j, k = np.unravel_index(crop[0, 0, 0].item(), space)
        assert torch.equal(crop, whole[i : i + 2, j : j + 2, k : k + 4])


def test_volumes_of_different_sizes_share_a_batch() -> None:
    dataset = toy(ndim=3, space=(4, 4, 4), cases=2)
    sizes = {"c0": (4, 6, 5), "c1": (7, 4, 4)}
    dataset.load, dataset.check = lambda key: numbered(sizes[key])(key), lambda case: case
    pool = Store.open(dataset, list(sizes), Canonical((4, 4, 4)), cache=None).pool(list(sizes), "dense")
    made = feed(pool)
    assert made.batch(0).labelled.image.shape == (4, 1, 4, 4, 4)
    assert [tuple(samples.label.shape[1:]) for _, samples in made.relabel_samples()] == list(sizes.values())


# Pseudo labels -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("augment", KINDS)
@pytest.mark.parametrize("ndim", [2, 3])
def test_pseudo_maps_move_with_the_image(ndim: int, augment: str) -> None:
    labelled, _ = pools(ndim, space=(5, 6, 6), patch=(6, 6) if ndim == 2 else (3, 4, 4))
    made = feed(labelled, augment=augment)
    assert made.batch(0).labelled.pseudo is None
    for indices, samples in made.relabel_samples():
        made.set_pseudo(indices, samples.label)
    for step in range(5):
        batch = made.batch(step).labelled
        assert batch.pseudo.dtype == torch.int64
        assert torch.equal(batch.pseudo, batch.label)


def test_samples_that_were_not_relabelled_are_ignore() -> None:
    labelled, _ = pools()
    made = feed(labelled, labelled_batch=len(labelled), augment="none")
    made.set_pseudo([2], torch.ones(1, 12, 12, dtype=torch.int64))
    batch = made.batch(0).labelled
    for key, pseudo in zip(batch.keys, batch.pseudo, strict=True):
        assert (pseudo == (1 if key == labelled.sample_keys[2] else IGNORE)).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_relabelling_sees_every_labelled_sample_once_as_the_pool_holds_it(ndim: int) -> None:
    labelled, unlabelled = pools(ndim, space=(5, 6, 6), labelled=3, patch=(6, 6) if ndim == 2 else (3, 4, 4))
    made = feed(labelled, unlabelled)
    seen = []
    for indices, samples in made.relabel_samples():
        assert torch.equal(samples.image, labelled.images(indices.numpy()))
        assert torch.equal(samples.label, labelled.labels(indices.numpy()).long())
        assert samples.keys == tuple(labelled.sample_keys[i] for i in indices)
        assert samples.pseudo is None
        seen += indices.tolist()
    assert seen == list(range(len(labelled)))
    made.set_pseudo([0], torch.zeros(1, *labelled.space(0), dtype=torch.uint8))
    assert next(made.relabel_samples())[1].pseudo[0].eq(0).all()


@pytest.mark.parametrize("ndim", [2, 3])
def test_state_brings_the_pseudo_maps_back_through_a_checkpoint(ndim: int) -> None:
    labelled, _ = pools(ndim, space=(5, 6, 6), patch=(6, 6) if ndim == 2 else (3, 4, 4))
    made, resumed = feed(labelled), feed(labelled)
    made.set_pseudo([1], torch.full((1, *labelled.space(1)), 2))
    file = io.BytesIO()
    torch.save(made.state(), file)
    file.seek(0)
    resumed.load_state(torch.load(file, weights_only=True))
    assert equal(made.batch(4), resumed.batch(4))
    kept = made.state()
    made.set_pseudo([1], torch.zeros(1, *labelled.space(1), dtype=torch.int64))
    assert (kept["pseudo"][1] == 2).all()  # a state taken is not changed by later relabelling
    resumed.load_state(feed(labelled).state())
    assert resumed.batch(4).labelled.pseudo is None


def test_pseudo_maps_that_do_not_fit_are_refused() -> None:
    labelled, _ = pools()
    made = feed(labelled)
    for label, message in (
        (torch.zeros(1, 5, 5, dtype=torch.int64), "do not fit"),
        (torch.zeros(2, 12, 12, dtype=torch.int64), "do not fit"),
        (torch.full((1, 12, 12), -1), "must be integer"),
        (torch.full((1, 12, 12), 256), "must be integer"),
        (torch.zeros(1, 12, 12), "must be integer"),
    ):
        with pytest.raises(ValueError, match=message):
            made.set_pseudo([0], label)
    with pytest.raises(ValueError, match="1 pseudo label maps in the checkpoint, 6 labelled"):
        made.load_state({"pseudo": [torch.zeros(12, 12, dtype=torch.uint8)]})


# Refusals ------------------------------------------------------------------------------------------------------------
def test_arguments_that_do_not_go_together_are_refused() -> None:
    labelled, unlabelled = pools()
    dataset = toy()
    scribbled = Store.open(dataset, ["c0"], Canonical((12, 12)), cache=None).pool(["c0"], "scribble")
    for arguments, message in (
        ((unlabelled, None, {}), "without annotation"),
        ((labelled, labelled, {}), "carries an annotation"),
        ((labelled, None, {"shapes": scribbled}), "dense"),
        ((labelled, None, {"augment": "dihedrall"}), "did you mean 'dihedral'"),
        ((labelled, None, {"labelled_batch": 0}), "at least 1 labelled"),
        ((labelled, unlabelled, {"unlabelled_batch": -1}), "0 unlabelled"),
        ((labelled, None, {"views": 3}), "views must be 1 or 2"),
        ((labelled, None, {"patch": (8, 8)}), "'c0/000' has size .12, 12., which does not fit the patch .8, 8."),
        ((labelled, None, {"patch": (8, 8, 8)}), "does not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            feed(*arguments[:2], **arguments[2])
    with pytest.raises(ValueError, match="step must be >= 0"):
        feed(labelled).batch(-1)


def test_a_3d_patch_larger_than_a_volume_is_refused() -> None:
    labelled, _ = pools(3, space=(4, 4, 4))
    with pytest.raises(ValueError, match="does not fit the patch"):
        feed(labelled, patch=(4, 5, 4))


@pytest.mark.parametrize("used", [(True, True), (True, False), (False, True)])
def test_gradients_of_both_parts_of_a_batch_are_one_tensor_laid_out_as_it_was(used: tuple[bool, bool]) -> None:
    batch = Batch(Labelled(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4).long()), Unlabelled(torch.zeros(3, 1, 4, 4)))
    stacked = torch.randn(5, 3, 4, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen: list[torch.Tensor] = []
    passed = stacked * 1
    passed.register_hook(seen.append)
    parts = batch.split(passed)
    assert torch.equal(torch.cat(parts), stacked)
    (gradient,) = torch.autograd.grad(
        sum((part.sum() * k for k, (part, is_used) in enumerate(zip(parts, used, strict=True), 2) if is_used)), stacked
    )
    expected = torch.tensor([2.0, 2, 3, 3, 3]) * torch.tensor([used[0]] * 2 + [used[1]] * 3)
    assert torch.equal(gradient, expected.view(5, 1, 1, 1).expand_as(stacked))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not any(part.requires_grad for part in batch.split(stacked.detach()))
