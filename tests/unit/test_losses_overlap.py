"""Dice losses: hand-computed values, a slow reference, and the edges: IGNORE, absent classes, nothing labelled."""

from __future__ import annotations

import pytest
import torch

from datasets.types import IGNORE
from methods.losses.overlap import dice_loss, foreground_dice_loss, linear_foreground_dice_loss, one_hot
from tests.reference import losses as reference


def test_two_pixels_and_two_classes_by_hand():
    # background: 1 - 2 * .8 / (.64 + .16 + 1) = 1/9; foreground: 1 - 2 * .6 / (.04 + .36 + 1) = 1/7 (smoothing aside)
    probs = torch.tensor([[[0.8, 0.4], [0.2, 0.6]]])
    label = torch.tensor([[0, 1]])
    assert dice_loss(probs, label).item() == pytest.approx((1 / 9 + 1 / 7) / 2, abs=1e-5)
    assert foreground_dice_loss(probs, label).item() == pytest.approx(1 / 7, abs=1e-5)
    # not squared, foreground: 1 - 2 * .6 / (.2 + .6 + 1) = 1/3
    assert linear_foreground_dice_loss(probs, label).item() == pytest.approx(1 / 3, abs=1e-5)


def test_sums_run_over_the_whole_batch():
    # foreground of two samples: overlap 1 of 1 in the first, predicted in vain in the second: 1 - 2 / (2 + 1) = 1/3;
    # a mean over samples would be (0 + 1) / 2
    probs = one_hot(torch.tensor([[1], [1]]), 2)
    assert foreground_dice_loss(probs, torch.tensor([[1], [0]])).item() == pytest.approx(1 / 3, abs=1e-5)


@pytest.mark.parametrize("space", [(6,), (4, 3), (2, 3, 4)])
def test_agrees_with_the_slow_reference(space: tuple[int, ...]):
    probs = torch.softmax(2 * torch.randn(3, 4, *space), dim=1)
    label = torch.randint(0, 4, (3, *space))
    label[torch.rand(label.shape) < 0.3] = IGNORE
    by_class = reference.dice_losses(probs.numpy(), label.numpy())
    assert dice_loss(probs, label).item() == pytest.approx(sum(by_class) / 4, rel=1e-5)
    assert foreground_dice_loss(probs, label).item() == pytest.approx(sum(by_class[1:]) / 3, rel=1e-5)
    linear = reference.dice_losses(probs.numpy(), label.numpy(), power=1)[1:]
    assert linear_foreground_dice_loss(probs, label).item() == pytest.approx(sum(linear) / 3, rel=1e-5)


def test_a_perfect_prediction_costs_nothing_even_with_an_absent_class():
    label = torch.randint(0, 2, (2, 5, 5))
    assert dice_loss(one_hot(label, 4), label).item() == pytest.approx(0, abs=1e-6)


def test_a_class_predicted_where_it_is_absent_costs_almost_one():
    # class 1 is predicted everywhere and class 0 nowhere, the label is class 0: both cost 1 up to the smoothing
    probs = one_hot(torch.ones(1, 8, 8, dtype=torch.int64), 2)
    assert dice_loss(probs, torch.zeros(1, 8, 8, dtype=torch.int64)).item() == pytest.approx(1, abs=1e-5)


def test_ignored_pixels_count_on_neither_side_and_take_no_gradient():
    probs = torch.softmax(torch.randn(2, 3, 6, 6), dim=1).requires_grad_()
    label = torch.randint(0, 3, (2, 6, 6))
    label[:, 3:] = IGNORE
    loss = dice_loss(probs, label)
    loss.backward()
    assert probs.grad[:, :, 3:].abs().max().item() == 0
    assert probs.grad[:, :, :3].abs().max().item() > 0
    assert loss.item() == pytest.approx(dice_loss(probs[:, :, :3], label[:, :3]).item(), rel=1e-6)


def test_without_a_labelled_pixel_it_is_zero_with_zero_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = dice_loss(torch.softmax(logits, dim=1), torch.full((2, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max().item() == 0


def test_sums_over_a_large_volume_in_half_precision_do_not_overflow():
    # 2 * 192 * 192 = 73 728 ones are beyond float16's largest number, 65 504
    label = torch.ones(2, 192, 192, dtype=torch.int64)
    assert dice_loss(one_hot(label, 2).half(), label).item() == pytest.approx(0, abs=1e-6)


def test_one_hot_is_empty_where_ignored():
    found = one_hot(torch.tensor([[0, 2, IGNORE]]), 3)
    assert found.tolist() == [[[1, 0, 0], [0, 0, 0], [0, 1, 0]]]
