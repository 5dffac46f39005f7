"""How figures look: sizes of a paper, colours that colour-blind readers tell apart, no state left behind.

Colours: Okabe & Ito, "Color Universal Design" (2008), with their yellow, which vanishes on white, replaced by olive and
wine of Paul Tol's "muted" scheme (SRON/EPS/TN/09-002). Every method also has a marker of its own.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd

COLUMN, PAGE = 3.4, 7.0
"""Widths of one column and of the text of a two-column paper, in inches."""

DPI = 200

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)))

CLASS_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#F0E442", "#0072B2", "#999933")
"""Foreground classes in overlays; bright, since they lie on grey images."""

INK, FAINT = "#222222", "#8a8a8a"

_SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.linewidth": 0.4,
    "grid.color": "#dddddd",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
    "figure.facecolor": "white",
    "pdf.fonttype": 42,  # TrueType, which publishers accept; the default is Type 3
    "ps.fonttype": 42,
    "svg.hashsalt": "report",
    "text.usetex": False,
    "text.parse_math": False,  # a method named "a$b$" is not a formula
    "path.simplify": True,
}


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of one method, the same in all figures of a report."""

    colour: str
    marker: str
    dashes: Any
    filled: bool = True

    def line(self) -> dict[str, Any]:
        """Arguments of ``Axes.plot``."""
        return {"color": self.colour, "linestyle": self.dashes} | self.dot()

    def dot(self) -> dict[str, Any]:
        """Arguments of a marker alone."""
        face = self.colour if self.filled else "white"
        size = 7 if self.marker == "*" else 4  # a star is mostly arms
        edge = {"markerfacecolor": face, "markeredgecolor": self.colour, "markersize": size}
        return {"color": self.colour, "marker": self.marker} | edge


@dataclass(frozen=True)
class Picture:
    """One figure, what it shows in words, and the sentence below it."""

    name: str
    title: str
    alt: str
    caption: str
    figure: Any


UPPER = Look("#000000", "*", (0, (5, 2)))
LOWER = Look("#707070", "o", (0, (2, 1.2)), filled=False)


def looks(methods: Sequence[str], lower: Sequence[str] = ()) -> dict[str, Look]:
    """A look per method, by sorted name; lower bounds are grey and dashed with open markers."""
    found = {}
    for number, method in enumerate(sorted(set(methods) - set(lower))):
        round_ = number // len(COLOURS)
        found[method] = Look(
            COLOURS[number % len(COLOURS)],
            MARKERS[number % len(MARKERS)],
            DASHES[round_ % len(DASHES)],
            filled=round_ % 2 == 0,
        )
    for number, method in enumerate(sorted(set(lower))):
        found[method] = Look(LOWER.colour, MARKERS[number % len(MARKERS)], LOWER.dashes, filled=False)
    return found


def settings() -> AbstractContextManager[None]:
    """Matplotlib with these settings for the time of a ``with`` block, and nothing of the user's own."""
    import matplotlib

    # the user's matplotlibrc must not change a report
    plain: dict[Any, Any] = {**matplotlib.rcParamsDefault, "backend": "agg", **_SETTINGS}
    return matplotlib.rc_context(plain)


def canvas(width: float, height: float, *, pad: float = 0.04, gap: float = 0.05) -> Any:
    """An empty figure that pyplot knows nothing of; sizes in inches, ``gap`` between panels as a share of them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=gap, hspace=gap)
    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def png(figure: Any) -> bytes:
    """The figure as PNG: no time, no program name, so that equal figures are equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    # laid out once: the PDF, at the same size, must not move anything, and layout takes as long as drawing
    figure.set_layout_engine(None)
    return buffer.getvalue()


def pdf(figure: Any) -> bytes:
    """The figure as PDF, without dates and program versions."""
    buffer = io.BytesIO()
    blank = dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer"))
    figure.savefig(buffer, format="pdf", metadata=blank)
    return buffer.getvalue()


def named(label: str, look: Look) -> str:
    """Bounds are named as such; they are grey and black, which nobody can know from the label."""
    if look.colour == UPPER.colour:
        return f"{label} (upper bound)"
    return f"{label} (lower bound)" if look.colour == LOWER.colour else label


def within(mean: float, spread: float, most: float = inf) -> list[list[float]]:
    """Arms of an error bar, ``(2, 1)``: one spread each way, within what a metric can be, 0 to ``most``."""
    spread = known(spread)
    return [[min(spread, max(mean, 0.0))], [min(spread, max(most - mean, 0.0))]]


def known(value: float) -> float:
    """A spread, or none where there is one seed only."""
    return value if value == value else 0.0


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return "".join(sign if sign.isalnum() or sign in "_-" else "-" for sign in name)


def log_axis(axes: Any, axis: str) -> None:
    """A logarithmic axis with 1, 2 and 5 of every decade as plain numbers, as far as there is room for them."""
    getattr(axes, f"set_{axis}scale")("log")
    low, high = getattr(axes, f"get_{axis}lim")()
    ticks = [digit * 10.0**power for power in range(-4, 9) for digit in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) > 7:
        shown = [tick for tick in shown if f"{tick:e}".startswith("1")]
    getattr(axes, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown], minor=False)
    getattr(axes, f"set_{axis}ticks")([], minor=True)


def log_if_wide(axes: Any, values: pd.Series, *, axis: str = "y") -> None:
    """Distances span decades once an organ is missed; zero, a perfect surface, needs a linear part."""
    known = values[np.isfinite(values) & (values > 0)]
    if len(known) and known.max() > 12 * max(known.quantile(0.25), 1e-9):
        getattr(axes, f"set_{axis}scale")("symlog", linthresh=max(float(known.quantile(0.05)), 1e-3))
        ticks = [0, *(digit * 10.0**power for power in range(-2, 5) for digit in (1, 2, 5))]
        low, high = getattr(axes, f"get_{axis}lim")()
        shown = [tick for tick in ticks if max(low, 0) <= tick <= high and (not tick or tick >= known.quantile(0.05))]
        getattr(axes, f"set_{axis}ticks")(shown, [f"{tick:g}" for tick in shown], minor=False)
        getattr(axes, f"set_{axis}ticks")([], minor=True)
