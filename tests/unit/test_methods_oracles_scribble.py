"""What each scribble method computes as released, against numbers of the released code: values and gradients.

The numbers are not in this repository; where their file is missing these tests skip, and the slow references of the
fidelity tests remain.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock
from methods.losses.mumford_shah import deviation
from methods.losses.overlap import dice_loss
from methods.losses.variation import total_variation
from tests.reference.oracles import close_with_gradient, load

from .scribble_toys import method

END = Clock(100, 101)
"""Every ramp is over."""


class Given(nn.Module):
    """A network whose logits are given, whatever it is shown."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, shown: Tensor | list[Tensor]) -> Tensor:
        return self.logits

    def encode(self, image: Tensor) -> list[Tensor]:
        return [self.logits]

    def decode(self, features: list[Tensor]) -> Tensor:
        return self.logits

    def head(self, decoded: Tensor) -> Tensor:
        return self.logits


def samples(image: Tensor, scribble: Tensor | None = None) -> Labelled:
    label = torch.full((len(image), *image.shape[2:]), IGNORE) if scribble is None else scribble.long()
    return Labelled(image.float(), label)


def regulariser(name: str, logits: Tensor, image: Tensor, **hyper) -> Tensor:
    (term,) = method(name, **hyper).regularise(logits, samples(image), END).values()
    return term


def leaf(logits: Tensor) -> Tensor:
    return logits.float().clone().requires_grad_()


def test_partial_cross_entropy_is_the_released_one():
    logits, scribble, image, value, gradient = load("logits", "scribble", "image", "pce", "grad_pce")
    m, at = method("pce"), leaf(logits)
    m.network = Given(at)
    terms = m.losses(Batch(samples(image, torch.where(scribble == 4, IGNORE, scribble))), END)
    close_with_gradient(terms["partial_ce"], at, value, gradient)


def test_entropy_is_the_released_one():
    # the code adds 1e-6 inside the logarithm: off by less than 1e-5
    logits, image, value, gradient = load("logits", "image", "entropy", "grad_entropy")
    at = leaf(logits)
    close_with_gradient(regulariser("pce_entropy", at, image, weight=1.0), at, value, gradient)


def test_boundary_length_is_the_released_one():
    logits, image, value, gradient = load("logits", "image", "tv_released", "grad_tv_released")
    at = leaf(logits)
    close_with_gradient(regulariser("pce_tv", at, image, weight=1.0, variant="released"), at, value, gradient)


def test_gated_crf_is_the_released_one_and_the_intended_one_has_its_gradient():
    logits, image, value, gradient = load("logits_square", "image_square", "gated_crf", "grad_gated_crf")
    at = leaf(logits)
    close_with_gradient(regulariser("pce_gated_crf", at, image, weight=1.0, variant="released"), at, value, gradient)
    other = leaf(logits)
    regulariser("pce_gated_crf", other, image, weight=1.0).backward()
    torch.testing.assert_close(other.grad, at.grad)


def test_spread_of_intensities_is_the_released_one():
    names = ("logits", "image", "intensity_variance_released", "grad_intensity_variance_released")
    logits, image, value, gradient = load(*names)
    at = leaf(logits)
    term = regulariser("pce_intensity_variance", at, image, weight=1.0, variant="released")
    close_with_gradient(term, at, value, gradient)


def test_mumford_shah_is_the_released_one():
    logits, image, value, gradient = load("logits", "image", "mumford_shah_released", "grad_mumford_shah_released")
    at = leaf(logits)
    term = regulariser("pce_mumford_shah", at, image, released_weight=1.0, variant="released")
    close_with_gradient(term, at, value, gradient)


def test_the_data_term_of_mumford_shah_is_that_of_the_released_class_in_the_right_order():
    # in that order the class takes the variation of the image, a constant; ours is per pixel and of the prediction
    names = ("logits", "image", "mumford_shah_right_roles", "grad_mumford_shah_right_roles")
    logits, image, value, gradient = load(*names)
    at = leaf(logits)
    pixels = image.numel()
    term = deviation(torch.softmax(at, dim=1), image.float()) + pixels * total_variation(image)
    close_with_gradient(term, at, value, gradient)
    ours = regulariser("pce_mumford_shah", leaf(logits), image, weight=1.0, smoothness=0.0)
    expected = (value - pixels * total_variation(image)) / pixels
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)


def test_mixed_pseudo_labels_and_their_dice_are_the_released_ones(monkeypatch: pytest.MonkeyPatch):
    names = ("logits", "logits2", "beta", "dmpls_pseudo", "dmpls_dice_branch1_released")
    first, second, beta, pseudo, value = load(*names)
    (gradient,) = load("grad_dmpls_dice_branch1_released")
    mixed = torch.lerp(torch.softmax(second.float(), dim=1), torch.softmax(first.float(), dim=1), beta.float())
    assert torch.equal(mixed.argmax(dim=1), pseudo)
    at = leaf(first)
    # the code's mask makes every sum n times as large, so that the smoothing counts 1/n: here 1e-5 of hundreds
    close_with_gradient(dice_loss(torch.softmax(at, dim=1), pseudo), at, value, gradient)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: beta.float())
    m = method("wsl4mis", weight=1.0)
    m.network, m.auxiliary = Given(first.float()), Given(second.float())
    terms = m.losses(Batch(samples(first[:, :1])), END)
    other = dice_loss(torch.softmax(second.float(), dim=1), pseudo)
    assert terms["pseudo"].item() == pytest.approx((value.item() + other.item()) / 2, rel=1e-4)
