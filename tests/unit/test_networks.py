"""Networks: published sizes, the encode/decode/head parts that methods compose, and their errors."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from methods import networks
from methods.networks import blocks
from methods.networks.discriminators import Critic

EVERY = [(name, ndim) for name in ("unet", "vnet", "unet_plus_plus", "transunet") for ndim in (2, 3)]


def small(name: str, ndim: int, *, channels: int = 1, classes: int = 3, **options) -> networks.SegmentationNetwork:
    return networks.make(name, ndim=ndim, channels=channels, classes=classes, width=4, **{"levels": 3} | options)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def conv(ndim: int, i: int, o: int, kernel: int) -> int:
    """Parameters of a convolution (or a transposed one) with bias."""
    return i * o * kernel**ndim + o


# published sizes -----------------------------------------------------------------------------------------------------
def test_2d_unet_of_wsl4mis_has_1_944_324_parameters():
    assert parameters(networks.make("unet", ndim=2, channels=1, classes=4)) == 1_944_324


def test_2d_unet_with_a_second_decoder_has_2_708_184_parameters():
    network = networks.make("unet", ndim=2, channels=1, classes=4)
    assert parameters(network) + parameters(network.new_decoder()) == 2_708_184


def test_2d_unet_of_ssl4mis_differs_from_wsl4mis_by_its_four_upsampling_layers():
    # a transposed 2 x 2 convolution against a 1 x 1 convolution, 256 -> 128 -> 64 -> 32 -> 16 channels
    ups = [(256, 128), (128, 64), (64, 32), (32, 16)]
    difference = sum(conv(2, i, o, 2) - conv(2, i, o, 1) for i, o in ups)
    found = parameters(networks.make("unet", ndim=2, channels=1, classes=4, recipe="ssl4mis"))
    assert found == 1_944_324 - difference
    assert round(found / 1e6, 2) == 1.81  # as published


def test_3d_unet_of_ssl4mis_has_the_parameters_of_its_published_layers():
    widths = [16, 32, 64, 128, 256]
    encoder = sum(conv(3, i, o, 3) + conv(3, o, o, 3) for i, o in zip([1, *widths[:-1]], widths, strict=True))
    # linear up-sampling keeps all 2 w channels, concatenated to a skip of w; instance normalisation has no parameters
    decoder = sum(conv(3, 3 * w, w, 3) + conv(3, w, w, 3) for w in widths[:-1])
    found = parameters(networks.make("unet", ndim=3, channels=1, classes=2))
    assert found == encoder + decoder + conv(3, 16, 2, 1)
    assert round(found / 1e6, 2) == 5.88  # as published


def test_vnet_has_9_448_866_parameters():
    # concatenating skips or residual blocks would change the count
    assert parameters(networks.make("vnet", ndim=3, channels=1, classes=2)) == 9_448_866


def test_2d_unet_drops_more_elements_the_deeper_and_none_in_the_decoder():
    network = networks.make("unet", ndim=2, channels=1, classes=4, width=4)
    rates = [layer.p for level in network.encoder.levels for layer in level if isinstance(layer, nn.Dropout)]
    assert rates == [0.05, 0.1, 0.2, 0.3, 0.5]
    assert {layer.p for layer in network.decoder.modules() if isinstance(layer, nn.Dropout)} == {0.0}


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_a_network_of_instance_normalisation_sees_every_image_alone(name: str, ndim: int):
    network = networks.make(name, ndim=ndim, channels=1, classes=2, width=4, norm="instance").train()
    for layer in network.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            layer.p = 0.0
    image = torch.randn(3, 1, *[32] * ndim) * torch.tensor([1.0, 5.0, 0.2]).view(3, *[1] * (ndim + 1))
    together, alone = network(image), network.eval()(image[1:2])
    torch.testing.assert_close(together[1:2], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5, 6, 4, 7), (2, 1, 4, 4, 4), (3, 5, 6, 9)], ids=str)
@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
def test_instance_normalisation_is_pytorchs_forward_and_backward(shape: tuple[int, ...], last: bool):
    layout = (torch.channels_last, torch.channels_last_3d)[len(shape) - 4] if last else torch.contiguous_format
    maps = (3 * torch.randn(shape) + 1).to(memory_format=layout).requires_grad_()
    weight = torch.randn(shape)  # the gradient that comes back is not channels-last
    ours, theirs = blocks.instance_norm(len(shape) - 2, shape[1])(maps), F.instance_norm(maps)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert ours.is_contiguous(memory_format=layout)
    gradients = [torch.autograd.grad((result * weight).sum(), maps)[0] for result in (ours, theirs)]
    assert gradients[1].abs().max() > 0.1
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_instance_normalisation_of_one_position_is_refused_in_training():
    layer = blocks.instance_norm(3, 4)
    with pytest.raises(ValueError, match=r"more than one position, got \(2, 4, 1, 1, 1\): take a bigger patch"):
        layer(torch.randn(2, 4, 1, 1, 1))
    assert layer.eval()(torch.randn(2, 4, 1, 1, 1)).abs().max() == 0


def test_vnet_drops_whole_channels_after_the_bottleneck_and_before_the_head():
    network = small("vnet", 3).train()
    features = network.encode(torch.randn(2, 1, 16, 16, 16))
    for dropped in (features[-1], network.decode(features)):
        per_channel = dropped.flatten(2).abs().amax(dim=2)
        # ReLU features are nearly never zero everywhere by themselves; half of 2 x 16 and 2 x 4 channels are expected
        assert 0 < (per_channel == 0).float().mean() < 1


def test_3d_unet_drops_elements_after_the_centre_and_before_the_head_only():
    network = small("unet", 3).train()
    features = network.encode(torch.randn(2, 1, 16, 16, 16))
    shares = [(dropped == 0).float().mean().item() for dropped in (features[-1], network.decode(features))]
    # ReLU of a normalised map is zero in about half of the elements; of the other half, 0.3 are dropped: .65 together
    assert shares == pytest.approx([0.65, 0.65], abs=0.05)
    assert (features[0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


# parts ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_forward_is_the_head_of_the_decoded_encoding(name: str, ndim: int):
    network = small(name, ndim, channels=3).eval()
    image = torch.randn(2, 3, *(8, 16, 12)[:ndim])
    features = network.encode(image)
    assert [f.shape[1] for f in features] == list(network.channels) == [4, 8, 16]
    assert [f.shape[2] for f in features] == [8, 4, 2]
    decoded = network.decode(features)
    assert decoded.shape == (2, network.decoder_channels, *image.shape[2:])
    logits = network(image)
    assert logits.shape == (2, 3, *image.shape[2:])
    torch.testing.assert_close(logits, network.head(decoded), rtol=0, atol=0)


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_pyramid_of_the_decoder_goes_from_deep_to_full_resolution(name: str, ndim: int):
    network = small(name, ndim).eval()
    maps = network.decoder.pyramid(network.encode(torch.randn(1, 1, *(8,) * ndim)))
    assert [m.shape[1:] for m in maps] == [(8, *(4,) * ndim), (4, *(8,) * ndim)]
    assert network.decoder.channels == (8, 4)


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_new_decoder_is_an_independent_branch_over_the_same_features(name: str, ndim: int):
    network = small(name, ndim).eval()
    branch = network.new_decoder(outputs=5).eval()
    image = torch.randn(2, 1, *(8,) * ndim)
    assert branch(network.encode(image)).shape == (2, 5, *(8,) * ndim)
    assert network.new_head(outputs=1)(network.decode(network.encode(image))).shape == (2, 1, *(8,) * ndim)
    twin = network.new_decoder().eval()
    assert not torch.equal(twin(network.encode(image)), network(image))  # freshly initialised, not copied
    before = [p.clone() for p in network.parameters()]
    with torch.no_grad():
        for p in branch.parameters():
            p.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_gradient_reaches_every_parameter(name: str, ndim: int):
    network = small(name, ndim).eval()
    network(torch.randn(2, 1, *(8,) * ndim)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_eval_mode_repeats_itself_and_treats_samples_apart(name: str, ndim: int):
    network = small(name, ndim).eval()
    image = torch.randn(3, 1, *(8,) * ndim)
    together = network(image)
    torch.testing.assert_close(network(image), together, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([network(one[None]) for one in image]), together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_channels_last_memory_changes_nothing_but_rounding(name: str, ndim: int):
    network = small(name, ndim, channels=3).eval()
    image = torch.randn(2, 3, *(8,) * ndim)
    expected = network(image)
    layout = torch.channels_last if ndim == 2 else torch.channels_last_3d
    found = network.to(memory_format=layout)(image.to(memory_format=layout))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


# 2-D only: on CPUs, bfloat16 gradients of 3-D convolutions are wrong where an axis has length 2 (benchmark/device.py)
@pytest.mark.parametrize(("name", "ndim"), [(name, ndim) for name, ndim in EVERY if ndim == 2])
def test_trains_under_bfloat16_autocast(name: str, ndim: int):
    network = small(name, ndim).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(2, 1, *(8,) * ndim))
    logits.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


# errors --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "ndim"), EVERY)
def test_a_side_that_does_not_fit_is_refused_with_the_next_that_does(name: str, ndim: int):
    network = small(name, ndim)
    assert network.divisor == 4
    with pytest.raises(ValueError, match="side 18 of spatial axis 1 is not divisible by 4; pad to 20"):
        network(torch.zeros(1, 1, *(16, 18, 16)[:ndim]))


def test_an_image_of_other_channels_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(n, 1, \*space\), got shape \(2, 3, 8, 8\)"):
        small("unet", 2)(torch.zeros(2, 3, 8, 8))


def test_a_vnet_has_no_other_normalisation_than_those_two():
    with pytest.raises(ValueError, match='vnet: norm must be "batch" or "instance", got \'group\''):
        networks.make("vnet", ndim=3, channels=1, classes=2, width=4, norm="group")


def test_an_unknown_network_names_the_nearest():
    with pytest.raises(KeyError, match="unknown network 'u-net'; did you mean 'unet'"):
        networks.make("u-net", ndim=2, channels=1, classes=2)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(ValueError, match="network 'vnet' has no option 'drop_out'; did you mean 'dropout'"):
        networks.make("vnet", ndim=3, channels=1, classes=2, drop_out=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ndim": 4}, "ndim must be 2 or 3, got 4"),
        ({"classes": 1}, "classes must be 2 or more, got 1"),
        ({"channels": 0}, "channels must be 1 or more, got 0"),
        ({"width": 0}, "width must be 1 or more, got 0"),
        ({"levels": 6}, r"levels must be in \[2, 5\], got 6"),
        ({"norm": "group"}, 'norm must be "batch" or "instance", got \'group\''),
        ({"recipe": "wsl4mis", "ndim": 3}, "no recipe 'wsl4mis' in 3-D; use one of 'ssl4mis'"),
    ],
)
def test_a_value_out_of_range_is_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        networks.make("unet", **{"ndim": 2, "channels": 1, "classes": 2, "width": 4} | change)


def test_every_module_of_the_folder_that_defines_a_network_is_listed():
    folder = Path(networks.__file__).parent
    defining = {path.stem for path in folder.glob("*.py") if "\nclass Network(" in path.read_text()}
    assert set(networks.names()) == defining - {"_encoder"}  # that one is named by its encoder: encoder:MODEL


# critic --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("ndim", "side"), [(2, 16), (2, 40), (3, 16)])
def test_critic_judges_samples_of_any_size_with_two_logits(ndim: int, side: int):
    critic = Critic(ndim=ndim, classes=3, channels=2, width=4).eval()
    assert critic(torch.rand(2, 3, *(side,) * ndim), torch.rand(2, 2, *(side,) * ndim)).shape == (2, 2)


def test_critic_of_the_published_width_has_the_parameters_of_its_published_layers():
    # two stems to 64 channels, then 64 -> 128 -> 256 -> 512 with kernels of 4, and 512 -> 2
    expected = conv(3, 2, 64, 4) + conv(3, 1, 64, 4)
    expected += sum(conv(3, 64 * k, 128 * k, 4) for k in (1, 2, 4)) + 512 * 2 + 2
    assert parameters(Critic(ndim=3, classes=2, channels=1)) == expected


def test_critic_looks_at_the_image_and_at_the_map():
    critic = Critic(ndim=2, classes=2, channels=1, width=4).eval()
    probs = torch.rand(1, 2, 16, 16, requires_grad=True)
    image = torch.rand(1, 1, 16, 16, requires_grad=True)
    critic(probs, image).sum().backward()
    assert probs.grad.abs().sum() > 0
    assert image.grad.abs().sum() > 0


def test_critic_refuses_images_that_its_strides_would_exhaust():
    critic = Critic(ndim=2, classes=2, channels=1, width=4)
    with pytest.raises(ValueError, match=r"sides of 16 or more, got \(16, 8\); use a larger patch"):
        critic(torch.rand(1, 2, 16, 8), torch.rand(1, 1, 16, 8))


def test_kaiming_initialisation_of_the_3d_unet_has_its_standard_deviation():
    # Kaiming-normal with ReLU gain: std = sqrt(2 / fan_in), fan_in = 16 * 27 for the second convolution of level 1
    network = networks.make("unet", ndim=3, channels=1, classes=2)
    weight = network.encoder.levels[0][4].weight
    assert weight.shape == (16, 16, 3, 3, 3)
    # 6912 draws estimate it within 5 % (six standard errors of 1/sqrt(2 n))
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (16 * 27)), rel=0.05)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("kernel", "volumes"), [(1, 1), (2, 1), (3, 1), (1, 3)])
def test_a_convolution_of_volumes_is_that_of_pytorch(kernel: int, volumes: int, layout: torch.memory_format) -> None:
    """One is a pair of halves on a CPU, and a kernel of 1 a product; neither shows in output or gradient."""
    layer = blocks.conv(3, 3, 5, kernel=kernel).double().to(memory_format=layout)
    exact = nn.Conv3d(3, 5, kernel, padding=kernel // 2 if kernel % 2 else 0).double()
    exact.load_state_dict(layer.state_dict())
    image = torch.randn(volumes, 3, 6, 4, 5, dtype=torch.float64).contiguous(memory_format=layout)
    images = image.clone().requires_grad_(), image.clone().requires_grad_()
    outputs = layer(images[0]), exact(images[1])
    weights = torch.randn(outputs[1].shape)
    for output in outputs:
        (output * weights).sum().backward()
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-10)
    for found, expected in ((images[0], images[1]), (layer.weight, exact.weight), (layer.bias, exact.bias)):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-10, atol=1e-10)


def test_only_a_small_volume_on_its_own_is_computed_as_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = torch.nn.functional.conv3d
    monkeypatch.setattr(
        torch.nn.functional, "conv3d", lambda images, *rest: seen.append(len(images)) or real(images, *rest)
    )
    layer = blocks.conv(3, 1, 1)
    for shape in ((1, 1, 8, 8, 8), (2, 1, 8, 8, 8), (1, 1, 160, 160, 2)):  # 160 x 160 is more than 20 480
        assert layer(torch.zeros(shape)).shape == shape
    assert seen == [2, 2, 1]


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (2, 2), (3, 2)])
@pytest.mark.parametrize("planes", [2, 3, 4, 7, 8])
def test_a_volume_alone_is_convolved_as_one_of_several_is(kernel: int, stride: int, planes: int) -> None:
    """Values and gradients, of an even or odd number of planes and of fewer planes than the kernel has."""
    layer = blocks.conv(3, 3, 2, kernel, stride).double()
    told = []
    for forward in (layer, partial(nn.Conv3d.forward, layer)):
        volume = torch.linspace(-1, 1, 3 * planes * 6 * 4, dtype=torch.float64).view(1, 3, planes, 6, 4).sin()
        out = forward(volume.requires_grad_())
        told.append((out, *torch.autograd.grad(out.square().sum(), (volume, *layer.parameters()))))
    torch.testing.assert_close(*map(list, told), rtol=1e-12, atol=1e-12)
