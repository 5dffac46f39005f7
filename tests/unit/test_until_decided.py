"""Seeds are added where verdicts are open, at declared looks only, and the report shows them and what they cost."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console

from benchmark import looks as looks_file
from benchmark import record, session, until_decided
from benchmark.config import ConfigError
from benchmark.execute.local import Summary
from benchmark.looks import Looks, cells_of, declare
from benchmark.plan import Cell, Plan
from benchmark.report import build, frame, setup_text, summary, verdicts
from benchmark.report.sequential import levels, sequential_p
from benchmark.run import describe
from tests.unit.report_records import score

from .tiny_cells import raw_plan, tiny_plan

LEVELS = {"cps": 0.9, "mean_teacher": 0.604, "supervised": 0.6}
NOISE = {"cps": 0.001, "mean_teacher": 0.01, "supervised": 0.001}


class Simulated:
    """Stands for training: writes a record with made-up scores for every cell that has no finished one."""

    def __init__(
        self, folder: Path, *, broken: Sequence[int] = (), method: str = "mean_teacher", stop_at: int | None = None
    ) -> None:
        self.folder, self.broken, self.method, self.stop_at = folder, broken, method, stop_at
        self.ran: list[list[Cell]] = []

    def __call__(self, cells: Sequence[Cell]) -> Summary:
        todo = [cell for cell in cells if not until_decided._finished(self.folder / cell.id)]
        self.ran.append(todo)
        for cell in todo:
            if cell.seed == self.stop_at:
                raise KeyboardInterrupt
            random = np.random.default_rng((cell.seed, len(cell.method), len(cell.label)))
            shift = NOISE[cell.method] * random.normal()
            rows = [
                score(f"p{i}", dice=LEVELS[cell.method] + shift + 0.001 * random.normal(), hd95=5.0) for i in range(8)
            ]
            status: Any = "failed" if cell.seed in self.broken and cell.method == self.method else "finished"
            made = record.Record(cell.id, describe(cell), status, seconds={"train": 1.0, "total": 1.0})
            record.write(self.folder / cell.id, made, rows if status == "finished" else ())
        return Summary(finished=len(todo))


@pytest.fixture(scope="module")
def plan() -> Plan:
    """Two methods and their bounds; `cps` is far ahead, `mean_teacher` is .4 ± 1 points ahead of the lower bound."""
    return tiny_plan(methods=["cps", "mean_teacher"], bounds=True, seeds=3, claims={"looks": [3, 5, 6]})


def decide(plan: Plan, results: Path, **more: Any) -> tuple[Simulated, list[str]]:
    ran, told = Simulated(results / plan.name, **more), []  # type: ignore[var-annotated]
    until_decided.run(plan, results / plan.name, declare(plan), ran, told.append)
    return ran, told


@pytest.fixture(scope="module")
def decided(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of that plan, run until decided; to be read only."""
    results = tmp_path_factory.mktemp("decided")
    decide(plan, results)
    return results


def labels(cells: Sequence[Cell]) -> set[tuple[str, int]]:
    return {(cell.label, cell.seed) for cell in cells}


def test_the_set_up_says_that_rows_have_seeds_of_their_own_and_why(plan: Plan, decided: Path) -> None:
    results = frame.load(decided / plan.name, plan)
    (met,) = [(met, text) for met, text in setup_text.checklist(results) if text.startswith("Runs")]
    assert met[0] is False
    assert met[1].startswith("Runs: 3 to 6 seeds by row, which are not the same for all; each seed draws ")
    entries = summary.entries(results, summary.patient_values(summary.class_values(results)))
    text = " ".join(setup_text.paragraphs(results, entries, rule="penalised"))
    assert "Verdicts were looked at after 3, 5 and 6 seeds at most; seeds were added only where one was open" in text


def test_seeds_are_added_to_both_sides_of_open_comparisons_only(plan: Plan, tmp_path: Path) -> None:
    ran, told = decide(plan, tmp_path)
    assert len(ran.ran) == 3
    assert len(ran.ran[0]) == 4 * 3
    assert labels(ran.ran[1]) == {(label, seed) for label in ("mean_teacher", "supervised") for seed in (3, 4)}
    assert labels(ran.ran[2]) == {("mean_teacher", 5), ("supervised", 5)}
    assert told[1:] == [
        "look 1 at 3 seeds: 1 decided, 1 open",
        "look 2 at 5 seeds: 1 decided, 1 open",
        "look 3 at 6 seeds: 1 decided, 1 open",
    ]
    assert "3 seeds (p < 0.0031, 0.31 % spent)" in told[0]
    assert told[0].endswith("at most 6 seeds")


