"""Normalisation, activation and dropout in one go: the numbers of PyTorch's own modules, and when those are taken."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import networks
from methods.compiled import channels_last
from methods.networks import blocks, fused, spatial, statistics
from methods.networks.fused import activated
from methods.networks.spatial import joined

pytest.importorskip("numba")

SHAPES = [(2, 16, 24, 20), (3, 24, 7, 9), (2, 3, 5, 5), (2, 8, 6, 8, 4), (2, 128, 2, 3, 2), (1, 70, 3, 3)]


def last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last if maps.ndim == 4 else torch.channels_last_3d)


def layer(shape: tuple[int, ...]) -> nn.Module:
    norm = (nn.BatchNorm2d, nn.BatchNorm3d)[len(shape) - 4](shape[1], momentum=0.3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def together(maps: Tensor) -> bool:
    return type(maps.grad_fn).__name__ == "_ActivatedBackward"


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)])
def test_values_gradients_and_statistics_are_those_of_the_modules_in_double(
    shape: tuple[int, ...], activation: nn.Module, dtype: torch.dtype, tolerance: float
):
    norm = layer(shape)
    exact = copy.deepcopy(norm).double()
    maps = last((3 * torch.randn(shape) + 40).to(dtype)).requires_grad_()
    double = maps.detach().double().requires_grad_()
    found, expected = activated(maps, norm, activation), activation(exact(double))
    assert together(found)
    assert found.dtype == dtype
    assert found.stride() == maps.stride()
    arriving = last(torch.randn(shape).to(dtype))
    found.backward(arriving)
    expected.backward(arriving.double())
    pairs = [(found, expected, tolerance), (maps.grad, double.grad, tolerance)]
    pairs += [(getattr(norm, name).grad, getattr(exact, name).grad, 2e-5) for name in ("weight", "bias")]
    pairs += [(getattr(norm, name), getattr(exact, name), 2e-6) for name in ("running_mean", "running_var")]
    for one, other, near in pairs:
        assert (one.double() - other).abs().max() <= near * other.abs().max()
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
def test_instance_normalisation_and_activation_are_the_modules_in_double(
    shape: tuple[int, ...], training: bool, dtype: torch.dtype, tolerance: float
):
    norm, activation = blocks.instance_norm(len(shape) - 2, shape[1]).train(training), nn.LeakyReLU(0.1)
    maps = last((3 * torch.randn(shape) + 4).to(dtype)).requires_grad_()
    double = maps.detach().double().requires_grad_()
    found, expected = activated(maps, norm, activation), activation(F.instance_norm(double))
    assert together(found)
    assert (found.dtype, found.stride()) == (dtype, maps.stride())
    arriving = last(torch.randn(shape).to(dtype))
    found.backward(arriving)
    expected.backward(arriving.double())
    for one, other in ((found, expected), (maps.grad, double.grad)):
        assert (one.double() - other).abs().max() <= tolerance * other.abs().max()
    with torch.no_grad():
        assert torch.equal(activated(maps, norm, activation), found)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.1)])
def test_with_given_statistics_it_is_the_modules_in_double_too(
    shape: tuple[int, ...], activation: nn.Module, dtype: torch.dtype, tolerance: float
):
    norm = layer(shape).eval().requires_grad_(requires_grad=False)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    exact, before = copy.deepcopy(norm).double(), copy.deepcopy(norm.state_dict())
    maps = last(torch.randn(shape).to(dtype)).requires_grad_()
    double = maps.detach().double().requires_grad_()
    found, expected = activated(maps, norm, activation, nn.Dropout(0.5).eval()), activation(exact(double))
    assert type(found.grad_fn).__name__ == "_ScaledBackward"
    assert found.stride() == maps.stride()
    arriving = last(torch.randn(shape).to(dtype))
    found.backward(arriving)
    expected.backward(arriving.double())
    for one, other in ((found, expected), (maps.grad, double.grad)):
        assert (one.double() - other).abs().max() <= tolerance * other.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


def test_a_layer_that_learns_under_given_statistics_is_left_to_pytorch():
    norm, maps = layer((2, 8, 6, 6)).eval(), last(torch.randn(2, 8, 6, 6))
    activated(maps, norm, nn.ReLU()).sum().backward()
    assert norm.weight.grad.abs().max() > 0
    with torch.no_grad():
        torch.testing.assert_close(activated(maps, norm, nn.ReLU()), F.relu(norm(maps)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_leaky_relu_alone_is_pytorchs(shape: tuple[int, ...], dtype: torch.dtype):
    outcome = []
    for module in (fused.LeakyReLU(0.2), nn.LeakyReLU(0.2)):
        torch.manual_seed(2)
        maps = last(torch.randn(shape).to(dtype)).requires_grad_()
        found = module(maps)
        found.backward(last(torch.randn(shape).to(dtype)))
        outcome.append((found, maps.grad))
    assert type(outcome[0][0].grad_fn).__name__ == "_ScaledBackward"
    for one, other in zip(*outcome, strict=True):
        torch.testing.assert_close(one, other)


def test_a_gradient_in_another_layout_or_type_is_taken_as_it_is():
    shape = (2, 8, 6, 6)
    norm, maps = layer(shape), last(torch.randn(2, 8, 6, 6)).requires_grad_()
    arriving = torch.randn(shape)
    activated(maps, norm, nn.ReLU()).backward(arriving)
    again = maps.detach().clone().requires_grad_()
    activated(again, norm, nn.ReLU()).backward(torch.cat([torch.zeros_like(arriving), arriving], dim=1)[:, 8:])
    assert torch.equal(maps.grad, again.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_zeroes_its_share_scales_the_rest_and_sends_gradient_to_the_rest(dtype: torch.dtype, share: float):
    shape = (6, 16, 64, 64)
    norm, maps = layer(shape), last(torch.randn(shape).to(dtype)).requires_grad_()
    nn.init.constant_(norm.bias, 20.0)  # nothing is zero by itself
    nn.init.constant_(norm.weight, 1.0)
    dropout = nn.Dropout(share)
    whole = activated(maps, norm, nn.ReLU()).detach().float()
    found = activated(maps, norm, nn.ReLU(), dropout)
    gone = found == 0
    n = found.numel()
    assert gone.float().mean().item() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / n))
    torch.testing.assert_close(found.detach().float()[~gone], whole[~gone] / (1 - share), rtol=2**-7, atol=0)
    # without normalisation in between, the gradient is the mask over 1 - p: seen in the bias, which adds up per channel
    found.backward(torch.ones_like(found))
    kept = (~gone).float().sum(dim=(0, 2, 3)) / (1 - share)
    torch.testing.assert_close(norm.bias.grad, kept, rtol=1e-3, atol=0)
    # neighbours, rows and samples know nothing of one another
    seen = gone.permute(0, 2, 3, 1).flatten().float() - share
    for lag in (1, 2, 16, 64 * 16, 64 * 64 * 16):
        assert (seen[:-lag] * seen[lag:]).mean().abs() < 5 * share * (1 - share) / math.sqrt(n)


def test_zeros_are_drawn_anew_each_time_and_follow_torchs_seed():
    shape = (2, 8, 16, 16)
    norm, maps, dropout = layer(shape), last(torch.randn(shape)), nn.Dropout(0.5)

    def drawn(seed: int | None = None) -> Tensor:
        if seed is not None:
            torch.manual_seed(seed)
        return activated(maps, norm, nn.ReLU(), dropout)

    one, other = drawn(1), drawn()
    assert not torch.equal(one, other)
    assert torch.equal(drawn(1), one)
    assert not torch.equal(drawn(2), one)
    dropout.eval()
    assert torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("in_rows", [False, True], ids=["channels_first", "channels_last"])
def test_dropout_alone_drops_its_share_and_gradients_where_their_numbers_were(in_rows: bool, dtype: torch.dtype):
    share, shape = 0.3, (4, 8, 48, 50)
    maps = (torch.rand(shape) + 1).to(dtype)
    maps = (last(maps) if in_rows else maps).requires_grad_()
    dropout = fused.Dropout(share)
    torch.manual_seed(1)
    found = dropout(maps)
    assert type(found.grad_fn).__name__ == "_DroppedBackward"
    assert (found.dtype, found.stride()) == (dtype, maps.stride())
    gone = found == 0
    assert gone.float().mean().item() == pytest.approx(share, abs=5 * math.sqrt(share * (1 - share) / maps.numel()))
    torch.testing.assert_close(found[~gone].float(), maps[~gone].float() / (1 - share), rtol=2**-7, atol=0)
    arriving = torch.rand(shape).to(dtype)  # in the other layout, where maps lie in rows
    found.backward(arriving)
    expected = torch.where(gone, 0, arriving.float() / (1 - share))
    torch.testing.assert_close(maps.grad.float(), expected, rtol=2**-7, atol=0)
    assert not torch.equal(dropout(maps), found)
    torch.manual_seed(1)
    assert torch.equal(dropout(maps), found)
    assert dropout.eval()(maps) is maps


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_dropout_of_what_lies_otherwise_or_of_all_or_nothing_is_pytorchs(share: float):
    maps = torch.rand(6, 5).T if share == 0.4 else torch.rand(6, 5)
    torch.manual_seed(2)
    found = fused.Dropout(share)(maps)
    torch.manual_seed(2)
    assert torch.equal(found, nn.Dropout(share)(maps))


@pytest.mark.parametrize("broken", [math.nan, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_finite_is_not_hidden(broken: float, dtype: torch.dtype):
    maps = last(torch.randn(2, 4, 4, 4).to(dtype))
    maps[0, 1, 2, 3] = broken
    found = activated(maps, layer((2, 4, 4, 4)), nn.LeakyReLU(0.1))
    assert not found[:, 1].isfinite().any()
    assert found[:, [0, 2, 3]].isfinite().all()


def test_statistics_that_are_to_stay_stay():
    norm = layer((2, 4, 4, 4))
    with statistics.kept_statistics(norm):
        assert together(activated(last(torch.randn(2, 4, 4, 4)), norm, nn.ReLU()))
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert torch.equal(norm.running_var, torch.ones(4))


def test_modules_are_used_where_they_are_needed(monkeypatch: pytest.MonkeyPatch):
    maps, norm = last(torch.randn(2, 4, 4, 4)), layer((2, 4, 4, 4))
    assert together(activated(maps, norm, nn.ReLU()))
    assert not together(activated(maps.contiguous(), norm, nn.ReLU()))
    assert not together(activated(maps, norm.eval(), nn.ReLU()))
    norm.train()
    assert not together(activated(maps, nn.InstanceNorm2d(4, affine=True), nn.ReLU()))
    cumulative = nn.BatchNorm2d(4, momentum=None)
    assert not together(activated(maps, cumulative, nn.ReLU()))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 2)
        assert not together(activated(maps, norm, nn.ReLU()))
    with monkeypatch.context() as patch:
        patch.setattr(fused, "_compiled", lambda: None)
        found = activated(maps, norm, nn.ReLU(), nn.Dropout(0.0))
        assert not together(found)
        torch.testing.assert_close(found, F.relu(F.batch_norm(maps, None, None, norm.weight, norm.bias, True)))


@pytest.mark.parametrize("space", [(6, 5), (4, 3, 2)])
def test_joined_maps_are_concatenated_and_get_gradients_of_their_own(space: tuple[int, ...]):
    one, other = (last(torch.randn(2, channels, *space)).requires_grad_() for channels in (3, 5))
    arriving = torch.randn(2, 8, *space)
    found = joined(one, other)
    assert torch.equal(found, torch.cat([one, other], dim=1))
    found.backward(arriving)
    assert torch.equal(one.grad, arriving[:, :3])
    assert torch.equal(other.grad, arriving[:, 3:])
    assert one.grad.stride() == one.stride()
    plain = joined(one.detach().contiguous(), other.detach())  # another layout: PyTorch's own
    assert torch.equal(plain, found)


@pytest.mark.parametrize(("channels", "raised"), [(3, 2), (16, 16)])
def test_what_is_raised_beside_a_skip_connection_is_what_the_layers_give(
    channels: int, raised: int, monkeypatch: pytest.MonkeyPatch
):
    up = blocks.conv_up(2, 6, raised)
    maps = last(torch.randn(2, 6, 5, 3)).bfloat16().requires_grad_()
    skip = last(torch.randn(2, channels, 10, 6)).bfloat16().requires_grad_()
    arriving = torch.randn(2, channels + raised, 10, 6).bfloat16()
    given = maps, skip, up.weight, up.bias
    with torch.autocast("cpu", torch.bfloat16):
        found = blocks.raised_beside(skip, up, maps)
        assert found.is_contiguous(memory_format=torch.channels_last)
        mine = torch.autograd.grad(found, given, arriving)
        expected = torch.cat((skip, up(maps)), dim=1)
        assert torch.equal(found, expected)
        theirs = torch.autograd.grad(expected, given, arriving)
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other)
        monkeypatch.setattr(spatial, "_compiled", lambda: None)
        plain = blocks.raised_beside(skip, up, maps)
    assert torch.equal(plain, expected)
    assert type(found.grad_fn).__name__ == "_JoinedCornersBackward"
    assert type(plain.grad_fn).__name__ == "_JoinedBackward"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(2, 5, 6, 8), (1, 16, 2, 4), (2, 3, 4, 6, 2), (1, 8, 2, 2, 4)])
def test_pooling_and_its_gradient_are_those_of_the_layer(shape: tuple[int, ...], dtype: torch.dtype):
    pool = (nn.MaxPool2d, nn.MaxPool3d)[len(shape) - 4](2)
    maps = last(torch.randint(-3, 3, shape).to(dtype)).requires_grad_()  # many are equal: the first counts
    with torch.no_grad():
        maps[0, 1, 0, ..., 1] = maps[0, 2, ..., 0, 0] = torch.nan
    found, same = spatial.pooled(maps, pool)
    assert type(found.grad_fn).__name__ == "_PooledBackward"
    expected = pool(maps)
    assert torch.equal(found.nan_to_num(99), expected.nan_to_num(99))
    assert torch.equal(same.nan_to_num(99), maps.nan_to_num(99))
    assert found.is_contiguous(memory_format=channels_last(maps))
    of_pooled, of_maps = last(torch.randn(found.shape).to(dtype)), last(torch.randn(shape).to(dtype))
    (mine,) = torch.autograd.grad((found, same), maps, (of_pooled, of_maps), retain_graph=True)
    (theirs,) = torch.autograd.grad((expected, maps), maps, (of_pooled, of_maps))
    assert torch.equal(mine, theirs)
    (alone,) = torch.autograd.grad(found, maps, of_pooled)
    assert torch.equal(alone, torch.autograd.grad(pool(maps), maps, of_pooled)[0])
    layer = blocks.max_pool(maps.ndim - 2)(maps)
    assert type(layer.grad_fn).__name__ == "_PooledBackward"
    assert torch.equal(torch.autograd.grad(layer, maps, of_pooled)[0], alone)
    (unpooled,) = torch.autograd.grad(spatial.pooled(maps, pool)[1], maps, of_maps)
    assert torch.equal(unpooled, of_maps)


def test_pooling_is_left_to_the_layer_where_sides_are_odd():
    pool = nn.MaxPool2d(2)
    maps = last(torch.randn(1, 2, 5, 6)).requires_grad_()
    found, same = spatial.pooled(maps, pool)
    assert same is maps
    assert type(found.grad_fn) is type(pool(maps).grad_fn)
    assert torch.equal(found, pool(maps))


def test_pooling_keeps_nothing_where_nothing_is_learnt():
    maps = last(torch.randn(1, 2, 6, 6)).requires_grad_()
    with torch.no_grad():
        found, same = spatial.pooled(maps, nn.MaxPool2d(2))
    assert same is maps
    assert found.grad_fn is None
    assert torch.equal(found, F.max_pool2d(maps, 2))


@pytest.mark.parametrize(("name", "ndim", "side"), [("unet", 2, 32), ("vnet", 2, 16), ("vnet", 3, 16)])
def test_networks_compute_the_same_with_it_and_without(
    name: str, ndim: int, side: int, monkeypatch: pytest.MonkeyPatch
):
    network = networks.make(name, ndim=ndim, channels=1, classes=3, width=4, levels=3)
    network = network.to(memory_format=torch.channels_last if ndim == 2 else torch.channels_last_3d)
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d | nn.Dropout3d):
            module.p = 0.0
    other, image = copy.deepcopy(network), last(torch.rand(2, 1, *[side] * ndim))
    calls = []
    real = fused._Activated.apply
    monkeypatch.setattr(fused._Activated, "apply", lambda *args: (calls.append(1), real(*args))[1])
    found = network(image)
    found.square().sum().backward()
    assert len(calls) == sum(isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d) for m in network.modules())
    monkeypatch.setattr(fused, "_fits", lambda *_: False)
    expected = other(image)
    expected.square().sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    one, same = (torch.cat([p.grad.flatten() for p in n.parameters()]) for n in (network, other))
    torch.testing.assert_close(one, same, rtol=0, atol=1e-4 * float(same.abs().max()))
    for one, same in zip(network.buffers(), other.buffers(), strict=True):
        torch.testing.assert_close(one, same, rtol=1e-3, atol=1e-4)
