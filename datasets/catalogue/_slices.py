"""What may be odd about the scribbles of a volume whose slices are training samples."""

from __future__ import annotations

import numpy as np

from ..types import IGNORE, Case


def scribble_oddities(case: Case) -> list[str]:
    """Slices without any scribble, and slices that show a class which is not scribbled there.

    Args:
        case: a volume; the second needs its dense label too.
    """
    if case.scribble is None:
        return []
    words = []
    bare = [z for z, plane in enumerate(case.scribble) if (plane == IGNORE).all()]
    if bare:
        words.append(f"slice(s) {bare} have no scribble and are not trained on")
    if case.label is not None:
        pairs = enumerate(zip(case.scribble, case.label, strict=True))
        lacking = [z for z, (marked, dense) in pairs if z not in bare and not np.isin(dense, marked).all()]
        if lacking:
            words.append(f"slice(s) {lacking} show a class without a scribble of it")
    return words
