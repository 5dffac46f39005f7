"""Ramp-ups, the teacher's moving average and the shared perturbations, against published tables and by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from methods.ema import average_buffers, average_parameters, ema_decay
from methods.perturb import drop_channels, noisy
from methods.schedules import ramp_up


@pytest.mark.parametrize(
    ("iteration", "units", "published"),
    [
        # weight 0.1 ramped over 40 or 200 units of 150 iterations (SSL4MIS's and UA-MT's schedule)
        (0, 200, 0.000674),
        (3000, 40, 0.028650),
        (4500, 40, 0.073162),
        (6000, 40, 0.1),
        (10000, 40, 0.1),
        (3000, 200, 0.001742),
        (6000, 200, 0.004076),
        (10000, 200, 0.010598),
        (15000, 200, 0.028650),
        (20000, 200, 0.057057),
        (30000, 200, 0.1),
    ],
)
def test_ramp_passes_through_the_published_values(iteration: int, units: int, published: float):
    unit = iteration // 150  # the published staircase
    assert 0.1 * ramp_up(unit / 200, until=units / 200) == pytest.approx(published, abs=6e-7)


def test_ramp_rises_to_exactly_one_and_stays():
    values = [ramp_up(k / 100, until=0.5) for k in range(101)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(math.exp(-5))
    assert values[50:] == [1.0] * 51


def test_a_ramp_of_no_length_is_one_from_the_start():
    assert ramp_up(0.0, until=0.0) == 1.0


def test_decay_of_the_teacher_warms_up_as_published():
    # min(1 - 1/(t + 1), 0.99): 0 at t = 0, 10/11 at t = 10, 0.99 from t = 99 on
    assert ema_decay(0, 0.99) == 0
    assert ema_decay(10, 0.99) == pytest.approx(10 / 11)
    assert ema_decay(98, 0.99) < 0.99 - 1e-5
    assert ema_decay(99, 0.99) == pytest.approx(0.99, abs=1e-12)
    assert ema_decay(5000, 0.99) == 0.99


def pair() -> tuple[nn.Module, nn.Module]:
    teacher = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).requires_grad_(False)
    student = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    student.train()(torch.randn(4, 1, 3, 3))  # moves the student's running statistics and counter
    return teacher, student


def test_parameters_are_averaged_and_buffers_left_alone():
    teacher, student = pair()
    before = [p.clone() for p in teacher.parameters()]
    average_parameters(teacher, student, 0.75)
    for was, now, towards in zip(before, teacher.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(now, 0.75 * was + 0.25 * towards)
        assert not now.requires_grad
    assert teacher[1].running_mean.tolist() == [0, 0]
    assert teacher[1].num_batches_tracked == 0


def test_a_decay_of_zero_makes_the_teacher_the_student_exactly():
    teacher, student = pair()
    average_parameters(teacher, student, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters(), strict=True))


def test_averaging_many_steps_is_the_geometric_sum_of_the_students():
    # teacher 0, students 1, 2, 3 and decay .5: ((.5 * 1) * .5 + .5 * 2) * .5 + .5 * 3 = 2.125
    teacher, student = nn.Linear(1, 1, bias=False).requires_grad_(False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(teacher.weight)
    for value in (1.0, 2.0, 3.0):
        nn.init.constant_(student.weight, value)
        average_parameters(teacher, student, 0.5)
    assert teacher.weight.item() == 2.125


def test_buffers_are_averaged_on_demand_and_counters_copied():
    teacher, student = pair()
    average_buffers(teacher, student, 0.75)
    torch.testing.assert_close(teacher[1].running_mean, 0.25 * student[1].running_mean)
    torch.testing.assert_close(teacher[1].running_var, 0.75 * torch.ones(2) + 0.25 * student[1].running_var)
    assert teacher[1].num_batches_tracked == 1


def test_noise_is_clamped_seeded_and_leaves_the_image_alone():
    image = torch.zeros(2, 1, 64, 64)
    noise = noisy(image, 0.1, 0.2)
    assert image.abs().max() == 0
    # z clamped at two: E z² = P(|z| < 2) - 4 φ(2) + 4 P(|z| > 2) = .9545 - .2160 + .1820 = .9205, of root .959; times
    # 0.1, estimated here from 8192 draws (standard error below 1 %)
    assert noise.std().item() == pytest.approx(0.0959, rel=0.03)
    assert noise.abs().max().item() == pytest.approx(0.2)
    torch.manual_seed(3)
    first = noisy(image, 0.1, 0.2)
    torch.manual_seed(3)
    assert torch.equal(first, noisy(image, 0.1, 0.2))


def test_dropped_channels_are_zero_everywhere_and_the_rest_scaled():
    for space in ((5, 5), (3, 3, 3)):
        (dropped,) = drop_channels([torch.ones(8, 16, *space)], 0.5, training=True)
        per_channel = dropped.flatten(2)
        assert torch.equal(per_channel.amin(dim=2), per_channel.amax(dim=2))
        assert set(per_channel.unique().tolist()) == {0.0, 2.0}


def test_channels_are_kept_when_not_training():
    feature = torch.randn(2, 3, 4, 4)
    assert torch.equal(drop_channels([feature], 0.5, training=False)[0], feature)
