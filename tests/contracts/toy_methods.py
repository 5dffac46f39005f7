"""Small correct methods, one per kind of hook: what the suite must let pass, and the ground of the broken examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from datasets.types import IGNORE, Batch, Labelled, Task
from methods.base import MAIN, Build, Clock, Descend, Method, Relabelled, Terms, frozen_copy
from methods.hyper import HyperBase, hyper, variant

BANK = 16


@dataclass(frozen=True)
class SemiHyper(HyperBase):
    weight: float = hyper(1.0, "weight of the unlabelled term", valid=(0, None), search=(0.1, 10, "log"))
    noise: float = hyper(0.1, "standard deviation of the teacher's noise", valid=(0, None))


@dataclass(frozen=True)
class TwofoldHyper(HyperBase):
    weight: float = hyper(0.1, "weight of the adversarial term", valid=(0, None), search=(0.01, 1, "log"))
    variant: str = variant()


@dataclass(frozen=True)
class ScribbleHyper(HyperBase):
    threshold: float = hyper(0.6, "probability above which a prediction is a label", valid=(0, 1), search=(0.5, 0.9))


def partial_ce(logits: Tensor, label: Tensor) -> Tensor:
    """Mean over annotated pixels; 0 without any."""
    summed = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum")
    return summed / (label != IGNORE).sum().clamp_min(1)


def probs_of(logits: Tensor) -> Tensor:
    return torch.softmax(logits.float(), dim=1)


class MeanTeacher(Method):
    """A teacher, a noisy consistency term with a ramp, and an average in ``after_step``."""

    Hyper = SemiHyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.teacher = frozen_copy(self.network)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, unlabelled = batch.split(self.network(batch.images))
        weight = self.hyper.weight * math.exp(-5 * (1 - clock.progress) ** 2)
        return {
            "supervised": partial_ce(labelled, batch.labelled.label),
            "consistency": weight * (probs_of(unlabelled) - self.target(batch)).square().mean(),
        }

    @torch.no_grad()
    def target(self, batch: Batch) -> Tensor:
        image = batch.unlabelled.image
        return probs_of(self.teacher(image + self.hyper.noise * torch.randn_like(image)))

    def after_step(self, clock: Clock) -> None:
        for mine, theirs in zip(self.teacher.parameters(), self.network.parameters(), strict=True):
            mine.lerp_(theirs, 0.1)


class Adversarial(Method):
    """A critic as a second player; its released variant shows it an argmax."""

    Hyper = TwofoldHyper
    released_inert: ClassVar[Mapping[str, str]] = {"adversarial": "the released critic sees an argmax"}

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        conv = nn.Conv2d if task.ndim == 2 else nn.Conv3d
        self.critic = nn.Sequential(conv(task.n_classes, 4, 3, stride=2), nn.LeakyReLU(), conv(4, 1, 3, stride=2))

    def shown(self, logits: Tensor) -> Tensor:
        if self.hyper.variant == "released":
            return F.one_hot(logits.argmax(1), self.task.n_classes).movedim(-1, 1).float()
        return probs_of(logits)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, unlabelled = batch.split(self.network(batch.images))
        return {
            "supervised": partial_ce(labelled, batch.labelled.label),
            "adversarial": self.hyper.weight * F.softplus(-self.critic(self.shown(unlabelled))).mean(),
        }

    def critic_losses(self, batch: Batch) -> Terms:
        with torch.no_grad():
            shown = self.shown(self.network(batch.images))
        labelled, unlabelled = batch.split(self.critic(shown))
        return {"critic": F.softplus(-labelled).mean() + F.softplus(unlabelled).mean()}

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        descend(self.losses(batch, clock))
        descend(self.critic_losses(batch), "critic")

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {MAIN: base(self.network.parameters()), "critic": Adam(self.critic.parameters(), lr=1e-3)}


class Ensemble(Method):
    """Two networks that teach each other and predict together."""

    Hyper = SemiHyper

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.second = build()

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        (la, ua), (lb, ub) = (batch.split(net(batch.images)) for net in (self.network, self.second))
        label = batch.labelled.label
        cross = partial_ce(ua, ub.detach().argmax(1)) + partial_ce(ub, ua.detach().argmax(1))
        return {
            "supervised": partial_ce(la, label) + partial_ce(lb, label),
            "cross": self.hyper.weight * clock.progress * cross,
        }

    def predict(self, image: Tensor) -> Tensor:
        return (probs_of(self.network(image)) + probs_of(self.second(image))) / 2


class Contrast(Method):
    """A projector and a bank of past features, which the unlabelled images are kept away from."""

    Hyper = SemiHyper
    persistent: ClassVar[bool] = True

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.projector = nn.Linear(self.network.decoder_channels, 8)
        self.register_buffer("bank", torch.zeros(BANK, 8), persistent=self.persistent)

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        maps = self.network.decode(self.network.encode(batch.images))
        labelled, _ = batch.split(self.network.head(maps))
        pooled = F.normalize(self.projector(maps.flatten(2).mean(2)), dim=1)
        towards, away = batch.split(pooled)
        similarity = (away @ self.bank.clone().T).exp().mean()
        self.bank.copy_(torch.cat([towards.detach(), self.bank])[:BANK])
        return {
            "supervised": partial_ce(labelled, batch.labelled.label),
            "contrast": self.hyper.weight * similarity,
        }


class Relabeller(Method):
    """Scribbles that confident averaged predictions extend."""

    Hyper = ScribbleHyper
    supervision: ClassVar[Literal["full", "semi", "scribble"]] = "scribble"

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        logits, samples = self.network(batch.labelled.image), batch.labelled
        guessed = samples.label if samples.pseudo is None else samples.pseudo
        beyond = torch.where(samples.label == IGNORE, guessed, IGNORE)
        return {"scribble": partial_ce(logits, samples.label), "pseudo": partial_ce(logits, beyond)}

    def relabel_at(self, step: int) -> bool:
        return step > 0 and step % 20 == 0

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        probs = self.predict(samples.image)
        average = probs if memory is None else (probs + memory) / 2
        confidence, made = average.max(1)
        sure = torch.where(confidence > self.hyper.threshold, made, IGNORE)
        return Relabelled(torch.where(samples.label == IGNORE, sure, samples.label), average)


class TwoViews(Method):
    """Facts rather than hooks: two views, unpaired shapes, one dimension only."""

    Hyper = SemiHyper
    ndims: ClassVar[tuple[int, ...]] = (3,)
    views: ClassVar[int] = 2
    wants_shapes: ClassVar[bool] = True

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, unlabelled = batch.split(self.network(batch.images))
        one, two = labelled.chunk(2)
        label_one, label_two = batch.labelled.label.chunk(2)
        wanted = F.one_hot(batch.shapes, self.task.n_classes).float().flatten(0, -2).mean(0)
        sizes = probs_of(unlabelled).mean(dim=(0, *range(2, unlabelled.ndim)))
        return {
            "first": partial_ce(one, label_one),
            "second": partial_ce(two, label_two),
            "sizes": self.hyper.weight * (sizes - wanted).square().sum(),
        }


CORRECT: tuple[type[Method], ...] = (MeanTeacher, Adversarial, Ensemble, Contrast, Relabeller, TwoViews)
