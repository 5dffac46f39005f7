"""Checks of what a method minimises: its loss terms, where their gradients go, and which data they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch, Task
from methods.base import MAIN, Clock, Method

from .phantom import images_and_labels, other_space, tiny_batch, with_label
from .rig import (
    GRADIENT_FLOOR,
    Descent,
    Rig,
    applies,
    differing,
    home_task,
    listed,
    parameters_of,
    require,
    saying,
    state_of,
    task_in,
    values,
)

PROBES = tuple(Clock(step, 101) for step in (0, 50, 100))
"""Progress 0, 1/2 and 1."""
PATIENCE = 20
"""Further steps at full progress that a term may need before it acts, as one of confident pixels does."""


@dataclass(frozen=True)
class Probe:
    """What three watched steps showed. ``patient`` holds the descents of a fourth, taken after ``PATIENCE`` more."""

    rig: Rig
    steps: tuple[list[Descent], ...]
    patient: list[Descent]
    stray: frozenset[str]
    written_after: frozenset[str]
    still: frozenset[str]

    @property
    def descents(self) -> list[Descent]:
        return [d for step in (*self.steps, self.patient) for d in step]


def check_terms_are_finite_scalars(method_class: type[Method], **settings: Any) -> None:
    """At progress 0, 1/2 and 1, in float32 and in bfloat16, under the same names."""
    probed = _probe(method_class, **settings)
    named = [{(d.player, term) for d in step for term in d.terms} for step in probed.steps]
    require(named[0], method_class, "step() never calls descend, or with no term")
    for step in probed.steps:
        _require_finite(method_class, step, "")
        every = [term for d in step for term in d.terms]
        twice = sorted({t for t in every if every.count(t) > 1})
        require(not twice, method_class, f"two descents of one step both have a term called {listed(twice)}")
    for i in (1, 2):
        changed = sorted({term for _, term in named[0] ^ named[i]})
        text = f"the names of its loss terms change over training: {listed(changed)} is not always there"
        require(not changed, method_class, text)
    rig = Rig(method_class, settings=settings)
    with torch.autocast("cpu", torch.bfloat16):
        made = rig.observe(tiny_batch(method_class, rig.task), PROBES[2])
    _require_finite(method_class, made, " under bfloat16 autocast")


def check_no_inert_term(method_class: type[Method], **settings: Any) -> None:
    """Every term of every descent sends gradient into the player that descends on it, at some point of training."""
    for task in _one_task_per_dimension(method_class):
        probed = _probe(method_class, task, **settings)
        reached: dict[str, float] = {}
        for d in probed.descents:
            for term, reach in d.reach.items():
                reached[term] = max([reached.get(term, 0.0), *(g for g in reach.values() if g is not None)])
        inert = {term for term, largest in reached.items() if not largest > GRADIENT_FLOOR}
        declared = _declared_inert(method_class, settings)
        for term in sorted(inert - set(declared)):
            require(False, method_class, f"loss term '{term}' sends no gradient to the network it should train")
        for term in sorted(set(declared) & (set(reached) - inert)):
            text = f"released_inert says that loss term '{term}' sends no gradient, but it does: delete the entry"
            require(False, method_class, text)
        for entry in declared:
            known = entry in reached or any(_under(entry, n) for n, _ in probed.rig.method.named_parameters())
            text = f"released_inert names '{entry}', which is neither a loss term nor a parameter"
            require(known, method_class, text)


def check_no_orphan_parameter(method_class: type[Method], **settings: Any) -> None:
    """Every trainable parameter is in exactly one optimizer, and some term of that player reaches it."""
    for task in _one_task_per_dimension(method_class):
        probed = _probe(method_class, task, **settings)
        method, players = probed.rig.method, probed.rig.players
        registered = {id(p) for p in method.parameters()}
        for player, optimizer in players.items():
            foreign = [p for group in optimizer.param_groups for p in group["params"] if id(p) not in registered]
            text = f"player '{player}' trains {len(foreign)} parameter(s) that the method's state_dict does not hold"
            require(not foreign, method_class, text)
        owners = {n: [p for p in players if n in probed.rig.parameters(p)] for n, _ in method.named_parameters()}
        trainable = [n for n, p in method.named_parameters() if p.requires_grad]
        declared = _declared_inert(method_class, settings)
        shared = [n for n in owners if len(owners[n]) > 1]
        require(not shared, method_class, f"in the optimizers of two players: {listed(shared)}")
        homeless = [n for n in trainable if not owners[n]]
        unreached = [n for n in _unreached(probed, method) if n in trainable and owners[n]]
        for entry in declared:
            under = [n for n in trainable if _under(entry, n)]
            trained = [n for n in under if n not in homeless and n not in unreached]
            text = f"released_inert says that '{entry}' is not trained, but {listed(trained)} is: delete the entry"
            require(not trained, method_class, text)
        homeless, unreached = (
            [n for n in group if not any(_under(entry, n) for entry in declared)] for group in (homeless, unreached)
        )
        require(not homeless, method_class, f"trainable but in no optimizer: {listed(homeless)}")
        require(not unreached, method_class, f"no loss term reaches what it trains: {listed(unreached)}")


def check_each_descent_moves_its_own_player(method_class: type[Method], **settings: Any) -> None:
    """A descent moves parameters of its player and of no other; nothing moves outside descents and after_step."""
    probed = _probe(method_class, **settings)
    for d in sorted(probed.descents, key=lambda d: d.player == MAIN):  # the guest is the intruder, not the host
        others = {n: p for p in probed.rig.players if p != d.player for n in probed.rig.parameters(p)}
        for name in sorted(d.moved & set(others)):
            text = f"the descent of player '{d.player}' moves '{name}', which player '{others[name]}' trains"
            require(False, method_class, text)
        require(d.moved, method_class, f"the descent of player '{d.player}' moves no parameter")
    stray = sorted(probed.stray)
    require(not stray, method_class, f"step() moves parameters outside descend: {listed(stray)}")
    idle = [p for p in probed.rig.players if p not in {d.player for d in probed.descents}]
    require(not idle, method_class, f"no descent is ever made for player {listed(idle)}")


def check_teachers_are_frozen_and_follow(method_class: type[Method], **settings: Any) -> None:
    """``after_step`` writes only parameters that no optimizer trains, and no frozen parameter is left behind."""
    probed = _probe(method_class, **settings)
    trainable = {n for n, p in probed.rig.method.named_parameters() if p.requires_grad}
    written = sorted(probed.written_after & trainable)
    text = f"after_step() writes parameters that gradients train too: freeze them (requires_grad): {listed(written)}"
    require(not written, method_class, text)
    text = f"frozen, and moved by nothing during training: {listed(sorted(probed.still))}"
    require(not probed.still, method_class, text)


def check_uses_labels(method_class: type[Method], **settings: Any) -> None:
    """Some term changes when the annotation changes."""
    seen = _data_use(method_class, **settings)
    require(seen.by_label, method_class, "no loss term changes when the labels change")


@applies(lambda m: m.supervision == "semi")
def check_uses_unlabelled_images(method_class: type[Method], **settings: Any) -> None:
    """Some term changes when the unlabelled images change, in evaluation mode: batch statistics do not count."""
    seen = _data_use(method_class, **settings)
    require(seen.by_unlabelled, method_class, "no loss term changes when the unlabelled images change")


@applies(lambda m: m.supervision == "semi")
def check_supervised_target_ignores_unlabelled_images(method_class: type[Method], **settings: Any) -> None:
    """A term that learns from the labels does not move with the unlabelled images."""
    seen = _data_use(method_class, **settings)
    text = f"every term that uses the labels changes with the unlabelled images too: {listed(sorted(seen.by_label))}"
    require(seen.by_label - seen.by_unlabelled, method_class, text)


@applies(lambda m: m.supervision == "scribble")
def check_unannotated_pixels_get_no_gradient_from_labels(method_class: type[Method], **settings: Any) -> None:
    """A term that depends on the scribbles sends gradient to no logit of an unscribbled pixel.

    Five classes, which no hidden map of the tiny network has as channels, tell logits from other maps. Pseudo labels
    say no more than the scribbles here.
    """
    rig = Rig(method_class, home_task(method_class, classes=5), settings=settings).jolt()
    loaded = tiny_batch(method_class, rig.task)
    batch = with_label(loaded, loaded.labelled.label)
    relevant = _data_use(method_class, **settings).by_label
    with _logits(rig.method, rig.task) as outputs:
        descents = rig.observe(batch, PROBES[2], evaluating=True)
    unknown = (batch.labelled.label == IGNORE)[:, None]
    terms = {name: value for d in descents for name, value in d.terms.items() if name in relevant}
    maps = [o for o in outputs if len(o) == len(unknown) and o.requires_grad]
    for name, term in terms.items():
        for gradient in torch.autograd.grad(term, maps, retain_graph=True, allow_unused=True) if maps else ():
            if gradient is not None and (gradient * unknown).abs().max() > GRADIENT_FLOOR:
                text = f"loss term '{name}' follows the labels and sends gradient to logits where the label is IGNORE"
                require(False, method_class, text)


def check_schedules_follow_progress(method_class: type[Method], **settings: Any) -> None:
    """Twice the steps, the same progress, the same networks: the same terms."""
    for step in (0, 30, 80, 100):
        seen = []
        for clock in (Clock(step, 101), Clock(2 * step, 201)):
            rig = Rig(method_class, settings=settings)
            batch = tiny_batch(method_class, rig.task)
            rig.step(batch, Clock(0, clock.total))  # fills banks
            rig.jolt()
            seen.append(values(rig.observe(batch, clock)))
        changed = differing(*seen)
        text = f"at progress {step / 100:g}, loss term '{''.join(changed[:1])}' depends on the number of steps too"
        require(not changed, method_class, text)


def check_batches_of_any_size(method_class: type[Method], **settings: Any) -> None:
    """One labelled image (per view), more labelled than unlabelled ones, images that are not square."""
    task = home_task(method_class)
    for labelled, unlabelled, space in ((1, 2, None), (3, 1, None), (2, 3, other_space(task))):
        if task.ndim == 3 and labelled == 1:
            space = other_space(task)
        batch = tiny_batch(method_class, task, labelled=labelled, unlabelled=unlabelled, space=space)
        with saying(method_class, f"with {_sizes(batch)}"):
            rig = Rig(method_class, task, settings=settings)
            _require_finite(method_class, rig.step(batch, PROBES[1]), f" with {_sizes(batch)}")
            made = tuple(rig.predict(batch.images).shape)
        wanted = (len(batch.images), task.n_classes, *batch.images.shape[2:])
        require(made == wanted, method_class, f"predict() returns shape {made} instead of {wanted}")


def check_degenerate_labels(method_class: type[Method], **settings: Any) -> None:
    """Only background, nothing annotated at all, or a class absent: finite terms, gradients and predictions."""
    task = home_task(method_class)
    loaded = tiny_batch(method_class, task)
    label = loaded.labelled.label
    for what, degenerate in (
        ("only background", torch.where(label == IGNORE, IGNORE, 0)),
        ("nothing annotated", torch.full_like(label, IGNORE)),
        ("a class absent", torch.where(label == task.n_classes - 1, 0, label)),
    ):
        rig = Rig(method_class, task, settings=settings)
        batch = with_label(loaded, degenerate)
        for clock in PROBES[::2]:
            with saying(method_class, f"with {what}"):
                _require_finite(method_class, rig.step(batch, clock), f" with {what}")
            broken = [n for n, p in rig.method.named_parameters() if not torch.isfinite(p).all()]
            require(not broken, method_class, f"a step with {what} leaves '{listed(broken, 1)}' not finite")
        finite = torch.isfinite(rig.predict(batch.images)).all()
        require(finite, method_class, f"predictions are not finite after training with {what}")


# Evidence, gathered once per method ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class DataUse:
    """Names of the terms that move with the labels, and with the unlabelled images."""

    by_label: frozenset[str]
    by_unlabelled: frozenset[str]


def _cached(gather: Callable[..., Any]) -> Callable[..., Any]:
    remembered = lru_cache(maxsize=8)(lambda m, task, settings: gather(m, task, **dict(settings)))
    return lambda m, task=None, **settings: remembered(m, task or home_task(m), tuple(sorted(settings.items())))


@_cached
def _probe(method_class: type[Method], task: Task, **settings: Any) -> Probe:
    rig = Rig(method_class, task, settings=settings).jolt()
    batch = tiny_batch(method_class, task)
    steps: list[list[Descent]] = []
    stray: set[str] = set()
    written: set[str] = set()
    moved: set[str] = set()
    for clock in PROBES:
        start = parameters_of(rig.method)
        steps.append(rig.step(batch, clock, watch=True, after=False))
        stepped = parameters_of(rig.method)
        with torch.no_grad():
            rig.method.after_step(clock)
        ended = parameters_of(rig.method)
        stray |= rig.stray
        written.update(differing(stepped, ended))
        moved.update(differing(start, ended))
    patient: list[Descent] = []
    if any(not _acts(term, steps) for d in steps[-1] for term in d.terms):
        for _ in range(PATIENCE):
            rig.step(batch, PROBES[-1])
        patient = rig.step(batch, PROBES[-1], watch=True)
    frozen = {n for n, p in rig.method.named_parameters() if not p.requires_grad}
    return Probe(rig, tuple(steps), patient, frozenset(stray), frozenset(written), frozenset(frozen - moved))


@_cached
def _data_use(method_class: type[Method], task: Task, **settings: Any) -> DataUse:
    loaded = tiny_batch(method_class, task)
    label = loaded.labelled.label
    rotated = torch.where(label == IGNORE, IGNORE, (label + 1) % task.n_classes)
    batches = [loaded, with_label(loaded, rotated)]
    if loaded.unlabelled is not None:
        other = images_and_labels(task, len(loaded.unlabelled.image), seed=77)[0]
        batches.append(replace(loaded, unlabelled=replace(loaded.unlabelled, image=other)))
    rig = Rig(method_class, task, settings=settings)
    rig.step(loaded, PROBES[0])  # fills banks
    changed: list[frozenset[str]] = []
    for patience in (0, PATIENCE):  # an untrained network may say one class everywhere, whatever the image
        for _ in range(patience):
            rig.step(loaded, PROBES[2])
        changed = _changed_terms(rig.jolt(), batches)
        if all(changed):
            break
    return DataUse(changed[0], changed[1] if len(changed) > 1 else frozenset())


def _changed_terms(rig: Rig, batches: list[Batch]) -> list[frozenset[str]]:
    """Names of the terms that differ between the first batch and each of the others, the method's state being equal."""
    start, seen = state_of(rig.method), []
    for batch in batches:
        rig.method.load_state_dict(start)
        seen.append(values(rig.observe(batch, PROBES[2], evaluating=True)))
    return [frozenset(differing(seen[0], other)) for other in seen[1:]]


