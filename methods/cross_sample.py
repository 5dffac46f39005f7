"""Attention across the images of a batch, inside a network's encoder, while it is trained.

Source: CAML (Gao et al., MICCAI 2023), https://github.com/Herschel555/CAML/blob/3b1dbc1/code/networks/VNet.py
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .compiled import takes_any
from .networks.base import SegmentationNetwork
from .networks.fused import Dropout

_HEADS, _WIDER = 4, 4


class CrossSample(nn.Module):
    """Attention among the positions of an image, then among the images at each position. In evaluation, nothing.

    So that a prediction does not depend on which images come with it.

    Args:
        channels: of the maps; as many heads as divide them, 4 at most.
        dropout: of either layer.
    """

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        sizes = channels, math.gcd(_HEADS, channels), _WIDER * channels, dropout
        self.positions, self.images = (_Layer(*sizes, batch_first=True) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return maps
        tokens = self.positions(maps.movedim(1, -1).flatten(1, -2))
        tokens = self.images(tokens.transpose(0, 1)).transpose(0, 1)
        return tokens.unflatten(1, maps.shape[2:]).movedim(-1, 1).to(maps.dtype)


class _Layer(nn.TransformerEncoderLayer):
    """PyTorch's, of which a CPU would spend most of the time drawing zeros of dropout one by one."""

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        share = self.dropout.p
        self.dropout, self.dropout1, self.dropout2, self.unseen = (Dropout(share) for _ in range(4))

    def _sa_block(self, x: Tensor, *rest: Any, **options: Any) -> Tensor:
        attention = self.self_attn
        if not takes_any(x):
            return super()._sa_block(x, *rest, **options)
        packed = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
        query, key, value = packed.unflatten(2, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        weight = torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), dim=-1)
        seen = (self.unseen(weight).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        found: Tensor = self.dropout1(attention.out_proj(seen))
        return found


def attend_across(network: SegmentationNetwork, dropout: float) -> None:
    """Let the last level but one of ``network``'s encoder end in :class:`CrossSample`; its skip and the last see that.

    An encoder that does not tell its levels apart, such as timm's, ends in it itself.
    """
    for part in network.encoder.modules():
        levels: Any = getattr(part, "levels", None)
        if isinstance(levels, nn.ModuleList) and len(levels) == len(network.channels):
            levels[-2] = nn.Sequential(levels[-2], CrossSample(network.channels[-2], dropout))
            return
    network.encoder = _Ended(network.encoder, CrossSample(network.channels[-1], dropout))


class _Ended(nn.Module):
    def __init__(self, encoder: nn.Module, attention: nn.Module) -> None:
        super().__init__()
        self.encoder, self.attention = encoder, attention

    def forward(self, image: Tensor) -> list[Tensor]:
        *shallow, deepest = self.encoder(image)
        return [*shallow, self.attention(deepest)]
