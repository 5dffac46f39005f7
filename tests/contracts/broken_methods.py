"""Methods with one planted fault each; ``test_broken_methods.py`` says which check must report it, in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from datasets.types import IGNORE, Batch, Labelled, Task
from methods.base import MAIN, Build, Clock, Descend, Method, Relabelled, Terms, frozen_copy
from methods.hyper import HyperBase, hyper

from .toy_methods import (
    Adversarial,
    Contrast,
    Ensemble,
    MeanTeacher,
    Relabeller,
    SemiHyper,
    TwofoldHyper,
    partial_ce,
    probs_of,
)


class InertConsistency(MeanTeacher):
    """The student's output is read from the teacher's: a tensor is compared with itself."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms, target = super().losses(batch, clock), self.target(batch)
        return terms | {"consistency": (target - target).square().mean()}


class DetachedContrast(Contrast):
    """The feature map is stored detached, so that the contrast trains the projector at most, and here not even that."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        return terms | {"contrast": terms["contrast"].detach()}


class ArgmaxAdversary(Adversarial):
    """The critic of the segmenter's term sees an argmax."""

    released_inert: ClassVar[Mapping[str, str]] = {}

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, unlabelled = batch.split(self.network(batch.images))
        hard = F.one_hot(unlabelled.argmax(1), self.task.n_classes).movedim(-1, 1).float()
        return {
            "supervised": partial_ce(labelled, batch.labelled.label),
            "adversarial": self.hyper.weight * F.softplus(-self.critic(hard)).mean(),
        }


class UntrainedHeads(Contrast):
    """The projector is in no optimizer."""

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {MAIN: base(self.network.parameters())}


class UnusedDecoder(MeanTeacher):
    """An auxiliary decoder that no term looks at."""

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.auxiliary = self.network.new_decoder()


class SharedParameters(Adversarial):
    """The critic's optimizer holds the segmenter too, so that a critic step moves the segmenter."""

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        return {MAIN: base(self.network.parameters()), "critic": Adam(self.parameters(), lr=1e-3)}

    def critic_losses(self, batch: Batch) -> Terms:
        labelled, unlabelled = batch.split(self.critic(probs_of(self.network(batch.images))))
        return {"critic": F.softplus(-labelled).mean() + F.softplus(unlabelled).mean()}


class ClippedInStep(Adversarial):
    """Moves the critic's parameters by hand, between descents."""

    def step(self, batch: Batch, clock: Clock, descend: Descend) -> None:
        super().step(batch, clock, descend)
        with torch.no_grad():
            for p in self.critic.parameters():
                p.mul_(0.9)


class TrainableTeacher(MeanTeacher):
    """The teacher is not frozen: gradients train what the average overwrites."""

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, build)
        self.teacher.requires_grad_(True)


class ForgottenTeacher(MeanTeacher):
    """The average is never taken."""

    def after_step(self, clock: Clock) -> None:
        pass


class TeacherOutsideCheckpoint(MeanTeacher):
    """The teacher hangs in a plain list, where no state_dict finds it."""

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        Method.__init__(self, task, hyper, build)
        self.held = [frozen_copy(self.network)]

    @property
    def teacher(self) -> nn.Module:
        return self.held[0]


class EvaluatesUnsavedTeacher(TeacherOutsideCheckpoint):
    """Predicts with a teacher that no checkpoint holds."""

    def predict(self, image: Tensor) -> Tensor:
        return probs_of(self.teacher.eval()(image))


class ForgetfulBank(Contrast):
    """The bank is not in the checkpoint: a resumed run starts with an empty one."""

    persistent: ClassVar[bool] = False


class CountsSteps(MeanTeacher):
    """Keeps its own count of steps in an attribute."""

    seen = 0

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        self.seen += 1
        terms = super().losses(batch, clock)
        return terms | {"consistency": terms["consistency"] * min(1.0, self.seen / 3)}


class RampByStep(MeanTeacher):
    """Its weight depends on the step, so that a longer run ramps up elsewhere."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        return terms | {"consistency": terms["consistency"] * min(1.0, (1 + clock.step) / 1000)}


class LabelLeak(MeanTeacher):
    """Looks at the labels of unlabelled images."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        peek = partial_ce(self.network(batch.unlabelled.image), batch.unlabelled.label)
        return super().losses(batch, clock) | {"peek": peek}


