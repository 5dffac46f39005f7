"""Weak and dense labels on one axis: Dice against the minutes that an annotator would have spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd

from . import scales, style
from .economics import Curve
from .multiples import small_multiples
from .remarks import seed_marks
from .style import Look, Picture, named
from .summary import key_of


def against_minutes(
    table: pd.DataFrame, found: Sequence[Curve], rows: Sequence[str], looks: dict[str, Look]
) -> Iterator[Picture]:
    """One panel per dataset with labels of more than one kind, all of recorded cost; nothing where there is none."""
    kinds: dict[str, set[str]] = {}
    for curve in found:
        kinds.setdefault(curve.dataset, set()).add(curve.kind)
    unknown = {curve.dataset for curve in found if not np.isfinite(curve.minutes).all()}
    panels = {name: "" for name, of in kinds.items() if len(of) > 1 and name not in unknown}
    if not panels:
        return
    means = {key_of(entry): entry for entry in table.itertuples()}
    marks = seed_marks(table[table["dataset"].isin(list(panels))])
    place = {label: number for number, label in enumerate(rows)}

    def draw(axes: Any, dataset: str, _: str) -> None:
        of = [curve for curve in found if curve.dataset == dataset]
        markers = dict(zip(dict.fromkeys(curve.kind for curve in of), cycle(style.MARKERS), strict=False))
        for curve in sorted(of, key=lambda curve: (curve.role != "upper", place.get(curve.label, -1))):
            look = style.UPPER if curve.role == "upper" else looks[curve.label]
            own = [i for i, key in enumerate(curve.keys) if key[0] == curve.role]
            marker = {} if curve.role == "upper" else {"marker": markers[curve.kind]}
            entries = [means[curve.keys[i]] for i in own]
            mean, sd = (np.array([100 * getattr(entry, f"dice_{how}") for entry in entries]) for how in ("mean", "sd"))
            name = named(curve.label, look, marks.get((curve.role, curve.label), ""))
            axes.errorbar(
                curve.minutes[own], mean, yerr=style.within(mean, sd, 100), elinewidth=0.8, capsize=1.5,
                label=f"{name}, {curve.kind}", **(look.line() | marker),
            )  # fmt: skip
        scales.log_axis(axes, "x")
        axes.set_xlabel("Annotation of the training labels (estimated minutes)")
        axes.set_ylabel("Dice (%)")
        axes.grid()

    yield Picture(
        "minutes",
        "Dice against minutes of annotation",
        "Dice against estimated minutes of annotation, for datasets with labels of several kinds: "
        + "; ".join(_words(curve, means) for curve in found if curve.dataset in panels)
        + ".",
        "Colours are methods, markers kinds of labels. Means ± one standard deviation over seeds; lines join amounts "
        "of labels of one method. Minutes are estimated from strokes (source in the receipts) and good for a factor of "
        "two at best.",
        small_multiples(panels, draw),
        tuple(panels),
    )


def _words(curve: Curve, means: dict[tuple[str, ...], Any]) -> str:
    points = (
        f"{100 * means[key].dice_mean:.1f} at {minutes:.0f}"
        for key, minutes in zip(curve.keys, curve.minutes, strict=True)
    )
    return f"{curve.label} ({curve.kind}) {', '.join(points)}"
