"""The whole report: figures, the page, and what is left when little or nothing has finished."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.report import assemble, build, frame, overlays, page
from benchmark.report.plots import overlay_png
from benchmark.report.tables import Column, Number, Row, Table
from tests.unit.report_records import CLASSES, _examples, demo, score, write_cell

VOID = {"meta", "link", "img", "input", "br"}


class _Page(HTMLParser):
    """Checks that every tag is closed in order, and collects what the tests look at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> in the wrong place"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    demo(results)
    return build("toy", results)


def test_the_page_is_well_formed_and_fetches_nothing(report: Path) -> None:
    text = (report / "index.html").read_text()
    page = _Page(text)
    assert page.open == []
    for tag, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            target = attributes.get(name, "")
            assert not re.match(r"(?i)\s*(https?:|//|ftp:)", target), f"<{tag} {name}={target[:60]}>"
    assert "@import" not in text
    assert not re.search(r"url\((?!data:)", text)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_what_lies_beyond_all_that_was_tried_sorts_beyond_all(report: Path) -> None:
    shown = (("> 5", inf), ("≤ 2", -inf), ("–", nan))
    rows = tuple(Row("m", "method", (Number(text, sort=sort),)) for text, sort in shown)
    table = Table("t", "t", (Column("d", "a"),), rows, ())
    found = [re.findall('data-sort="([^"]*)"', page._row(row, table, {})) for row in table.rows]
    assert found == [["Infinity"], ["-Infinity"], []]  # what JavaScript's Number() reads


def test_every_link_of_the_page_leads_somewhere(report: Path) -> None:
    page = _Page((report / "index.html").read_text())
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for attributes in page.all("a")]
    assert sum(link.endswith("scores.csv") for link in links) == 65, "66 cells, one of which failed"
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert (report / link).is_file(), link


def test_every_number_of_the_main_tables_names_its_cells(report: Path) -> None:
    page = _Page((report / "index.html").read_text())
    titles = [attributes["title"] for attributes in page.all("a") if "title" in attributes]
    assert any("cps-phantom_2d-5pc-s0-1method, cps-phantom_2d-5pc-s1-1method" in title for title in titles)
    counts = {int(re.match(r"from (\d+) cells", title).group(1)) for title in titles}  # type: ignore[union-attr]
    assert min(counts) == 3
    assert all(count % 3 == 0 for count in counts), "every entry has three seeds"


def test_the_page_can_be_read_without_seeing_it(report: Path) -> None:
    page = _Page((report / "index.html").read_text())
    assert all(len(attributes["alt"]) > 20 for attributes in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all("scope" in attributes for attributes in page.all("th"))
    assert [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)][:2] == ["h1", "h2"]
    assert "Mean Dice (%): supervised, all labels at 100% " not in page.text
    assert any("cps at 5%" in attributes["alt"] for attributes in page.all("img"))


def test_the_reason_of_a_failed_cell_is_on_the_page(report: Path) -> None:
    text = _Page((report / "index.html").read_text()).text
    assert "65 of 66 cells finished; 1 failed." in text
    assert "dan, phantom_3d, 5%, seed 2, fold 1: loss term consistency is NaN at step 417" in text


def test_a_report_holds_every_promised_file(report: Path) -> None:
    names = set(_files(report))
    assert {"table.md", "table.csv", "table.tex", "table_standalone.tex", "scores.csv", "index.html"} <= names
    for figure in (
        "curves_phantom_2d",
        "patients_phantom_3d",
        "examples_phantom_2d",
        "sizes_phantom_3d",
        "pareto",
        "validation",
    ):
        assert {f"figures/{figure}.{ending}" for ending in ("png", "pdf", "tex")} <= names


def test_fonts_are_embedded_as_truetype(report: Path) -> None:
    content = (report / "figures" / "pareto.pdf").read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


@pytest.mark.slow
def test_a_report_is_rebuilt_byte_for_byte_by_another_process(report: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from benchmark.report import build; "
        "build('toy', Path(sys.argv[1]), out=Path(sys.argv[2]))"
    )
    for hash_seed in ("1", "2"):
        # beside the first report, so that the relative links to the cells are the same
        out = report.parent / f"again{hash_seed}"
        subprocess.run(
            [sys.executable, "-c", program, str(report.parents[1]), str(out)], check=True,
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo"},
        )  # fmt: skip
        assert _files(out) == _files(report)


