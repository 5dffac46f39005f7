"""What tests of strong views share: views that draw nothing, slow pseudo labels, and who is shown what."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datasets.types import IGNORE, Batch
from methods.base import Method
from tests.reference import losses as reference
from tests.unit.semi_toys import method, toy_batch


def side(ndim: int) -> int:
    return 16 if ndim == 2 else 8


def toys(name: str, ndim: int, **hyper: object) -> tuple[Method, Batch]:
    size = side(ndim)
    return method(name, ndim=ndim, side=size, **hyper), toy_batch(ndim=ndim, side=size)


def strongly(image: Tensor) -> Tensor:
    """A strong view that draws nothing."""
    return 0.5 * image + 0.3


def sure(logits: np.ndarray, threshold: float) -> Tensor:
    """Pixel by pixel: the class of the largest probability if that reaches the threshold."""
    probs = reference.softmax(logits)
    label = np.full(probs[:, 0].shape, IGNORE)
    for at in np.ndindex(*label.shape):
        column = probs[(at[0], slice(None), *at[1:])]
        if column.max() >= threshold:
            label[at] = column.argmax()
    return torch.from_numpy(label)


def dice(logits: np.ndarray, label: Tensor) -> float:
    return reference.dice_loss(reference.softmax(logits), label.numpy())


def watched(network: nn.Module) -> list[tuple[Tensor, bool, bool]]:
    """What its encoder is given from now on, whether it is in training mode, and whether gradient is kept."""
    shown: list[tuple[Tensor, bool, bool]] = []
    network.encoder.register_forward_pre_hook(
        lambda part, given: shown.append((given[0].detach().clone(), part.training, torch.is_grad_enabled()))
    )
    return shown


def assert_same_gradients(term: Tensor, expected: Tensor, m: Method) -> None:
    """Of the network's parameters; of the same value too."""
    assert term.item() == pytest.approx(expected.item(), rel=1e-4)
    of = list(m.network.parameters())
    found, wanted = (torch.autograd.grad(t, of, retain_graph=True) for t in (term, expected))
    largest = max(g.abs().max().item() for g in wanted)
    assert largest > 0
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * largest)


def fixed_boxes(n: int, space: tuple[int, ...]) -> list[Tensor]:
    """Two different boxes for each sample but the last, which has none."""
    boxes = []
    for start in (1, 3):
        box = torch.zeros(n, 1, *space, dtype=torch.bool)
        box[:-1][(slice(None), slice(None), *[slice(start, start + 4)] * len(space))] = True
        boxes.append(box)
    return boxes


def fix_views(monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> list[dict[str, object]]:
    """Let a method's strong views and boxes draw nothing; the second view is not the first. Returns what is asked."""
    asked: list[dict[str, object]] = []

    def jittered(image: Tensor, **how: object) -> Tensor:
        asked.append(how)
        return strongly(image) + 0.2 * (sum("brightness" in one for one in asked) % 2)

    def blurred(image: Tensor, **how: object) -> Tensor:
        asked.append(how)
        return image.roll(1, -1)

    def boxes(n: int, space: tuple[int, ...], **how: object) -> Tensor:
        asked.append(how)
        return fixed_boxes(n, space)[sum("device" in one for one in asked) % 2 - 1]

    for name, view in (("jittered", jittered), ("blurred", blurred), ("mix_boxes", boxes)):
        monkeypatch.setattr(module, name, view)
    return asked


def strong_views(image: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Boxes, and images with the image before each pasted into them."""
    found = []
    for box, plus in zip(fixed_boxes(len(image), tuple(image.shape[2:])), (0.2, 0.0), strict=True):
        view = (strongly(image) + plus).roll(1, -1)
        before = torch.stack([view[k - 1] for k in range(len(image))])
        found.append((box, box * before + ~box * view))
    return found