def test_added_cells_have_the_ids_that_more_seeds_would_give_them(plan: Plan, decided: Path) -> None:
    known = looks_file.read(decided / "tiny")
    assert known is not None
    longer = {cell.id for cell in replace(plan, seeds=tuple(range(6))).cells()}
    assert set(known.added) < longer - {cell.id for cell in plan.cells()}
    assert len(known.added) == 6
    assert [cell.id for cell in cells_of(plan, decided / "tiny")] == [*(c.id for c in plan.cells()), *known.added]


def test_the_file_of_looks_says_what_was_spent_and_why_seeds_were_added(plan: Plan, decided: Path) -> None:
    raw = json.loads((decided / "tiny" / "looks.json").read_text())
    first, second, last = raw["history"]
    assert (first["seeds"], first["spent"]) == (3, pytest.approx(0.00305, abs=1e-5))
    assert first["decided"] == ["cps against supervised, phantom_2d 34%: better"]
    assert second["open"] == ["mean_teacher against supervised, phantom_2d 34%"]
    assert (len(first["added"]), len(second["added"]), last["added"]) == (4, 2, [])
    assert last["spent"] == pytest.approx(0.05)


def test_it_ends_as_soon_as_everything_is_decided(tmp_path: Path) -> None:
    plan = tiny_plan(methods=["cps"], bounds=True, seeds=3)
    ran, told = decide(plan, tmp_path)
    assert (len(ran.ran), told[-1]) == (1, "look 1 at 3 seeds: 1 decided, 0 open")


def test_an_interrupted_run_goes_on_where_it_stood(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decide(plan, tmp_path, stop_at=4)
    before = (tmp_path / "tiny" / "looks.json").read_text()
    assert len(json.loads(before)["history"]) == 1
    ran, told = decide(plan, tmp_path)
    assert [len(todo) for todo in ran.ran] == [0, 2, 2], "seed 3 was there, seed 4 and then 5 were not"
    assert told[1].startswith("look 2"), "nobody looks twice"
    ran, _ = decide(plan, tmp_path)
    assert [len(todo) for todo in ran.ran] == [0, 0, 0]


def test_nobody_looks_while_cells_run_elsewhere(plan: Plan, tmp_path: Path) -> None:
    told: list[str] = []
    until_decided.run(plan, tmp_path / "tiny", declare(plan), lambda cells: Summary(skipped=1), told.append)
    assert told[-1].startswith("look 1 has to wait for 12 cells that run elsewhere")
    known = looks_file.read(tmp_path / "tiny")
    assert known is not None
    assert known.history == ()


def test_looks_cannot_be_changed_after_the_first_one(plan: Plan, decided: Path) -> None:
    other = replace(plan, claims=replace(plan.claims, looks=(3, 10)))
    with pytest.raises(ConfigError, match=r"looks at \(3, 5, 6\) seeds were declared.*\(3, 10\) now would not keep"):
        decide(other, decided)


def test_looks_may_be_changed_while_nobody_has_looked(plan: Plan, tmp_path: Path) -> None:
    looks_file.write(tmp_path / "tiny", declare(plan))
    other = replace(plan, claims=replace(plan.claims, looks=(3, 4)))
    assert until_decided.agreed(tmp_path / "tiny", declare(other)).counts == (3, 4)


def test_without_a_declaration_the_last_look_is_at_twice_the_seeds() -> None:
    assert declare(tiny_plan(seeds=5)).counts == (5, 8, 10)
    assert declare(tiny_plan(seeds=[0, 7, 3])).seeds == (0, 7, 3, 8, 9, 10)


def test_two_seeds_cannot_be_looked_at() -> None:
    with pytest.raises(ConfigError, match=r"looks must rise and start at 3 seeds or more.*got \(2, 3, 4\)"):
        declare(tiny_plan(seeds=2))


def test_a_damaged_file_of_looks_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "looks.json").write_text("{")
    with pytest.raises(ConfigError, match="is damaged"):
        looks_file.read(tmp_path)


