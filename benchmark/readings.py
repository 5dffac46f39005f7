"""What is scored of the last step beside the headline: its predictions cleaned up, and other networks of the method.

Both are second columns: published tables differ in whether they keep the largest component only, and in whether a
teacher or its student predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from datasets.types import Case, Task
from methods.base import Method
from methods.components import largest_components

from .evaluate import score_case
from .record import LARGEST, Score


def cleaned_up(prediction: np.ndarray | None, case: Case, task: Task, scores: list[Score]) -> list[Score]:
    """Scores of the largest component of each class in a prediction: 26-connected, or 8-connected in a single image.

    Args:
        prediction: ``(*space)`` uint8; None = the case failed.
        case: with its label.
        task: of the case.
        scores: of the whole prediction, which are taken where it has no other component.
    """
    if prediction is None:
        return [replace(score, selection=LARGEST) for score in scores]
    kept = largest_components(torch.from_numpy(prediction)[None])[0].numpy()
    if np.array_equal(kept, prediction):
        return [replace(score, selection=LARGEST) for score in scores]
    return score_case(kept, case, task, LARGEST)


@dataclass(frozen=True)
class Other:
    """A further network of a method, in the method's place when cases are predicted."""

    method: Method
    predict: Callable[[Tensor], Tensor]

    def eval(self) -> object:
        """As of the method."""
        return self.method.eval()

    def name(self) -> str:
        """As of the method."""
        return self.method.name()
