"""TransUNet: a U-Net whose deepest map goes through layers of a transformer, where every position sees every other.

Paper: Chen et al., "TransUNet: transformers make strong encoders for medical image segmentation", arXiv:2102.04306.
Code: https://github.com/Beckschen/TransUNet/blob/0d325fb/networks/vit_seg_modeling.py
Differences: this one is compact and starts from scratch. The paper's encoder is a ResNet-50 and its transformer
ViT-B/16 (12 layers of 768 channels), both with weights from ImageNet-21k: these are left out, and no number of the
paper is one of this network. Here the encoder is the house's of double convolutions, and 4 layers are as wide as its
deepest map. As in the code, tokens are single positions of that map (at five levels 1/16 of the image's side), layers
normalise first, heads have 64 channels and perceptrons four times the width, dropout is 0.1, a convolution
follows, and the decoder raises linearly, with skip connections (one more than there, at full resolution). Volumes are
this project's generalisation.

Position embeddings are learnt, as there, but take any size: each axis has a table of as many entries as the paper's 14
cells (224 / 16), which is read from its first entry to its last at as many places as the map is long, linearly between
entries, and the embedding of a position is the sum over axes. A full table would fit the training patch only, and in
3-D have 14³ entries.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from . import blocks, unet
from .fused import Dropout, Once

_CELLS = 14
_HEAD_WIDTH, _WIDER, _DROPOUT, _EPS = 64, 4, 0.1, 1e-6
"""Of ViT-B/16 as its code sets it up: 768 channels in 12 heads, 3072 in a perceptron."""
_POSITION_STD = 0.02
"""Of position embeddings at first: ViT's, from memory. TransUNet's code has zeros, which pre-trained ones replace."""


class Network(unet.Network):
    """TransUNet from scratch: 5 788 948 parameters in 2-D for one channel, four classes, width 16.

    Args:
        ndim, channels, classes, width, levels, norm: as of ``unet``, which with ``recipe="transunet"`` is this network
            without the transformer.
        layers: of the transformer, 1 or more.
    """

    OPTIONS: ClassVar[tuple[str, ...]] = ("levels", "layers", "norm")

    def __init__(
        self,
        *,
        ndim: int,
        channels: int,
        classes: int,
        width: int,
        levels: int = 5,
        layers: int = 4,
        norm: Literal["batch", "instance"] | None = None,
    ) -> None:
        if layers < 1:
            raise ValueError(f"transunet: layers must be 1 or more, got {layers}; without any it is a unet")
        super().__init__(
            ndim=ndim,
            channels=channels,
            classes=classes,
            width=width,
            levels=levels,
            recipe="transunet",
            norm=norm,
        )
        self.encoder = _Encoder(self.encoder, _Transformer(ndim, self.channels[-1], layers, self.recipe))


class _Encoder(nn.Module):
    def __init__(self, convolutions: nn.Module, transformer: nn.Module) -> None:
        super().__init__()
        self.convolutions = convolutions
        self.transformer = transformer

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = self.convolutions(image)
        features[-1] = self.transformer(features[-1])
        return features


class _Transformer(nn.Module):
    """The positions of a map as tokens through every layer, and back to a map of as many channels."""

    def __init__(self, ndim: int, width: int, layers: int, recipe: unet.Recipe) -> None:
        super().__init__()
        self.embed = nn.Linear(width, width)  # a convolution of the paper's patch of 1
        self.positions = nn.Parameter(_POSITION_STD * torch.randn(ndim, _CELLS, width))
        self.dropout = Dropout(_DROPOUT)
        self.layers = nn.Sequential(*(_Layer(width) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, eps=_EPS)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):  # as ViT's code: without it, deep maps fade from layer to layer
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        norm = blocks.normalisation(recipe.norm, "transunet")
        self.merge = Once(blocks.conv(ndim, width, width), norm(ndim, width), nn.ReLU(inplace=True))

    def forward(self, maps: Tensor) -> Tensor:
        space = maps.shape[2:]
        cells = self.embed(maps.movedim(1, -1))
        for axis, table in enumerate(self.positions):
            cells = cells + _read(table, space[axis]).view(-1, *[1] * (len(space) - axis - 1), table.shape[1])
        tokens = self.norm(self.layers(self.dropout(cells.flatten(1, -2))))
        found: Tensor = self.merge(tokens.unflatten(1, space).movedim(-1, 1))
        return found


class _Layer(nn.Module):
    """Attention, then a perceptron; each sees its input normalised, and adds to it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # as many heads as there are 64 channels, or the next fewer that divide the width
        self.heads = next(n for n in range(max(1, width // _HEAD_WIDTH), 0, -1) if width % n == 0)
        self.norm, self.norm_2 = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.ask, self.answer = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, _WIDER * width),
            nn.GELU(),
            Dropout(_DROPOUT),
            nn.Linear(_WIDER * width, width),
            Dropout(_DROPOUT),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.ask(self.norm(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.answer(seen.transpose(1, 2).flatten(2))
        found: Tensor = tokens + self.perceptron(self.norm_2(tokens))
        return found


def _read(table: Tensor, side: int) -> Tensor:
    """``(side, width)``: a table ``(entries, width)`` at evenly spaced places, its first and last entry among them.

    A sum of products, which stays in float32 under autocast: as all tokens then do from layer to layer.
    """
    places = torch.linspace(0, len(table) - 1, side, device=table.device)
    nearness = 1 - (places.unsqueeze(1) - torch.arange(len(table), device=table.device)).abs()
    return (nearness.clamp_min(0).unsqueeze(2) * table).sum(dim=1)