def test_a_failed_seed_is_left_out_and_the_look_is_taken(plan: Plan, tmp_path: Path) -> None:
    decide(plan, tmp_path, broken=[4])
    results = frame.load(tmp_path / "tiny", plan)
    designs = verdicts.designs(results, summary.patient_values(summary.class_values(results)))
    judged = verdicts.judge(results, designs)
    row = judged[(judged["endpoint"] == "Dice") & (judged["label"] == "mean_teacher")].iloc[0]
    assert (row.seeds, row.look) == (5, 3), "six seeds less the failed one"


def history_of(results: Path) -> list[dict[str, Any]]:
    history: list[dict[str, Any]] = json.loads((results / "tiny" / "looks.json").read_text())["history"]
    return history


def test_a_look_that_lacked_a_failed_seed_is_taken_once_that_has_finished(tmp_path: Path) -> None:
    plan = tiny_plan(methods=["mean_teacher"], bounds=True, seeds=3, claims={"looks": [3, 5, 6]})
    _, told = decide(plan, tmp_path, broken=[2])
    assert told[-1] == "look 1 at 3 seeds: 0 decided, 0 open, 1 without enough seeds"
    (entry,) = history_of(tmp_path)
    assert [name.split("-")[0] for name in entry["unfinished"]] == ["mean_teacher"]
    _, told = decide(plan, tmp_path, broken=[2])
    assert (len(told), history_of(tmp_path)) == (1, [entry]), "it failed again: nothing is to be seen"

    ran, told = decide(plan, tmp_path)
    assert told[1] == "look 1 at 3 seeds, again for the comparisons that lacked cells: 0 decided, 1 open"
    assert [len(todo) for todo in ran.ran] == [1, 4, 2]
    assert [(len(each["added"]), each["unfinished"], each["waiting"]) for each in history_of(tmp_path)] == [
        (4, [], []), (2, [], []), (0, [], []),
    ]  # fmt: skip
    assert len(decide(plan, tmp_path)[1]) == 1, "nobody looks again"


