"""The map before dropout, and projections of single pixels."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from methods import networks
from methods.features import Projection, directions_sum, with_last_map


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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_projected_pixels_are_those_of_the_layers_which_a_checkpoint_holds_as_convolutions(layout: torch.memory_format):
    projection = Projection(5, 8)
    shapes = {name: tuple(weight.shape) for name, weight in projection.state_dict().items()}
    assert shapes == {"layers.0.weight": (8, 5, 1), "layers.2.weight": (8, 8, 1)}
    maps = torch.randn(2, 5, 4, 3).contiguous(memory_format=layout).requires_grad_()
    gradients, outputs = [], []
    for way in (projection, lambda maps: projection.layers(maps.flatten(2)).transpose(1, 2)):
        outputs.append(way(maps))
        weight = torch.linspace(-1, 1, outputs[-1].numel()).view(2, 12, 8)
        gradients.append(torch.autograd.grad((outputs[-1] * weight).sum(), [maps, *projection.parameters()]))
    torch.testing.assert_close(*outputs)
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)


def test_sums_of_directions_are_those_of_unit_vectors_and_so_are_their_gradients():
    vectors = torch.randn(2, 12, 8, dtype=torch.float64)
    vectors[0, 3] = 0  # has no direction and adds nothing
    weight, gradients, sums = torch.rand(2, 3, 12, dtype=torch.float64), [], []
    for way in (lambda v: directions_sum(weight, v), lambda v: weight @ F.normalize(v, dim=2)):
        v = vectors.clone().requires_grad_()
        sums.append(way(v))
        gradients.append(torch.autograd.grad(sums[-1].square().sum(), v)[0])
    torch.testing.assert_close(*sums, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_projected_pixels_are_the_same_alone_as_among_others():
    projection = Projection(5, 8)
    maps = torch.randn(2, 5, 4, 3)
    every = projection(maps)
    index = torch.tensor([[0, 11, 4], [7, 7, 2]])
    found = projection.at(maps, index)
    for n in range(2):
        torch.testing.assert_close(found[n], every[n, index[n]])
