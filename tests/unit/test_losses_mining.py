"""Which voxels are chosen: by hand, by sorting all of them, and what is left where there are too few."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from datasets.types import IGNORE
from methods.losses.contrastive import supervised_contrast
from methods.losses.mining import Shares, Voxels, difference_part, key_voxels, random_voxels, released_voxels
from tests.reference import contrast as reference

HALF_HARD = Shares(positives=0.5, negatives=0.5)


@pytest.fixture(autouse=True, params=[1, 2])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one thread compiled loops choose, where there are any."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: request.param)


def chosen(voxels: Voxels, sample: int = 0) -> dict[int, list[int]]:
    """Flat positions of each label that was chosen."""
    found: dict[int, list[int]] = {}
    for index, label in zip(voxels.position[sample].tolist(), voxels.label[sample].tolist(), strict=True):
        if label != IGNORE:
            found.setdefault(label, []).append(index)
    return {label: sorted(positions) for label, positions in found.items()}


def first_time(label: Tensor, position: Tensor) -> list[int]:
    """Labels ``(v,)`` of the places of one sample, IGNORE where the place has come before."""
    places = position.tolist()
    return [label[place].item() if place not in places[:n] else IGNORE for n, place in enumerate(places)]


def test_difference_part_is_the_boundary_one_voxel_wide_on_each_side_and_what_is_predicted_wrong():
    label = torch.tensor([[[0, 0, 0, 1, 1, 1]]])
    predicted = torch.tensor([[[1, 0, 0, 1, 1, 1]]])  # wrong at the far left
    assert difference_part(label, predicted, 2)[0, 0].tolist() == [True, False, True, True, False, False]


def test_unknown_voxels_are_no_difference_and_make_no_boundary():
    label = torch.tensor([[[0, 0, IGNORE, 1, 1, 1]]])
    assert not difference_part(label, torch.where(label == IGNORE, 0, label), 2).any()


def test_a_boundary_counts_across_corners_in_volumes_too():
    label = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    label[0, 0, 0, 0] = 1
    found = difference_part(label, label, 2)
    assert found.sum() == 8  # the voxel and its seven neighbours inside the volume
    assert found[0, :2, :2, :2].all()


@pytest.mark.parametrize("shape", [(2, 12, 9), (2, 6, 1, 8), (2, 6, 7, 5)])
def test_the_difference_part_equals_that_found_voxel_by_voxel(shape: tuple[int, ...]):
    label = torch.randint(0, 4, shape).clamp_max(3)
    label[torch.rand(shape) < 0.7] = 0  # mostly one class, so that not everything is a boundary
    label[torch.rand(shape) < 0.3] = IGNORE
    predicted = torch.where((label == IGNORE) | (torch.rand(shape) < 0.1), 0, label)
    found = difference_part(label, predicted, 4).numpy()
    assert np.array_equal(found, reference.difference_part(label.numpy(), predicted.numpy()))
    assert 0 < found.sum() < found.size


def test_random_voxels_are_of_the_right_label_and_without_repetition():
    label = torch.randint(0, 3, (2, 6, 7))
    voxels = random_voxels(label, 3, 5)
    for n in range(2):
        positions = voxels.position[n].view(4, 5)  # class 1, others, class 2, others
        assert all(len(set(part.tolist())) == 5 for part in positions)
        flat = label[n].flatten()
        assert (flat[positions[0]] == 1).all()
        assert (flat[positions[1]] != 1).all()
        assert (flat[positions[2]] == 2).all()
        assert (flat[positions[3]] != 2).all()
        assert voxels.label[n].tolist() == first_time(flat, voxels.position[n])


def test_random_voxels_differ_from_call_to_call_and_never_are_unknown():
    label = torch.randint(0, 2, (1, 20, 20))
    label[:, 10:] = IGNORE
    first, second = random_voxels(label, 2, 10), random_voxels(label, 2, 10)
    assert not torch.equal(first.position, second.position)
    assert max(first.position.max(), second.position.max()) < 200


def line() -> tuple[Tensor, Tensor, Tensor]:
    """Class 1 at positions 4..9 of 0..13; predicted right but for position 6; similarity to class 1 rises with it."""
    label = torch.zeros(1, 1, 14, dtype=torch.int64)
    label[..., 4:10] = 1
    predicted = label.clone()
    predicted[..., 6] = 0
    similarity = torch.stack([torch.zeros(1, 14), torch.arange(14.0)[None] / 14])[None]
    return label, predicted, similarity


def test_hard_voxels_are_the_least_similar_of_the_class_and_the_most_similar_others_near_the_boundary():
    # difference part: boundaries {3, 4} and {9, 10}, and 6, which is predicted wrong
    # hard positives of 4, 6, 9: the two least similar are 4 and 6; hard negatives of 3, 10: both
    # easy ones are agreed: positives among 4 5 7 8 9, negatives among 0..3 and 10..13
    label, predicted, similarity = line()
    voxels = key_voxels(label, predicted, similarity, 4, HALF_HARD)
    easy, hard, easy_others, hard_others = voxels.position[0].view(4, 2).tolist()
    assert set(hard) == {4, 6}
    assert set(hard_others) == {3, 10}
    assert set(easy) <= {4, 5, 7, 8, 9}
    assert set(easy_others) <= {0, 1, 2, 3, 10, 11, 12, 13}
    assert voxels.label[0].tolist() == first_time(label.flatten(), voxels.position[0])


def test_shares_say_how_many_are_mined():
    # 7 of 10 negatives: round(0.7 * 10); but the difference part holds two of them, and the rest stays empty; what was
    # drawn before does not count again
    label, predicted, similarity = line()
    voxels = key_voxels(label, predicted, similarity, 10, Shares(positives=0.0, negatives=0.7))
    assert voxels.position.shape == (1, 20)
    negatives = voxels.label[0, 10:]
    different = {*voxels.position[0, 10:13].tolist(), 3, 10}
    assert (negatives == 0).sum() == len(different)
    assert (negatives == IGNORE).sum() == 10 - len(different)
    positives = voxels.label[0, :10]
    assert (positives == 1).sum() == 5  # all that agree
    assert (positives == IGNORE).sum() == 5


def test_what_a_class_that_is_absent_would_give_is_unknown():
    label = torch.zeros(1, 4, 4, dtype=torch.int64)
    voxels = key_voxels(label, label, torch.zeros(1, 2, 4, 4), 4, HALF_HARD)
    assert set(chosen(voxels)) == {0}
    assert chosen(random_voxels(torch.full_like(label, IGNORE), 2, 4)) == {}


@pytest.mark.parametrize("ndim", [2, 3])
def test_hard_voxels_equal_those_found_by_sorting(ndim: int):
    space = (6,) * ndim
    label, predicted = torch.randint(0, 3, (1, *space)), torch.randint(0, 3, (1, *space))
    similarity = torch.rand(1, 3, *space)
    everything = Shares(positives=1.0, negatives=1.0)
    voxels = key_voxels(label, predicted, similarity, 5, everything)
    part = difference_part(label, predicted, 3)[0].flatten()
    flat = label[0].flatten()
    for k in (1, 2):
        scores = similarity[0, k].flatten().tolist()
        own = sorted((i for i in range(flat.numel()) if part[i] and flat[i] == k), key=lambda i: scores[i])
        other = sorted((i for i in range(flat.numel()) if part[i] and flat[i] != k), key=lambda i: -scores[i])
        start = 10 * (k - 1)
        assert voxels.position[0, start : start + 5].tolist() == own[:5]
        assert voxels.position[0, start + 5 : start + 10].tolist() == other[:5]


@pytest.mark.parametrize("mined", [True, False])
def test_no_voxel_of_a_sample_counts_twice_and_none_is_lost(mined: bool):
    label = torch.randint(0, 3, (3, 9, 9))
    predicted = torch.where(torch.rand(label.shape) < 0.3, 1, label)
    if mined:
        voxels = key_voxels(label, predicted, torch.rand(3, 3, 9, 9), 10, Shares(positives=0.4, negatives=0.7))
    else:
        voxels = random_voxels(label, 3, 10)
    repeated = 0
    for n in range(3):
        counted = voxels.position[n][voxels.label[n] != IGNORE].tolist()
        assert len(set(counted)) == len(counted)
        assert set(counted) == set(voxels.position[n].tolist())
        repeated += voxels.position.shape[1] - len(counted)
    assert repeated > 0
    assert any(set(voxels.position[0].tolist()) & set(voxels.position[n].tolist()) for n in (1, 2))  # by sample


def test_a_voxel_is_not_its_own_positive():
    # one of class 1, predicted right and at its boundary: both drawn and among the hardest
    label = torch.zeros(1, 5, 5, dtype=torch.int64)
    label[0, 2, 2] = 1
    voxels = key_voxels(label, label, torch.rand(1, 2, 5, 5), 4, HALF_HARD)
    assert chosen(voxels)[1] == [12]
    vectors, labels = torch.randn(25, 6)[voxels.position[0]], voxels.label[0]
    assert supervised_contrast(vectors, labels, 0.1, anchors=labels == 1).item() == 0


def test_released_voxels_are_random_foreground_and_the_first_agreed_background():
    label = torch.zeros(1, 6, 10, dtype=torch.int64)
    label[0, 2:4] = 2  # any class but 0 is foreground: positions 20..39
    predicted = label.clone()
    predicted[0, 0, :3] = 1  # the first three background voxels are predicted wrong
    found = chosen(released_voxels(label, predicted, 8))
    assert found[0] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert len(found[1]) == 8
    assert set(found[1]) <= set(range(20, 40))


def test_released_foreground_takes_missed_voxels_only_where_hits_do_not_suffice():
    label = torch.ones(1, 2, 5, dtype=torch.int64)
    predicted = torch.zeros_like(label)
    predicted[0, 0] = 1  # five hits, five misses
    assert chosen(released_voxels(label, predicted, 5)) == {1: [0, 1, 2, 3, 4]}
    seven = chosen(released_voxels(label, predicted, 7))[1]
    assert seven[:5] == [0, 1, 2, 3, 4]
    assert len(seven) == 7


def test_compiled_loops_choose_the_same_hard_voxels_and_random_ones_of_the_same_kinds(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("numba")
    label = torch.randint(0, 3, (2, 9, 8, 7))
    label[torch.rand(label.shape) < 0.1] = IGNORE
    predicted = torch.where((label == IGNORE) | (torch.rand(label.shape) < 0.3), 1, label)
    similarity, shares = torch.rand(2, 3, 9, 8, 7), Shares(positives=0.4, negatives=0.7)
    agreed, kinds, found = label.flatten(1) == predicted.flatten(1), [6, 4, 3, 7] * 2, []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append([key_voxels(label, predicted, similarity, 10, shares) for _ in range(2)])
    (compiled, again), (plain, _) = found
    for voxels in (compiled, plain):
        for labels, position, of_sample in zip(voxels.label, voxels.position, label.flatten(1), strict=True):
            assert labels.tolist() == first_time(of_sample, position)
    pieces = zip(*(v.position.split(kinds, dim=1) for v in (compiled, again, plain)), strict=True)
    for kind, (ours, others, theirs) in enumerate(pieces):
        if kind % 2:  # hard ones, the hardest first
            assert torch.equal(ours, theirs)
        else:
            assert agreed.gather(1, ours).all()
            assert all(len(set(row)) == len(row) for row in ours.tolist())
            assert not torch.equal(ours, others)


def test_compiled_loops_leave_the_same_hard_voxels_out_when_they_come_again(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("numba")
    label, predicted = torch.randint(0, 4, (2, 2, 6, 6, 6))
    similarity, found = torch.rand(2, 4, 6, 6, 6), []
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(key_voxels(label, predicted, similarity, 20, Shares(positives=1.0, negatives=1.0)))
    compiled, plain = found
    assert torch.equal(compiled.label, plain.label)
    counts = plain.label != IGNORE
    assert torch.equal(compiled.position[counts], plain.position[counts])
    assert not counts.all()


def test_every_agreed_voxel_is_as_likely_to_be_drawn():
    label = torch.zeros(1, 40, dtype=torch.int64)
    label[:, :20] = 1
    seen = torch.zeros(40)
    for _ in range(500):
        voxels = key_voxels(label, label, torch.zeros(1, 2, 40), 5, Shares(positives=0.0, negatives=0.0))
        seen[voxels.position[0]] += 1
    assert seen.sum() == 5000
    assert (seen - 125).abs().max() < 5 * (500 * 0.25 * 0.75) ** 0.5  # five standard deviations
