"""DMSPS: both terms and the extended scribbles against slow references, and when the second stage begins."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Labelled, Task
from methods import get, networks
from methods.base import Clock, Method
from tests.reference import losses as reference

from .scribble_toys import (
    MIDDLE,
    assert_drops_channels_of_the_auxiliary_branch_in_training,
    method,
    scribbled,
)

CLASSES = 3


class Fixed(nn.Module):
    """A network, or a decoder, that says the same of every image."""

    def __init__(self, probs: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(probs.log())
        self.head = nn.Identity()

    def encode(self, image: Tensor) -> list[Tensor]:
        return [image]

    def decode(self, _: object) -> Tensor:
        return self.logits

    forward = decode


def saying(main: Tensor, auxiliary: Tensor, **hyper) -> Method:
    """A method whose branches predict the given probabilities ``(n, classes, *space)``."""
    m = method("dmsps", **hyper)
    m.network, m.auxiliary = Fixed(main), Fixed(auxiliary)
    return m


def branches(m: Method, image: Tensor) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        return m.network(image).numpy(), m.auxiliary(m.network.encode(image)).numpy()


def soft_cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    """Pixel by pixel; the sum over classes, the mean over pixels."""
    probs, total, pixels = reference.softmax(logits), 0.0, 0
    for n, *at in np.ndindex(logits.shape[0], *logits.shape[2:]):
        total -= sum(float(target[(n, k, *at)]) * math.log(probs[(n, k, *at)]) for k in range(logits.shape[1]))
        pixels += 1
    return total / pixels


# the loss ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_both_branches_learn_the_scribbles_and_a_soft_mixture_of_themselves(variant: str):
    torch.manual_seed(0)
    m, batch = method("dmsps", weight=3.0, variant=variant), scribbled()
    logits, label = branches(m, batch.labelled.image), batch.labelled.label.numpy()
    torch.manual_seed(7)
    share = torch.rand(()).item()
    torch.manual_seed(7)
    terms = m.losses(batch, MIDDLE)
    probs = [reference.softmax(z) for z in logits]
    target = share * probs[0] + (1 - share) * probs[1]
    compared = probs if variant == "released" else logits  # the reference takes the softmax again
    pseudo = 3.0 * sum(soft_cross_entropy(z, target) for z in compared) / 2
    assert terms["pseudo"].item() == pytest.approx(pseudo, rel=1e-4)
    partial_ce = sum(reference.cross_entropy(z, label) for z in logits) / 2
    assert terms["partial_ce"].item() == pytest.approx(partial_ce, rel=1e-4)


def test_the_mixture_is_a_constant_target_by_hand(monkeypatch: pytest.MonkeyPatch):
    batch = scribbled()
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.full(shape, 0.25))
    main, auxiliary = (torch.tensor(p).view(1, 3, 1, 1) for p in ((0.8, 0.1, 0.1), (0.4, 0.4, 0.2)))
    m = saying(main.expand(2, -1, 16, 16).clone(), auxiliary.expand(2, -1, 16, 16).clone(), weight=1.0)
    m.losses(batch, MIDDLE)["pseudo"].backward()
    # a quarter of the main branch: (.5 .325 .175); half the mean over 512 pixels of softmax minus target
    target = torch.tensor((0.5, 0.325, 0.175)).view(1, 3, 1, 1)
    for branch, probs in ((m.network, main), (m.auxiliary, auxiliary)):
        expected = (probs - target) / 2 / 512
        torch.testing.assert_close(branch.logits.grad, expected.expand(2, -1, 16, 16))


def test_where_the_branches_agree_the_intended_mixture_is_content_and_the_released_one_sharpens():
    said = torch.tensor((0.6, 0.3, 0.1)).view(1, 3, 1, 1).expand(2, -1, 16, 16).clone()
    slopes = {}
    for variant in ("intended", "released"):
        m = saying(said, said, variant=variant)
        m.losses(scribbled(), MIDDLE)["pseudo"].backward()
        slopes[variant] = m.network.logits.grad[0, :, 0, 0]
    assert slopes["intended"].abs().max() < 1e-8
    assert slopes["released"][0] < 0 < slopes["released"][2], "descent raises the most probable class"


def test_pseudo_labels_reach_encoder_and_both_decoders():
    m = method("dmsps").train()
    m.losses(scribbled(), MIDDLE)["pseudo"].backward()
    for part in (m.network.encoder, m.network.decoder, m.auxiliary):
        assert max(p.grad.abs().max() for p in part.parameters()) > 0


def test_channels_are_dropped_from_the_auxiliary_branch_alone_and_in_training_alone():
    assert_drops_channels_of_the_auxiliary_branch_in_training("dmsps")


# extended scribbles --------------------------------------------------------------------------------------------------
def extended(mean: np.ndarray, label: np.ndarray, threshold: float, *, released: bool) -> np.ndarray:
    """Pixel by pixel: the sure ones of every class, of which the largest part that touches stays."""
    n_classes = mean.shape[1]
    sure = np.full(label.shape, -1)
    for n, *at in np.ndindex(*label.shape):
        p = [float(mean[(n, k, *at)]) for k in range(n_classes)]
        if -sum(x * math.log(x) for x in p if x > 0) / math.log(n_classes) < threshold:
            sure[(n, *at)] = int(np.argmax(p))
    made = np.full(label.shape, 0 if released else IGNORE)
    for n in range(len(label)):
        for k in range(1 if released else 0, n_classes):
            parts = list(_touching(sure[n] == k))
            for at in max(
                parts, key=lambda part: (len(part), [-i for i in min(part)]), default=()
            ):  # the first of equals
                made[(n, *at)] = k
    return np.where(label == IGNORE, made, label)


def _touching(mask: np.ndarray) -> Iterator[set[tuple[int, ...]]]:
    left = {tuple(int(i) for i in at) for at in np.argwhere(mask)}
    while left:
        part, edge = set(), {left.pop()}
        while edge:
            part |= edge
            edge = {at for at in left if any(max(abs(a - b) for a, b in zip(at, to, strict=True)) == 1 for to in edge)}
            left -= edge
        yield part


@pytest.mark.parametrize("space", [(10, 12), (4, 6, 8)])
@pytest.mark.parametrize("variant", ["intended", "released"])
def test_scribbles_are_extended_by_the_largest_sure_part_of_every_class(space: tuple[int, ...], variant: str):
    torch.manual_seed(3)
    logits = 12 * torch.randn(2, 2, CLASSES, *[-(-side // 2) for side in space])
    for axis, side in enumerate(space, start=3):  # blocks of two, so that parts differ in size
        logits = logits.repeat_interleave(2, dim=axis).narrow(axis, 0, side)
    probs = torch.softmax(logits, dim=2)
    m = saying(*probs, variant=variant, uncertainty=0.3)
    label = torch.full((2, *space), IGNORE)
    label[0, 0], label[1, :, 1] = 1, 2
    made = m.relabel(Labelled(torch.rand(2, 1, *space), label), None)
    expected = extended(probs.double().mean(dim=0).numpy(), label.numpy(), 0.3, released=variant == "released")
    assert made.memory is None
    np.testing.assert_array_equal(made.label.numpy(), expected)
    assert len(np.unique(expected)) == (3 if variant == "released" else 4)


def test_pixels_are_sure_by_the_entropy_of_the_mean_of_both_branches():
    # certain, and of different opinions: the mean is not sure; agreeing, it is
    main = torch.tensor([[0.98, 0.98], [0.01, 0.01], [0.01, 0.01]]).view(1, 3, 1, 2)
    auxiliary = torch.tensor([[0.98, 0.01], [0.01, 0.98], [0.01, 0.01]]).view(1, 3, 1, 2)
    samples = Labelled(torch.rand(1, 1, 1, 2), torch.full((1, 1, 2), IGNORE))
    # of (.98 .01 .01): .0198 + 2 · .0461 = .112 nats, .102 of ln 3
    for threshold, first in ((0.1, IGNORE), (0.104, 0)):
        assert saying(main, auxiliary, uncertainty=threshold).relabel(samples, None).label.tolist() == [
            [[first, IGNORE]]
        ]


def test_what_is_not_sure_is_unlabelled_or_as_released_background():
    flat = torch.full((1, 3, 4, 4), 1 / 3)
    label = torch.full((1, 4, 4), IGNORE)
    label[0, 1, 1] = 2
    for variant, other in (("intended", IGNORE), ("released", 0)):
        made = saying(flat, flat, variant=variant).relabel(Labelled(torch.rand(1, 1, 4, 4), label), None).label
        assert made[0, 1, 1] == 2
        assert made.sum() == 2 + 15 * other


# stages --------------------------------------------------------------------------------------------------------------
def asked(total: int, **hyper) -> list[int]:
    """Steps before which a run asks for new labels, which it then gets."""
    m, batch, found = method("dmsps", **hyper), scribbled(), []
    for step in range(total):
        if m.relabel_at(step):
            found.append(step)
            batch = Batch(replace(batch.labelled, pseudo=m.relabel(batch.labelled, None).label))
        m.losses(batch, Clock(step, total))
    return found


def test_scribbles_are_extended_once_after_the_first_stage():
    assert asked(11) == [6]  # step 5 is half-way
    assert asked(11, second_stage=0.25) == [4]
    assert asked(11, second_stage=1.0) == []


def test_a_run_that_is_resumed_before_the_second_stage_begins_it_at_the_same_step():
    m = method("dmsps")
    assert not m.relabel_at(0)
    for step, due in ((4, False), (5, True)):
        m.losses(scribbled(), Clock(step, 11))
        other = method("dmsps")
        other.load_state_dict(m.state_dict())
        assert m.relabel_at(step + 1) == other.relabel_at(step + 1) == due


def test_extended_scribbles_take_the_place_of_the_scribbles():
    torch.manual_seed(0)
    m, batch = method("dmsps"), scribbled()
    pseudo = torch.where(batch.labelled.label == IGNORE, torch.randint(0, 3, (2, 16, 16)), batch.labelled.label)
    pseudo[:, :, 9:] = IGNORE
    batch = Batch(replace(batch.labelled, pseudo=pseudo))
    logits = branches(m, batch.labelled.image)
    expected = sum(reference.cross_entropy(z, pseudo.numpy()) for z in logits) / 2
    assert m.losses(batch, MIDDLE)["partial_ce"].item() == pytest.approx(expected, rel=1e-4)


def test_volumes_and_five_classes_are_taken():
    names = ("background", "a", "b", "c", "d")
    task = Task("toy", 3, 1, names, (8, 8, 8), "mm", annotations=("scribble",))
    build = partial(networks.make, "unet", ndim=3, channels=1, classes=5, width=4, levels=2)
    m = get("dmsps")(task, get("dmsps").Hyper(), build).eval()
    label = torch.full((2, 8, 8, 8), IGNORE)
    label[:, 2], label[:, 5] = 0, 4
    samples = Labelled(torch.rand(2, 1, 8, 8, 8), label)
    samples = replace(samples, pseudo=m.relabel(samples, None).label)
    assert all(term.isfinite() for term in m.losses(Batch(samples), MIDDLE).values())


def test_the_main_branch_predicts():
    m, image = method("dmsps"), torch.rand(1, 1, 16, 16)
    expected = reference.softmax(branches(m, image)[0])
    np.testing.assert_allclose(m.predict(image).detach().numpy(), expected, rtol=1e-4, atol=1e-6)
