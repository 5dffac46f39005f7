"""The page of a report in a headless browser: nothing fails, nothing is fetched, and it can be searched and sorted."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from benchmark.report import build
from tests.end_to_end.test_mlflow_ui import CHROMIUM, QUIET
from tests.unit.report_records import demo

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine; Debian's package is called chromium"),
]

PROBE = """
const text = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent.trim());
const dice = "#table-main-phantom_2d";
const order = () => text(`${dice} tbody:not(.upper) th`).map((name) => name.split(" ")[0]);
const found = { before: order() };
found.clicks = [0, 1].map(() => {
  document.querySelector(`${dice} th button`).click();
  return [document.querySelector(`${dice} th[aria-sort]`).getAttribute("aria-sort"), order()];
});
const input = document.querySelector('input[data-filter="table.sortable"]');
input.value = "mean_teacher";
input.dispatchEvent(new Event("input"));
const shown = (row) => !row.hidden;
found.left = [...new Set([...document.querySelectorAll('table[id^="table-main"] > tbody > tr')].filter(shown)
  .map((row) => row.cells[0].textContent.trim().split(" ")[0]))];
found.status = document.getElementById("found-tables").textContent;
found.images = [...document.images].map((image) => image.complete && image.naturalWidth > 100);
found.captions = text("table caption").length;
found.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
document.body.append(Object.assign(document.createElement("pre"), { id: "probe", textContent: JSON.stringify(found) }));
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("results")
    demo(results)
    return build("toy", results)


def _visit(page: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Open a page; what it says on its console is in ``stderr``, its elements in ``stdout``."""
    options = [
        f"--user-data-dir={folder / 'profile'}",
        "--enable-logging=stderr",
        f"--log-net-log={folder / 'net.json'}",
    ]
    command = [CHROMIUM, *QUIET, *options, *more, "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def _requests(folder: Path) -> set[str]:
    """What a page asked the network for; the browser's own requests have no page that started them."""
    events = json.loads((folder / "net.json").read_text())["events"]
    started = [event.get("params", {}) for event in events]
    return {
        each["url"] for each in started if "url" in each and each.get("initiator", "not an origin") != "not an origin"
    }


def test_a_request_and_an_error_of_a_page_would_be_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://127.0.0.1:9/picture.png" alt=""><script>throw new Error("planted")</script>')
    done = _visit(page, tmp_path)
    assert "planted" in next(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    assert "http://127.0.0.1:9/picture.png" in _requests(tmp_path)


def test_the_page_opens_without_an_error_and_without_a_request(report: Path, tmp_path: Path) -> None:
    done = _visit(report / "index.html", tmp_path, f"--screenshot={tmp_path / 'page.png'}")
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert _requests(tmp_path) == set()
    assert (tmp_path / "page.png").stat().st_size > 100_000, "an empty page is a few kilobytes"


def test_tables_can_be_searched_and_sorted_and_figures_are_shown(report: Path, tmp_path: Path) -> None:
    # a copy with a probe at its end; the folder beside it, for the links
    folder = tmp_path / "toy" / "report"
    shutil.copytree(report, folder)
    page = folder / "index.html"
    page.write_text(page.read_text().replace("</body>", f"<script>{PROBE}</script></body>"))
    done = _visit(page, tmp_path)
    assert "CONSOLE" not in done.stderr
    match = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert match is not None
    found = json.loads(match.group(1).replace("&amp;", "&").replace("&gt;", ">").replace("&lt;", "<"))
    # best mean first; the first click sorts the largest first, the second turns that round
    assert found["before"] == ["cps", "mean_teacher", "dan", "supervised", "pce"]
    assert found["clicks"] == [["descending", found["before"]], ["ascending", found["before"][::-1]]]
    assert found["left"] == ["mean_teacher"]
    assert re.fullmatch(r"\d+ of \d+ rows shown", found["status"])
    assert len(found["images"]) >= 10
    assert all(found["images"])
    assert found["captions"] >= 20
    assert found["wide"] == 0, "wide tables scroll by themselves; the page does not"


def test_the_page_fits_a_narrow_screen(report: Path, tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    probe = "document.title = document.documentElement.scrollWidth - document.documentElement.clientWidth"
    page.write_text((report / "index.html").read_text().replace("</body>", f"<script>{probe}</script></body>"))
    done = _visit(page, tmp_path, "--window-size=500,900")
    assert "<title>0</title>" in done.stdout
