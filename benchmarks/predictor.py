"""One case and one network in a process: predicted as ours does it, as the released loops do it, and by MONAI."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmark.device import pick, precision
from benchmark.evaluate import WINDOWS_PER_BATCH, predict_case
from benchmark.plan import Cell
from benchmark.prepare import build_method, open_dataset
from datasets.resample import resize

from .peers import testing
from .settings import Setting


class Predictor:
    """An untrained network and one case, in a process of its own.

    Args:
        setting: where the case is.
        cell: which network.
        layout: channels last, as in our runner, or first.
    """

    def __init__(self, setting: Setting, cell: Cell, layout: str = "channels first") -> None:
        self.device, self.training = pick(), cell.training
        dataset = open_dataset(cell, setting.places(Path()))
        self.task = dataset.task
        self.case = dataset.load(next(iter(dataset.groups())))
        self.method = build_method(cell, dataset).to(self.device).eval()
        if layout == "channels last":
            last = torch.channels_last if self.task.ndim == 2 else torch.channels_last_3d
            self.method = self.method.to(memory_format=last)  # type: ignore[call-overload]
        assert cell.training.patch is not None
        self.patch = cell.training.patch
        self._balance()

    @torch.no_grad()
    def _balance(self) -> None:
        """Move the logits' means to 0, for an untrained network names one class everywhere."""
        image = torch.from_numpy(self.case.image)
        image = image[None] if self.task.ndim == 3 else image.transpose(0, 1)[image.shape[1] // 2][None]
        logits = self.method.network(resize(image, self.patch).to(self.device))
        self.method.network.head.bias -= logits.mean((0, *range(2, logits.ndim)))

    def time(self, name: str, times: int) -> float:
        """Seconds of one case."""
        predict: Callable[[], object] = getattr(self, name)
        began = time.perf_counter()
        for _ in range(times):
            predict()
        return (time.perf_counter() - began) / times

    def ours(self) -> np.ndarray:
        """As the runner evaluates a case."""
        dtype = precision(self.training.precision, self.device)
        return predict_case(self.method, self.case, self.task, self.training, device=self.device, dtype=dtype)

    def released(self) -> np.ndarray:
        """Slice by slice, or window by window."""
        overlap = self.training.overlap
        return testing.predict_case(self.method.predict, self.case, self.task, self.patch, overlap, self.device)

    @torch.no_grad()
    def monai(self) -> np.ndarray:
        """Volumes only. It pads by itself."""
        from monai.inferers import SlidingWindowInferer

        infer = SlidingWindowInferer(self.patch, WINDOWS_PER_BATCH[3], overlap=self.training.overlap, mode="constant")
        image = torch.from_numpy(self.case.image)[None].to(self.device)
        return infer(image, self.method.predict)[0].argmax(0).to(torch.uint8).cpu().numpy()