class IgnoresUnlabelled(MeanTeacher):
    """Passes the unlabelled images through the network and compares nothing of them."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, _ = batch.split(self.network(batch.images))
        return {"supervised": partial_ce(labelled, batch.labelled.label), "size": 0.1 * labelled.square().mean()}


class IgnoresLabels(MeanTeacher):
    """Its supervised term is one of entropy."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        probs = probs_of(self.network(batch.labelled.image))
        entropy = -(probs * probs.clamp_min(1e-6).log()).sum(1).mean()
        return super().losses(batch, clock) | {"supervised": entropy}


class TargetFromUnlabelled(MeanTeacher):
    """Mixes unlabelled images into the supervised ones, and keeps their labels."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        n = min(len(batch.labelled.image), len(batch.unlabelled.image))
        mixed = batch.labelled.image[:n] + batch.unlabelled.image[:n]
        supervised = partial_ce(self.network(mixed), batch.labelled.label[:n])
        return super().losses(batch, clock) | {"supervised": supervised}


class UnknownIsBackground(Relabeller):
    """Takes unscribbled pixels for background."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        logits, label = self.network(batch.labelled.image), batch.labelled.label
        filled = torch.where(label == IGNORE, 0, label)
        return super().losses(batch, clock) | {"scribble": partial_ce(logits, filled)}


class NotANumber(MeanTeacher):
    """Cross-entropy averaged over annotated pixels, without a thought for a batch that has none."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, _ = batch.split(self.network(batch.images))
        plain = F.cross_entropy(labelled.float(), batch.labelled.label, ignore_index=IGNORE)
        return super().losses(batch, clock) | {"supervised": plain}


class EqualHalves(MeanTeacher):
    """Pairs labelled with unlabelled images by position."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        labelled, unlabelled = self.network(batch.images).chunk(2)
        return {"supervised": partial_ce(labelled, batch.labelled.label), "size": unlabelled.square().mean()}


@dataclass(frozen=True)
class _Idle(SemiHyper):
    threshold: float = hyper(0.5, "confidence above which a pixel counts", valid=(0, 1), search=(0.1, 0.9))


class IdleThreshold(MeanTeacher):
    """Declares a threshold, searches it, and forgets it."""

    Hyper = _Idle


class NotAScalar(MeanTeacher):
    """Returns a term per sample."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        return terms | {"consistency": terms["consistency"].expand(2)}


class ReturnsTheSum(MeanTeacher):
    """Returns one number, as a loss function does elsewhere."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return sum(super().losses(batch, clock).values())  # type: ignore[return-value]


class WritesEveryFifthStep(MeanTeacher):
    """Measures a threshold now and then and keeps it as a number."""

    threshold = 1.0

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        if clock.step % 5 == 4:
            self.threshold = 0.5 * self.threshold
        return terms | {"consistency": terms["consistency"] * self.threshold}


class SchedulesByItself(Adversarial):
    """Its critic's rate falls by a scheduler, which no checkpoint holds."""

    def optimizers(self, base: Callable[[Iterable[nn.Parameter]], Optimizer]) -> Mapping[str, Optimizer]:
        players = super().optimizers(base)
        self.schedule = torch.optim.lr_scheduler.StepLR(players["critic"], step_size=10)
        return players

    def after_step(self, clock: Clock) -> None:
        self.schedule.step()


class TeacherOfLabels(MeanTeacher):
    """Its teacher, tested beside it, says labels."""

    def other_predictions(self) -> Mapping[str, Callable[[Tensor], Tensor]]:
        return {"teacher": lambda image: self.teacher(image).argmax(1)}


class InColour(InertConsistency):
    """Takes images of three channels alone."""

    @classmethod
    def unsupported(cls, task: Task) -> str | None:
        return super().unsupported(task) if task.channels == 3 else f"{cls.name()} needs 3 channels"


class OnLargePatches(InertConsistency):
    """Takes patches of a side of 64 at least."""

    @classmethod
    def unsupported(cls, task: Task) -> str | None:
        return super().unsupported(task) if min(task.patch) >= 64 else f"{cls.name()} needs sides of 64 or more"


class RefusesAll(MeanTeacher):
    """Takes nothing."""

    @classmethod
    def unsupported(cls, task: Task) -> str | None:
        return "it rains"


class ComesAndGoes(MeanTeacher):
    """A term is there only in the second half of training."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        return terms if clock.progress >= 0.5 else {"supervised": terms["supervised"]}


class ChangesItsInput(MeanTeacher):
    """Normalises the images in place."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        batch.labelled.image.sub_(batch.labelled.image.mean())
        return super().losses(batch, clock)


