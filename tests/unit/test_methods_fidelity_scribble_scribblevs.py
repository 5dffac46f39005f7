"""ScribbleVS: its terms against slow references, whose pseudo labels are learnt, and how the teacher follows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock, Method
from tests.reference import losses as reference

from .scribble_toys import END, logits_of, method, require_equal_networks, scribbled, trained

MIDDLE_OF_RAMP = Clock(10, 101)  # half of a ramp over a fifth of training: exp(-5/4) of the weight


class Fixed(nn.Module):
    """Predicts the given probabilities, whatever the image."""

    def __init__(self, probs: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(probs.log())

    def forward(self, _: Tensor) -> Tensor:
        return self.logits


def saying(student: Tensor, teacher: Tensor, **hyper) -> Method:
    m = method("scribblevs", **hyper)
    m.network, m.teacher = Fixed(student), Fixed(teacher).requires_grad_(False)
    return m


def random_probs(seed: int, sharpness: float = 2.0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(2, 3, 16, 16, generator=draw), dim=1)


def pseudo_term(student: np.ndarray, chosen: np.ndarray, threshold: float) -> float:
    """Half cross-entropy and half Dice of the student on the pixels of which the chosen one is sure."""
    label = np.full((len(chosen), *chosen.shape[2:]), IGNORE)
    for n, *at in np.ndindex(*label.shape):
        p = [float(chosen[(n, k, *at)]) for k in range(chosen.shape[1])]
        if max(p) > threshold:
            label[(n, *at)] = p.index(max(p))
    assert 0.1 < (label != IGNORE).mean() < 0.95
    return (reference.cross_entropy(np.log(student), label) + reference.dice_loss(student, label)) / 2


@pytest.mark.parametrize("better", ["student", "teacher"])
@pytest.mark.parametrize(("clock", "ramp"), [(MIDDLE_OF_RAMP, math.exp(-5 / 4)), (END, 1.0)])
def test_the_one_that_fits_the_scribbles_better_labels_the_pixels_that_it_is_sure_of(
    better: str, clock: Clock, ramp: float
):
    student, teacher, batch = random_probs(1), random_probs(2), scribbled()
    label = batch.labelled.label
    fits = 0.9 * nn.functional.one_hot(label.clamp(max=2), 3).movedim(-1, 1) + 0.1 / 3
    right = student if better == "student" else teacher
    right.copy_(torch.where((label != IGNORE).unsqueeze(1), fits, right))
    m = saying(student, teacher, weight=2.0, threshold=0.6)
    terms = m.losses(batch, clock)
    costs = [reference.cross_entropy(p.log().numpy(), label.numpy()) for p in (student, teacher)]
    assert (costs[0] < costs[1]) == (better == "student")
    assert terms["partial_ce"].item() == pytest.approx(costs[0], rel=1e-4)
    expected = 2.0 * ramp * pseudo_term(student.numpy(), right.numpy(), 0.6)
    assert terms["pseudo"].item() == pytest.approx(expected, rel=1e-4)


def test_of_a_batch_one_labels_all_even_where_the_other_fits_an_image_better():
    # per pixel the student pays ln 2 and ln 2, the teacher 0.1 and 1: the teacher is better by the mean, .55 < .69
    scribble = torch.tensor([[[0, IGNORE, IGNORE]], [[0, IGNORE, IGNORE]]])
    student = (
        torch.tensor([[0.5, 0.05, 0.05], [0.25, 0.9, 0.9], [0.25, 0.05, 0.05]]).view(1, 3, 1, 3).repeat(2, 1, 1, 1)
    )
    teacher = (
        torch.tensor([[0.5, 0.05, 0.05], [0.25, 0.05, 0.05], [0.25, 0.9, 0.9]]).view(1, 3, 1, 3).repeat(2, 1, 1, 1)
    )
    for n, cost in enumerate((0.1, 1.0)):
        p = math.exp(-cost)
        teacher[n, :, 0, 0] = torch.tensor([p, (1 - p) / 2, (1 - p) / 2])
    m = saying(student, teacher, dice_share=0.0, ramp=0.0)
    m.losses(Batch(Labelled(torch.rand(2, 1, 1, 3), scribble)), END)["pseudo"].backward()
    slope = m.network.logits.grad[:, :, 0, 1]
    assert (slope[:, 2] < 0).all(), "descent raises the class that the teacher is sure of, in both images"
    assert (slope[:, 1] > 0).all()


def test_pseudo_labels_teach_the_student_alone():
    m, batch = method("scribblevs", threshold=0.0), scribbled()
    m.losses(batch, END)["pseudo"].backward()
    assert max(p.grad.abs().max() for p in m.network.parameters()) > 0
    assert all(p.grad is None for p in m.teacher.parameters())


def test_nobody_sure_costs_nothing_and_sends_zero_gradient():
    flat = torch.full((2, 3, 16, 16), 1 / 3)
    m = saying(flat, flat.clone())
    term = m.losses(scribbled(), END)["pseudo"]
    term.backward()
    assert term.item() == 0
    assert m.network.logits.grad.abs().max() == 0


def test_the_teacher_follows_and_only_the_released_student_shrinks():
    for variant, shrunk in (("intended", 1.0), ("released", 1 - 0.0002)):
        m = method("scribblevs", variant=variant)
        with torch.no_grad():
            for p in m.network.parameters():
                p.add_(torch.randn_like(p))
        student, teacher = ([p.detach().clone() for p in of.parameters()] for of in (m.network, m.teacher))
        with torch.no_grad():
            m.after_step(Clock(500, 1000))
        for before, followed, now, taught in zip(
            student, teacher, m.network.parameters(), m.teacher.parameters(), strict=True
        ):
            torch.testing.assert_close(taught, 0.99 * followed + 0.01 * before)
            torch.testing.assert_close(now, shrunk * before, rtol=1e-6, atol=0)


def test_weight_zero_trains_the_network_of_plain_partial_cross_entropy_bit_for_bit():
    batch = scribbled()
    require_equal_networks(trained("scribblevs", batch, weight=0.0), trained("pce", batch))


def test_the_student_predicts_and_the_teacher_is_tested_beside_it():
    m, image = method("scribblevs"), torch.rand(1, 1, 16, 16)
    expected = reference.softmax(logits_of(m.network, image).numpy())
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
    assert set(m.other_predictions()) == {"teacher"}
