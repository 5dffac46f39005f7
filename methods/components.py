"""Connected components of label maps: what a teacher's pseudo label keeps."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor


def largest_components(label: Tensor) -> Tensor:
    """``label`` with every class but its largest connected component turned into background, sample by sample.

    Neighbours touch by a face, an edge or a corner (BCP, https://github.com/DeepMed-Lab-ECNU/BCP/tree/b62b10b). Of
    components of equal size the first in raster order stays. An absent class stays absent.

    The labelling runs on the CPU, over each class's bounding box: following pointers is nothing for an accelerator.

    Args:
        label: ``(n, *space)`` integer map without IGNORE, on any device.

    Returns:
        A map of the same shape, type and device.
    """
    found = label.cpu().numpy()
    kept = np.zeros_like(found)
    touching = np.ones((3,) * (found.ndim - 1))
    for one, target in zip(found, kept, strict=True):
        for k, box in enumerate(ndimage.find_objects(one.astype(np.int32)), start=1):
            if box is None:
                continue
            parts, count = ndimage.label(one[box] == k, structure=touching)
            sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
            target[box][parts == 1 + sizes.argmax()] = k
    return torch.from_numpy(kept).to(label.device)
