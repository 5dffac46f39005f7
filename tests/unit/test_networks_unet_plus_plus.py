"""UNet++: its published size, the graph of its nodes, and that nothing but these nodes sets it apart from the U-Net."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods import networks
from methods.networks import blocks


def made(ndim: int = 2, *, levels: int = 4, **options: Any) -> networks.SegmentationNetwork:
    fields = {"ndim": ndim, "channels": 1, "classes": 3, "width": 4, "levels": levels} | options
    return networks.make("unet_plus_plus", **fields)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv(ndim: int, i: int, o: int, kernel: int) -> int:
    """Parameters of a convolution (or a transposed one) with bias."""
    return i * o * kernel**ndim + o


# size ----------------------------------------------------------------------------------------------------------------
def test_its_convolutions_have_the_published_number_of_parameters():
    # the released code says 9 041 601 for one channel, one class and widths 32 to 512; its head is a kernel of 1, which
    # has 32 + 1 of them, and it does not normalise
    network = networks.make("unet_plus_plus", ndim=2, channels=1, classes=2, width=32)
    kinds = nn.Conv2d | nn.ConvTranspose2d
    parts = [part for name, part in network.named_modules() if isinstance(part, kinds) and name != "head"]
    assert sum(map(parameters, parts)) == 9_041_601 - 33


def test_it_adds_six_nodes_to_the_u_net_of_width_16_and_widens_three():
    # levels of 16, 32, 64, 128 and 256 channels; node (i, j) of width w takes j + 1 times w channels, after a
    # transposed convolution of 2 w to w. Beside column 0, the U-Net has one node per level, of 2 w channels; UNet++ has
    # 4, 3, 2 and 1 of them
    def node(w: int, j: int) -> int:
        return conv(2, 2 * w, w, 2) + conv(2, (j + 1) * w, w, 3) + conv(2, w, w, 3) + 2 * 2 * w  # two normalisations

    unet = sum(node(w, 1) for w in (16, 32, 64, 128))
    nested = sum(node(w, j) for w, most in ((16, 4), (32, 3), (64, 2), (128, 1)) for j in range(1, most + 1))
    found = parameters(networks.make("unet_plus_plus", ndim=2, channels=1, classes=4))
    assert found == 1_944_324 - unet + nested == 2_265_812  # 1 944 324 as published of the U-Net


def test_in_3d_what_is_raised_keeps_its_channels():
    # the recipe of volumes interpolates all 2 w channels of the node below: node (i, j) takes (j + 2) w
    expected = sum(
        conv(3, (j + 2) * w, w, 3) + conv(3, w, w, 3) for w, most in ((4, 2), (8, 1)) for j in range(1, most + 1)
    )
    assert parameters(made(3, levels=3).decoder) == expected


# graph ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 3])
def test_a_node_is_made_of_all_before_it_in_its_level_and_of_the_one_below(ndim: int):
    network = made(ndim).eval()
    features = network.encode(torch.randn(2, 1, *(16, 32, 16)[:ndim]))
    nodes: Any = network.decoder.nodes

    def x(i: int, j: int) -> Tensor:
        """X(i, j) of the paper's equation, from the top down."""
        if j == 0:
            return features[i]
        node = nodes[j - 1][i]
        return node.convs(torch.cat([*(x(i, k) for k in range(j)), node.up(x(i + 1, j - 1))], dim=1))

    expected = [x(2, 1), x(1, 2), x(0, 3)]
    found = network.decoder.pyramid(features)
    assert [maps.shape[1] for maps in found] == list(network.decoder.channels) == [16, 8, 4]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_every_node_is_its_own_and_gradient_reaches_it():
    network = made(levels=5).train()
    network(torch.randn(2, 1, 32, 32)).square().sum().backward()
    nodes = [node for column in network.decoder.nodes for node in column]
    assert len(nodes) == 4 + 3 + 2 + 1
    assert all(p.grad.abs().max() > 0 for node in nodes for n, p in node.named_parameters() if n.endswith("weight"))


def test_of_two_levels_it_is_the_u_net():
    """One node remains, X(0, 1): the U-Net's only decoder level."""
    nested, unet = made(levels=2).eval(), networks.make("unet", ndim=2, channels=1, classes=3, width=4, levels=2).eval()
    unet.load_state_dict(dict(zip(unet.state_dict(), nested.state_dict().values(), strict=True)))
    image = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(nested(image), unet(image), rtol=1e-4, atol=1e-5)


# options -------------------------------------------------------------------------------------------------------------
def test_recipes_are_those_of_the_u_net():
    layers = {
        recipe: {type(layer) for layer in made(recipe=recipe).decoder.modules()} for recipe in ("wsl4mis", "ssl4mis")
    }
    raising = type(blocks.conv_up(2, 2, 1)), type(blocks.upsample(2, align_corners=True))
    assert [raising[0] in layers["wsl4mis"], raising[1] in layers["wsl4mis"]] == [True, False]
    assert [raising[0] in layers["ssl4mis"], raising[1] in layers["ssl4mis"]] == [False, True]
    assert made(3, levels=2).decoder.dropout.p == 0.3


def test_a_value_out_of_range_is_refused_in_its_own_name():
    with pytest.raises(ValueError, match=r"unet_plus_plus: levels must be in \[2, 5\], got 6"):
        made(levels=6)
    with pytest.raises(ValueError, match="unet_plus_plus: no recipe 'wsl4mis' in 3-D; use one of 'ssl4mis'"):
        made(3, recipe="wsl4mis")
    with pytest.raises(ValueError, match='unet_plus_plus: norm must be "batch" or "instance", got \'group\''):
        made(norm="group")
