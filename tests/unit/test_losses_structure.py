"""The structure loss: hand-derived values, a slow reference, and the released number."""

from __future__ import annotations

import math

import pytest
import torch

from datasets.types import IGNORE
from methods.losses.overlap import one_hot
from methods.losses.structure import released_structure, structure_agreement, structure_loss
from tests.reference import two_views as reference
from tests.reference.oracles import load


@pytest.mark.parametrize(("label", "overlap"), [(1, 3 / 4), (0, 2 / 3)])
def test_an_undecided_pixel(label: int, overlap: float):
    # p = 1/2 and weight 1. Annotated foreground: (1/2 + 1) / (1 + 1); background: (0 + 1) / (1/2 + 1)
    found = structure_loss(torch.zeros(1, 2, 1, 1), torch.tensor([[[label]]]))
    assert found.item() == pytest.approx(math.log(2) + 1 - overlap, rel=1e-6)


def test_pixels_weigh_more_where_their_neighbourhood_differs():
    # p = 1/2 in both pixels of a 1 x 2 image with label (1, 0): means 1/2, weights 1 + 5/2 = 7/2 each;
    # overlap (7/4 + 1) / (7/2 + 7/4 + 1) = 2.75 / 6.25
    found = structure_loss(torch.zeros(1, 2, 1, 2), torch.tensor([[[1, 0]]]))
    assert found.item() == pytest.approx(math.log(2) + 1 - 2.75 / 6.25, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_agrees_with_the_slow_reference(classes: int):
    logits, label = torch.randn(2, classes, 18, 5), torch.randint(0, classes, (2, 18, 5))
    label[0, 3] = IGNORE
    expected = reference.structure(logits.numpy(), one_hot(label, classes).numpy(), (label != IGNORE).numpy())
    assert structure_loss(logits, label).item() == pytest.approx(expected, rel=1e-4)


def test_soft_labels_agree_with_the_slow_reference_and_hard_ones_with_the_label_map():
    logits, target = torch.randn(2, 3, 17, 4), torch.softmax(torch.randn(2, 3, 17, 4), dim=1)
    expected = reference.structure(logits.numpy(), target.numpy())
    assert structure_agreement(logits, target).item() == pytest.approx(expected, rel=1e-4)
    label = target.argmax(dim=1)
    torch.testing.assert_close(structure_agreement(logits, one_hot(label, 3)), structure_loss(logits, label))


def test_a_soft_target_takes_gradient_unless_it_is_detached():
    logits, other = (torch.randn(1, 3, 6, 6, requires_grad=True) for _ in range(2))
    structure_agreement(logits, torch.softmax(other, dim=1).detach()).backward()
    assert logits.grad.abs().max() > 0
    assert other.grad is None


def test_the_released_number_is_reproduced():
    probs, mask, expected = load("mms_prob", "mms_mask", "mms_structure_released")
    found = released_structure(probs, mask, torch.ones_like(mask, dtype=torch.bool))
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_one_pixel_under_the_released_loss():
    # p = 1/2 as a logit: ln (1 + e^-1/2). One pixel among 961 of the window: weight 1 + 5 * 960/961
    weight = 1 + 5 * 960 / 961
    expected = math.log(1 + math.exp(-0.5)) + 1 - (weight / 2 + 1) / (weight + 1)
    one = torch.ones(1, 1, 1, 1)
    assert released_structure(one / 2, one, one.bool()).item() == pytest.approx(expected, rel=1e-6)


def test_even_a_perfect_prediction_costs_much_under_the_released_loss():
    # sigmoids of probabilities: ln 2 where the label is 0, ln (1 + 1/e) where it is 1; the overlap is perfect
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    expected = (3 * math.log(2) + math.log(1 + math.exp(-1))) / 4
    assert released_structure(mask, mask, mask >= 0).item() == pytest.approx(expected, rel=1e-6)


def test_unknown_pixels_do_not_count_in_the_released_loss():
    probs, mask = torch.rand(2, 2, 5, 4), (torch.rand(2, 2, 5, 4) < 0.5).float()
    known = torch.rand(2, 1, 5, 4) < 0.5
    other = torch.where(known, probs, torch.rand(2, 2, 5, 4))
    torch.testing.assert_close(released_structure(probs, mask, known), released_structure(other, mask, known))
    assert released_structure(probs, mask, torch.zeros_like(known)).item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("space", [(19, 37), (6, 9, 5)])
def test_the_compiled_loss_and_its_gradient_are_the_plain_ones(
    space: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("numba")
    last = torch.channels_last if len(space) == 2 else torch.channels_last_3d
    logits = (3 * torch.randn(2, 3, *space)).to(dtype).contiguous(memory_format=last).requires_grad_()
    label, soft = torch.randint(0, 3, (2, *space)), torch.softmax(torch.randn(2, 3, *space), dim=1)
    label[0, 2], label[1] = IGNORE, IGNORE if len(space) == 3 else label[1]  # one without anything known
    exact = logits.detach().float().requires_grad_()
    for loss, target in ((structure_loss, label), (structure_agreement, soft)):
        monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
        found = loss(logits, target)
        assert "Structure" in type(found.grad_fn).__name__
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        expected = loss(exact, target)
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
        ours, theirs = torch.autograd.grad(2 * found, logits)[0], torch.autograd.grad(2 * expected, exact)[0]
        assert (ours - theirs).norm() < {torch.float32: 1e-5, torch.bfloat16: 0.01}[dtype] * theirs.norm()
