"""Checks of what a method keeps: side effects, checkpoints, predictions, pseudo labels, and that it learns."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets.types import IGNORE, Batch, Labelled
from methods.base import Clock, Method

from .phantom import images_and_labels, relabels, scribble_of, tiny_batch
from .rig import Rig, applies, differing, hidden_state, listed, require, state_of

TOTAL = 4
"""Steps of the short runs that are compared."""
LONG = 100
"""Steps of a run of which few are taken, scattered: some methods write what they keep every fifth step, or late."""
SCATTERED = (4, 9, LONG // 2, LONG - 1)
TRAINING_STEPS = 100
LEARNS_BY = 0.15
"""What 100 steps must add to the foreground Dice of an untrained network, on images that show the label plainly."""
HORIZON = 20_000
"""Steps in which a method that relabels must do so at least once."""


def check_no_side_effects(method_class: type[Method], **settings: Any) -> None:
    """A step leaves its batch alone, writes nothing that a checkpoint does not hold, and does not reseed the stream."""
    rig = Rig(method_class, settings=settings)
    batch = tiny_batch(method_class, rig.task)
    for step in (0, 1):
        rig.step(batch, Clock(step, TOTAL))
    before, inputs = hidden_state(rig.method), _tensors(batch)
    originals = {name: tensor.clone() for name, tensor in inputs.items()}
    for step in SCATTERED:
        rig.step(batch, Clock(step, LONG))
    changed = differing(originals, inputs)
    require(not changed, method_class, f"a step changes its input batch.{listed(changed)} in place")
    after = hidden_state(rig.method)
    written = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    text = f"a step writes what no checkpoint holds: {listed(written)}; make it a registered, persistent buffer"
    require(not written, method_class, text)
    streams = []
    for seed in (1, 2):
        rig.seed = seed
        rig.step(batch, Clock(3, TOTAL))
        streams.append(torch.get_rng_state())
    same = torch.equal(*streams)
    require(not same, method_class, "a step sets the seed of torch's stream itself")


def check_same_seed_same_result(method_class: type[Method], **settings: Any) -> None:
    """Three steps twice under the same torch seed end in the same state; other random streams have no say."""
    ends = []
    for other in (1, 2):
        random.seed(other)
        np.random.seed(other)  # noqa: NPY002 - the stream that must not be used
        rig = Rig(method_class, settings=settings)
        _train(rig, range(3))
        ends.append(state_of(rig.method))
    changed = differing(*ends)
    text = f"two runs under one torch seed end differently, in {listed(changed)}: draw with torch's current stream only"
    require(not changed, method_class, text)


def check_resume_is_exact(method_class: type[Method], **settings: Any) -> None:
    """A few steps, a checkpoint into a new instance and two more equal the same steps in one go, bit for bit."""
    through = Rig(method_class, settings=settings)
    _train(through, (0, *SCATTERED[::2]), LONG)
    started, saved = hidden_state(through.method), through.checkpoint()
    resumed = Rig(method_class, seed=1, settings=settings).resume(saved)
    resumed.seed = through.seed
    fresh = hidden_state(resumed.method)
    for rig in (through, resumed):
        _train(rig, (SCATTERED[2] + 1, SCATTERED[3]), LONG)
    changed = differing(state_of(through.method), state_of(resumed.method))
    lost = [name for name in started if started[name] != fresh.get(name)]
    cause = f"; not in the checkpoint: {listed(lost)}" if lost else "; something it needs is not in its state_dict"
    text = f"a resumed run differs from an uninterrupted one in {listed(changed, 2)}{cause}"
    require(not changed, method_class, text)


def check_evaluated_weights_are_saved_weights(method_class: type[Method], **settings: Any) -> None:
    """What ``predict`` says before saving, it says after loading the state_dict into a new instance."""
    trained = Rig(method_class, settings=settings)
    _train(trained, range(2))
    image = tiny_batch(method_class, trained.task).images
    loaded = Rig(method_class, seed=1, settings=settings).resume(trained.checkpoint())
    text = "after loading its checkpoint, a new instance predicts something else: what it predicts with is not saved"
    require(torch.equal(trained.predict(image), loaded.predict(image)), method_class, text)


def check_predict(method_class: type[Method], **settings: Any) -> None:
    """A float32 probability map per image, the same twice and alone, under autocast too, that changes nothing."""
    rig = Rig(method_class, settings=settings)
    _train(rig, range(1))
    image = tiny_batch(method_class, rig.task).images
    before = state_of(rig.method) | {f"mode of {n}": torch.tensor(m.training) for n, m in rig.method.named_modules()}
    kept, original = hidden_state(rig.method.eval()), image.clone()
    probs = rig.predict(image)
    rig_state = state_of(rig.method)
    changed = differing({n: v for n, v in before.items() if n in rig_state}, rig_state)
    require(not changed, method_class, f"predict() changes {listed(changed)}")
    hidden = [name for name, value in hidden_state(rig.method).items() if kept.get(name) != value]
    require(not hidden, method_class, f"predict() changes {listed(hidden)}")
    require(torch.equal(image, original), method_class, "predict() changes its image in place")
    _require_probabilities(method_class, rig, probs, image, "predict()")
    again = rig.predict(image)
    text = "predict() gives something else the second time: dropout in eval mode?"
    require(torch.equal(probs, again), method_class, text)
    alone = torch.cat([rig.predict(one[None]) for one in image])
    text = "predict() of an image depends on the other images of its batch: batch statistics in eval mode?"
    require(torch.allclose(probs, alone, atol=1e-4), method_class, text)
    with torch.autocast("cpu", torch.bfloat16):
        _require_probabilities(method_class, rig, rig.predict(image), image, "predict()", " under bfloat16 autocast")
    with torch.inference_mode():
        for name, predict in rig.method.other_predictions().items():
            _require_probabilities(method_class, rig, predict(image), image, f"other_predictions()[{name!r}]")


@applies(relabels)
def check_relabel(method_class: type[Method], **settings: Any) -> None:
    """Canonical integer maps that keep every annotated pixel, the same for a sample alone, twice in a row."""
    rig = Rig(method_class, settings=settings)
    _train(rig, range(2))
    rig.method.eval()
    samples = _hard_samples(method_class, rig)
    state, hidden = state_of(rig.method), hidden_state(rig.method)
    memory = None
    for _ in range(2):
        originals = {"image": samples.image.clone(), "label": samples.label.clone()}
        with torch.no_grad():
            made = rig.method.relabel(samples, memory)
            alone = rig.method.relabel(_first(samples), None if memory is None else memory[:1])
        changed = differing(originals, {"image": samples.image, "label": samples.label})
        require(not changed, method_class, f"relabel() changes its input {listed(changed)} in place")
        _require_label_map(method_class, rig, samples, made.label)
        text = "relabel() of a sample depends on the other samples of its call"
        # a network may round differently in another batch, and move a pixel over a threshold
        require((made.label[:1] != alone.label).float().mean() < 0.005, method_class, text)
        memory = made.memory
        kept = memory is None or (isinstance(memory, Tensor) and len(memory) == len(samples.image))
        require(kept, method_class, "relabel() returns a memory whose first axis is not the samples'")
    changed = differing(state, state_of(rig.method))
    changed += [name for name, value in hidden_state(rig.method).items() if hidden.get(name) != value]
    require(not changed, method_class, f"relabel() changes {listed(changed)}")


@applies(lambda m: relabels(m) or m.relabel_at is not Method.relabel_at)
def check_relabels_when_it_says(method_class: type[Method], **settings: Any) -> None:
    """``relabel`` and ``relabel_at`` come together, and the method leaves the calling to the trainer."""
    rig = Rig(method_class, settings=settings)
    when = [step for step in range(HORIZON) if rig.method.relabel_at(step)]
    require(when, method_class, f"defines relabel(), but relabel_at() never asks for it in {HORIZON} steps")
    require(relabels(method_class), method_class, f"relabel_at({when[0]}) asks for relabel(), which it does not define")

    def called(*_: object) -> None:
        require(False, method_class, "calls relabel() itself; the trainer does, where relabel_at() says so")

    object.__setattr__(rig.method, "relabel", called)
    rig.step(tiny_batch(method_class, rig.task), Clock(1, TOTAL))


@applies(lambda m: m.offline_labels)
def check_offline_labels_ignore_the_weights(method_class: type[Method], **settings: Any) -> None:
    """Maps that the runner keeps on disk are the same whatever was trained meanwhile, and nothing is remembered."""
    require(relabels(method_class), method_class, "says offline_labels but does not define relabel()")
    rig = Rig(method_class, settings=settings)
    samples = _hard_samples(method_class, rig)
    made = []
    for _ in range(2):
        rig.method.eval()
        with torch.no_grad():
            made.append(rig.method.relabel(samples, None))
        _train(rig, range(2))
        with torch.no_grad():
            for parameter in rig.method.parameters():
                parameter.add_(torch.randn_like(parameter))
    same = torch.equal(made[0].label, made[1].label) and made[0].memory is None
    text = "says offline_labels, but relabel() depends on the weights or returns a memory"
    require(same, method_class, text)
    late = [step for step in range(1, HORIZON) if rig.method.relabel_at(step)]
    require(not late, method_class, f"says offline_labels, but asks for labels again before step {late[:1]}")


def check_learns(method_class: type[Method], **settings: Any) -> None:
    """Slow: 100 steps on plain images beat the untrained network by the stated margin of foreground Dice."""
    rig = Rig(method_class, settings=settings)
    unseen, truth = images_and_labels(rig.task, 8, seed=99)
    untrained = _foreground_dice(rig.predict(unseen).argmax(1), truth, rig.task.n_classes)
    for step in range(TRAINING_STEPS):
        batch = tiny_batch(method_class, rig.task, labelled=4, unlabelled=4, relabelled=False)
        rig.step(batch, Clock(step, TRAINING_STEPS))
    trained = _foreground_dice(rig.predict(unseen).argmax(1), truth, rig.task.n_classes)
    text = f"it does not learn: its Dice is {untrained:.2f} untrained and {trained:.2f} after {TRAINING_STEPS} steps"
    require(trained >= untrained + LEARNS_BY, method_class, text)


# What the checks ask of single results ------------------------------------------------------------------------------
def _train(rig: Rig, steps: Iterable[int], total: int = TOTAL) -> None:
    """Some steps of a run; the unlabelled images differ from step to step, the labelled ones stay."""
    for step in steps:
        batch = tiny_batch(rig.method_class, rig.task, relabelled=False)
        if batch.unlabelled is not None:
            image = images_and_labels(rig.task, len(batch.unlabelled.image), seed=step)[0]
            batch = replace(batch, unlabelled=replace(batch.unlabelled, image=image))
        rig.step(batch, Clock(step, total))


def _tensors(batch: Batch) -> dict[str, Tensor]:
    found = {"labelled.image": batch.labelled.image, "labelled.label": batch.labelled.label}
    if batch.labelled.pseudo is not None:
        found["labelled.pseudo"] = batch.labelled.pseudo
    if batch.unlabelled is not None:
        found["unlabelled.image"] = batch.unlabelled.image
    if batch.shapes is not None:
        found["shapes"] = batch.shapes
    return found


def _require_probabilities(
    method_class: type[Method], rig: Rig, probs: Tensor, image: Tensor, hook: str, where: str = ""
) -> None:
    wanted = (len(image), rig.task.n_classes, *image.shape[2:])
    require(
        isinstance(probs, Tensor), method_class, f"{hook} returns {type(probs).__name__} instead of a tensor{where}"
    )
    text = f"{hook} returns shape {tuple(probs.shape)} instead of {wanted}{where}"
    require(tuple(probs.shape) == wanted, method_class, text)
    require(probs.dtype == torch.float32, method_class, f"{hook} returns {probs.dtype} instead of float32{where}")
    summed = (probs.sum(1) - 1).abs().max()
    good = bool((probs >= 0).all()) and summed <= 1e-5
    require(good, method_class, f"{hook} returns no probabilities: sums over classes are off by {summed:.2g}{where}")


def _require_label_map(method_class: type[Method], rig: Rig, samples: Labelled, label: Tensor) -> None:
    wanted = tuple(samples.label.shape)
    text = f"relabel() returns {label.dtype} of shape {tuple(label.shape)} instead of int64 of shape {wanted}"
    require(label.dtype == torch.int64 and tuple(label.shape) == wanted, method_class, text)
    strange = sorted(set(label.unique().tolist()) - {*range(rig.task.n_classes), IGNORE})
    require(not strange, method_class, f"relabel() returns label values {strange}; allowed: classes and IGNORE")
    annotated = samples.label != IGNORE
    overwritten = int((label[annotated] != samples.label[annotated]).sum())
    require(not overwritten, method_class, f"relabel() overwrites {overwritten} annotated pixels")


def _hard_samples(method_class: type[Method], rig: Rig) -> Labelled:
    """A scribbled sample that contradicts the image, a fully annotated one and one without any annotation."""
    image, dense = images_and_labels(rig.task, 3, seed=5)
    wrong = (dense + 1) % rig.task.n_classes
    label = torch.stack([scribble_of(wrong, seed=5)[0], wrong[1], torch.full_like(wrong[2], IGNORE)])
    return Labelled(image, label, None, ("contradicted", "full", "empty"))


def _first(samples: Labelled) -> Labelled:
    return Labelled(samples.image[:1], samples.label[:1], None, samples.keys[:1])


def _foreground_dice(made: Tensor, truth: Tensor, classes: int) -> float:
    """Mean over foreground classes, all samples pooled; every class is in the truth."""
    scores = []
    for k in range(1, classes):
        a, b = made == k, truth == k
        scores.append(2 * (a & b).sum().item() / (a.sum() + b.sum()).item())
    return sum(scores) / len(scores)
