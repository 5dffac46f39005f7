"""The most probable class: as PyTorch's argmax has it, in every layout."""

from __future__ import annotations

import pytest
import torch

from datasets.types import IGNORE
from methods import labels
from methods.labels import most_probable, nearest_if_sure, of_own_class, own_probability


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("space", [(6, 7), (3, 4, 5)])
def test_it_is_the_first_of_the_largest_in_any_layout(space: tuple[int, ...], classes: int, dtype: torch.dtype):
    scores = torch.randint(-1, 2, (2, classes, *space)).to(dtype)  # many are equal
    layout = (torch.channels_last, torch.channels_last_3d)[len(space) - 2]
    for given in (scores, scores.contiguous(memory_format=layout)):
        found = most_probable(given)
        assert found.dtype == torch.int64
        assert torch.equal(found, scores.argmax(dim=1))


def test_infinite_scores_and_pixels_without_any_number_are_as_argmax_has_them():
    inf, nan = torch.inf, torch.nan
    scores = torch.tensor([[-inf, -inf, -inf], [0, inf, inf], [inf, -inf, 0], [nan, nan, nan], [nan, 1, 2]])
    assert most_probable(scores).tolist() == scores.argmax(dim=1).tolist() == [0, 1, 0, 0, 0]


def test_no_gradient_is_kept():
    assert not most_probable(torch.randn(2, 3, 4, requires_grad=True)).requires_grad


# Scores of one class -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("space", [(6, 7), (3, 4, 5)])
@pytest.mark.parametrize("last", [False, True], ids=["classes_first", "channels_last"])
def test_scores_stay_in_the_channel_of_the_label_alone(space: tuple[int, ...], last: bool, dtype: torch.dtype):
    scores, label = torch.randn(2, 4, *space).to(dtype), torch.randint(0, 4, (2, *space))
    label[0, 0] = IGNORE
    layout = (torch.channels_last, torch.channels_last_3d)[len(space) - 2]
    found = of_own_class(scores.contiguous(memory_format=layout) if last else scores, label)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    expected = torch.stack([torch.where(label == k, scores[:, k].float(), 0) for k in range(4)], dim=1)
    assert torch.equal(found, expected)
    assert not of_own_class(scores.requires_grad_(), label).requires_grad


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("space", [(9, 11), (3, 4, 5)])
def test_the_probability_of_a_label_or_of_the_most_probable_class_stands_in_its_channel(
    space: tuple[int, ...], dtype: torch.dtype, compiled: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    if not compiled:
        monkeypatch.setattr(labels, "_compiled", lambda: None)
    layout = (torch.channels_last, torch.channels_last_3d)[len(space) - 2]
    logits = (100 * torch.randn(2, 4, *space)).to(dtype).contiguous(memory_format=layout).requires_grad_()
    label = torch.randint(0, 4, (2, *space))
    label[0, 0] = IGNORE
    probs = torch.softmax(logits.detach().double(), dim=1)
    for given, own in ((label, label), (None, logits.argmax(dim=1))):
        found = own_probability(logits, given)
        assert found.dtype == torch.float32
        assert not found.requires_grad
        expected = torch.stack([torch.where(own == k, probs[:, k], 0) for k in range(4)], dim=1)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-30)


# Nearest classes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_the_nearest_class_counts_where_either_says_that_it_is_sure(
    classes: int, compiled: bool, monkeypatch: pytest.MonkeyPatch
):
    if not compiled:
        monkeypatch.setattr(labels, "_compiled", lambda: None)
    similarity = torch.randint(-8, 9, (2, classes, 500)) / 8  # many are equal, and many lead by just the margin
    confident = torch.rand(2, classes, 500)
    found = nearest_if_sure(similarity, confident, 0.8, 0.25)
    seen = set()
    for n in range(2):
        for v in range(500):
            values = similarity[n, :, v].tolist()
            first, second, *_ = sorted(values, reverse=True)
            sure = max(confident[n, :, v].tolist()) > 0.8, first - second > 0.25
            seen.add(sure)
            assert found[n, v] == (values.index(first) if any(sure) else IGNORE)
    assert len(seen) == 4
