"""The contract of a loss: a pure function in ``methods/losses`` whose arguments go by the names that the field uses.

A check is ``check_xxx(loss)``. Arguments are made up from their names (``logits``, ``probs``, ``label``, ``target``,
``image``); a loss that needs others has tests of its own only.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from datasets.types import IGNORE
from methods import losses

Loss = Callable[..., Tensor]

KNOWN = ("logits", "probs", "label", "target", "image")
CLASSES = 3
SHAPE = (2, 6, 8)
STEP = 1e-2
"""Of the central difference; losses compute in float32, so that a smaller one meets rounding."""


def discovered() -> Iterator[tuple[str, Loss]]:
    """``(name, function)`` of every public loss of predictions whose required arguments are known by name."""
    for module in pkgutil.iter_modules(losses.__path__):
        found = importlib.import_module(f"{losses.__name__}.{module.name}")
        for name, value in vars(found).items():
            if inspect.isfunction(value) and value.__module__ == found.__name__ and not name.startswith("_"):
                asked = _required(value)
                if set(asked) <= set(KNOWN) and {"logits", "probs"} & set(asked):
                    yield f"{module.name}.{name}", value


def takes_label(loss: Loss) -> bool:
    """Whether the loss compares with a label map."""
    return "label" in _required(loss)


def check_value_is_a_finite_float32(loss: Loss) -> None:
    """A scalar (a map ``(n, *space)`` if its name says so), in float32 also for bfloat16 inputs and certain ones."""
    for dtype in (torch.float32, torch.bfloat16):
        for scale in (1.0, 100.0):
            given = _arguments(loss, scale=scale)
            made = loss(**{n: v.to(dtype) if v.is_floating_point() else v for n, v in given.items()})
            wanted = SHAPE if loss.__name__.endswith("map") else ()
            assert tuple(made.shape) == wanted, f"shape {tuple(made.shape)} instead of {wanted}"
            assert made.dtype == torch.float32, f"{made.dtype} for inputs of {dtype}"
            assert torch.isfinite(made).all(), f"not finite for logits of order {scale:g}"


def check_gradient_is_the_difference_quotient(loss: Loss) -> None:
    """Along a random direction of the prediction, by central differences, within 2 %."""
    given = _arguments(loss)
    name = _prediction(loss)
    at = given[name].requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(**given).sum(), at)
    direction = torch.randn_like(at)
    if name == "probs":
        direction = direction - direction.mean(1, keepdim=True)  # stays on the simplex
    moved = [loss(**given | {name: (at + sign * STEP * direction).detach()}).sum() for sign in (1, -1)]
    quotient = (moved[0] - moved[1]) / (2 * STEP)
    slope = (gradient * direction).sum()
    # the scale of what could have cancelled in the sum, against rounding
    assert abs(slope - quotient) <= 0.02 * abs(slope) + 1e-3 * (gradient * direction).abs().sum(), (slope, quotient)


def check_a_volume_of_depth_one_is_its_image(loss: Loss) -> None:
    """Two dimensions are three with one plane, wherever the plane's axis stands."""
    given = _arguments(loss)
    flat = loss(**given)
    for axis in (2, 3, 4):
        deep = {n: v.unsqueeze(axis if v.ndim == len(SHAPE) + 1 else axis - 1) for n, v in given.items()}
        torch.testing.assert_close(loss(**deep).reshape(flat.shape), flat)


def check_a_doubled_batch_is_the_batch(loss: Loss) -> None:
    """Samples repeated change nothing: a mean over the batch is taken, not a sum."""
    given = _arguments(loss)
    once, twice = loss(**given), loss(**{n: torch.cat([v, v]) for n, v in given.items()})
    torch.testing.assert_close(twice[: len(once)] if once.ndim else twice, once, rtol=1e-4, atol=1e-6)


