"""The map before dropout, and projections of single pixels."""

from __future__ import annotations

import pytest
import torch

from methods import networks
from methods.features import Projection, with_last_map


@pytest.mark.parametrize("name", ["vnet", "unet"])
def test_the_last_map_is_the_one_before_dropout_and_the_logits_are_the_networks(name: str):
    network = networks.make(name, ndim=3, channels=1, classes=2, width=4, levels=2)
    network.train()
    image = torch.randn(2, 1, 8, 8, 8)
    torch.manual_seed(3)
    expected = network(image)
    torch.manual_seed(3)
    logits, last = with_last_map(network, image)
    assert torch.equal(logits, expected)
    # no channel of the map is dropped as a whole, and with dropout it would be, or single values would be
    torch.manual_seed(3)
    after = network.decode(network.encode(image))
    kept = after != 0
    assert (after[kept] > last[kept]).all()  # scaled by 1/(1 - p)
    assert ((after == 0) & (last > 0)).any()


def test_the_last_map_carries_gradient_and_leaves_no_hook_behind():
    network = networks.make("unet", ndim=2, channels=1, classes=2, width=4, levels=2)
    _, last = with_last_map(network, torch.randn(1, 1, 8, 8))
    last.sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in network.encoder.parameters())
    assert not any(module._forward_pre_hooks for module in network.modules())


def test_projected_pixels_are_unit_vectors_the_same_alone_as_among_others():
    projection = Projection(5, 8)
    maps = torch.randn(2, 5, 4, 3)
    every = projection(maps)
    torch.testing.assert_close(every.norm(dim=1), torch.ones(2, 12))
    index = torch.tensor([[0, 11, 4], [7, 7, 2]])
    found = projection.at(maps, index)
    for n in range(2):
        torch.testing.assert_close(found[n], every[n, :, index[n]].T)
