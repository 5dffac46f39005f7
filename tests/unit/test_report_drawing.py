"""Figures drawn here and in other processes are the same bytes, in the same order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmark.report import drawing, style
from benchmark.report.style import Picture


def _pictures(count: int) -> Iterator[Picture]:
    for number in range(count):
        figure = style.canvas(style.COLUMN, 1.5)
        axes = figure.subplots()
        axes.plot([1, 2, 3], [number, 1, 2], "o-", label=f"a$b$ {number}")
        style.log_axis(axes, "x")
        figure.legend(loc="outside lower center")
        yield Picture(f"figure_{number}", "Title", "what it shows", "caption", figure)


def _drawn(count: int, workers: int) -> list[drawing.Drawn]:
    with style.settings():
        return drawing.draw(_pictures(count), workers=workers)


@pytest.mark.slow
def test_many_figures_are_drawn_by_other_processes_in_order_and_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _drawn(7, workers=1)
    monkeypatch.setattr(drawing, "FEW", 1)
    apart = _drawn(7, workers=2)
    assert [picture.name for picture, *_ in apart] == [f"figure_{number}" for number in range(7)]
    assert apart == here
    assert len({png for _, png, _ in here}) == 7


def test_few_figures_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "ProcessPoolExecutor", None)
    assert len(_drawn(2, workers=4)) == 2


def test_nothing_to_draw_is_nothing() -> None:
    assert drawing.draw([], workers=2) == []


def test_a_figure_keeps_its_place_whether_it_was_laid_out_before_or_not() -> None:
    # the PDF is drawn after the PNG, without another layout: a second PNG must be the first
    (picture,) = _pictures(1)
    with style.settings():
        assert style.png(picture.figure) == style.png(picture.figure)
