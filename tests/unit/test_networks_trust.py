"""Convolutions in bfloat16 on a CPU: shapes that a processor gets wrong are found, and computed in float32."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from methods.networks import blocks, spatial, trust

LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def _untried() -> Iterator[None]:
    trust._verdict.cache_clear()
    trust.remember_in(None)
    yield
    trust._verdict.cache_clear()
    trust.remember_in(None)


def bfloat16() -> torch.autocast:
    return torch.autocast("cpu", torch.bfloat16)


def broken(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Convolutions in bfloat16 leave a corner unwritten; which types were asked for."""
    real, asked = F.conv3d, []

    def conv3d(image: Tensor, *args: object) -> Tensor:
        found = real(image, *args)
        asked.append(found.dtype)
        if found.dtype == torch.bfloat16:
            found = found * torch.ones_like(found).index_fill(2, torch.tensor([0]), 0)
        return found

    monkeypatch.setattr(F, "conv3d", conv3d)
    monkeypatch.setattr(trust.F, "conv3d", conv3d)
    return asked


def test_a_shape_that_comes_out_wrong_is_computed_in_another_way_or_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, image = blocks.conv(3, 4, 8), torch.randn(2, 4, 4, 6, 4).contiguous(memory_format=LAST)
    with bfloat16():
        assert layer(image).dtype == torch.bfloat16
    trust._verdict.cache_clear()
    broken(monkeypatch)
    with bfloat16():
        found = layer(image)
    assert (found - layer(image)).norm() < 0.01 * found.norm()  # a matrix product
    monkeypatch.setattr(spatial, "_MANY_NEIGHBOURS", 0)
    with bfloat16():
        assert layer(image).dtype == torch.float32
    assert layer(image).dtype == torch.float32


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_can_be_asked_first_where_there_are_no_gradients(mode: type) -> None:
    layer, image = blocks.conv(3, 4, 8), torch.randn(2, 4, 4, 6, 4).contiguous(memory_format=LAST)
    with bfloat16(), mode():
        assert not layer(image).requires_grad


def test_a_wrong_gradient_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    image, layer = torch.randn(2, 4, 4, 6, 4), blocks.conv(3, 4, 8)

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: Tensor) -> Tensor:
            return gradient * (math.inf if gradient.dtype == torch.bfloat16 else 1)

    real = F.conv3d
    monkeypatch.setattr(trust.F, "conv3d", lambda image, weight, *args: real(image, Wrong.apply(weight), *args))
    assert trust.right_in_bfloat16(image, layer)  # the weight reaches it in float32, and is rounded inside
    trust._verdict.cache_clear()
    monkeypatch.setattr(trust.F, "conv3d", lambda *args: Wrong.apply(real(*args)))
    assert not trust.right_in_bfloat16(image, layer)


def test_short_axes_are_never_trusted_and_each_shape_is_tried_once() -> None:
    layer = blocks.conv(3, 4, 8)
    assert not trust.right_in_bfloat16(torch.randn(2, 4, 2, 6, 4), layer)
    assert trust._verdict.cache_info().misses == 0
    for _ in range(3):
        trust.right_in_bfloat16(torch.randn(2, 4, 4, 6, 4), layer)
    assert trust._verdict.cache_info().misses == 1
    trust.right_in_bfloat16(torch.randn(2, 4, 4, 6, 4).contiguous(memory_format=LAST), layer)
    trust.right_in_bfloat16(torch.randn(3, 4, 4, 6, 4), layer)
    assert trust._verdict.cache_info().misses == 3


def test_trying_draws_from_a_stream_of_its_own_and_leaves_no_gradient() -> None:
    layer, image = blocks.conv(3, 4, 8), torch.randn(2, 4, 4, 6, 4)
    before = torch.get_rng_state()
    with torch.no_grad(), bfloat16():
        layer(image)
    assert torch.equal(torch.get_rng_state(), before)
    assert layer.weight.grad is None
    assert trust._verdict.cache_info().misses == 1