def check_inputs_are_not_modified(loss: Loss) -> None:
    """Arguments are the same afterwards."""
    given = _arguments(loss)
    kept = {name: value.clone() for name, value in given.items()}
    loss(**given)
    changed = [name for name in given if not torch.equal(given[name], kept[name])]
    assert not changed, f"{changed} changed in place"


def check_better_costs_less(loss: Loss) -> None:
    """Perfect, half right, all wrong: about 0, more, and more again."""
    label = _arguments(loss)["label"]
    wrong = (label + 1) % CLASSES
    half = label.clone()
    half[..., ::2] = wrong[..., ::2]
    costs = [float(loss(**_arguments(loss) | _saying(loss, said, label))) for said in (label, half, wrong)]
    assert 0 <= costs[0] < 0.01, f"a perfect prediction costs {costs[0]}"
    assert costs[0] + 0.1 < costs[1] < costs[2] - 0.1, f"perfect, half, wrong cost {costs}"


def check_ignored_pixels_do_not_count(loss: Loss) -> None:
    """Predictions where the label is IGNORE change nothing and take no gradient."""
    given = _arguments(loss)
    given["label"][:, :, ::2] = IGNORE
    name = _prediction(loss)
    unknown = (given["label"] == IGNORE)[:, None]
    other = _arguments(loss, seed=9)[name]
    value = loss(**given)
    torch.testing.assert_close(loss(**given | {name: torch.where(unknown, other, given[name])}), value)
    at = given[name].requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(**given), at)
    assert not (gradient * unknown).any(), "gradient where the label is IGNORE"
    assert gradient.any(), "no gradient where the label is known"


def check_nothing_annotated_costs_nothing(loss: Loss) -> None:
    """All IGNORE: 0, with zero gradient, and still something to descend on."""
    given = _arguments(loss)
    given["label"].fill_(IGNORE)
    at = given[_prediction(loss)].requires_grad_(True)
    value = loss(**given)
    (gradient,) = torch.autograd.grad(value, at)
    assert value.item() == 0, f"costs {value.item()}"
    assert not gradient.any(), "gradient without a label"


OF_ALL: tuple[Callable[[Loss], None], ...] = (
    check_value_is_a_finite_float32,
    check_gradient_is_the_difference_quotient,
    check_a_volume_of_depth_one_is_its_image,
    check_a_doubled_batch_is_the_batch,
    check_inputs_are_not_modified,
)
OF_LABELS: tuple[Callable[[Loss], None], ...] = (
    check_better_costs_less,
    check_ignored_pixels_do_not_count,
    check_nothing_annotated_costs_nothing,
)


def checks_for(loss: Loss) -> tuple[Callable[[Loss], None], ...]:
    """The checks that apply, by the loss's arguments."""
    return OF_ALL + (OF_LABELS if takes_label(loss) else ())


def _required(loss: Loss) -> list[str]:
    parameters = inspect.signature(loss).parameters.values()
    return [p.name for p in parameters if p.default is inspect.Parameter.empty]


def _prediction(loss: Loss) -> str:
    return next(name for name in _required(loss) if name in ("logits", "probs"))


def _arguments(loss: Loss, *, seed: int = 0, scale: float = 1.0) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    n, *space = SHAPE
    logits = scale * torch.randn(n, CLASSES, *space, generator=draw)
    made = {
        "logits": logits,
        "probs": torch.softmax(logits, dim=1),
        "label": torch.randint(0, CLASSES, SHAPE, generator=draw),
        "target": torch.softmax(torch.randn(n, CLASSES, *space, generator=draw), dim=1),
        "image": torch.randn(n, 1, *space, generator=draw),
    }
    return {name: made[name] for name in _required(loss)}


def _saying(loss: Loss, said: Tensor, label: Tensor) -> dict[str, Tensor]:
    """A prediction that is certain of ``said``, beside the label."""
    certain = 20 * torch.nn.functional.one_hot(said, CLASSES).movedim(-1, 1).float()
    name = _prediction(loss)
    return {"label": label, name: certain if name == "logits" else torch.softmax(certain, dim=1)}
