"""Cross-entropy on the scribbled pixels; pixels of like intensity shall be of one class, however far apart.

Paper: Tang et al., "On regularized losses for weakly-supervised CNN segmentation", ECCV 2018, arXiv:1803.09569.
Code: https://github.com/meng-tang/rloss/blob/e0ea018/pytorch/pytorch-deeplab_v3_plus/DenseCRFLoss.py
Differences: the code leaves out Σ k_ij, a constant; both learn the same. The constants are those of its script
(train_withdensecrfloss.sh) for PASCAL; its README has a weight of 1.5e-9. There the weight is of the sum over pairs of
an image; here it is of their mean, so that it means the same for images of any size: 0.54 is the script's 2e-9 on
images of 256 x 256, of which every second pixel is taken (on its own crops of 513 it would be 8.6, under which the
scribbles were fitted late in trials). Distances are in pixels as there: in images far smaller than 256 all pixels are
near, and the term is stronger. The code's lattice approximates the kernel; here it is exact to 3e-4. The code's
contrast of 15 of 255 adds up over three equal channels of a grey image (like 0.034 in one); here it is that of one
channel in [0, 1]. No region of interest: padding is not told apart. All pairs of images of several channels are formed:
slow on a CPU, 16 times less so at twice the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.types import Labelled

from ..base import Clock, Terms
from ..family import PartialCE
from ..hyper import HyperBase, hyper
from ..losses.dense_crf import dense_crf


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released script for PASCAL scribbles."""

    # 2e-9 per pair of 128 x 128 pixels
    weight: float = hyper(2e-9 * 128**4, "weight of the CRF", valid=(0, None), search=(0.05, 10, "log"))
    sigma_xy: float = hyper(100.0, "scale of distance, in pixels", valid=(1, None), search=(10, 200, "log"))
    sigma_intensity: float = hyper(
        15 / 255,
        "scale of contrast, in the image's units; from 1/40 of its range",
        valid=(0.001, None),
        search=(0.03, 0.3, "log"),
    )
    reduction: int = hyper(2, "pixels per axis that count as one", valid=(1, 16))


class PCEDenseCRF(PartialCE):
    """Partial cross-entropy and the pairwise term of a dense CRF."""

    Hyper = Hyper

    def regularise(self, logits: Tensor, samples: Labelled, clock: Clock) -> Terms:
        h = self.hyper
        kernel = {"sigma_xy": h.sigma_xy, "sigma_intensity": h.sigma_intensity, "reduction": h.reduction}
        return {"crf": h.weight * dense_crf(torch.softmax(logits.float(), dim=1), samples.image, **kernel)}
