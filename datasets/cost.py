"""What annotations cost: pixels, strokes, images, and a rough estimate of an annotator's time.

The estimate puts scribbles, points and dense labels on one axis. It is good for a factor of two at best: the seconds
were measured on photographs, organs are harder, and finding the slice is not counted. Strokes are counted exactly.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from .types import IGNORE

Tool = Literal["outline", "scribble", "box", "click"]

SECONDS: dict[Tool, float] = {"outline": 79.0, "scribble": 10.0, "box": 7.0, "click": 3.0}
"""Seconds per stroke."""

SOURCE = (
    "79 s per outline (COCO's, as Bearman et al., ECCV 2016, cite it beside 54 s), 7 s per box by extreme clicking "
    "(Papadopoulos et al., ICCV 2017), 3 s per click (9 to 18 times faster than boxes of 35 s: Papadopoulos et al., "
    "CVPR 2017); 10 s per scribble is assumed, not published. All of photographs, not of scans."
)
"""Where the seconds come from, for whoever prints minutes."""


@dataclass(frozen=True)
class Cost:
    """The cost of annotating some images; costs add up.

    Attributes:
        pixels: pixels whose class is stated.
        strokes: outlines, scribbles, boxes or clicks.
        images: images or slices that carry any mark.
        seconds: estimate, strokes times :data:`SECONDS`.
    """

    pixels: int = 0
    strokes: int = 0
    images: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.pixels + other.pixels,
            self.strokes + other.strokes,
            self.images + other.images,
            self.seconds + other.seconds,
        )

    @property
    def minutes(self) -> float:
        """Estimate of an annotator's time."""
        return self.seconds / 60

    def as_json(self) -> dict[str, Any]:
        """Plain JSON types, with minutes for seconds."""
        content = asdict(self)
        return content | {"minutes": round(content.pop("seconds") / 60, 3)}


def cost_of(labels: np.ndarray, strokes: int, tool: Tool) -> Cost:
    """The cost of one image's or slice's marks.

    Args:
        labels: with IGNORE where nothing is said.
        strokes: how often the tool was used.
        tool: what with.
    """
    pixels = int((labels != IGNORE).sum())
    return Cost(pixels, strokes, int(pixels > 0), strokes * SECONDS[tool])
