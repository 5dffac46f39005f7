"""Two branches see complementary parts of an image; together they label it, and a critic knows real shapes.

Paper: Li, Zheng and Wu, "Shape-aware adversarial learning for scribble-supervised medical image segmentation with a
MaskMix Siamese network", Bioengineering 2024.
Code: https://github.com/lichen14/MaskMixAdv/blob/eb170d6/code/train_weakly_supervised_segmentation_pCE_MaskMixAdv.py
Differences: intended, two segmentation decoders, and both branches reconstruct what they do not see; the critic judges
one-hot maps that carry the gradient of the probabilities, after a warm-up; each sample has its own mask. Released: one
segmentation decoder, one mask per batch, reconstruction by the first branch only, and a critic of class indices; an
argmax has no gradient. Only images are masked, not features. The first branch predicts whole images with the statistics
of masked ones (``bn: masked``, as released) or of whole ones (``full``), or both predict a masked pair (``pair``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from datasets.types import Batch, Task

from ..base import MAIN, Build, Clock, Descend, Method, Terms, as_judge
from ..hyper import HyperBase, hyper, variant
from ..labels import most_probable
from ..losses.adversarial import as_made, as_real, straight_through
from ..losses.consistency import squared_difference
from ..losses.cross_entropy import cross_entropy
from ..losses.overlap import dice_loss, one_hot
from ..networks.discriminators import PatchCritic
from ..networks.statistics import kept_statistics
from ..perturb import checkerboard, visible_cells
from ..schedules import rise

CRITIC = "critic"


@dataclass(frozen=True)
class Hyper(HyperBase):
    """Defaults of the released code; the four switches give the rows of the paper's ablation."""

    mask: bool = hyper(True, "two masked branches; without: the partial cross-entropy of whole images")
    reconstruct: bool = hyper(True, "reconstruct what a branch does not see")
    pseudo: bool = hyper(True, "learn from the mixed pseudo labels")
    adversary: bool = hyper(True, "learn from the critic")
    ce_weight: float = hyper(10.0, "weight of the scribbles", valid=(0, None))
    reconstruct_weight: float = hyper(10.0, "weight of the reconstruction", valid=(0, None), search=(0.1, 100, "log"))
    pseudo_weight: float = hyper(0.5, "weight of the pseudo labels", valid=(0, None), search=(0.05, 50, "log"))
    adversary_weight: float = hyper(0.1, "weight of either player", valid=(0, None), search=(0.001, 1, "log"))
    warm_up: float = hyper(0.1, "share of training before the adversary, and of its linear rise then", valid=(0, 0.5))
    cell: int = hyper(8, "side of the square cells that are visible or hidden, in pixels", valid=(1, None))
    visible: float = hyper(0.5, "share of the cells that the first branch sees", valid=(0.05, 0.95))
    shared: bool = hyper(False, "one mask for all samples of a batch")
    bn: str = hyper("masked", "how whole images are predicted, see the module", choices=("masked", "full", "pair"))
    critic_lr: float = hyper(1e-4, "learning rate of the critic", valid=(0, None), search=(1e-5, 1e-3, "log"))
    critic_width: int = hyper(64, "channels of the critic's first level", valid=(1, None))
    variant: str = variant()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.mask and (self.reconstruct or self.pseudo or self.adversary):
            raise ValueError("mask=False leaves nothing to reconstruct, mix or judge: set those three to False as well")


