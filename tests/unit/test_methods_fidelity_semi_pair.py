"""Supervision of two networks: terms by hand, who learns from what, who predicts."""

from __future__ import annotations

import pytest
import torch

from datasets.types import Batch
from methods.networks import unet, vnet
from tests.unit.semi_toys import END, assert_terms, logits_of, method, supervised, toy_batch


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_network_learns_the_labelled_images_as_if_it_were_alone(ndim: int):
    m, batch = method("supervised_pair", ndim=ndim), toy_batch(ndim=ndim)
    expected = {}
    for k, network in ((1, m.network), (2, m.network2)):
        terms = supervised(logits_of(network, batch.labelled.image), batch.labelled.label)
        expected |= {f"{name}_{k}": value for name, value in terms.items()}
    assert expected["ce_1"] != expected["ce_2"], "one network twice"
    assert_terms(m.losses(batch, END), expected)
    assert_terms(m.losses(Batch(batch.labelled), END), expected)
    m.zero_grad()
    sum(term for name, term in m.losses(batch, END).items() if name.endswith("_1")).backward()
    assert all(p.grad is not None for p in m.network.parameters())
    assert all(p.grad is None for p in m.network2.parameters()), "the second learns from the first's mistakes"


def test_the_mean_predicts_and_each_network_is_scored_beside_it():
    m, batch = method("supervised_pair").eval(), toy_batch()
    alone = [torch.softmax(network(batch.images), dim=1) for network in (m.network, m.network2)]
    assert not torch.allclose(*alone)
    others = m.other_predictions()
    assert list(others) == ["first", "second"]
    for probs, predict in zip(alone, others.values(), strict=True):
        torch.testing.assert_close(predict(batch.images), probs)
    torch.testing.assert_close(m.predict(batch.images), (alone[0] + alone[1]) / 2)


def test_the_second_network_is_the_plans_unless_it_is_named():
    assert isinstance(method("supervised_pair").network2, unet.Network)
    m = method("supervised_pair", partner="vnet")
    assert isinstance(m.network, unet.Network)
    assert isinstance(m.network2, vnet.Network)
