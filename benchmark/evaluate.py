"""Case-level prediction in native geometry (slices, sliding windows) and its scores. Methods never see a label here."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from datasets.base import Vault
from datasets.resample import resize, resize_labels
from datasets.types import IGNORE, Case, Task
from methods.labels import most_probable

from .device import autocast
from .metrics import failure_scores, measure
from .plan import Training
from .record import METRICS, Score
from .stepping import as_written

WINDOWS_PER_BATCH = {2: 16, 3: 4}
"""Slices or windows per forward pass: bounds memory, changes no number."""


class Predicts(Protocol):
    """A method, or another network of one."""

    def predict(self, image: Tensor, /) -> Tensor:
        """See ``Method.predict``."""

    def eval(self) -> object:
        """Into the mode in which it predicts."""

    def name(self) -> str:
        """Of the method, for messages."""


class BadPrediction(ArithmeticError):
    """``predict`` returned NaN: the case is scored as failed."""


@torch.no_grad()
def predict_case(
    method: Predicts, case: Case, task: Task, training: Training, *, device: torch.device, dtype: torch.dtype
) -> np.ndarray:
    """The predicted label map of one case, in its native geometry.

    2-D tasks: each image or slice is resized to the patch and back (probabilities linearly, then argmax; or, with
    ``interpolation="nearest"``, the label map by nearest neighbour as the released code does). 3-D tasks: windows of
    the patch's size, evenly averaged, no test-time augmentation, no post-processing.

    Args:
        method: in eval mode.
        case: its ``label`` is never looked at.

    Returns:
        ``(*space)`` uint8.

    Raises:
        BadPrediction: probabilities are NaN.
    """
    image = torch.from_numpy(np.ascontiguousarray(case.image))
    patch = training.patch or task.patch
    with as_written(device):
        if task.ndim == 3:
            found = _windows(method, image, patch, task, training.strides(patch), device, dtype)
        else:
            slices = image.transpose(0, 1) if image.ndim == 4 else image[None]
            found = _slices(method, slices, patch, task, training.interpolation, device, dtype)
            found = found if image.ndim == 4 else found[0]
    return found.numpy()


def of_classes(maps: np.ndarray, label: np.ndarray) -> np.ndarray:
    """``maps`` with background wherever ``label`` is of no class, both ``(*space)`` uint8: nothing is scored there."""
    void = label == IGNORE
    return np.where(void, np.uint8(0), maps) if void.any() else maps


def score_case(prediction: np.ndarray | None, case: Case, task: Task, selection: str) -> list[Score]:
    """All metrics of every foreground class; ``prediction`` None = the case failed.

    Volumes of a single slice are measured as the 2-D image that they are.
    """
    assert case.label is not None
    label = of_classes(case.label, case.label)
    prediction = None if prediction is None else of_classes(prediction, case.label)
    spacing = case.spacing if task.unit == "mm" else None
    keep = [axis for axis, n in enumerate(label.shape) if n > 1]
    if len(keep) < label.ndim and len(keep) >= 2:
        label = label.squeeze()
        prediction = None if prediction is None else prediction.squeeze()
        spacing = None if spacing is None else tuple(spacing[axis] for axis in keep)
    settings: dict[str, Any] = {"classes": task.n_classes, "spacing": spacing}
    settings["tolerance"] = task.tolerance or (1.0,) * (task.n_classes - 1)
    measured = failure_scores(label, **settings) if prediction is None else measure(prediction, label, **settings)
    return [
        Score(
            selection=selection,
            case=case.key,
            group=case.group,
            class_name=task.classes[m.label],
            status=m.status,
            unit="px" if spacing is None else "mm",
            diagonal=m.diagonal,
            diagonal_vox=m.diagonal_vox,
            values=tuple(getattr(m, name) for name in METRICS),
        )
        for m in measured
    ]


def evaluate(
    method: Predicts,
    vault: Vault,
    keys: Sequence[str],
    training: Training,
    selection: str,
    *,
    spent: list[float] | None = None,
    **where: Any,
) -> Iterator[tuple[Case, np.ndarray | None, list[Score]]]:
    """Predict and score cases one by one; the label is read after the prediction is made.

    An accelerator predicts the next case while this one is scored. A CPU does not: there, scoring would take its time
    from the prediction, and add it to what the record says that a prediction takes.

    Args:
        method, vault, keys, training: what predicts, which cases, and how.
        selection: name of the weights, for the scores.
        spent: gets the seconds of each prediction, from the image in memory to the label map in native geometry.
        where: device and precision.

    Raises:
        SealedLabel: a test case while the vault is closed.
    """
    task = vault.dataset.task
    method.eval()
    ahead = 0 if where["device"].type == "cpu" else 1
    waiting: deque[tuple[Case, np.ndarray | None, Future[list[Score]]]] = deque()
    with ThreadPoolExecutor(max_workers=1) as scorer:
        for key in keys:
            image, began = vault.image(key), time.perf_counter()
            try:
                prediction: np.ndarray | None = predict_case(method, image, task, training, **where)
            except BadPrediction:
                prediction = None
            if spent is not None:
                spent.append(time.perf_counter() - began)
            case = vault.case(key)
            waiting.append((case, prediction, scorer.submit(score_case, prediction, case, task, selection)))
            while len(waiting) > ahead:
                yield _scored(*waiting.popleft())
        while waiting:
            yield _scored(*waiting.popleft())


def _scored(
    case: Case, prediction: np.ndarray | None, scores: Future[list[Score]]
) -> tuple[Case, np.ndarray | None, list[Score]]:
    """Waits for the scores; an error in them is raised here."""
    return case, prediction, scores.result()


def validation_dice(
    method: Predicts,
    vault: Vault,
    keys: Sequence[str],
    training: Training,
    *,
    heartbeat: Callable[[], None] = lambda: None,
    **where: Any,
) -> float:
    """Mean Dice over foreground classes, then cases, of validation cases; a class in neither map is left out.

    NaN if no class occurs anywhere. Counts only: no distances, so it is cheap enough to be on by default.
    ``heartbeat`` is called before every case.
    """
    task = vault.dataset.task
    method.eval()
    means = []
    for key in keys:
        heartbeat()
        case = vault.case(key)
        try:
            prediction = predict_case(method, case.without_label(), task, training, **where)
        except BadPrediction:
            means.append(0.0)
            continue
        assert case.label is not None
        predicted, label = (of_classes(each, case.label) for each in (prediction, case.label))
        per_class = _dice(predicted, label, task.n_classes)
        if np.isfinite(per_class).any():
            means.append(float(np.nanmean(per_class)))
    return float(np.mean(means)) if means else float("nan")


def windows(size: int, patch: int, stride: int) -> list[int]:
    """Starts of windows along one axis: ceil((size - patch) / stride) + 1 of them, the last flush with the end.

    Source: UA-MT, https://github.com/yulequan/UA-MT/blob/88ed29a/code/test_util.py

    >>> windows(100, 40, 20), windows(30, 40, 20)
    ([0, 20, 40, 60], [0])
    """
    if size <= patch:
        return [0]
    return [min(i * stride, size - patch) for i in range(-(-(size - patch) // stride) + 1)]


def _slices(
    method: Predicts,
    slices: Tensor,
    patch: Sequence[int],
    task: Task,
    mode: str,
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    native = tuple(slices.shape[2:])
    found, broken = [], []
    for chunk in resize(slices.to(device), patch, mode).split(WINDOWS_PER_BATCH[2]):
        probs = _probabilities(method, chunk, device, dtype)
        broken.append(probs.isnan().any())
        if mode == "nearest":
            labels = resize_labels(most_probable(probs).to(torch.uint8), native)
        else:
            labels = most_probable(resize(probs, native, "linear")).to(torch.uint8)
        found.append(labels)
    _require_numbers(method, torch.stack(broken))
    return torch.cat(found).cpu()


def _windows(
    method: Predicts,
    image: Tensor,
    patch: Sequence[int],
    task: Task,
    strides: Sequence[int],
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    space = tuple(image.shape[1:])
    short = [max(0, p - s) for p, s in zip(patch, space, strict=True)]
    pads = [side for lack in reversed(short) for side in (lack // 2, lack - lack // 2)]
    if any(pads):
        floor = image.amin(dim=tuple(range(1, image.ndim)), keepdim=True)
        image = torch.nn.functional.pad(image - floor, pads) + floor
    image = image.to(device)
    padded = tuple(image.shape[1:])
    starts = list(itertools.product(*(windows(*each) for each in zip(padded, patch, strides, strict=True))))
    total = torch.zeros((task.n_classes, *padded), device=device)
    for i in range(0, len(starts), WINDOWS_PER_BATCH[3]):
        boxes = [
            tuple(slice(a, a + p) for a, p in zip(s, patch, strict=True)) for s in starts[i : i + WINDOWS_PER_BATCH[3]]
        ]
        probs = _probabilities(method, torch.stack([image[(slice(None), *box)] for box in boxes]), device, dtype)
        for box, prob in zip(boxes, probs, strict=True):
            total[(slice(None), *box)] += prob
    _require_numbers(method, total.isnan())
    inner = tuple(slice(lack // 2, lack // 2 + s) for lack, s in zip(short, space, strict=True))
    return most_probable(total[(slice(None), *inner)].unsqueeze(0))[0].to(torch.uint8).cpu()


def _probabilities(method: Predicts, images: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    layout = torch.channels_last if images.ndim == 4 else torch.channels_last_3d
    with autocast(device, dtype):
        return method.predict(images.to(device).contiguous(memory_format=layout)).float()


def _require_numbers(method: Predicts, broken: Tensor) -> None:
    """Asked once per case: the host waits for the device here."""
    if broken.any():
        raise BadPrediction(f"{method.name()}: predict returned NaN")


def _dice(prediction: np.ndarray, label: np.ndarray, classes: int) -> np.ndarray:
    """Dice per foreground class, NaN where a class is in neither map."""
    joint = np.bincount(prediction.ravel().astype(np.int64) * classes + label.ravel(), minlength=classes**2)
    table = joint.reshape(classes, classes)
    tp, size = np.diag(table), table.sum(0) + table.sum(1)
    with np.errstate(invalid="ignore"):
        return (2 * tp / np.where(size == 0, np.nan, size))[1:]
