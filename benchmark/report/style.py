"""How figures look: sizes of a paper, colours that colour-blind readers tell apart, no state left behind.

Colours: Okabe & Ito, "Color Universal Design" (2008), with their yellow, which vanishes on white, replaced by olive and
wine of Paul Tol's "muted" scheme (SRON/EPS/TN/09-002). Every method also has a marker of its own.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import inf
from textwrap import fill
from typing import Any

import numpy as np

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
    datasets: tuple[str, ...] = ()
    """Whose records it shows; none named: all."""
    says: tuple[str, ...] = ("seeds", "patients", "weights", "failures")
    """What `captions` adds to its caption."""


UPPER = Look("#000000", "*", (0, (5, 2)))
LOWER = Look("#707070", "o", (0, (2, 1.2)), filled=False)


LOWERS = ("supervised", "pce")
"""Lower bounds that plans have; others come after them."""


def looks(rows: Sequence[str], lower: Sequence[str] = ()) -> dict[str, Look]:
    """A look per row, in every report the same for a method; lower bounds are grey and dashed with open markers.

    A method's look follows from its place among all methods of the project. Rows of other names, such as variants, come
    after these, by sorted name. Colour, marker and filling together are another for each of the first 128.

    Args:
        rows: labels of methods and lower bounds.
        lower: which of them are lower bounds.
    """
    import methods  # which imports torch

    names = methods.names()
    places = {name: place for place, name in enumerate(names)}
    wanted = sorted(set(rows) - set(lower))
    places |= {label: len(names) + i for i, label in enumerate(label for label in wanted if label not in places)}
    found = {label: _look(places[label]) for label in wanted}
    known = [*LOWERS, *sorted(set(lower) - set(LOWERS))]
    for label in sorted(set(lower)):
        marker = MARKERS[known.index(label) % len(MARKERS)]
        found[label] = Look(LOWER.colour, marker, LOWER.dashes, filled=False)
    return found


def _look(place: int) -> Look:
    round_ = place // len(COLOURS)
    return Look(
        COLOURS[place % len(COLOURS)],
        MARKERS[(place + round_) % len(MARKERS)],
        DASHES[round_ % len(DASHES)],
        filled=(round_ + round_ // len(MARKERS)) % 2 == 0,
    )


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


def named(label: str, look: Look, mark: str = "") -> str:
    """Bounds are named as such; they are grey and black, which nobody can know from the label.

    ``mark``: what is to be said of the row, see `remarks.seed_marks`.
    """
    bound = {UPPER.colour: " (upper bound)", LOWER.colour: " (lower bound)"}.get(look.colour, "")
    return f"{label}{bound}{mark}"


def shortened(names: Sequence[str], most: int) -> list[str]:
    """Names of at most so many letters, with an ellipsis in the middle; longer where two would be the same.

    >>> shortened(["supervised", "cvcl [contrast=a, places=mined]"], 15)
    ['supervised', 'cvcl [c…=mined]']
    """
    while True:
        found = [name if len(name) <= most else f"{name[: most // 2]}…{name[most // 2 + 1 - most :]}" for name in names]
        if len(set(found)) == len(set(names)):
            return found
        most += 8


def titled(axes: Any, text: str, inches: float, size: float = 8) -> None:
    """A title in as many lines as a panel of that width needs."""
    axes.set_title(fill(text, max(8, int(104 * inches / size))), fontsize=size)


def headed(figure: Any, text: str) -> None:
    """What the whole figure is of, above it."""
    text = fill(text, int(11 * figure.get_figwidth()))
    figure.suptitle(text, x=0.01, ha="left", fontsize=8.5, fontweight="bold")


def legend(figure: Any, found: Mapping[str, Any], height: float) -> None:
    """A legend below the panels, in as many columns as there is room for; the figure grows by its rows.

    Args:
        figure: to be given its height.
        found: handles by label.
        height: of the figure in inches without a legend.
    """
    names = shortened(list(found), 60 if figure.get_figwidth() > COLUMN else 48)
    rows, columns = len(names), 1
    for wanted in (4, 3, 2):
        down = -(-len(names) // wanted)
        parts = [names[i : i + down] for i in range(0, len(names), down)]
        # a handle and its gaps are as wide as eight letters; 18 letters are an inch
        if len(parts) == wanted and sum(8 + max(map(len, part)) for part in parts) <= 18 * figure.get_figwidth():
            rows, columns = down, wanted
            break
    figure.set_figheight(height + 0.17 * rows)
    figure.legend(found.values(), names, loc="outside lower center", ncols=columns)


def handles(figure: Any) -> dict[str, Any]:
    """What the panels of a figure name in a legend: handles by label."""
    panels = [axes.get_legend_handles_labels() for axes in figure.axes]
    return {label: handle for drawn in panels for handle, label in zip(*drawn, strict=True)}


def within(mean: Any, spread: Any, most: float = inf) -> np.ndarray:
    """Arms of error bars, ``(2, n)``: one spread each way, within what a metric can be, 0 to ``most``."""
    mean, spread = np.atleast_1d(np.asarray(mean, np.float64)), np.nan_to_num(np.atleast_1d(np.asarray(spread, float)))
    return np.array([np.fmin(spread, np.fmax(mean, 0)), np.fmin(spread, np.fmax(most - mean, 0))])


def slug(name: str) -> str:
    """A name as part of a file's name."""
    return "".join(sign if sign.isalnum() or sign in "_-" else "-" for sign in name)
