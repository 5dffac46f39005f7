"""Cross-entropy where the class is known; nothing where it is not."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from datasets.types import IGNORE

from .. import label_terms
from .overlap import SMOOTH


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    """Mean of ``-log softmax(logits)[label]`` over the labelled pixels of the whole batch: the partial cross-entropy.

    The mean runs over the batch's labelled pixels together, so a sample with longer scribbles weighs more
    (WSL4MIS, https://github.com/HiLab-git/WSL4MIS/tree/a594da8). Without any labelled pixel: 0, with zero gradient.

    Args:
        logits: ``(n, c, *space)``; ``space`` may be empty.
        label: ``(n, *space)`` int64 in range(c), or IGNORE.
    """
    if label_terms.fits(logits, label):
        return label_terms.entropy_and_dice(logits, label, SMOOTH)[0]
    total = F.cross_entropy(logits.float(), label, ignore_index=IGNORE, reduction="sum")
    return total / (label != IGNORE).sum().clamp_min(1)
