"""The most probable class: as PyTorch's argmax has it, in every layout."""

from __future__ import annotations

import pytest
import torch

from methods.labels import most_probable


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
