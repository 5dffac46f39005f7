"""Checks of what a dataset says of itself and of its cases: card, task, keys, arrays, geometry, scribbles."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np
import torch

from benchmark.evaluate import predict_case, score_case
from benchmark.record import METRICS
from benchmark.training import Training
from datasets.types import IGNORE, Card, Task

from .specimen import Specimen, folds_of

HEADINGS = ("Source:", "Licence:", "Layout:", "Classes:", "Spacing:", "Protocol:")
SCRIBBLE_ERRORS = 5e-4  # published scribbles contradict the label in 1 of 9000 voxels (ACDC)


def check_identity(make: Specimen) -> None:
    """Module name, one documented class, a complete card, options that are a frozen dataclass with defaults."""
    module, dataset = inspect.getmodule(make.cls), make()
    assert module is not None
    text = module.__doc__ or ""
    absent = [heading for heading in HEADINGS if heading not in text]
    assert not absent, f"{make.name}: the module's docstring lacks {absent}"
    assert dataset.name == make.name == dataset.task.name, f"{make.name}: the task is called {dataset.task.name!r}"
    assert isinstance(make.cls.card, Card), f"{make.name}: card must be a Card"
    texts = ("title", "source", "licence", "how_to_get", "layout", "spacing", "protocol")
    empty = [text for text in texts if not getattr(make.cls.card, text).strip()]
    assert not empty, f"{make.name}: the card says nothing on {empty}"
    options = make.cls.Options
    assert options.__dataclass_params__.frozen, f"{make.name}: Options must be a frozen dataclass"  # type: ignore[attr-defined]
    options()
    length = len(inspect.getsource(module).splitlines())
    assert length <= 150, f"{make.name}: its file has {length} lines; 150 is the limit"


def check_task(make: Specimen) -> None:
    """Background first; dimensions, channels, unit and annotations true of the cases, and known before the disk is."""
    dataset = make()
    task, nominal = dataset.task, make.cls.nominal_task(dataset.options)
    assert task.classes[0] == "background", f"{make.name}: class 0 must be background, not {task.classes[0]!r}"
    for field in ("name", "ndim", "channels", "n_classes", "annotations"):
        ours, known = getattr(task, field), getattr(nominal, field)
        assert ours == known, f"{make.name}: {field} is {known} before the folder is read and {ours} after"
    keys = [key for key, group in dataset.groups().items() if group in dataset.partition(1).train]
    for key in keys[:20]:
        case = dataset.check(dataset.load(key))
        assert (case.spacing is not None) == (task.unit == "mm"), (
            f"{make.name}: {key} contradicts the unit {task.unit!r}"
        )
        for kind, found in (("dense", case.label), ("scribble", case.scribble)):
            assert (found is not None) == (kind in task.annotations), (
                f"{make.name}: {key}: {kind} is not as the task says"
            )


def check_cases(make: Specimen) -> None:
    """Unique, sorted, whatever the order in which the file system lists files; every case in exactly one part."""
    root = make.root()
    dataset = make(root)
    keys = list(dataset.groups())
    assert keys, f"{make.name}: no case"
    assert keys == sorted(set(keys)), f"{make.name}: cases must be unique and sorted"
    original = Path.glob
    with mock.patch.object(Path, "glob", lambda self, pattern: iter(sorted(original(self, pattern), reverse=True))):
        again = list(make(root).groups())
    assert keys == again, f"{make.name}: the cases depend on the file system's order"
    for fold in folds_of(dataset):
        part = dataset.partition(fold)
        placed = {*part.train, *part.val, *part.test}
        unplaced = sorted(set(dataset.groups().values()) ^ placed)
        assert not unplaced, f"{make.name}: fold {fold}: groups {unplaced[:3]} are in no part, or are no case's"


def check_load(make: Specimen) -> None:
    """Valid against the task, named as asked, equal when loaded again, and not shared between loads."""
    dataset = make()
    for key, group in itertools.islice(dataset.groups().items(), 20):
        case = dataset.check(dataset.load(key))
        assert (case.key, case.group) == (key, group), f"{make.name}: asked for {key}, got {case.key} of {case.group}"
        before = [None if a is None else a.copy() for a in (case.image, case.label, case.scribble)]
        for array in (case.image, case.label, case.scribble):
            if array is not None:
                array[...] = 0
        again = dataset.load(key)
        after = (again.image, again.label, again.scribble)
        for what, old, new in zip(("image", "label", "scribble"), before, after, strict=True):
            same = (old is None and new is None) or np.array_equal(old, new)  # type: ignore[arg-type]
            assert same, f"{make.name}: {key}: {what} differs when loaded again, or after the first was changed"


def check_truth(make: Specimen) -> None:
    """Axes, orientation and spacing are those of the files, none swapped and none mirrored."""
    assert make.miniature is not None
    assert make.miniature.TRUTH, f"{make.name}: the miniature must state TRUTH for some case"
    dataset = make()
    for key, truth in make.miniature.TRUTH.items():
        case = dataset.load(key)
        assert case.space == truth.space, f"{make.name}: {key} has space {case.space}, on disk it is {truth.space}"
        if truth.spacing is None:
            assert case.spacing is None, f"{make.name}: {key}: spacing {case.spacing} was guessed"
        else:
            np.testing.assert_allclose(
                case.spacing or (), truth.spacing, rtol=1e-6, err_msg=f"{make.name}: {key}: spacing"
            )
        if truth.label is not None:
            assert np.array_equal(case.label, truth.label), f"{make.name}: {key}: the label is moved or mirrored"
        if truth.brightest is not None:
            image, star = case.image[0], truth.brightest
            axes = [axis for axis, n in enumerate(image.shape) if n != 2 * star[axis] + 1]  # mirroring moves it
            mirrored = [image[_mirror(star, image.shape, axis)] for axis in axes]
            assert image[star] == image.max() > max(mirrored), f"{make.name}: {key}: the image is moved or mirrored"


def check_geometry(make: Specimen) -> None:
    """Native space -> samples -> native space loses nothing: an identity predictor gets Dice 1 and HD95 0."""
    dataset = make()
    task = dataset.task
    test = dataset.partition(1).test
    for key in [key for key, group in dataset.groups().items() if group in test][:3]:
        case = dataset.load(key)
        assert case.label is not None, f"{make.name}: the test case {key} has no dense label to be scored against"
        shown = dataclasses.replace(case, image=case.label[None].astype(np.float32), label=None)
        # In the plane, twice the native size and nearest: each pixel is exactly four pixels of the sample.
        patch = tuple(2 * n for n in case.space[-2:]) if task.ndim == 2 else task.patch
        training = Training(patch=patch, interpolation="nearest")
        where: Any = {"device": torch.device("cpu"), "dtype": torch.float32}
        label = predict_case(cast(Any, _Identity(task)), shown, task, training, **where)
        for score in score_case(label, case, task, "last"):
            present = (case.label == task.classes.index(score.class_name)).any()
            dice, hd95 = (score.values[METRICS.index(name)] for name in ("dice", "hd95"))
            perfect = (dice, hd95) == (1.0, 0.0)
            assert perfect or not present, f"{make.name}: {key}: {score.class_name}: Dice {dice}, HD95 {hd95}"
            assert score.unit == task.unit, f"{make.name}: {key}: distances in {score.unit}, the task says {task.unit}"


def check_scribbles(make: Specimen) -> None:
    """Where both exist the scribble agrees with the dense label; it marks something, and not everything."""
    dataset = make()
    if "scribble" not in dataset.task.annotations:
        return
    wrong = marked = total = 0
    for case in map(dataset.load, dataset.groups()):
        if case.scribble is not None:
            known = case.scribble != IGNORE
            marked, total = marked + int(known.sum()), total + known.size
            wrong += 0 if case.label is None else int((case.scribble != case.label)[known].sum())
    assert 0 < marked < total, f"{make.name}: scribbles mark {marked} of {total} voxels"
    assert wrong <= SCRIBBLE_ERRORS * marked, f"{make.name}: {wrong} of {marked} scribbled voxels contradict the label"


class _Identity:
    """A method whose image is the label map: it says back what it sees."""

    def __init__(self, task: Task) -> None:
        self.classes = task.n_classes

    def predict(self, image: torch.Tensor) -> torch.Tensor:
        seen = image[:, 0].round().long().clamp(0, self.classes - 1)
        return torch.nn.functional.one_hot(seen, self.classes).movedim(-1, 1).float()


def _mirror(place: tuple[int, ...], shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(shape[a] - 1 - i if a == axis else i for a, i in enumerate(place))
