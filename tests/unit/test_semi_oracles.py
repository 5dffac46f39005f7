"""Numbers and properties of the published semi-supervised methods that stand alone: schedules, limits, invariances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods import networks
from methods.base import Clock
from methods.losses.consistency import rectified_consistency, squared_difference, symmetric_divergence
from methods.losses.cross_entropy import cross_entropy
from methods.losses.entropy import entropy_map
from methods.schedules import ramp_up
from tests.unit.semi_toys import method, moved, toy_batch


@pytest.mark.parametrize(
    ("iteration", "units", "published"),
    [(0, 40, 0.000674), (1000, 40, 0.002698), (1000, 200, 0.000905), (1500, 40, 0.006005)],
)
def test_early_weights_pass_through_the_published_staircase(iteration: int, units: int, published: float) -> None:
    # 0.1 exp(-5 (1 - e / units)²) with e = iteration // 150; progress counts in the 200 units of 30 000 iterations
    assert 0.1 * ramp_up(iteration // 150 / 200, until=units / 200) == pytest.approx(published, abs=6e-7)


# Networks ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", [(16, 16, 16), (32, 16, 48)])
def test_vnet_keeps_the_size_of_whatever_sixteen_divides(space: tuple[int, ...]) -> None:
    network = networks.make("vnet", ndim=3, channels=1, classes=2, width=2).eval()
    assert network(torch.zeros(1, 1, *space)).shape == (1, 2, *space)


def test_vnet_adds_its_skips() -> None:
    """Concatenated ones would double what the first convolution of each decoder level takes in."""
    network = networks.make("vnet", ndim=3, channels=1, classes=2, width=4)
    for level, width in zip(network.decoder.levels, network.decoder.channels, strict=True):
        first = next(m for m in level.modules() if isinstance(m, torch.nn.Conv3d))
        assert first.in_channels == first.out_channels == width


# Uncertainty ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classes", [2, 4])
def test_uncertainty_lies_between_zero_and_the_logarithm_of_the_classes(classes: int) -> None:
    """The released codes' logarithm of p + 1e-6 leaves these limits by some 1e-6 on either side."""
    even, sure = torch.zeros(1, classes, 2, 2), torch.zeros(1, classes, 2, 2)
    sure[:, 0] = 200.0
    nats = math.log(classes)
    assert (nats * entropy_map(even)).max().item() == pytest.approx(nats)
    assert entropy_map(sure).min().item() == 0


def test_ua_mt_at_the_end_learns_wherever_the_teacher_prefers_any_class_and_not_where_it_prefers_none() -> None:
    m, batch = method("ua_mt", weight=1.0, passes=1, noise=0.0), toy_batch()
    moved(m.teacher)
    end = Clock(step=100, total=101)
    everywhere = m.losses(batch, end)["consistency"].item()
    probs = [torch.softmax(net(batch.unlabelled.image), dim=1) for net in (m.network, m.teacher)]
    assert everywhere == pytest.approx(squared_difference(*probs).item(), rel=1e-4)
    with torch.no_grad():
        for p in m.teacher.parameters():
            p.zero_()  # all classes alike: the entropy is its maximum, which is not below the threshold
    assert m.losses(batch, end)["consistency"].item() == 0


# Losses --------------------------------------------------------------------------------------------------------------
def test_cross_entropy_of_probabilities_ends_at_0_3133_for_two_classes() -> None:
    """As CPCL's code feeds it: log(1 + e^-1) at best, and no better for a sharper prediction."""
    logits = torch.tensor([[[50.0]], [[-50.0]]])[None]  # (1, 2, 1, 1)
    label = torch.zeros(1, 1, 1, dtype=torch.int64)
    assert cross_entropy(logits, label).item() == pytest.approx(0, abs=1e-6)
    assert cross_entropy(torch.softmax(logits, dim=1), label).item() == pytest.approx(0.3133, abs=5e-5)


def shuffled(maps: Tensor, order: Tensor) -> Tensor:
    return maps.flatten(2)[:, :, order].view(maps.shape)


def test_divergences_over_classes_do_not_know_where_a_voxel_is_and_the_released_one_does() -> None:
    first, second = torch.randn(2, 3, 4, 4, 4), torch.randn(2, 3, 4, 4, 4)
    order = torch.randperm(64)
    pair, mixed = (first, second), (shuffled(first, order), shuffled(second, order))
    torch.testing.assert_close(symmetric_divergence(*pair), symmetric_divergence(*mixed))
    torch.testing.assert_close(rectified_consistency(pair), rectified_consistency(mixed))
    released = [symmetric_divergence(*each, axis=-1).item() for each in (pair, mixed)]
    assert released[0] != pytest.approx(released[1], rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_mean_over_no_voxel_is_zero_in_half_precision_too(dtype: torch.dtype) -> None:
    """A divisor guarded by 1e-16 would be 0 in float16, and the mean NaN."""
    probs = torch.rand(1, 2, 4, 4, dtype=dtype)
    nothing = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert squared_difference(probs, torch.zeros_like(probs), nothing).item() == 0
    one = nothing.clone()
    one[0, 1, 2] = True
    expected = probs[0, :, 1, 2].float().square().mean().item()
    assert squared_difference(probs, torch.zeros_like(probs), one).item() == pytest.approx(expected, rel=1e-5)