def test_comparisons_that_had_a_look_have_no_second_one_when_it_is_taken_for_others(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(plan, tmp_path, broken=[2], method="cps")
    before = history_of(tmp_path)
    assert (before[0]["waiting"], len(before), len(before[0]["added"])) == (
        ["cps against supervised, phantom_2d 34%"], 3, 4,
    )  # fmt: skip
    settled: list[set[str]] = []
    real = until_decided.standing

    def watched(plan: Plan, folder: Path, look: int, known: set[str]) -> until_decided.Standing:
        settled.append(known)
        return real(plan, folder, look, known)

    monkeypatch.setattr(until_decided, "standing", watched)
    decide(plan, tmp_path)
    after = history_of(tmp_path)
    assert settled == [{"mean_teacher against supervised, phantom_2d 34%"}] * 3
    assert [each["open"] for each in after] == [each["open"] for each in before]
    assert [each["added"] for each in after] == [each["added"] for each in before]
    assert after[0]["decided"] == ["cps against supervised, phantom_2d 34%: better"]


def test_a_decided_comparison_stays_decided_when_its_look_is_taken_for_others(plan: Plan, tmp_path: Path) -> None:
    decide(plan, tmp_path, broken=[2])
    (entry,) = history_of(tmp_path)
    assert entry["decided"] == ["cps against supervised, phantom_2d 34%: better"]
    decide(plan, tmp_path)
    first, *_ = history_of(tmp_path)
    assert first["decided"] == entry["decided"]
    assert first["open"] == ["mean_teacher against supervised, phantom_2d 34%"]


def test_looks_of_before_failed_cells_were_noted_are_gone_on_with(plan: Plan, tmp_path: Path) -> None:
    decide(plan, tmp_path)
    path = tmp_path / "tiny" / "looks.json"
    raw = json.loads(path.read_text())
    raw["history"] = [{key: told for key, told in each.items() if key != "unfinished"} for each in raw["history"]]
    path.write_text(json.dumps(raw))
    ran, told = decide(plan, tmp_path)
    assert ([len(todo) for todo in ran.ran], len(told)) == ([0, 0, 0], 1)


def test_a_look_counts_only_once_all_its_cells_have_ended(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decide(plan, tmp_path, stop_at=4)
    results = frame.load(tmp_path / "tiny", plan)
    designs = verdicts.designs(results, summary.patient_values(summary.class_values(results)))
    judged = verdicts.judge(results, designs)
    of = judged[judged["endpoint"] == "Dice"].set_index("label")
    assert of.loc["mean_teacher", ["seeds", "look"]].tolist() == [3, 1], "seed 3 is there, but is no look by itself"


def test_verdicts_after_looks_follow_from_the_p_values_of_all_of_them(plan: Plan, decided: Path) -> None:
    results = frame.load(decided / "tiny", plan)
    designs = verdicts.designs(results, summary.patient_values(summary.class_values(results)))
    judged = verdicts.judge(results, designs)
    row = judged[(judged["endpoint"] == "Dice") & (judged["label"] == "mean_teacher")].iloc[0]
    mine, other = (
        designs[role, label, "phantom_2d", "34%"]["dice"].to_numpy()
        for role, label in (("method", "mean_teacher"), ("lower", "supervised"))
    )
    tests = [verdicts.crossed((mine - other)[:count]) for count in (3, 5, 6)]
    assert row.p == pytest.approx(sequential_p(np.array([[test.p_value() for test in tests]]), (3, 5, 6))[0])
    assert (row.low, row.high) == pytest.approx(tests[-1].interval(1 - levels(0.05, (3, 5, 6))[-1]))
    assert row.high - row.low > np.diff(tests[-1].interval())[0], "wider than if nobody had looked before"


@pytest.mark.slow
def test_the_report_shows_added_cells_and_looks(plan: Plan, decided: Path, tmp_path: Path) -> None:
    report = build("tiny", decided, plan=plan, out=tmp_path)
    text = (report / "table.md").read_text()
    assert "## Looks at the verdicts" in text
    assert "| 1 | 3 | 0.0031 | 0.31 % | 1 | 1 | 4 |" in text
    assert "and over all looks" in text
    page = (report / "index.html").read_text()
    known = looks_file.read(decided / "tiny")
    assert known is not None
    assert all(name in page for name in known.added)
    assert "further records belong to other settings" not in page


def test_the_command_runs_a_plan_until_decided(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.yaml"
    raw = raw_plan(methods=["cps", "mean_teacher"], bounds=True, seeds=3, claims={"looks": [3, 5, 6]})
    path.write_text(yaml.safe_dump(raw))
    ran = Simulated(tmp_path / "results" / "tiny")
    monkeypatch.setattr(session, "run_plan", lambda name, *, cells, **settings: ran(cells))
    console = Console(file=io.StringIO(), width=200, color_system=None)
    summed = session.run_until_decided(str(path), results=str(tmp_path / "results"), console=console)
    assert summed.finished == 12 + 4 + 2
    with pytest.raises(ConfigError, match="leave out --only"):
        session.run_until_decided(str(path), only="cps", console=console)


def test_stopping_early_is_wrong_no_more_often_than_promised() -> None:
    """No true difference; each of four comparisons stops once it is called better or worse. Families with a mistake."""
    random = np.random.default_rng(11)
    looks, repeats, methods, patients = Looks((4, 6, 8), tuple(range(8))), 500, 4, 15
    shape = (repeats, methods, 8, patients)
    values = random.normal(size=(*shape[:3], 1)) + random.normal(size=(repeats, methods, 1, patients))
    values += 2 * random.normal(size=shape)
    tests = [verdicts.crossed(values[:, :, :count]) for count in looks.counts]
    p = np.stack([test.p_value() for test in tests], axis=-1)
    mistaken = np.zeros(repeats, bool)
    stopped = np.zeros((repeats, methods), bool)
    seen = np.full(p.shape, np.nan)
    for look, test in enumerate(tests):
        seen[..., look] = np.where(stopped, np.nan, p[..., look])
        q = sequential_p(seen.reshape(-1, 3), looks.counts).reshape(repeats, methods)
        adjusted = np.array([verdicts.holm(family) for family in q])
        believed = (adjusted < looks.alpha) & ~stopped & (np.abs(test.mean) > 0)
        mistaken |= believed.any(axis=1)
        stopped |= believed
    assert mistaken.mean() <= 0.05 + 0.02