def _one_task_per_dimension(method_class: type[Method]) -> Iterator[Task]:
    home = home_task(method_class)
    yield home
    for ndim in method_class.ndims:
        task = None if ndim == home.ndim else task_in(method_class, ndim, classes=home.n_classes)
        if task is not None:
            yield task


def _unreached(probed: Probe, method: nn.Module) -> list[str]:
    """Parameters that no term is connected to, or whose whole layer gets exactly zero.

    Zero alone is no fault: a bias before batch normalisation has no effect, so its gradient is nothing but rounding.
    """
    reached: dict[str, float] = {}
    for d in probed.descents:
        for reach in d.reach.values():
            for name, largest in reach.items():
                if largest is not None:
                    reached[name] = max(reached.get(name, 0.0), largest)
    acting = {name.rpartition(".")[0] for name, largest in reached.items() if largest > GRADIENT_FLOOR}
    return [n for n, _ in method.named_parameters() if n not in reached or n.rpartition(".")[0] not in acting]


def _acts(term: str, steps: list[list[Descent]]) -> bool:
    found = [d.reach[term] for step in steps for d in step if term in d.reach]
    return any(g is not None and g > GRADIENT_FLOOR for reach in found for g in reach.values())


def _declared_inert(method_class: type[Method], settings: dict[str, Any]) -> dict[str, str]:
    return dict(method_class.released_inert) if settings.get("variant") == "released" else {}


def _under(prefix: str, name: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _require_finite(method_class: type[Method], descents: list[Descent], where: str) -> None:
    for d in descents:
        for name, value in d.terms.items():
            require(torch.isfinite(value), method_class, f"loss term '{name}' is {value.item()}{where}")


def _sizes(batch: Batch) -> str:
    others = "" if batch.unlabelled is None else f" and {len(batch.unlabelled.image)} unlabelled"
    return f"{len(batch.labelled.image)} labelled{others} images of {tuple(batch.images.shape[2:])}"


@contextmanager
def _logits(method: nn.Module, task: Task) -> Iterator[list[Tensor]]:
    """Collects the maps with one channel per class and full resolution that any module puts out."""
    found: dict[int, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.shape[1:] == (task.n_classes, *task.patch):
            found[id(output)] = output

    outputs: list[Tensor] = []
    hooks = [module.register_forward_hook(keep) for module in method.modules()]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()
        outputs.extend(found.values())
