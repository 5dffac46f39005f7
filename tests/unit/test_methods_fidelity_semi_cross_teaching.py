"""Cross teaching of a convolutional network and a transformer: terms by hand, who learns from whom, who predicts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from methods import get, networks
from methods.networks import unet
from tests.reference import losses as reference
from tests.unit.semi_toys import (
    END,
    MIDDLE,
    assert_terms,
    logits_of,
    method,
    ramp,
    reached,
    supervised,
    toy_batch,
)

OF_THE_NETWORK, OF_THE_PARTNER = {"ce_1", "dice_1", "pseudo_1"}, {"ce_2", "dice_2", "pseudo_2"}


@pytest.mark.parametrize("ndim", [2, 3])
def test_each_learns_by_dice_from_the_others_most_probable_classes_on_unlabelled_images(ndim: int):
    m, batch = method("cross_teaching", weight=3.0, ndim=ndim), toy_batch(ndim=ndim)
    first, second = logits_of(m.network, batch.images), logits_of(m.network2, batch.images)
    expected = {}
    for k, mine, other in ((1, first, second), (2, second, first)):
        of_labels = supervised(mine[:2], batch.labelled.label)  # the first two of five are labelled
        expected |= {f"{name}_{k}": value for name, value in of_labels.items()}
        pseudo = reference.dice_loss(reference.softmax(mine[2:]), other[2:].argmax(axis=1))
        expected[f"pseudo_{k}"] = 3.0 * ramp() * pseudo
    assert (first.argmax(axis=1) != second.argmax(axis=1)).mean() > 0.1  # the sides can be told apart
    assert_terms(m.losses(batch, MIDDLE), expected)


def test_the_ramp_ends_when_it_is_told_to():
    batch = toy_batch()
    found = []
    for share in (0.5, 1.0):
        torch.manual_seed(1)
        found.append(method("cross_teaching", ramp=share).losses(batch, MIDDLE)["pseudo_1"].item())
    assert found[0] == pytest.approx(found[1] / ramp(), rel=1e-5)


def test_a_term_teaches_one_network_and_labels_made_by_the_other_are_no_way_back_to_it():
    m = method("cross_teaching")
    terms = m.losses(toy_batch(), END)
    taught = {name: (reached(term, m.network), reached(term, m.network2)) for name, term in terms.items()}
    assert taught == dict.fromkeys(OF_THE_NETWORK, (True, False)) | dict.fromkeys(OF_THE_PARTNER, (False, True))


def test_labels_concern_labelled_images_and_pseudo_labels_the_others():
    """In eval mode, where no batch statistics mix the two."""
    m, batch = method("cross_teaching"), toy_batch()
    other = toy_batch()
    before = m.losses(batch, END)
    of_labelled = m.losses(replace(batch, labelled=other.labelled), END)
    of_unlabelled = m.losses(replace(batch, unlabelled=other.unlabelled), END)
    for name in before:
        changed = [not torch.isclose(before[name], after[name], rtol=1e-4) for after in (of_labelled, of_unlabelled)]
        assert changed == ([False, True] if name.startswith("pseudo") else [True, False]), name


def test_both_networks_see_the_whole_batch_once():
    m, batch = method("cross_teaching"), toy_batch()
    shown: list[tuple[int, torch.Tensor]] = []
    for k, network in enumerate((m.network, m.network2), start=1):
        network.encoder.register_forward_pre_hook(lambda _, given, k=k: shown.append((k, given[0])))
    m.losses(batch, END)
    assert [k for k, _ in shown] == [1, 2]
    assert all(torch.equal(image, batch.images) for _, image in shown)


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_partner_is_a_transunet_as_wide_and_deep_as_the_network(ndim: int):
    m = method("cross_teaching", ndim=ndim)
    assert type(m.network) is unet.Network
    assert type(m.network2) is type(networks.make("transunet", ndim=2, channels=1, classes=2))
    assert m.network2.channels == m.network.channels == (4, 8, 16)
    assert m.network2.ndim == ndim


def test_the_partner_may_be_of_the_networks_own_kind_and_starts_elsewhere():
    m = method("cross_teaching", partner="unet")
    assert type(m.network2) is type(m.network) is unet.Network
    image = torch.randn(1, 1, 16, 16)
    assert np.abs(logits_of(m.network, image) - logits_of(m.network2, image)).max() > 1e-3


def test_a_transformer_may_be_taught_by_a_convolutional_partner():
    m = method("cross_teaching", network="transunet", partner="unet")
    assert hasattr(m.network.encoder, "transformer")
    assert type(m.network2) is unet.Network


def test_an_unknown_partner_is_refused_with_those_that_are_known():
    with pytest.raises(ValueError, match="partner must be one of 'transunet', 'unet', 'unet_plus_plus', 'vnet', got"):
        get("cross_teaching").Hyper(partner="swin_unet")


def test_the_network_predicts_and_the_partner_is_tested_beside_it():
    m, image = method("cross_teaching"), torch.randn(1, 1, 16, 16)
    first, second = (reference.softmax(logits_of(network, image)) for network in (m.network, m.network2))
    assert np.abs(first - second).max() > 1e-2
    np.testing.assert_allclose(m.predict(image).detach().numpy(), first, rtol=1e-4, atol=1e-6)
    others = m.other_predictions()
    assert list(others) == ["partner"]
    np.testing.assert_allclose(others["partner"](image).detach().numpy(), second, rtol=1e-4, atol=1e-6)