class MaskMixAdv(Method):
    """Scribbles, reconstruction, mixed pseudo labels and a critic of shapes; two players."""

    Hyper = Hyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"
    ndims: ClassVar[tuple[int, ...]] = (2,)
    wants_shapes: ClassVar[bool] = True
    released_inert: ClassVar[Mapping[str, str]] = {"adversarial": "the critic sees an argmax, which has no gradient"}

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.released = hyper.variant == "released"
        if hyper.mask and not self.released:
            self.second = self.network.new_decoder()
        if hyper.reconstruct:
            self.reconstructor = self.network.new_decoder(task.channels)
        if hyper.adversary:  # last, so that the others start as they would without it
            self.critic = PatchCritic(1 if self.released else task.n_classes, ndim=2, width=hyper.critic_width)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return self._segmenter(batch, clock)[0]

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        terms, made = self._segmenter(batch, clock)
        descend(terms)
        if made is not None:
            if batch.shapes is None:
                raise ValueError("mask_mix_adv needs unpaired masks: name their source, or set adversary to False")
            real = batch.shapes.unsqueeze(1).float() if self.released else one_hot(batch.shapes, self.task.n_classes)
            verdicts = {"critic_real": as_real(self.critic(real)), "critic_made": as_made(self.critic(made.detach()))}
            descend({k: self.hyper.adversary_weight / 2 * v for k, v in verdicts.items()}, player=CRITIC)

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        players = {MAIN: base([p for name, p in self.named_parameters() if not name.startswith(CRITIC)])}
        if self.hyper.adversary:
            players[CRITIC] = Adam(self.critic.parameters(), lr=self.hyper.critic_lr)
        return players

    def predict(self, image: Tensor) -> Tensor:
        if not (self.hyper.mask and self.hyper.bn == "pair"):
            return super().predict(image)
        seen = checkerboard(image.shape[2:], cell=self.hyper.cell, device=image.device)
        first, second = (torch.softmax(logits.float(), dim=1) for logits in self._branches(image, seen)[1])
        return torch.where(seen, first, second)

    def _segmenter(self, batch: Batch, clock: Clock) -> tuple[Terms, Tensor | None]:
        """Its terms, and the prediction as the critic sees it, if there is a critic."""
        h, image, label = self.hyper, batch.labelled.image, batch.labelled.label
        if not h.mask:
            return {"partial_ce": h.ce_weight * cross_entropy(self.network(image), label)}, None
        n = 1 if h.shared or self.released else len(image)
        seen = visible_cells(n, image.shape[2:], cell=h.cell, share=h.visible, device=image.device)
        seen = seen.expand(len(image), -1, -1, -1)
        with kept_statistics(self) if h.bn == "full" else nullcontext():
            features, logits = self._branches(image, seen)
        terms = {"partial_ce": h.ce_weight * (cross_entropy(logits[0], label) + cross_entropy(logits[1], label)) / 2}
        if h.reconstruct:
            pairs = list(zip(features, (seen, ~seen), strict=True))[: 1 if self.released else 2]
            errors = [squared_difference(self.reconstructor(f), image, ~part[:, 0]) for f, part in pairs]
            terms["reconstruction"] = h.reconstruct_weight * torch.stack(errors).mean()
        first, second = (torch.softmax(z.float(), dim=1) for z in logits)
        mixed = torch.where(seen, first, second)
        if h.pseudo:
            pseudo = most_probable(mixed)
            terms["pseudo"] = h.pseudo_weight * (dice_loss(first, pseudo) + dice_loss(second, pseudo)) / 2
        shown = None
        if h.adversary:
            shown = mixed.argmax(dim=1, keepdim=True).float() if self.released else straight_through(mixed)
            with as_judge(self.critic):
                verdict = self.critic(shown)
            share = 1.0 if self.released else rise(clock.progress, h.warm_up, 2 * h.warm_up)
            terms["adversarial"] = h.adversary_weight * share * as_real(verdict)
        if h.bn == "full":
            with torch.no_grad():
                self.network(image)
        return terms, shown

    def _branches(self, image: Tensor, seen: Tensor) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Features and logits of the branch that sees ``seen`` and of that which sees the rest; what is hidden is 0."""
        features = [self.network.encode(image * part) for part in (seen, ~seen)]
        first = self.network.head(self.network.decode(features[0]))
        second = self.network.head(self.network.decode(features[1])) if self.released else self.second(features[1])
        return features, [first, second]
