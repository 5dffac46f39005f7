"""The check of what is tuned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from datasets.types import Batch
from methods.base import Clock, Method
from methods.hyper import space

from .phantom import tiny_batch
from .rig import Rig, differing, require, state_of, values

TOTAL = 1000
"""Steps of a run of which few are taken: the later ones with a teacher that is slow by then."""
STEPS = (0, TOTAL // 5, TOTAL // 2, TOTAL - 1)
CONFIDENT = 20.0
"""By what the last layer is multiplied: an untrained network passes no threshold of confidence."""


def check_no_idle_hyper(method_class: type[Method], **settings: Any) -> None:
    """Every hyper-parameter that is searched changes a loss term or what a few steps leave behind."""
    hyper = method_class.Hyper(**settings)
    for name, valid in space(hyper).items():
        ends = (valid.choices[0], valid.choices[-1]) if valid.choices else (valid.low, valid.high)
        kind = type(getattr(hyper, name))
        seen = [_outcome(method_class, settings | {name: kind(end)}) for end in ends]
        text = (
            f"hyper-parameter {name!r} is searched, and {ends[0]} and {ends[1]} train alike: use it, or declare it "
            "without search (only= where it acts in one variant)"
        )
        require(bool(differing(*seen)) or seen[0].keys() != seen[1].keys(), method_class, text)


def _noisy(batch: Batch) -> Batch:
    """With noise, without which pixels of one class are all alike, and without pseudo labels, which are to be made."""
    draw = torch.Generator().manual_seed(5)
    image = batch.labelled.image
    noise = 0.1 * torch.randn(image.shape, generator=draw)
    return replace(batch, labelled=replace(batch.labelled, image=image + noise, pseudo=None))


def _outcome(method_class: type[Method], settings: dict[str, Any]) -> dict[str, torch.Tensor]:
    rig = Rig(method_class, settings=settings)
    batch, found = _noisy(tiny_batch(method_class, rig.task)), dict[str, torch.Tensor]()
    with torch.no_grad():
        for head in (module for name, module in rig.method.named_modules() if name.rsplit(".", 1)[-1] == "head"):
            for p in head.parameters():
                p.mul_(CONFIDENT)
    relabelled = [step for step in range(1, TOTAL) if rig.method.relabel_at(step)][:1]
    for step in sorted({*STEPS, *relabelled}):
        terms = values(rig.step(batch, Clock(step, TOTAL)))
        rig.jolt()
        found |= {f"{name} at {step}": term for name, term in terms.items()}
    return found | state_of(rig.method)
