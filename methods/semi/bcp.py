"""Labelled and unlabelled images are pasted into one another, both ways, and learnt under one kind of label.

Paper: Bai et al., "Bidirectional copy-paste for semi-supervised medical image segmentation", CVPR 2023,
arXiv:2305.00673.
Code: https://github.com/DeepMed-Lab-ECNU/BCP/blob/f4f587d/code/LA_BCP_train.py
Differences: none that is meant to change what is learnt. The code runs two stages one after the other and picks the
checkpoint of the first that is best on the test set; here both share one budget, the second starts from the last step
of the first, and the optimizer goes on (left atrium: 2000 and 15 000 steps; ACDC: 10 000 and 30 000). Losses are the
cross-entropy and Dice of all methods, over the region whose label is of one kind; the code's 3-D Dice has linear
denominators per sample. The box reaches every place, the code leaves out the last offset. Pseudo labels keep the
largest component of each class. The student is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled

from ..base import Clock, Terms
from ..components import largest_components
from ..ema import average_parameters
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..hyper import hyper
from ..labels import most_probable
from ..networks.apart import passes
from ..perturb import halves, random_box


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Defaults of BCP on the left atrium."""

    weight: float = hyper(0.5, "weight of pseudo-labelled regions", valid=(0, None), search=(0.05, 2, "log"))
    pretrain: float = hyper(
        0.12, "share of training on labelled images only, pasted into each other", valid=(0, 1), search=(0.05, 0.4)
    )
    box: float = hyper(2 / 3, "side of the pasted box, as a share of the image's", valid=(0.1, 0.9), search=(0.3, 0.8))


class BCP(TeacherStudent):
    """Phase one: labelled into labelled. Phase two: unlabelled into labelled and labelled into unlabelled."""

    Hyper = Hyper
    contract_exceptions: ClassVar[Mapping[str, str]] = {
        "check_supervised_target_ignores_unlabelled_images": (
            "labelled regions are learnt inside images that hold unlabelled ones, so every term depends on both"
        )
    }

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        known, unknown = batch.split(batch.images)
        box = random_box(tuple(known.shape[2:]), self.hyper.box, known.device)
        if clock.progress < self.hyper.pretrain:
            return self._among_labelled(batch.labelled, box)
        n = -(-max(len(known), len(unknown)) // 2)
        (a, b), (label_a, label_b), (u, v) = halves(known, n), halves(batch.labelled.label, n), halves(unknown, n)
        pseudo_u, pseudo_v = self._pseudo(u, v)
        # batch normalisation sees one kind of mixture at a time, as released
        logits, logits_2 = passes(self.network, torch.where(box, u, a), torch.where(box, b, v))
        inward = self._regions(logits, label_a, pseudo_u, box)
        outward = self._regions(logits_2, label_b, pseudo_v, ~box)
        return {name: inward[name] + outward[name] for name in inward}

    def after_step(self, clock: Clock) -> None:
        """The teacher is the student until the second phase starts."""
        pretraining = clock.progress < self.hyper.pretrain
        average_parameters(self.teacher, self.network, 0.0 if pretraining else self.hyper.ema_limit)

    def _among_labelled(self, samples: Labelled, box: Tensor) -> Terms:
        n = -(-len(samples.image) // 2)
        (a, b), (label_a, label_b) = halves(samples.image, n), halves(samples.label, n)
        logits = self.network(torch.where(box, b, a))
        known = supervised_terms(logits, torch.where(box, label_b, label_a), self.hyper.dice_share)
        return known | {f"pseudo_{name}": torch.zeros_like(term) for name, term in known.items()}

    def _regions(self, logits: Tensor, label: Tensor, pseudo: Tensor, pasted: Tensor) -> Terms:
        """Terms of a mixture: ``label`` holds outside of ``pasted``, ``pseudo`` inside."""
        h = self.hyper
        known = supervised_terms(logits, torch.where(pasted, IGNORE, label), h.dice_share)
        guessed = supervised_terms(logits, torch.where(pasted, pseudo, IGNORE), h.dice_share)
        return known | {f"pseudo_{name}": h.weight * term for name, term in guessed.items()}

    @torch.no_grad()
    def _pseudo(self, *images: Tensor) -> list[Tensor]:
        return [largest_components(most_probable(logits)) for logits in passes(self.teacher, *images)]
