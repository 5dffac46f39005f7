"""UNet++: a U-Net whose skip connections are nested convolutions, so that what is joined differs less in meaning.

Node X(i, j) is column j of level i. Column 0 is the encoder of the U-Net; every other node is a double convolution of
all earlier nodes of its level beside the raised node below, X(i, 0) ... X(i, j - 1) and U(X(i + 1, j - 1)). The last of
the top level is what the head sees. Blocks, dropout and recipes are those of ``unet``: the two differ in these nodes
alone.

Paper: Zhou et al., "UNet++: a nested U-Net architecture for medical image segmentation", DLMIA 2018, arXiv:1807.10165,
and IEEE TMI 2020, arXiv:1912.05074.
Code: https://github.com/MrGiovanni/UNetPlusPlus/blob/888660a/keras/helper_functions.py
Differences: the code has no normalisation, dropout of 0.5 after every convolution, widths from 32 on and a head of
kernel 1; here the recipe says so. Deep supervision, a head on every node of the top level, and the pruning that it
allows are left out: a network here has one head, and a loss on several would be another method. In the code it is an
option that is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from . import unet
from .base import Decoder
from .fused import Dropout
from .spatial import joined


class Network(unet.Network):
    """UNet++ with the options of ``unet``: 2 265 812 parameters in 2-D for one channel, four classes, width 16."""

    def _make_decoder(self) -> Decoder:
        return self._initialised(_Decoder(self.ndim, self.channels, self.recipe))


class _Decoder(Decoder):
    def __init__(self, ndim: int, widths: tuple[int, ...], recipe: unet.Recipe) -> None:
        super().__init__()
        self.channels = widths[-2::-1]
        last = len(widths) - 1
        # node (i, j) is nodes[j - 1][i]: every column is one node shorter than the one before
        self.nodes = nn.ModuleList(
            nn.ModuleList(_Node(ndim, width, column, recipe) for width in widths[: last - column + 1])
            for column in range(1, last + 1)
        )
        self.dropout = Dropout(recipe.dropout_ends)

    def pyramid(self, features: Sequence[Tensor]) -> list[Tensor]:
        rows = [[feature] for feature in features]
        for column in self.nodes:
            for level, node in enumerate(cast(nn.ModuleList, column)):
                rows[level].append(node(rows[level], rows[level + 1][-1]))
        maps = [row[-1] for row in rows[-2::-1]]
        maps[-1] = self.dropout(maps[-1])
        return maps


class _Node(nn.Module):
    """X(i, j) of ``width`` channels, where j = ``column`` is how many nodes come before it in its level."""

    def __init__(self, ndim: int, width: int, column: int, recipe: unet.Recipe) -> None:
        super().__init__()
        raised = 2 if recipe.up == "plain" else 1
        self.up = unet.raising(ndim, 2 * width, recipe)
        self.convs = unet.double_conv(ndim, (column + raised) * width, width, recipe, 0.0)

    def forward(self, row: Sequence[Tensor], below: Tensor) -> Tensor:
        found: Tensor = self.convs(joined(*row, self.up(below)))
        return found
