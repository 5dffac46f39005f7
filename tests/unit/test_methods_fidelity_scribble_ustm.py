"""USTM: its consistency against a slow reference and by hand, which pixels count, and how the teacher is asked."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods.base import Clock, Method
from tests.reference import losses as reference

from .scribble_toys import MIDDLE, logits_of, method, require_equal_networks, scribbled, trained

START = Clock(0, 101)


def turning(turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "randint", lambda *args, **_: torch.tensor([turns]))


def with_a_teacher_of_its_own(**hyper) -> Method:
    """The teacher is sure of bright pixels, and not of dark ones."""
    m = method("ustm", **hyper)
    m.teacher = nn.Conv2d(1, 3, kernel_size=1).requires_grad_(False)
    m.teacher.bias.zero_()
    m.teacher.weight.copy_(torch.tensor([4.0, 0.0, -2.0]).view(3, 1, 1, 1))
    return m


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(("variant", "classes"), [("intended", 3), ("released", 2)])
def test_consistency_is_the_squared_difference_to_the_turned_teacher_where_it_is_sure(
    turns: int, variant: str, classes: int, monkeypatch: pytest.MonkeyPatch
):
    m, batch = with_a_teacher_of_its_own(noise=0.0, variant=variant), scribbled()
    turning(turns, monkeypatch)
    image = batch.labelled.image
    student = reference.softmax(logits_of(m.network, image).numpy())
    teacher = reference.softmax(logits_of(m.teacher, torch.rot90(image, turns, (2, 3))).numpy())
    # at half of training the threshold is .75 + .25 exp(-5/4) of the largest entropy
    threshold = (0.75 + 0.25 * math.exp(-5 / 4)) * math.log(classes)
    sure = -(teacher * np.log(teacher)).sum(axis=1) < threshold
    assert 0.05 < sure.mean() < 0.95
    turned = np.rot90(student, turns, (2, 3))
    expected = reference.squared_difference(turned, teacher, sure) * 3 / classes
    terms = m.losses(batch, MIDDLE)
    assert terms["consistency"].item() == pytest.approx(math.exp(-5 / 4) * expected, rel=1e-4)
    partial_ce = reference.cross_entropy(logits_of(m.network, image).numpy(), batch.labelled.label.numpy())
    assert terms["partial_ce"].item() == pytest.approx(partial_ce, rel=1e-4)


class Fixed(nn.Module):
    """Predicts the given probabilities everywhere, and remembers what it was shown."""

    def __init__(self, *probs: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probs).log())
        self.shown: list[Tensor] = []

    def forward(self, image: Tensor) -> Tensor:
        self.shown.append(image)
        return self.logits.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[2:])


def fixed(student: tuple[float, ...], teacher: tuple[float, ...], **hyper) -> Method:
    m = method("ustm", **hyper)
    m.network, m.teacher = Fixed(*student), Fixed(*teacher).requires_grad_(False)
    return m


def test_a_sure_teacher_by_hand():
    # entropy of (.9 .05 .05): .394 < .75 ln 3; differences -.4 .2 .2: .24 / 3; at the start the weight is exp(-5)
    m = fixed((0.5, 0.25, 0.25), (0.9, 0.05, 0.05))
    assert m.losses(scribbled(), START)["consistency"].item() == pytest.approx(math.exp(-5) * 0.24 / 3, rel=1e-4)


def test_a_teacher_between_the_two_thresholds_teaches_in_the_intended_variant_only():
    # entropy of (.75 .2 .05): .2158 + .3219 + .1498 = .687, between .75 ln 2 = .520 and .75 ln 3 = .824
    probs = (0.5, 0.25, 0.25), (0.75, 0.2, 0.05)
    assert fixed(*probs).losses(scribbled(), START)["consistency"].item() > 0
    assert fixed(*probs, variant="released").losses(scribbled(), START)["consistency"].item() == 0


def test_an_unsure_teacher_costs_nothing_and_sends_zero_gradient():
    m = fixed((0.5, 0.25, 0.25), (1 / 3, 1 / 3, 1 / 3))
    term = m.losses(scribbled(), START)["consistency"]
    term.backward()
    assert term.item() == 0
    assert m.network.logits.grad.abs().max() == 0


def test_the_teacher_predicts_once_as_target_and_eight_times_in_pairs_on_fresh_noise():
    m = fixed((0.5, 0.25, 0.25), (0.9, 0.05, 0.05))
    m.losses(scribbled(n=2), START)
    shown = m.teacher.shown
    assert [len(images) for images in shown] == [2, 4, 4, 4, 4]
    every = torch.cat(shown).unflatten(0, (9, 2))
    assert len({tuple(image.flatten().tolist()) for image in every[:, 0]}) == 9
    assert (every - every.mean(dim=0)).abs().max() < 0.4 + 1e-6  # noise is clipped at .2


def test_the_student_sees_the_image_as_it_is():
    m, batch = fixed((0.5, 0.25, 0.25), (0.9, 0.05, 0.05)), scribbled()
    m.losses(batch, START)
    assert [torch.equal(shown, batch.labelled.image) for shown in m.network.shown] == [True]


@pytest.mark.parametrize("passes", [1, 3])
def test_an_odd_number_of_passes_ends_with_a_single_one(passes: int):
    m = fixed((0.5, 0.25, 0.25), (0.9, 0.05, 0.05), passes=passes)
    m.losses(scribbled(n=2), START)
    assert sum(len(images) for images in m.teacher.shown) == 2 * (1 + passes)
    # the uncertainty is that of the mean, so the sure teacher still teaches
    assert m.losses(scribbled(n=2), START)["consistency"].item() > 0


def test_images_that_are_not_square_are_turned_upside_down_at_most():
    m = fixed((0.5, 0.25, 0.25), (0.9, 0.05, 0.05), noise=0.0)
    batch = scribbled()
    image = batch.labelled.image[..., :8]
    narrow = replace(batch, labelled=replace(batch.labelled, image=image, label=batch.labelled.label[..., :8]))
    for _ in range(20):
        m.losses(narrow, START)
    found = {k for shown in m.teacher.shown for k in (0, 2) if torch.equal(shown[:2], torch.rot90(image, k, (2, 3)))}
    assert found == {0, 2}
    assert {tuple(shown.shape[2:]) for shown in m.teacher.shown} == {(16, 8)}


def test_consistency_teaches_the_student_and_not_the_teacher():
    m = with_a_teacher_of_its_own()
    m.losses(scribbled(), MIDDLE)["consistency"].backward()
    assert max(p.grad.abs().max() for p in m.network.parameters()) > 0
    assert all(p.grad is None for p in m.teacher.parameters())


@pytest.mark.parametrize("variant", ["intended", "released"])
def test_weight_zero_trains_the_network_of_plain_partial_cross_entropy_bit_for_bit(variant: str):
    batch = scribbled()
    require_equal_networks(trained("ustm", batch, weight=0.0, variant=variant), trained("pce", batch))
