"""The contrast terms of CVCL as its code computes them, for the method's variant "released".

Source: https://github.com/maybeQi/Voxel-Contrastive/blob/65698b3/code/train_CPCL_general_3D.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..labels import most_probable
from .contrastive import supervised_contrast
from .mining import Voxels, released_voxels
from .prototypes import class_prototypes, confidence_weights, upsampled, upsampled_at

_VOXELS = 50  # foreground and background voxels of each sample
_TEMPERATURE = 0.1
DIVISOR = 20  # of the voxel contrast; the code calls it its temperature


def voxel_contrast(vectors: Tensor, voxels: Voxels) -> Tensor:
    """Contrast of chosen foreground and background voxels of all samples; the background's are their own positives.

    Args:
        vectors: ``(n, k, d)`` features of the ``voxels``.
    """
    label = voxels.label.flatten()
    contrast = supervised_contrast(vectors.flatten(0, 1), label, _TEMPERATURE, narcissists=label == 0)
    return contrast / DIVISOR


def labelled_contrast(features: Tensor, label: Tensor, predicted: Tensor) -> Tensor:
    """The term that trains: features of the network's last map, after dropout, at annotated voxels.

    Args:
        features: ``(n, d, *space)``.
        label, predicted: ``(n, *space)`` int64; classes above 0 count as one foreground.
    """
    voxels = released_voxels(label, predicted, _VOXELS)
    position = voxels.position.unsqueeze(1).expand(-1, features.shape[1], -1)
    return voxel_contrast(features.flatten(2).gather(2, position).transpose(1, 2), voxels)


@torch.no_grad()
def unlabelled_contrast(coarse: Tensor, fine: Tensor, probs: Tensor, predicted: Tensor) -> Tensor:
    """The term that trains nothing: the teacher's features, mixed by a new random projection at every call.

    A voxel's label is that of the prototype nearest to its mixed feature; prototypes are of the coarse features alone.

    Args:
        coarse: the teacher's deepest map ``(n, d, *coarse)``.
        fine: its last one ``(n, c', *space)``.
        probs: its prediction ``(n, c, *space)``.
        predicted: the student's most probable classes ``(n, *space)``.
    """
    with torch.autocast(coarse.device.type, enabled=False):
        space = fine.shape[2:]
        mix = nn.Conv1d(fine.shape[1], coarse.shape[1], 1, device=fine.device)
        weight, bias = mix.parameters()
        flat = fine.flatten(2).float()
        prototypes = F.normalize(class_prototypes(coarse, confidence_weights(probs)), dim=2)
        # dot products with coarse + projected features, without making the sum at full resolution
        near = (prototypes @ coarse.flatten(2).float()).unflatten(2, coarse.shape[2:])
        mixed = (prototypes @ weight.squeeze(2)) @ flat + (prototypes @ bias).unsqueeze(2)
        pseudo = most_probable(upsampled(near, space, align_corners=True) + mixed.unflatten(2, space))
        voxels = released_voxels(pseudo, predicted, _VOXELS)
        chosen = mix(flat.gather(2, voxels.position.unsqueeze(1).expand(-1, flat.shape[1], -1))).transpose(1, 2)
        raised = torch.stack(
            [upsampled_at(c, space, at, align_corners=True) for c, at in zip(coarse, voxels.position, strict=True)]
        )
        return voxel_contrast(raised + chosen, voxels)
