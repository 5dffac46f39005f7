"""Contrast of class prototypes and of key voxels: those near a boundary, or predicted unlike their prototype's label.

Paper: "3D medical image segmentation based on prototype-guided voxel contrast learning", as its code's authors name and
summarise it; no published text or number was at hand.
Code: https://github.com/maybeQi/Voxel-Contrastive/blob/65698b3/code/train_CPCL_general_3D.py
Differences: intended is a reconstruction from the abstract and the code's remains. Both contrasts act on a projection
of the features before dropout; hard positives and negatives are of the difference part, ranked by similarity to their
class's prototype; unlabelled voxels carry the label of the nearest prototype where that is sure. The code has neither
ranking nor contrast of classes, takes easy foreground and a corner of the background, and learns from labels only:
``variant: released``. Both divide the voxel contrast by 20, as the code does; undivided, it outweighs the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from datasets.types import Batch, Task

from ..banks import Guidance, PrototypeGuide
from ..base import Build, Clock, Terms, frozen_copy
from ..ema import average_parameters, ema_decay
from ..family import TeacherHyper, TeacherStudent, supervised_terms
from ..features import Projection, directions_sum, with_last_map, with_last_maps
from ..hyper import hyper, variant
from ..labels import most_probable, own_probability
from ..losses import cvcl_released
from ..losses.consistency import squared_difference
from ..losses.contrastive import prototype_contrast, supervised_contrast
from ..losses.mining import Shares, difference_part, key_voxels, random_voxels
from ..perturb import noisy
from ..schedules import ramp_up

_HARD = Shares(positives=0.4, negatives=0.7)  # the code's split
acts = partial(hyper, only="intended")


@dataclass(frozen=True)
class Hyper(TeacherHyper):
    """Weights of CVCL's code, on the reconstruction. As released, its teacher has no part in what trains."""

    ema_limit: float = acts(0.99, "decay of the teacher after its warm-up", valid=(0, 1), search=(0.9, 0.999))
    weight: float = acts(0.1, "weight of consistency after the ramp", valid=(0, None), search=(0.01, 10, "log"))
    ramp: float = acts(0.6, "share of training over which unlabelled terms ramp up", valid=(0, 1), search=(0.1, 1.0))
    pcl: bool = hyper(True, "contrast class prototypes of unlabelled images")
    vcl_labelled: bool = hyper(True, "contrast voxels of labelled images")
    vcl_unlabelled: bool = hyper(True, "contrast voxels of unlabelled images")
    mining: str = hyper("mined", "voxels: random ones, or the hardest near boundaries", choices=("random", "mined"))
    class_weight: float = acts(0.2, "weight of the prototype contrast", valid=(0, None), search=(0.02, 2, "log"))
    voxel_weight: float = hyper(0.6, "weight of each voxel contrast / 20", valid=(0, None), search=(0.05, 5, "log"))
    voxels: int = hyper(200, "positives, and negatives, per class in each part of the batch", valid=(1, None))
    hardness: float = hyper(0.0, "BHPC's re-weighting of hard positives; 0 = none", valid=(0, None))
    temperature: float = acts(0.1, "of both contrasts", valid=(0.01, None), search=(0.05, 1.0, "log"))
    confidence: float = hyper(0.8, "teacher's probability above which a prototype's label counts", valid=(0, 1))
    margin: float = hyper(0.1, "or lead of the nearest prototype's cosine above which it does", valid=(0, 2))
    width: int = hyper(32, "channels of the projection", valid=(1, None))
    noise: float = hyper(0.1, "standard deviation of the noise on the teacher's images", valid=(0, None))
    noise_clip: float = hyper(0.2, "largest absolute value of that noise", valid=(0, None))
    variant: str = variant("intended = the contrasts train the network; released = one does, on easy voxels")