def test_trials_are_not_counted_among_the_operations_of_a_step() -> None:
    layer, image = blocks.conv(3, 4, 8), torch.randn(2, 4, 4, 6, 4)
    found = []
    for _ in range(2):  # with trials, and without
        with FlopCounterMode(display=False) as counter, bfloat16():
            layer(image)
        found.append(counter.get_total_flops())
    assert found[0] == found[1] > 0
    assert trust._verdict.cache_info().misses == 1


def test_a_huge_volume_is_tried_by_fewer_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(trust, "_verdict", lambda shape, *_: seen.append(shape) or True)
    monkeypatch.setattr(trust, "_MOST", 4 * 4 * 6 * 4)
    trust.right_in_bfloat16(torch.randn(5, 4, 4, 6, 4), blocks.conv(3, 4, 8))
    assert seen == [(1, 4, 4, 6, 4)]


def test_verdicts_are_kept_by_processor_and_tried_again_where_they_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, image = blocks.conv(3, 4, 8), torch.randn(2, 4, 4, 6, 4)
    tried: list[object] = []
    monkeypatch.setattr(trust, "_tried", lambda *key: bool(tried.append(key)))
    trust.remember_in(tmp_path / "kept")

    def asked() -> int:
        trust._verdict.cache_clear()  # as in another process
        assert not trust.right_in_bfloat16(image, layer)
        return len(tried)

    assert [asked(), asked()] == [1, 1]
    assert [file.read_text() for file in (tmp_path / "kept").iterdir()] == ["wrong"]
    monkeypatch.setattr(trust, "_kind", lambda: ("another processor",))
    assert asked() == 2
    (tmp_path / "a file").touch()
    trust.remember_in(tmp_path / "a file")
    assert [asked(), asked()] == [3, 4]


def test_a_kernel_of_one_is_the_same_in_both_precisions() -> None:
    layer, maps = blocks.conv(3, 8, 3, kernel=1), torch.randn(2, 8, 4, 6, 4).contiguous(memory_format=LAST)
    with bfloat16():
        found = layer(maps)
    assert found.dtype == torch.bfloat16
    assert found.shape == (2, 3, 4, 6, 4)
    torch.testing.assert_close(found.float(), layer(maps), rtol=0.03, atol=0.03)


@pytest.mark.parametrize("channels", [4, 8, 24])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropped_channels_are_pytorchs_own(channels: int, dtype: torch.dtype) -> None:
    maps = torch.randn(3, channels, 4, 6, 4).to(dtype).contiguous(memory_format=LAST)
    layer, own = blocks.channel_dropout(3, 0.5), torch.nn.Dropout3d(0.5)
    torch.manual_seed(3)
    found = layer(maps.requires_grad_())
    found.sum().backward()
    torch.manual_seed(3)
    expected = own(maps)
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=LAST)
    kept = (expected != 0).flatten(2).any(dim=2)
    assert 0 < kept.sum() < kept.numel()
    assert torch.equal(maps.grad, 2.0 * kept[..., None, None, None].to(dtype).expand_as(maps))
    assert torch.equal(layer.eval()(maps), maps)


@pytest.mark.parametrize("shape", [(2, 8, 5, 7), (2, 8, 3, 4, 5)])
def test_raising_by_a_matrix_product_is_the_transposed_convolution(shape: tuple[int, ...]) -> None:
    ndim = len(shape) - 2
    layer = blocks.conv_up(ndim, 8, 4)
    maps = torch.randn(shape).contiguous(memory_format=(torch.channels_last, LAST)[ndim - 2])
    torch.testing.assert_close(blocks._raised(maps, layer.weight, layer.bias), layer(maps))
    torch.testing.assert_close(blocks._raised(maps, layer.weight, None), layer(maps) - layer.bias.view(-1, *[1] * ndim))
    with bfloat16():
        found = layer(maps)
    assert found.dtype == torch.bfloat16
    assert found.is_contiguous(memory_format=(torch.channels_last, LAST)[ndim - 2])
    torch.testing.assert_close(found.float(), layer(maps), rtol=0.03, atol=0.03)