def test_drawing_leaves_no_settings_behind(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    write_cell(tmp_path, [score("A"), score("B", dice=0.7)])
    build("toy", tmp_path)
    assert dict(matplotlib.rcParams) == before
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_a_plan_with_nothing_finished_says_so(tmp_path: Path) -> None:
    write_cell(tmp_path, status="failed", reason="no space left on device")
    folder = build("toy", tmp_path)
    page = _Page((folder / "index.html").read_text())
    assert "No cell has finished yet, so there is no number to show. 0 of 1 cells finished; 1 failed." in page.text
    assert "no space left on device" in page.text
    assert "No cell has finished yet" in (folder / "table.md").read_text()
    assert not list(folder.glob("figures/*"))


def test_a_plan_that_never_ran_and_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(frame.ReportError, match=r"nothing to report of 'acdc_scribbel'.*python -m benchmark run"):
        build("acdc_scribbel", tmp_path)


def test_an_unknown_rule_names_the_nearest(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A", status="missed")])
    with pytest.raises(ValueError, match="Did you mean 'penalised'"):
        build("toy", tmp_path, rule="penalized")


def test_one_amount_and_one_seed_make_a_report(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A"), score("B", dice=0.9)])
    folder = build("toy", tmp_path)
    assert (folder / "figures" / "methods_phantom_2d.png").is_file()
    assert "70.0" in (folder / "table.md").read_text(), "(50 + 90)/2, no spread"


def test_a_dataset_whose_upper_bound_alone_has_finished_is_shown(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], dataset="one")
    write_cell(tmp_path, [score("A", dice=0.9)], dataset="two", label="all labels", role="upper", ratio=1.0)
    write_cell(tmp_path, dataset="two", status="failed", reason="out of memory")
    folder = build("toy", tmp_path)
    assert "| all labels (upper bound) | n/a | 90.0 |" in (folder / "table.md").read_text()
    assert (folder / "figures" / "methods_two.png").is_file()


def test_figures_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], ratio=0.1)
    folder = build("toy", tmp_path)
    assert (folder / "figures" / "methods_phantom_2d.pdf").is_file()
    write_cell(tmp_path, [score("A")], ratio=0.2)
    build("toy", tmp_path)
    assert not (folder / "figures" / "methods_phantom_2d.pdf").exists()
    assert (folder / "figures" / "curves_phantom_2d.pdf").is_file()


def test_names_with_markup_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    write_cell(tmp_path, [score("A")], method="odd", label="<script>a$b$ & c")
    folder = build("toy", tmp_path)
    text = (folder / "index.html").read_text()
    assert _Page(text).open == []
    assert "<script>a$b$" not in text
    assert "&lt;script&gt;a$b$ &amp; c" in text


def test_the_plan_at_hand_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.unit.test_report_frame import _cell, _Plan

    folder = write_cell(tmp_path, [score("A")])
    plan: Any = _Plan((_cell(folder.name), _cell("cps-not-run-yet", seed=1)), protocol="Follows nobody & nothing.")
    page = _Page((build("toy", tmp_path, plan=plan) / "index.html").read_text())
    assert "1 of 2 cells finished; 1 missing." in page.text
    assert "cps-not-run-yet" in page.text
    assert "Follows nobody & nothing." in page.text


def test_overlays_of_one_cell_show_a_row_per_case(tmp_path: Path) -> None:
    demo_cell = write_cell(tmp_path, [score("A")])
    square = np.zeros((12, 20), np.uint8)
    square[2:6, 2:6] = 1
    np.savez(
        demo_cell / "examples.npz", classes=np.array(["background", CLASSES[0]]),
        **{"0_image": square * 200, "0_label": square, "0_prediction": np.roll(square, 1), "0_name": np.array("A"),
           "0_spacing": np.array([2.0, 1.0])},
    )  # fmt: skip
    overlay_png(demo_cell / "examples.npz", tmp_path / "overlay.png")
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")


DAMAGES = {
    "garbage": lambda whole: b"garbage" * 50,
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "flipped": lambda whole: whole[:200] + bytes(400) + whole[600:],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_examples_are_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    _examples(tmp_path, 0.9, 0)
    path = tmp_path / "examples.npz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(overlays.Unreadable, match=rf"^{path} cannot be read: "):
        overlays.read_examples(path)


def test_damaged_examples_are_noted_and_cost_no_report(tmp_path: Path) -> None:
    folders = [write_cell(tmp_path, [score("A")], seed=seed) for seed in range(2)]
    _examples(folders[1], 0.9, 0)
    (folders[0] / "examples.npz").write_bytes(b"garbage")
    noted = f"Left out: examples.npz of {folders[0].name}, which cannot be read"
    report = build("toy", tmp_path)
    text = _Page((report / "index.html").read_text()).text
    assert noted in text
    assert "Best, median and worst test case of cps" in text, "of the other seed"
    (folders[1] / "examples.npz").unlink()
    assert noted in _Page((build("toy", tmp_path) / "index.html").read_text()).text, "also where none is left"


def test_the_window_of_an_overlay_holds_false_positives_too() -> None:
    # reference in rows 2-5, columns 2-5 of a 12 × 20 slice of 2 mm × 1 mm; a false positive in the last column, 19:
    # 18 mm wide, so the square is 18 · 1.5 = 27 mm, cut to the larger side of the image, 24 mm, and centred on 20 mm
    label = np.zeros((12, 20), np.uint8)
    label[2:6, 2:6] = 1
    prediction = label.copy()
    prediction[3, 19] = 1
    example = overlays.Example("A", label, label, prediction, (2.0, 1.0))
    left, top, side = overlays.window_around(example, [prediction])
    assert (left, top, side) == (-2.0, 0.0, 24.0)


def test_the_dice_of_a_slice_averages_the_classes_that_are_somewhere() -> None:
    # class 1: 2·1/(2+1) = 2/3; class 2: predicted only, 0; class 3 nowhere: mean 1/3
    prediction, label = np.array([[1, 1, 2]]), np.array([[1, 0, 0]])
    assert overlays.slice_dice(prediction, label) == pytest.approx(1 / 3)


def test_the_report_needs_no_plan_file_of_that_name(tmp_path: Path) -> None:
    plan, why = assemble._plan_of("no_such_plan")
    assert plan is None
    assert "no plan 'no_such_plan'" in why
