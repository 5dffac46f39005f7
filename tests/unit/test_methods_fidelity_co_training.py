"""Deep co-training: agreement, and resistance to the images that deceive the other network.

In eval mode the networks have no batch statistics, so a loss can be recomputed from their outputs.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.base import Clock
from tests.reference import losses
from tests.reference import two_views as reference
from tests.unit.semi_toys import END, MIDDLE, assert_terms, method, reached, supervised, toy_batch


def deceiving(network: torch.nn.Module, image: Tensor, label: Tensor, epsilon: float) -> Tensor:
    """Every pixel moved by epsilon along the sign of the gradient of the mean cross-entropy."""
    image = image.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(network(image).double(), label).backward()
    return (image + epsilon * image.grad.sign()).detach()


def test_deep_co_training_adds_agreement_and_resistance_to_the_others_deceiving_images():
    m, batch = method("deep_co_training", agreement=2.0, resistance=3.0), toy_batch(labelled=4)
    progress = 0.3
    images = [torch.cat([half, batch.unlabelled.image]) for half in batch.labelled.image.chunk(2)]
    expected: dict[str, float] = {}
    resistance: dict[str, float] = {}
    late = 3.0 * math.exp(-5 * (1 - (progress - 1 / 6) / (5 / 12 - 1 / 6)) ** 2)
    for k, (mine, other) in enumerate(((m.network, m.network2), (m.network2, m.network)), start=1):
        with torch.no_grad():
            logits = mine(images[k - 1]).numpy()
            rival = other(images[2 - k])
        label = batch.labelled.label.chunk(2)
        expected |= {f"{name}_{k}": value for name, value in supervised(logits[:2], label[k - 1]).items()}
        fooling = deceiving(other, images[2 - k], torch.cat([label[2 - k], rival[2:].argmax(dim=1)]), 0.03)
        with torch.no_grad():
            answer = mine(fooling).numpy()
        cost = reference.soft_cross_entropy(answer, losses.softmax(rival.numpy()))
        resistance[f"resistance_{k}"] = late / 2 * cost
    with torch.no_grad():
        free, free2 = (network(batch.unlabelled.image).numpy() for network in (m.network, m.network2))
    ramp = math.exp(-5 * (1 - progress / (5 / 12)) ** 2)
    expected["agreement"] = 2.0 * ramp * reference.jensen_shannon(free, free2)
    m.zero_grad()
    assert_terms(m.losses(batch, Clock(step=30, total=101)), expected | resistance)


def test_resistance_starts_late_and_teaches_one_network_each():
    m, batch = method("deep_co_training"), toy_batch(labelled=4)
    assert m.losses(batch, Clock(step=16, total=101))["resistance_1"].item() == 0
    found = m.losses(batch, Clock(step=17, total=101))
    assert found["resistance_1"].item() > 0
    taught = {k: (reached(found[k], m.network), reached(found[k], m.network2)) for k in found}
    assert taught["resistance_1"] == (True, False)
    assert taught["resistance_2"] == (False, True)
    assert taught["agreement"] == (True, True)


def test_the_attack_leaves_no_trace_in_the_network_it_attacks():
    m, batch = method("deep_co_training").train(), toy_batch(labelled=4)
    m.losses(batch, MIDDLE)
    assert all(p.grad is None and p.requires_grad for p in m.parameters())
    assert all(module.training for module in m.modules())
    assert not batch.images.requires_grad


@pytest.mark.parametrize("epsilon", [0.03, 0.5])
def test_each_network_is_shown_the_images_that_deceive_the_other(epsilon: float):
    m, batch = method("deep_co_training", epsilon=epsilon), toy_batch(labelled=4)
    both, shown = (m.network, m.network2), ([], [])
    for network, images in zip(both, shown, strict=True):
        network.register_forward_pre_hook(lambda _, given, images=images: images.append(given[0].detach()))
    m.losses(batch, END)
    views = [torch.cat([half, batch.unlabelled.image]) for half in batch.labelled.image.chunk(2)]
    assert [len(images) for images in shown] == [3, 3]  # attacked, for its own terms, and to resist
    for k, other in ((0, 1), (1, 0)):
        assert torch.equal(shown[k][0], views[k])
        assert torch.equal(shown[k][1], views[k])
        with torch.no_grad():
            free = both[other](batch.unlabelled.image).argmax(dim=1)
        fooling = deceiving(both[other], views[other], torch.cat([batch.labelled.label.chunk(2)[other], free]), epsilon)
        apart = (shown[k][2] - fooling).abs() > 1e-6
        assert apart.float().mean() < 0.01  # signs of what is 0 but for rounding


def test_a_network_is_attacked_in_eval_mode_and_learns_in_training_mode():
    m = method("deep_co_training").train()
    modes: list[bool] = []
    m.network.register_forward_pre_hook(lambda network, _: modes.append(network.training))
    m.losses(toy_batch(labelled=4), END)
    assert modes == [False, True, True]
