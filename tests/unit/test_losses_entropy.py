"""Normalised entropy: hand-computed values, a slow reference, and logits at the edge of float32."""

from __future__ import annotations

import math

import pytest
import torch

from methods.losses.entropy import entropy, entropy_map
from tests.reference import losses as reference


def test_equal_logits_have_entropy_one_and_certain_ones_none():
    logits = torch.tensor([[[0.0, 100.0], [0.0, 0.0], [0.0, 0.0]]])
    assert entropy_map(logits).tolist()[0] == pytest.approx([1, 0], abs=1e-6)
    assert entropy(logits).item() == pytest.approx(0.5, abs=1e-6)


def test_one_quarter_against_three_quarters_by_hand():
    # H = .25 ln 4 + .75 ln (4/3), over ln 2
    expected = (0.25 * math.log(4) + 0.75 * math.log(4 / 3)) / math.log(2)
    assert entropy(torch.tensor([[[0.25], [0.75]]]).log()).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("space", [(6,), (4, 3), (2, 3, 4)])
def test_agrees_with_the_slow_reference(space: tuple[int, ...]):
    logits = 2 * torch.randn(3, 4, *space)
    assert entropy(logits).item() == pytest.approx(reference.entropy(logits.numpy()), rel=1e-5)


def test_a_probability_of_exactly_zero_has_a_finite_gradient():
    logits = torch.tensor([[[1000.0], [0.0]]], requires_grad=True)
    entropy(logits).backward()
    assert logits.grad.isfinite().all()


def test_bfloat16_logits_are_computed_in_float32():
    logits = torch.randn(2, 3, 4, 4).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = entropy(logits)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(reference.entropy(logits.float().numpy()), rel=1e-5)