class CVCL(TeacherStudent):
    """Supervised terms, a mean teacher on logits, and up to three contrasts."""

    Hyper = Hyper
    released_inert: ClassVar[Mapping[str, str]] = {"vcl_unlabelled": "its features are the teacher's, without gradient"}

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        if hyper.variant == "intended":
            self.projection = Projection(self.network.decoder_channels, hyper.width)
            self.teacher_projection = frozen_copy(self.projection)
            self.guide = PrototypeGuide(task.n_classes, hyper.width, confidence=hyper.confidence, margin=hyper.margin)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        h, label, images = self.hyper, batch.labelled.label, batch.images
        ramp = ramp_up(clock.progress, h.ramp)
        if h.variant == "released":
            return self._released(batch, h.weight * ramp)
        logits, maps = with_last_map(self.network, images)
        (labelled, unlabelled), (known, guessed) = batch.split(logits), batch.split(maps)
        with torch.no_grad():
            views = noisy(images, h.noise, h.noise_clip), batch.split(images)[1]
            (noisy_logits, clean_logits), (noisy_maps, clean_maps) = with_last_maps(self.teacher, *views)
        terms = supervised_terms(labelled, label, h.dice_share)
        terms["stability"] = h.weight * ramp * squared_difference(logits, noisy_logits)
        if not (h.pcl or h.vcl_labelled or h.vcl_unlabelled):
            return terms
        with torch.autocast(logits.device.type, enabled=False):
            guidance = self.guide.update(
                self.teacher_projection(batch.split(noisy_maps)[0]),
                own_probability(batch.split(noisy_logits)[0], label),
                self.teacher_projection(clean_maps),
                own_probability(clean_logits),
            )
            projected = self.projection(guessed) if h.pcl else None
            if projected is not None:
                terms["pcl"] = h.class_weight * ramp * self._class_contrast(projected, unlabelled, guidance)
            if h.vcl_labelled:
                terms["vcl_labelled"] = h.voxel_weight * self._voxel_contrast(known, label, labelled)
            if h.vcl_unlabelled:
                contrast = self._voxel_contrast(guessed, guidance.label, unlabelled, projected)
                terms["vcl_unlabelled"] = h.voxel_weight * ramp * contrast
        return terms

    def after_step(self, clock: Clock) -> None:
        super().after_step(clock)
        if self.hyper.variant == "intended":
            average_parameters(self.teacher_projection, self.projection, ema_decay(clock.step, self.hyper.ema_limit))

    def _class_contrast(self, vectors: Tensor, logits: Tensor, guidance: Guidance) -> Tensor:
        """The student's own prototypes of each unlabelled image against the teacher's of it and of others' classes."""
        confidence = own_probability(logits).flatten(2)
        queries = directions_sum(confidence, vectors)
        present, bank = guidance.present & (confidence.amax(dim=2) > 0), self.guide.bank
        return prototype_contrast(queries, guidance.keys, present, bank.vectors, bank.filled, self.hyper.temperature)

    def _voxel_contrast(self, maps: Tensor, label: Tensor, logits: Tensor, projected: Tensor | None = None) -> Tensor:
        """Contrast of few voxels; only through these flows gradient. ``projected`` = all of them, if at hand."""
        h, count = self.hyper, max(1, self.hyper.voxels // len(maps))
        if h.mining == "random":
            voxels = random_voxels(label, self.task.n_classes, count)
        else:
            predicted = most_probable(logits)
            hard = difference_part(label, predicted, self.task.n_classes)
            similarity = self.guide.prototypes.similarity_of(self.projection, maps, hard, projected)
            voxels = key_voxels(label, predicted, similarity, count, _HARD, hard)
        chosen = self.projection.at(maps, voxels.position).flatten(0, 1)
        of_chosen = voxels.label.flatten()
        return supervised_contrast(chosen, of_chosen, h.temperature, hardness=h.hardness) / cvcl_released.DIVISOR

    def _released(self, batch: Batch, weight: float) -> Terms:
        h, label, images = self.hyper, batch.labelled.label, batch.images
        maps = self.network.decode(self.network.encode(images))
        labelled, unlabelled = batch.split(self.network.head(maps))
        with torch.no_grad():
            taught = self.teacher.encode(batch.split(images)[1])
            last = self.teacher.decode(taught)
            probs = torch.softmax(self.teacher.head(last).float(), dim=1)
        trained = cvcl_released.labelled_contrast(batch.split(maps)[0], label, most_probable(labelled))
        inert = cvcl_released.unlabelled_contrast(taught[-1], last, probs, most_probable(unlabelled))
        return supervised_terms(labelled, label, h.dice_share) | {
            "vcl_labelled": h.voxel_weight * trained,
            "vcl_unlabelled": h.voxel_weight * weight * inert,
        }
