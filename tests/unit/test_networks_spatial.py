"""What a CPU computes as matrix products instead: interpolation of few channels, and the smallest convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from methods.networks import blocks, spatial

LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def last(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape).to(dtype).contiguous(memory_format=LAST[len(shape)]).requires_grad_()


def gradients(found: Tensor, arriving: Tensor, *leaves: Tensor) -> list[Tensor]:
    return [each.double() for each in torch.autograd.grad(found, leaves, arriving.to(found.dtype))]


# interpolation ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("shape", "space"),
    [
        ((2, 3, 4, 6, 5), (8, 12, 10)),
        ((2, 3, 2, 3, 4), (16, 24, 32)),
        ((1, 5, 3, 4), (7, 9)),
        ((2, 16, 8, 64), (16, 128)),
        ((2, 3, 1, 6, 4), (1, 12, 4)),
        ((2, 3, 4, 6, 1), (8, 12, 2)),
        ((1, 5, 3, 1), (6, 2)),
    ],
)
def test_interpolation_and_its_gradient_are_pytorchs(
    shape: tuple[int, ...], space: tuple[int, ...], dtype: torch.dtype, align: bool
):
    maps = last(*shape, dtype=dtype)
    exact = maps.detach().double().requires_grad_()
    mode = ("bilinear", "trilinear")[len(space) - 2]
    expected = F.interpolate(exact, size=space, mode=mode, align_corners=align)
    arriving = torch.randn_like(expected)
    with torch.autocast("cpu", torch.bfloat16):  # no reason to round float32 maps
        found = spatial.interpolated(maps, space, align_corners=align)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=LAST[len(shape)])
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.04}
    torch.testing.assert_close(found.double(), expected, **tolerance)
    (of_maps,), (of_exact,) = gradients(found, arriving, maps), gradients(expected, arriving, exact)
    assert (of_maps - of_exact).norm() < {torch.float32: 1e-5, torch.bfloat16: 0.01}[dtype] * of_exact.norm()


def test_weights_that_were_first_asked_for_without_gradients_serve_training():
    spatial._weights.cache_clear()
    maps = last(1, 2, 3, 3)
    with torch.inference_mode():
        spatial.interpolated(maps, (6, 6), align_corners=False)
    spatial.interpolated(maps, (6, 6), align_corners=False).sum().backward()
    torch.testing.assert_close(maps.grad, torch.full_like(maps, 4.0))


def test_other_modes_of_an_upsampling_layer_stay_as_they_are():
    layer = blocks.upsample(2, align_corners=False)
    layer.mode, layer.align_corners = "nearest", None
    maps = last(1, 2, 3, 3)
    assert torch.equal(layer(maps), maps.repeat_interleave(2, 2).repeat_interleave(2, 3))


# convolution --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("space", [(2, 3, 2), (1, 1, 1), (2, 5, 4)])
def test_a_convolution_of_a_short_volume_and_its_gradients_are_right_in_bfloat16(space: tuple[int, ...]):
    layer, maps = blocks.conv(3, 6, 10).to(memory_format=LAST[5]), last(3, 6, *space)
    exact = nn.Conv3d(6, 10, 3, padding=1).double()
    exact.load_state_dict(layer.state_dict())
    given = maps.detach().double().requires_grad_()
    expected = exact(given)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(maps)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=LAST[5])
    assert (found.double() - expected).norm() < 0.01 * expected.norm()
    arriving = torch.randn_like(expected)
    ours = gradients(found, arriving, maps, *layer.parameters())
    for ours_of, theirs_of in zip(ours, gradients(expected, arriving, given, *exact.parameters()), strict=True):
        assert (ours_of - theirs_of).norm() < 0.01 * theirs_of.norm()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(2, 2, 3, padding=1, stride=2),
        nn.Conv3d(2, 2, 3),
        nn.Conv3d(2, 2, 1),
        nn.Conv3d(2, 2, 3, padding=1, groups=2),
        nn.Conv3d(2, 2, 3, padding=1, dilation=2),
    ],
)
def test_other_convolutions_are_left_alone(layer: nn.Conv3d):
    assert spatial.convolved_as_product(last(1, 2, 4, 4, 4), layer) is None


def test_neighbours_that_would_fill_the_memory_are_not_laid_out(monkeypatch: pytest.MonkeyPatch):
    layer, maps = nn.Conv3d(2, 2, 3, padding=1), last(1, 2, 2, 4, 4)
    assert spatial.convolved_as_product(maps, layer) is not None
    monkeypatch.setattr(spatial, "_MANY_NEIGHBOURS", 27 * maps.numel() - 1)
    assert spatial.convolved_as_product(maps, layer) is None


def test_who_counts_operations_sees_the_layers():
    layer, maps = blocks.conv(3, 4, 4), last(2, 4, 2, 4, 4)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        layer(maps)
    assert set(counter.get_flop_counts()["Global"]) == {torch.ops.aten.convolution}
