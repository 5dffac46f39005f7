"""Figures drawn here and in other processes are the same bytes, in the same order."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from benchmark.report import drawing, scales, style
from benchmark.report.style import Picture


def _pictures(count: int) -> Iterator[Picture]:
    for number in range(count):
        figure = style.canvas(style.COLUMN, 1.5)
        axes = figure.subplots()
        axes.plot([1, 2, 3], [number, 1, 2], "o-", label=f"a$b$ {number}")
        scales.log_axis(axes, "x")
        figure.legend(loc="outside lower center")
        yield Picture(f"figure_{number}", "Title", "what it shows", "caption", figure)


def _drawn(count: int, workers: int) -> list[drawing.Drawn]:
    with style.settings(), drawing.drawing(_pictures(count), workers=workers) as drawn:
        return drawn()


@pytest.mark.slow
def test_many_figures_are_drawn_by_other_processes_in_order_and_byte_for_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    here = _drawn(7, workers=1)
    monkeypatch.setattr(drawing, "FEW", 1)
    apart = _drawn(7, workers=2)
    assert [picture.name for picture, *_ in apart] == [f"figure_{number}" for number in range(7)]
    assert apart == here
    assert len({png for _, png, _ in here}) == 7


def test_few_figures_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_artist", None)
    assert len(_drawn(2, workers=4)) == 2


def test_nothing_to_draw_is_nothing() -> None:
    with drawing.drawing([], workers=2) as drawn:
        assert drawn() == []


@pytest.mark.slow
def test_an_error_meanwhile_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "FEW", 1)
    started: list[subprocess.Popen[bytes]] = []
    real = drawing._artist
    monkeypatch.setattr(drawing, "_artist", lambda: started.append(real()) or started[-1])
    with pytest.raises(RuntimeError, match="boom"), style.settings(), drawing.drawing(_pictures(3), workers=2):
        raise RuntimeError("boom")
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_a_figure_keeps_its_place_whether_it_was_laid_out_before_or_not() -> None:
    # the PDF is drawn after the PNG, without another layout: a second PNG must be the first
    (picture,) = _pictures(1)
    with style.settings():
        assert style.png(picture.figure) == style.png(picture.figure)
