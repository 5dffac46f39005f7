"""Gradients of agreement terms, on every parameter: those of the terms written out, whose targets are fixed or not.

A term of the right value can teach one side only, or both where one is the target.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.base import Method
from methods.losses.structure import structure_agreement
from tests.unit.semi_toys import END, method, moved, toy_batch


def gradients(term: Tensor, m: Method) -> dict[str, Tensor]:
    """Of all parameters that the term could reach; 0 where it does not."""
    named = {name: p for name, p in m.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(term, list(named.values()), allow_unused=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in zip(named.items(), found, strict=True)}


def assert_same_gradients(term: Tensor, written_out: Tensor, m: Method) -> None:
    assert term.item() == pytest.approx(written_out.item(), rel=1e-4)
    found, expected = gradients(term, m), gradients(written_out, m)
    largest = max(g.abs().max().item() for g in expected.values())
    assert largest > 0
    for name, g in expected.items():
        torch.testing.assert_close(found[name], g, rtol=1e-3, atol=1e-4 * largest, msg=name)


@pytest.mark.parametrize("decoders", [2, 3])
def test_mc_net_teaches_the_sharpened_side_too(decoders: int):
    m, batch = method("mc_net", decoders=decoders, weight=2.0, temperature=0.5), toy_batch()
    features = m.network.encode(batch.images)
    logits = [m.network.head(m.network.decode(features)), *(decode(features) for decode in m.decoders)]
    probs, sharp = ([torch.softmax(z / t, dim=1) for z in logits] for t in (1.0, 0.5))
    pairs = [(i, j) for i in range(decoders) for j in range(decoders) if i != j]
    expected = 2.0 * sum((probs[i] - sharp[j]).square().mean() for i, j in pairs)
    assert_same_gradients(m.losses(batch, END)["consistency"], expected, m)


def test_min_max_similarity_agreement_teaches_each_network_towards_the_other_as_it_is():
    m, batch = method("min_max_similarity", grid=0.0, agreement=0.5), toy_batch(labelled=4)
    first, second = m.network(batch.unlabelled.image), m.network2(batch.unlabelled.image)
    fixed, fixed2 = torch.softmax(first, dim=1).detach(), torch.softmax(second, dim=1).detach()
    expected = 0.5 * (structure_agreement(first, fixed2) + structure_agreement(second, fixed))
    assert_same_gradients(m.losses(batch, END)["agreement"], expected, m)


def test_duo_segnet_agreement_teaches_each_network_towards_the_other_as_it_is():
    m, batch = method("duo_segnet", critic_width=4, agreement=0.5), toy_batch(labelled=4)
    first, second = m.network(batch.unlabelled.image), m.network2(batch.unlabelled.image)
    logs, logs2 = torch.log_softmax(first, dim=1), torch.log_softmax(second, dim=1)
    towards_second, towards_first = logs2.exp().detach() * logs, logs.exp().detach() * logs2
    expected = -0.5 * (towards_second + towards_first).sum(dim=1).mean()
    assert_same_gradients(m.losses(batch, END)["agreement"], expected, m)


def test_deep_co_training_agreement_teaches_both_networks_towards_their_mean_as_it_moves():
    m, batch = method("deep_co_training", agreement=0.5), toy_batch(labelled=4)
    probs = [torch.softmax(network(batch.unlabelled.image), dim=1) for network in (m.network, m.network2)]
    mean = (probs[0] + probs[1]) / 2
    uncertain, *each = (torch.special.entr(p).sum(dim=1).mean() for p in (mean, *probs))
    assert_same_gradients(m.losses(batch, END)["agreement"], 0.5 * (uncertain - sum(each) / 2), m)


def test_dtc_teaches_both_tasks_towards_each_other():
    m, batch = method("dtc", steepness=5.0), toy_batch()
    features = m.network.decode(m.network.encode(batch.images))
    inside = torch.sigmoid(-5.0 * torch.tanh(m.distance_head(features)))
    expected = (inside - torch.softmax(m.network.head(features), dim=1)[:, 1:]).square().mean()
    assert_same_gradients(m.losses(batch, END)["consistency"], expected, m)


def test_cct_released_moves_the_main_decoder_towards_the_auxiliary_ones_too():
    m, batch = method("cct", variant="released", weight=2.0), toy_batch()
    features = m.network.encode(batch.images)
    main, *others = (
        torch.softmax(z[2:], dim=1)
        for z in (m.network.head(m.network.decode(features)), *(decode(features) for decode in m.auxiliaries))
    )
    expected = 2.0 * sum((other - main).square().mean() for other in others) / 3
    assert_same_gradients(m.losses(batch, END)["consistency"], expected, m)


def test_stability_moves_the_student_alone_by_the_difference_of_logits():
    for name in ("cpcl", "cvcl"):
        m, batch = method(name, noise=0.0, weight=2.0), toy_batch()
        moved(m.teacher)
        with torch.no_grad():
            target = m.teacher(batch.images)
        expected = 2.0 * (m.network(batch.images) - target).square().mean()
        assert_same_gradients(m.losses(batch, END)["stability"], expected, m)
