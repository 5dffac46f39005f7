"""Layers by dimension, so that one definition serves images and volumes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..compiled import watched
from .apart import BatchNorm2d, BatchNorm3d
from .elementwise import scaled
from .fused import LANES, InstanceNorm
from .spatial import convolved_as_product, interpolated, joined, joined_corners, pooled
from .trust import in_bfloat16, right_in_bfloat16

Norm = Callable[[int, int], nn.Module]
"""Makes a normalisation of dimensions and channels."""

_Module = TypeVar("_Module", bound=nn.Module)

_ALONE = 20480
"""A volume on its own is small, for PyTorch, up to so many numbers in channels × its first two axes."""


def conv(ndim: int, channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """Convolution with bias; an odd kernel keeps the side at stride 1, kernel = stride divides it."""
    layer = (nn.Conv2d, _Conv3d)[ndim - 2]
    return layer(channels_in, channels_out, kernel, stride=stride, padding=kernel // 2 if kernel % 2 else 0)


class _Conv3d(nn.Conv3d):
    """Convolution that never meets PyTorch's reference for volumes on a CPU.

    One small volume on its own, and on one thread fewer than 16 volumes of a kernel of 1, are not given to oneDNN but
    to a loop that takes up to eight times as long (PyTorch 2.13, ``use_mkldnn`` in ATen/native/Convolution.cpp); so the
    one is given as a pair of its halves, and a kernel of 1 as the matrix product that it is.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.device.type != "cpu":
            return super().forward(input)
        if self.kernel_size == self.stride == (1, 1, 1):
            if in_bfloat16():  # an image of as many positions
                found = F.conv2d(input.flatten(2, 3), self.weight.flatten(3), self.bias)
                return found.unflatten(2, input.shape[2:4])
            rows = input.permute(0, 2, 3, 4, 1)
            return F.linear(rows, self.weight.flatten(1), self.bias).permute(0, 4, 1, 2, 3)
        if in_bfloat16() and not right_in_bfloat16(input, self):
            product = convolved_as_product(input, self)
            if product is not None:
                return product
            with torch.autocast("cpu", enabled=False):
                return self._on_a_cpu(input.float())
        return self._on_a_cpu(input)

    def _on_a_cpu(self, input: Tensor) -> Tensor:
        if input.shape[0] == 1 and input.shape[:4].numel() <= _ALONE:
            return self._by_halves(input)
        return super().forward(input)

    def _by_halves(self, volume: Tensor) -> Tensor:
        """The same numbers for one volume, from its two halves along the first axis, each with what its ends see."""
        assert not isinstance(self.padding, str)
        kernel, stride, (pad, *padding) = self.kernel_size[0], self.stride[0], self.padding
        padded = F.pad(volume, (0, 0, 0, 0, pad, pad))
        planes = (padded.shape[2] - kernel) // stride + 1
        half = -(-planes // 2)  # of an odd number, the plane in the middle is in both
        start, length = (planes - half) * stride, (half - 1) * stride + kernel
        pair = torch.cat((padded[:, :, :length], padded[:, :, start : start + length]))
        first, second = F.conv3d(pair, self.weight, self.bias, self.stride, (0, *padding)).split(1)
        return torch.cat((first, second[:, :, 2 * half - planes :]), dim=2)


def conv_down(ndim: int, channels_in: int, channels_out: int) -> nn.Module:
    """Convolution with kernel 4 and stride 2: halves the side; the layer of critics."""
    layer = (nn.Conv2d, _Conv3d)[ndim - 2]
    return layer(channels_in, channels_out, 4, stride=2, padding=1)


def conv_up(ndim: int, channels_in: int, channels_out: int) -> nn.Module:
    """Transposed convolution, kernel 2 and stride 2: doubles the side."""
    layer = (_ConvUp2d, _ConvUp3d)[ndim - 2]
    return layer(channels_in, channels_out, 2, stride=2)


def _corners(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed convolution of kernel and stride 2: a matrix product, as no two positions reach the same one.

    Args:
        maps: ``(n, channels, *space)``, channels-last; weight: ``(channels, channels_out, *[2] * dimensions)``.

    Returns:
        ``(n, *space, 2**dimensions * channels_out)``: what each position becomes.
    """
    ndim = maps.ndim - 2
    matrix = weight.permute(*range(2, maps.ndim), 1, 0).reshape(-1, len(weight))
    return F.linear(maps.movedim(1, -1), matrix, None if bias is None else bias.repeat(2**ndim))


def _as_map(corners: Tensor) -> Tensor:
    """``(n, channels_out, *[2 * side for side in space])`` of what :func:`_corners` gives."""
    ndim = corners.ndim - 2
    rows = corners.unflatten(-1, (*[2] * (ndim - 1), -1))  # (n, *space, 2, ..., 2 * channels_out)
    order = [axis for k in range(ndim - 1) for axis in (1 + k, 1 + ndim + k)]
    found = rows.permute(0, *order, ndim, rows.ndim - 1)
    space = [2 * side for side in corners.shape[1:-1]]
    return found.reshape(len(corners), *space, rows.shape[-1] // 2).movedim(-1, 1)


def _raised(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Transposed convolution of kernel and stride 2, as a map."""
    return _as_map(_corners(maps, weight, bias))


def _as_product(maps: Tensor) -> bool:
    """In bfloat16 on a CPU, PyTorch's own transposed convolution takes twice as long as the matrix product."""
    return maps.device.type == "cpu" and in_bfloat16() and not watched()


class _ConvUp2d(nn.ConvTranspose2d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _as_product(input):
            return _raised(input, self.weight, self.bias)
        return super().forward(input, output_size)


class _ConvUp3d(nn.ConvTranspose3d):
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if _as_product(input):
            return _raised(input, self.weight, self.bias)
        return super().forward(input, output_size)


def raised_beside(skip: Tensor, up: nn.Module, maps: Tensor) -> Tensor:
    """``torch.cat((skip, up(maps)), dim=1)``: what a decoder's level is given."""
    if not (isinstance(up, _ConvUp2d) and _as_product(maps)):
        return joined(skip, up(maps))
    corners = _corners(maps, up.weight, up.bias)
    found = joined_corners(skip, corners)
    return joined(skip, _as_map(corners)) if found is None else found


def max_pool(ndim: int) -> nn.Module:
    """Halves the side."""
    return (_MaxPool2d, _MaxPool3d)[ndim - 2](2)


class _MaxPool2d(nn.MaxPool2d):
    def forward(self, input: Tensor) -> Tensor:
        return pooled(input, super().forward)[0]


class _MaxPool3d(nn.MaxPool3d):
    def forward(self, input: Tensor) -> Tensor:
        return pooled(input, super().forward)[0]


def upsample(ndim: int, *, align_corners: bool) -> nn.Module:
    """Linear interpolation to twice the side."""
    return _Twofold(scale_factor=2, mode=("bilinear", "trilinear")[ndim - 2], align_corners=align_corners)


class _Twofold(nn.Upsample):
    def forward(self, input: Tensor) -> Tensor:
        if self.mode not in ("bilinear", "trilinear"):
            return super().forward(input)
        return interpolated(input, [2 * side for side in input.shape[2:]], align_corners=bool(self.align_corners))


def batch_norm(ndim: int, channels: int) -> nn.Module:
    """Batch normalisation with its affine map."""
    return (BatchNorm2d, BatchNorm3d)[ndim - 2](channels)


def instance_norm(ndim: int, channels: int) -> nn.Module:
    """Instance normalisation without parameters or running statistics; ``channels`` may be any number."""
    return InstanceNorm()


def normalisation(name: str, network: str) -> Norm:
    """The normalisation that a network's option ``norm`` names.

    Args:
        name: "batch" or "instance".
        network: for the message.

    Raises:
        ValueError: another name.
    """
    norms = {"batch": batch_norm, "instance": instance_norm}
    if name not in norms:
        raise ValueError(f'{network}: norm must be "batch" or "instance", got {name!r}')
    return norms[name]


def channel_dropout(ndim: int, p: float) -> nn.Module:
    """Drops whole channels with probability ``p`` while training."""
    return (nn.Dropout2d, _Dropout3d)[ndim - 2](p)


class _Dropout3d(nn.Dropout3d):
    """PyTorch's own multiplies channels-last maps of few channels in as short rows on a CPU. The same zeros."""

    def forward(self, input: Tensor) -> Tensor:
        count, channels = input.shape[:2]
        positions = input[0, 0].numel()
        times = math.gcd(positions, max(1, LANES // channels))
        fits = input.device.type == "cpu" and input.is_contiguous(memory_format=torch.channels_last_3d)
        if not (fits and self.training and 0 < self.p < 1 and times > 1):
            return super().forward(input)
        kept = input.new_empty(count, 1, channels).bernoulli_(1 - self.p).div_(1 - self.p).repeat(1, 1, times)
        return scaled(input, kept)


def initialise_kaiming(module: _Module) -> _Module:
    """Kaiming-normal weights in every convolution of ``module``; biases keep their default initialisation."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight)
    return module
