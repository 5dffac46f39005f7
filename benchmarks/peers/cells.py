"""Whole cells as a loop of scripts runs them: one after the other, each with all cores; trained, tested, measured."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from benchmark.plan import Cell

from ..settings import Setting
from . import testing
from .loop import PlainLoop


class PlainCells:
    """Runs cells in this process. Its start, and that of Python, are not counted, though every released run pays them.

    Args:
        setting: where the files are.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def run(self, cells: Sequence[Cell]) -> float:
        """Seconds for all of them."""
        began = time.perf_counter()
        for cell in cells:
            self.dice(cell)
        return time.perf_counter() - began

    def dice(self, cell: Cell) -> float:
        """Train and test one cell; mean Dice over foreground classes and test cases, 0 where a class is missed.

        A class in neither map is left out.
        """
        loop = PlainLoop(cell, self.setting)
        loop.run(cell.training.steps)
        loop.method.eval()
        task, training = loop.dataset.task, cell.training
        assert training.patch is not None
        found = []
        for key in loop.split.test:
            case = loop.dataset.load(key)
            assert case.label is not None
            label = testing.predict_case(loop.method.predict, case, task, training.patch, training.overlap, loop.device)
            measured = testing.measure(label, case, task)
            present = [((label == k) | (case.label == k)).any() for k in range(1, task.n_classes)]
            found += [dice for (dice, _), there in zip(measured, present, strict=True) if there]
        return float(np.mean(found)) if found else float("nan")
