"""Partial cross-entropy of scribbled images and of mixtures that are chosen for a whole batch together.

Paper: Kim et al., "Co-Mixup: Saliency Guided Joint Mixup with Supermodular Diversity", ICLR 2021, arXiv:2102.03065. On
scribbles, MaskMixAdv compares with it.
Code: https://github.com/snu-mllab/Co-Mixup/tree/4c14a03 (main.py, mixup.py, match.py)
Differences: that classifies images, and a mixture has the shares of its images. Here every pixel has what its own one
or two images are annotated as there; what is not annotated costs nothing. Saliency is that of the scribbles, from one
more pass in evaluation mode, as released where images as they are do not count (clean_lam 0); else the code takes it
from their pass in training. The whole batch is mixed, where the code cuts it into parts of 20. No graph is cut
(``methods/co_mixup.py``). Both kinds of images cost by cross-entropy, where the code has the mean over all classes of
binary cross-entropies for mixtures and twice the cross-entropy over their number for images: terms of about the same
size, and both of them smaller than here by the number of classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from datasets.types import Batch

from ..base import Clock, Method, Terms
from ..co_mixup import co_mix
from ..hyper import HyperBase, hyper
from ..losses.cross_entropy import cross_entropy
from ..losses.mixed import mixed_cross_entropy
from ..networks.apart import passes
from ..puzzle import saliency


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code; its names in brackets."""

    clean: float = hyper(1.0, "weight of images as they are (clean_lam)", valid=(0, None), search=(0.1, 2, "log"))
    cells: int = hyper(4, "cells along every side (m_block_num)", valid=(1, None))
    smooth: float = hyper(0.32, "weight of neighbouring cells (m_beta)", valid=(0, None), search=(0.16, 1.0, "log"))
    diversity: float = hyper(1.0, "weight of images in several mixtures (m_gamma)", valid=(0, None))
    threshold: float = hyper(
        0.83, "share of a mixture's cells that the others may have of an image (m_thres)", valid=(0, None)
    )
    distance: float = hyper(0.001, "share of distance in what counts as the same image (m_omega)", valid=(0, 1))
    prior: float = hyper(0.05, "weight of the drawn shares (m_eta)", valid=(0, None))
    alpha: float = hyper(2.0, "parameters of their Dirichlet distribution (mixup_alpha)", valid=(0.01, None))
    rounds: int = hyper(4, "how often each mixture takes its turn (m_niter)", valid=(1, None))


class PceCoMixup(Method):
    """Learns from images and from mixtures that together keep what is salient and differ from each other."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        first, second, share = co_mix(
            saliency(self.network, batch.labelled), cells=h.cells, smooth=h.smooth, diversity=h.diversity,
            threshold=h.threshold, distance=h.distance, prior=h.prior, alpha=h.alpha, rounds=h.rounds,
        )  # fmt: skip
        of_first, of_second = (image.gather(0, index.expand_as(image)) for index in (first, second))
        logits, mixed_logits = passes(self.network, image, torch.lerp(of_second, of_first, share))
        ends = label.gather(0, first.squeeze(1)), label.gather(0, second.squeeze(1))
        return {
            "partial_ce": h.clean * cross_entropy(logits, label),
            "mixed_ce": mixed_cross_entropy(mixed_logits, *ends, share.squeeze(1))[0],
        }