class Reseeds(MeanTeacher):
    """Sets the seed of the global stream, for repeatable noise."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        torch.manual_seed(42)
        return super().losses(batch, clock)


class DrawsWithNumpy(MeanTeacher):
    """Draws its noise from NumPy's global stream."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        terms = super().losses(batch, clock)
        return terms | {"consistency": terms["consistency"] * (1 + np.random.rand())}  # noqa: NPY002


class PredictsInTrainMode(MeanTeacher):
    """Predicts with dropout and batch statistics, and so moves the running ones."""

    def predict(self, image: Tensor) -> Tensor:
        self.network.train()
        return super().predict(image)


class PredictsWithDropout(MeanTeacher):
    """Dropout is on while predicting."""

    def predict(self, image: Tensor) -> Tensor:
        return super().predict(F.dropout(image, 0.5, training=True))


class PredictsTheBatch(MeanTeacher):
    """Normalises over the batch before predicting."""

    def predict(self, image: Tensor) -> Tensor:
        return super().predict(image - 3 * image.mean(dim=0, keepdim=True))


class PredictsLogits(MeanTeacher):
    """Forgets the softmax."""

    def predict(self, image: Tensor) -> Tensor:
        return self.network(image).float()


class PredictsInHalf(MeanTeacher):
    """Leaves its probabilities in whatever precision autocast gave the network."""

    def predict(self, image: Tensor) -> Tensor:
        return torch.softmax(self.network(image), dim=1, dtype=self.network(image).dtype)


class Overwrites(Relabeller):
    """Its predictions replace the scribbles."""

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        made = super().relabel(samples, memory)
        return Relabelled(self.predict(samples.image).argmax(1), made.memory)


class InventsClasses(Relabeller):
    """Marks unsure pixels by -1 instead of IGNORE."""

    def relabel(self, samples: Labelled, memory: Tensor | None) -> Relabelled:
        made = super().relabel(samples, memory)
        return Relabelled(torch.where(made.label == IGNORE, -1, made.label), made.memory)


class NeverAsks(Relabeller):
    """Defines relabel, and relabel_at says never."""

    def relabel_at(self, step: int) -> bool:
        return False


class RelabelsItself(Relabeller):
    """Makes pseudo labels inside its losses."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        self.relabel(batch.labelled, None)
        return super().losses(batch, clock)


class PretendsOffline(Relabeller):
    """Its labels are its predictions, and it says that they follow from the data alone."""

    offline_labels: ClassVar[bool] = True


class NoReason(MeanTeacher):
    """Declares 2-D and does not say why not 3-D."""

    ndims: ClassVar[tuple[int, ...]] = (2,)

    @classmethod
    def unsupported(cls, task: Task) -> str | None:
        return None


class Mistyped(MeanTeacher):
    """Learns from scribbles, it means to say."""

    supervision: ClassVar[Any] = "scribbles"


class OneChannel(MeanTeacher):
    """Builds its network for one channel, whatever the task has."""

    def __init__(self, task: Task, hyper: Any, build: Build) -> None:
        super().__init__(task, hyper, lambda **fields: build(**{"channels": 1} | fields))


@dataclass(frozen=True)
class UndocumentedHyper(HyperBase):
    weight: float = hyper(1.0, " ", valid=(0, None))
    noise: float = hyper(0.1, "noise", valid=(0, None))


class Undocumented(MeanTeacher):
    """A hyper-parameter without help."""

    Hyper = UndocumentedHyper


@dataclass(frozen=True)
class WideSearchHyper(HyperBase):
    weight: float = hyper(1.0, "weight", valid=(0, 1), search=(0.1, 10))
    noise: float = hyper(0.1, "noise", valid=(0, None))


class SearchesTooFar(MeanTeacher):
    """Searched beyond what is valid."""

    Hyper = WideSearchHyper


class StaleClaim(Adversarial):
    """Says that a term of its released variant is inert, which it is not."""

    Hyper = TwofoldHyper
    released_inert: ClassVar[Mapping[str, str]] = {"adversarial": "as released", "supervised": "not so"}


class LearnsNothing(Ensemble):
    """Climbs instead of descending."""

    def losses(self, batch: Batch, clock: Clock) -> Terms:
        return {name: -0.01 * term for name, term in super().losses(batch, clock).items()}
