"""What every caption of a figure ends with, such as seeds, patients and what is missing; and figures as LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pandas as pd

from ..metrics.policy import RULES
from . import naming, render, style
from .frame import Results
from .remarks import unfinished
from .style import Picture
from .summary import HEADLINE


def told(
    pictures: Iterable[Picture], results: Results, entries: pd.DataFrame, patients: pd.DataFrame, *, rule: str
) -> Iterator[Picture]:
    """The pictures with whole captions, and people's names for codes of datasets.

    Args:
        pictures: with what is peculiar to each of them.
        results: the records.
        entries: `summary.entries`.
        patients: `summary.patient_values`.
        rule: what failures count for.
    """
    dataset = results.cells["dataset"].to_numpy()[patients["cell"].to_numpy()]
    headline = patients.assign(dataset=dataset)[(patients["selection"] == HEADLINE).to_numpy()]
    tested = {
        str(name): f"{of['group'].nunique()} test {naming.groups(results, [str(name)])}"
        for name, of in headline.groupby("dataset", sort=False)
    }
    spoken = naming.spoken(results)
    for picture in pictures:
        shown = [name for name in dict.fromkeys(entries["dataset"]) if not picture.datasets or name in picture.datasets]
        tail = " ".join(_tail(picture, entries[entries["dataset"].isin(shown)], tested, rule))
        for text in picture.figure.findobj(lambda artist: hasattr(artist, "set_text")):
            text.set_text(spoken(text.get_text()))
        caption = spoken(f"{picture.caption.rstrip()} {tail}".rstrip())
        yield replace(picture, title=spoken(picture.title), alt=spoken(picture.alt), caption=caption)


def latex(picture: Picture, png: bytes, *, plan: str) -> str:
    """A float with the figure's PDF, to be read from the folder of the report; wide ones span both columns."""
    inches = int.from_bytes(png[16:20], "big") / style.DPI  # the width, in the header of every PNG
    wide = inches > style.COLUMN + 1
    name, width = ("figure*", r"\linewidth") if wide else ("figure", rf"\ifdim{inches:.2f}in<\linewidth {inches:.2f}in"
                                                           r"\else\linewidth\fi")  # fmt: skip
    return "\n".join(
        [
            "% Made from records; needs graphicx, and the folder figures beside the document.",
            rf"\begin{{{name}}}[!htbp]",
            r"\centering",
            rf"\includegraphics[width={width},height=0.75\textheight,keepaspectratio]{{figures/{picture.name}.pdf}}",
            rf"\caption{{{render.escape(f'{picture.title}. {picture.caption}')}}}",
            rf"\label{{fig:{plan}-{picture.name}}}",
            rf"\end{{{name}}}",
            "",
        ]
    )


def _tail(picture: Picture, entries: pd.DataFrame, tested: dict[str, str], rule: str) -> Iterator[str]:
    for dataset, of in entries.groupby("dataset", sort=False):
        planned = sorted(set(of.loc[of["n"] > 0, "planned"]))
        if not planned:
            continue
        seeds = f"{planned[0]}" if len(planned) == 1 else f"{planned[0]}–{planned[-1]}"
        parts = [f"{seeds} seed{'s' * (planned[-1] > 1)}"] if "seeds" in picture.says else []
        parts += [tested[str(dataset)]] if "patients" in picture.says and str(dataset) in tested else []
        if parts:
            yield f"{dataset}: {', '.join(parts)}."
    if "seeds" in picture.says:
        yield from unfinished(entries)
    if "weights" in picture.says:
        yield "Weights of the last step."
    if "failures" in picture.says:
        yield f"Failures, by the rule {rule}: {RULES[rule].description}"
