"""Partial cross-entropy: hand-computed values, a slow reference, and what IGNORE means."""

from __future__ import annotations

import math

import pytest
import torch

from datasets.types import IGNORE
from methods.losses.cross_entropy import cross_entropy
from tests.reference import losses as reference


def test_two_labelled_pixels_of_known_probability_give_the_mean_of_their_logarithms():
    # logits are logarithms of probabilities (.9, .1), (.2, .8) and an ignored third pixel
    logits = torch.tensor([[[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]]]).log()
    label = torch.tensor([[0, 1, IGNORE]])
    assert cross_entropy(logits, label).item() == pytest.approx(-(math.log(0.9) + math.log(0.8)) / 2, rel=1e-6)


def test_mean_runs_over_the_pixels_of_the_whole_batch_not_over_samples():
    # sample 1 has one pixel of loss ln 4, sample 2 three of ln 2: (ln 4 + 3 ln 2) / 4, not (ln 4 + ln 2) / 2
    probs = torch.tensor([[[0.25] * 3, [0.75] * 3], [[0.5] * 3, [0.5] * 3]])
    label = torch.tensor([[0, IGNORE, IGNORE], [0, 1, 0]])
    assert cross_entropy(probs.log(), label).item() == pytest.approx(5 * math.log(2) / 4, rel=1e-6)


@pytest.mark.parametrize("space", [(), (5,), (4, 3), (2, 3, 4)])
def test_agrees_with_the_slow_reference(space: tuple[int, ...]):
    logits = 3 * torch.randn(3, 4, *space)
    label = torch.randint(0, 4, (3, *space))
    label[torch.rand(label.shape) < 0.4] = IGNORE
    assert cross_entropy(logits, label).item() == pytest.approx(
        reference.cross_entropy(logits.numpy(), label.numpy()), rel=1e-5
    )


def test_without_a_labelled_pixel_it_is_zero_with_zero_gradient():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = cross_entropy(logits, torch.full((2, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max().item() == 0


def test_ignored_pixels_take_no_gradient_and_change_nothing():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    label = torch.randint(0, 3, (2, 4, 4))
    label[:, :2] = IGNORE
    loss = cross_entropy(logits, label)
    loss.backward()
    assert logits.grad[:, :, :2].abs().max().item() == 0
    assert (logits.grad[:, :, 2:].abs().sum(dim=1) > 0).all()
    moved = logits.detach().clone()
    moved[:, :, :2] += 5
    assert cross_entropy(moved, label).item() == loss.item()


def test_extreme_logits_stay_finite():
    # a pixel that is wrong by 200: the loss is 200, where log(softmax + 1e-6) would saturate at 13.8
    assert cross_entropy(torch.tensor([[[200.0], [0.0]]]), torch.tensor([[1]])).item() == pytest.approx(200)


def test_bfloat16_logits_are_computed_in_float32():
    logits = torch.randn(2, 3, 8, 8).bfloat16()
    label = torch.randint(0, 3, (2, 8, 8))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = cross_entropy(logits, label)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference.cross_entropy(logits.float().numpy(), label.numpy()), rel=1e-5)
