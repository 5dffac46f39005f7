"""A U-shaped network on any encoder of timm that gives a pyramid of features, pre-trained or not; 2-D.

Named ``encoder:MODEL`` (from scratch) or ``encoder:MODEL@pretrained``, such as ``encoder:res2net101d``, which is the
Res2Net-101 v1b of Min-Max Similarity. timm is an extra (``make env EXTRAS=encoders``); the suite runs without.

Contract of an encoder: ``timm.create_model(MODEL, features_only=True)`` returns maps whose sides are 1/2, 1/4, ... of
the image's, each half the one before; its ``feature_info`` says their channels and reductions. The decoder doubles the
side level by level, sees the map of the same size and, at full resolution, the image itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from . import blocks
from .base import Decoder, SegmentationNetwork
from .fused import Twice

RGB = 3


class Network(SegmentationNetwork):
    """Encoder of timm, decoder of double convolutions.

    Args:
        ndim, channels, classes, width: see ``networks.make``; ``width`` is that of the decoder at full resolution.
        model: name of the encoder in timm.
        pretrained: start from timm's weights; images of three channels in [0, 1] are then normalised as they were.
        weights: a file with these weights; "" = timm fetches them, which needs a network connection once.
        levels: resolutions, that of the image included; fewer than the encoder has leave its deepest stages out.

    Raises:
        ValueError: volumes; timm cannot be imported, does not know the encoder, or that gives no such pyramid or has
            fewer levels.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("model", "pretrained", "weights", "levels")

    def __init__(
        self,
        *,
        ndim: int,
        channels: int,
        classes: int,
        width: int,
        model: str,
        pretrained: bool = False,
        weights: str = "",
        levels: int = 5,
    ) -> None:
        if ndim != 2:
            raise ValueError(f"encoder:{model} works in 2-D, the task is {ndim}-D; use unet or vnet")
        if levels < 2:
            raise ValueError(f"encoder:{model}: levels must be 2 (the image and one stage) or more, got {levels}")
        backbone, found = _backbone(model, channels, levels, pretrained, weights)
        super().__init__(ndim=2, in_channels=channels, classes=classes, widths=(channels, *found))
        self.divisor = _divisor(backbone, channels, self.divisor)
        self.decoder_channels = width
        self.encoder = _Encoder(backbone, pretrained and channels == RGB)
        self.decoder = self._make_decoder()
        self.head = self._make_head(self.decoder_channels, classes)

    def _make_decoder(self) -> Decoder:
        return _Decoder(self.channels, self.decoder_channels)

    def _make_head(self, channels: int, outputs: int) -> nn.Module:
        return blocks.conv(2, channels, outputs, kernel=1)


def _backbone(
    model: str, channels: int, levels: int, pretrained: bool, weights: str
) -> tuple[nn.Module, tuple[int, ...]]:
    """The encoder, and the channels of its maps at 1/2, 1/4, ..."""
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ValueError(
            f"network encoder:{model} needs timm and torchvision, and {error.name} is not installed; run `make env "
            "EXTRAS=encoders`, or use unet"
        ) from error
    except (ImportError, RuntimeError, OSError) as error:  # torchvision of another PyTorch: operators do not load
        raise ValueError(
            f"network encoder:{model} needs timm and torchvision, which cannot be imported here "
            f"({type(error).__name__}: {error}); install those of this PyTorch with `make env EXTRAS=encoders`, or use "
            "unet"
        ) from error
    if model not in timm.list_models():
        close = timm.list_models(f"*{model[:6]}*")[:5]
        raise ValueError(f"timm has no encoder {model!r}; near it are {', '.join(close) or 'none'}")
    overlay: dict[str, Any] = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
    backbone = _features(timm, model, levels, in_chans=channels, pretrained=pretrained, **overlay)
    reductions = tuple(backbone.feature_info.reduction())
    wanted = tuple(2 ** (k + 1) for k in range(levels - 1))
    if reductions != wanted:
        raise ValueError(
            f"encoder {model!r} reduces sides by {reductions}; wanted are {wanted}: choose another encoder"
        )
    _drop_what_gives_no_map(backbone)
    if not pretrained:
        _open_residuals(backbone)
    return backbone, tuple(backbone.feature_info.channels())


def _features(timm: Any, model: str, levels: int, **arguments: Any) -> Any:
    """Timm's encoder, of which the first ``levels`` - 1 stages give maps."""
    try:
        return timm.create_model(model, features_only=True, out_indices=tuple(range(levels - 1)), **arguments)
    except (IndexError, AssertionError) as error:
        most = 1 + len(timm.create_model(model, features_only=True).feature_info.channels())
        if levels <= most:
            raise
        raise ValueError(
            f"encoder {model!r} has {most - 1} stages, so levels must be in 2..{most} (the image is one), got {levels}"
        ) from error


def _drop_what_gives_no_map(backbone: Any) -> None:
    """Leave out the stages after the last map: timm's EfficientNets and MobileNets compute them in vain, untrained."""
    parent, _, last = backbone.feature_info.module_name()[-1].rpartition(".")  # blocks.4, of blocks up to 6
    stages = getattr(backbone, parent, None)
    if isinstance(stages, nn.Sequential) and last.isdigit():
        del stages[int(last) + 1 :]


@torch.no_grad()
def _divisor(backbone: nn.Module, channels: int, least: int) -> int:
    """What a side must be a multiple of, tried on small images, in evaluation mode: ``least`` or twice that, and so on.

    Encoders that keep several resolutions side by side (HRNet) need one for the coarsest, whichever maps they give.
    """
    device, training = next(backbone.parameters()).device, backbone.training
    backbone.eval()
    try:
        for divisor in (least * 2**k for k in range(6)):
            side = 3 * divisor  # an odd multiple, so that no larger power of 2 divides it
            try:
                backbone(torch.zeros(1, channels, side, side, device=device))
            except RuntimeError:
                continue
            return divisor
    finally:
        backbone.train(training)
    return least


def _open_residuals(backbone: nn.Module) -> None:
    """Start every normalisation at 1: where timm starts the last of a block at 0, no gradient reaches those before."""
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d) and not layer.weight.is_meta and not layer.weight.any():
            nn.init.ones_(layer.weight)


class _Encoder(nn.Module):
    """The image itself and the backbone's maps."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, normalise: bool) -> None:
        super().__init__()
        self.backbone = backbone
        config: Any = getattr(backbone, "pretrained_cfg", None) or {}
        mean, std = (config.get(key, default) if normalise else default for key, default in (("mean", 0), ("std", 1)))
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        return [image, *self.backbone((image - self.mean) / self.std)]


class _Decoder(Decoder):
    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        levels = len(widths)
        self.channels = tuple(width * 2**k for k in reversed(range(levels - 1)))
        below = (widths[-1], *self.channels[:-1])
        self.up = blocks.upsample(2, align_corners=False)
        self.levels = nn.ModuleList(
            _double_conv(deep + skip, out) for deep, skip, out in zip(below, widths[-2::-1], self.channels, strict=True)
        )

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = [features[-1]]
        for level, skip in zip(self.levels, features[-2::-1], strict=True):
            maps.append(level(blocks.raised_beside(skip, self.up, maps[-1])))
        return maps[1:]


def _double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (channels_in, channels_out):
        layers += [blocks.conv(2, channels, channels_out), blocks.batch_norm(2, channels_out), nn.ReLU(inplace=True)]
    return Twice(*layers)
