"""TransUNet: its layers against loops, that far positions mix, and that one set of weights takes any size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods import networks
from methods.networks import transunet


def made(ndim: int = 2, *, levels: int = 3, **options: Any) -> networks.SegmentationNetwork:
    fields = {"ndim": ndim, "channels": 1, "classes": 3, "width": 4, "levels": levels} | options
    return networks.make("transunet", **fields)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def plain(ndim: int = 2, *, levels: int = 3, **options: Any) -> networks.SegmentationNetwork:
    """The same convolutions without a transformer."""
    fields = {"ndim": ndim, "channels": 1, "classes": 3, "width": 4, "levels": levels} | options
    return networks.make("unet", recipe="transunet", **fields)


# size ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("layers", [1, 4])
def test_its_transformer_has_the_parameters_of_its_layers(ndim: int, layers: int):
    # d = 16 channels of level 3. A layer: two normalisations 2 · 2 d, queries, keys and values 3 d² + 3 d, their
    # projection d² + d, the perceptron 4 d² + 4 d and 4 d² + d: 12 d² + 13 d. Around them: the embedding d² + d, 14
    # entries per axis, a normalisation 2 d, and a convolution of kernel 3 with its normalisation
    d = 16
    around = d * d + d + 14 * ndim * d + 2 * d + (3**ndim * d * d + d) + 2 * d
    found = parameters(made(ndim, layers=layers)) - parameters(plain(ndim))
    assert found == layers * (12 * d * d + 13 * d) + around


def test_the_default_has_four_layers_and_5_788_948_parameters():
    network = networks.make("transunet", ndim=2, channels=1, classes=4)
    assert len(network.encoder.transformer.layers) == 4
    assert parameters(network) == 5_788_948


@pytest.mark.parametrize(("width", "heads"), [(16, 1), (64, 1), (80, 1), (128, 2), (256, 4), (200, 2), (768, 12)])
def test_a_head_has_64_channels_or_the_next_more_that_divide_the_width(width: int, heads: int):
    assert transunet._Layer(width).heads == heads  # 200 channels: 3 heads of 64 would fit, and do not divide them


# layers --------------------------------------------------------------------------------------------------------------
def normal(tokens: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    centred = tokens - tokens.mean(axis=1, keepdims=True)
    found = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-6)
    return found * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def linear(tokens: np.ndarray, layer: nn.Linear) -> np.ndarray:
    return tokens @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def by_loops(tokens: np.ndarray, layer: transunet._Layer) -> np.ndarray:
    """One sample ``(count, 128)`` through a layer of two heads of 64 channels."""
    asked = linear(normal(tokens, layer.norm), layer.ask)
    seen = np.zeros_like(tokens)
    for start in (0, 64):
        query, key, value = (asked[:, part + start : part + start + 64] for part in (0, 128, 256))
        for k in range(len(tokens)):
            scores = np.exp([query[k] @ other / 8 for other in key])  # 8 = the root of 64
            seen[k, start : start + 64] = sum(s * v for s, v in zip(scores / scores.sum(), value, strict=True))
    tokens = tokens + linear(seen, layer.answer)
    first, _, _, second, _ = layer.perceptron
    between = linear(normal(tokens, layer.norm_2), first)
    gelu = between * (1 + np.vectorize(math.erf)(between / math.sqrt(2))) / 2
    return tokens + linear(gelu, second)


def test_a_layer_is_attention_and_a_perceptron_each_of_what_is_normalised_and_added_to_it():
    layer = transunet._Layer(128).eval()
    for p in layer.parameters():  # biases and normalisations do something
        nn.init.normal_(p, std=0.2)
    tokens = torch.randn(2, 6, 128)
    expected = np.stack([by_loops(sample.numpy(), layer) for sample in tokens])
    np.testing.assert_allclose(layer(tokens).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_token_is_dropped_from_in_training_alone():
    layer, tokens = transunet._Layer(16), torch.randn(2, 5, 16)
    assert not torch.equal(layer(tokens), layer(tokens))
    assert torch.equal(layer.eval()(tokens), layer(tokens))


# mixing --------------------------------------------------------------------------------------------------------------
def influence(network: networks.SegmentationNetwork) -> float:
    """Of the pixel in one corner of 64 x 64 on the logits in the opposite one."""
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    network.eval()(image)[0, :, -1, -1].square().sum().backward()
    return float(image.grad[0, 0, 0, 0].abs())


def test_far_positions_mix_by_attention_alone():
    # at two levels, a logit of the U-Net sees 3 + 1 + 2 · (2 + 1) + 2 pixels to each side at most, of 63
    assert influence(plain(levels=2)) == 0
    assert influence(made(levels=2)) > 0


def test_the_image_of_one_sample_does_not_reach_another():
    network, image = made().eval(), torch.randn(2, 1, 16, 16, requires_grad=True)
    network(image)[0].square().sum().backward()
    assert image.grad[0].abs().max() > 0
    assert image.grad[1].abs().max() == 0


# positions -----------------------------------------------------------------------------------------------------------
def test_a_table_is_read_from_end_to_end_and_between_its_entries():
    table = torch.randn(14, 5)
    torch.testing.assert_close(transunet._read(table, 14), table)
    twice = transunet._read(table, 27)  # every entry, and half way between any two
    torch.testing.assert_close(twice[::2], table, atol=1e-5, rtol=0)
    torch.testing.assert_close(twice[1::2], (table[1:] + table[:-1]) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(transunet._read(table, 2), table[[0, -1]])
    torch.testing.assert_close(transunet._read(table, 1), table[:1])


@pytest.mark.parametrize("space", [(3, 4), (2, 5, 3)])
def test_a_position_is_known_by_the_sum_of_its_places_along_every_axis(space: tuple[int, ...]):
    """With tables that count, the tokens of a constant map tell where they are."""
    network = made(len(space)).eval()
    transformer, seen = network.encoder.transformer, []
    with torch.no_grad():
        for axis, table in enumerate(transformer.positions):
            table.copy_(torch.linspace(0, 10**axis, 14).unsqueeze(1).expand_as(table))  # axis k: 0 to 10^k
        transformer.embed.weight.zero_()
    transformer.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    transformer(torch.ones(1, 16, *space))
    expected = [sum(10**k * i / (n - 1) for k, (i, n) in enumerate(zip(at, space, strict=True)))
                for at in np.ndindex(*space)]  # fmt: skip
    np.testing.assert_allclose(seen[0][0, :, 0].detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_without_positions_a_shuffled_map_is_a_shuffled_answer_and_with_them_it_is_not():
    transformer, seen = made().encoder.transformer.eval(), list[Tensor]()
    transformer.norm.register_forward_hook(lambda _, given, found: seen.append(found[0]))
    maps, order = torch.randn(1, 16, 4, 4), torch.randperm(16)
    for std in (0.0, 1.0):
        nn.init.normal_(transformer.positions, std=std)
        transformer(maps)
        transformer(maps.flatten(2)[:, :, order].view_as(maps))
    torch.testing.assert_close(seen[1], seen[0][order], rtol=1e-4, atol=1e-5)
    assert (seen[3] - seen[2][order]).abs().max() > 0.1


@pytest.mark.parametrize("ndim", [2, 3])
def test_one_set_of_weights_takes_any_size_that_its_divisor_divides(ndim: int):
    network = made(ndim).train()
    before = {name: value.shape for name, value in network.state_dict().items()}
    for space in ((8, 12, 8), (16, 8, 4), (20, 32, 12)):
        logits = network(torch.randn(1, 1, *space[:ndim]))  # a batch of one, too
        assert logits.shape == (1, 3, *space[:ndim])
        logits.square().mean().backward()
        assert network.encoder.transformer.positions.grad.abs().max() > 0
    assert {name: value.shape for name, value in network.state_dict().items()} == before


# precision -----------------------------------------------------------------------------------------------------------
def test_under_autocast_what_layers_add_up_stays_in_float32():
    transformer, seen = made().encoder.transformer, []
    for layer in transformer.layers:
        layer.register_forward_hook(lambda _, given, found: seen.append((given[0].dtype, found.dtype)))
    with torch.autocast("cpu", torch.bfloat16):
        transformer(torch.randn(2, 16, 4, 4, dtype=torch.bfloat16))
    assert set(seen) == {(torch.float32, torch.float32)}


# options -------------------------------------------------------------------------------------------------------------
def test_no_layer_and_another_recipe_are_refused():
    with pytest.raises(ValueError, match="transunet: layers must be 1 or more, got 0; without any it is a unet"):
        made(layers=0)
    with pytest.raises(ValueError, match=r"transunet: levels must be in \[2, 5\], got 6"):
        made(levels=6)
    with pytest.raises(ValueError, match=r"network 'transunet' has no option 'recipe'"):
        made(recipe="ssl4mis")
