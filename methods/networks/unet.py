"""U-Net in two and three dimensions from one definition; a frozen recipe holds what differs between published ones.

Sources: WSL4MIS (2-D, https://github.com/HiLab-git/WSL4MIS/tree/a594da8) and SSL4MIS (2-D and 3-D,
https://github.com/HiLab-git/SSL4MIS/tree/06df604), after Ronneberger et al., MICCAI 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeVar

from torch import Tensor, nn

from . import blocks
from .base import Decoder, SegmentationNetwork
from .fused import Dropout, Twice
from .spatial import pooled

_Module = TypeVar("_Module", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """What differs between the published U-Nets of five levels.

    Attributes:
        norm: Normalisation after every convolution.
        slope: Negative slope of the activation; 0 = ReLU.
        up: "transposed" = transposed convolution that halves the channels; "projected" = 1-convolution that halves
            them, then linear interpolation; "plain" = linear interpolation of all channels.
        dropout: Element dropout between the two convolutions of each encoder level, shallow to deep.
        dropout_ends: Element dropout on the deepest encoder map and on the last decoder map.
        head_kernel: Kernel of the last convolution.
        kaiming: Kaiming-normal initialisation instead of the default.
    """

    norm: Literal["batch", "instance"]
    slope: float
    up: Literal["transposed", "projected", "plain"]
    dropout: tuple[float, ...]
    dropout_ends: float
    head_kernel: int
    kaiming: bool


_DEEPER_MORE = (0.05, 0.1, 0.2, 0.3, 0.5)
_OF_TRANSUNET = Recipe("batch", 0.0, "plain", (0.0,) * 5, 0.0, 3, kaiming=False)
RECIPES = {
    ("wsl4mis", 2): Recipe("batch", 0.01, "transposed", _DEEPER_MORE, 0.0, 3, kaiming=False),
    ("ssl4mis", 2): Recipe("batch", 0.01, "projected", _DEEPER_MORE, 0.0, 3, kaiming=False),
    ("ssl4mis", 3): Recipe("instance", 0.0, "plain", (0.0,) * 5, 0.3, 1, kaiming=True),
    ("transunet", 2): _OF_TRANSUNET,
    ("transunet", 3): _OF_TRANSUNET,
}
"""(name, dimensions) -> recipe; the first three have 1 944 324, 1.81 M and 5.88 M parameters at width 16. The last two
are TransUNet's convolutions (``transunet``), here without its transformer: what that adds is their difference."""


class Network(SegmentationNetwork):
    """U-Net with max-pooling and skip connections by concatenation.

    Args:
        ndim, channels, classes, width: see ``networks.make``.
        levels: resolutions, 2 to 5; fewer suit small images (sides must be divisible by ``2**(levels - 1)``).
        recipe: a name in :data:`RECIPES`; default: "wsl4mis" in 2-D, "ssl4mis" in 3-D.
        norm: "batch" or "instance" instead of the recipe's; "instance" suits batches of few, unlike images, whose
            statistics together are not those of the images that it will predict one by one.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("levels", "recipe", "norm")

    def __init__(
        self,
        *,
        ndim: int,
        channels: int,
        classes: int,
        width: int,
        levels: int = 5,
        recipe: str | None = None,
        norm: Literal["batch", "instance"] | None = None,
    ) -> None:
        kind = type(self).__module__.rsplit(".", 1)[-1]
        if not 2 <= levels <= 5:
            raise ValueError(f"{kind}: levels must be in [2, 5], got {levels}")
        name = recipe or ("wsl4mis" if ndim == 2 else "ssl4mis")
        if (name, ndim) not in RECIPES:
            known = ", ".join(repr(known) for known, n in RECIPES if n == ndim)
            raise ValueError(f"{kind}: no recipe {name!r} in {ndim}-D; use one of {known}")
        if norm is not None:
            blocks.normalisation(norm, kind)
        super().__init__(
            ndim=ndim, in_channels=channels, classes=classes, widths=tuple(width * 2**k for k in range(levels))
        )
        published = RECIPES[name, ndim]
        self.recipe = replace(published, norm=norm or published.norm)
        self.encoder = self._initialised(_Encoder(ndim, channels, self.channels, self.recipe))
        self.decoder = self._make_decoder()
        self.head = self._make_head(self.decoder_channels, classes)

    def _make_decoder(self) -> Decoder:
        return self._initialised(_Decoder(self.ndim, self.channels, self.recipe))

    def _make_head(self, channels: int, outputs: int) -> nn.Module:
        return self._initialised(blocks.conv(self.ndim, channels, outputs, self.recipe.head_kernel))

    def _initialised(self, module: _Module) -> _Module:
        return blocks.initialise_kaiming(module) if self.recipe.kaiming else module


class _Encoder(nn.Module):
    def __init__(self, ndim: int, channels: int, widths: tuple[int, ...], recipe: Recipe) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        self.levels = nn.ModuleList(
            double_conv(ndim, i, o, recipe, p) for i, o, p in zip(inputs, widths, recipe.dropout, strict=False)
        )
        self.pool = blocks.max_pool(ndim)
        self.dropout = Dropout(recipe.dropout_ends)

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.levels[0](image)]
        for level in self.levels[1:]:
            smaller, features[-1] = pooled(features[-1], self.pool)
            features.append(level(smaller))
        features[-1] = self.dropout(features[-1])
        return features


class _Decoder(Decoder):
    def __init__(self, ndim: int, widths: tuple[int, ...], recipe: Recipe) -> None:
        super().__init__()
        self.channels = widths[-2::-1]
        self.ups = nn.ModuleList(raising(ndim, 2 * width, recipe) for width in self.channels)
        raised = 2 if recipe.up == "plain" else 1
        self.levels = nn.ModuleList(
            double_conv(ndim, (1 + raised) * width, width, recipe, 0.0) for width in self.channels
        )
        self.dropout = Dropout(recipe.dropout_ends)

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        maps = [features[-1]]
        for up, level, skip in zip(self.ups, self.levels, features[-2::-1], strict=True):
            maps.append(level(blocks.raised_beside(skip, up, maps[-1])))
        maps[-1] = self.dropout(maps[-1])
        return maps[1:]


def double_conv(ndim: int, channels_in: int, channels_out: int, recipe: Recipe, dropout: float) -> nn.Sequential:
    """Two convolutions of a level, each with its normalisation and activation, and dropout between them."""
    norm = blocks.normalisation(recipe.norm, "unet")
    return Twice(
        blocks.conv(ndim, channels_in, channels_out),
        norm(ndim, channels_out),
        nn.LeakyReLU(recipe.slope, inplace=True),
        nn.Dropout(dropout),
        blocks.conv(ndim, channels_out, channels_out),
        norm(ndim, channels_out),
        nn.LeakyReLU(recipe.slope, inplace=True),
    )


def raising(ndim: int, channels: int, recipe: Recipe) -> nn.Module:
    """What doubles the side of a map of ``channels``; it halves them, unless ``recipe.up`` is plain."""
    if recipe.up == "transposed":
        return blocks.conv_up(ndim, channels, channels // 2)
    if recipe.up == "projected":
        return nn.Sequential(
            blocks.conv(ndim, channels, channels // 2, kernel=1), blocks.upsample(ndim, align_corners=True)
        )
    return blocks.upsample(ndim, align_corners=False)
