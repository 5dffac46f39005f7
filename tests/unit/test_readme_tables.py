"""The tables of results in the README are those of the kept reports, number by number; and its list is complete."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

import methods
from methods import networks

ROOT = Path(__file__).resolve().parents[2]

Means = dict[tuple[str, str], dict[str, str]]
"""Rows of ``table.csv`` by label and amount."""


def _kept(plan: str) -> Means:
    with (ROOT / "results" / "reference" / plan / "report" / "table.csv").open(newline="") as file:
        return {(row["label"], row["amount"]): row for row in csv.DictReader(file)}


def _printed(head: str) -> dict[str, list[str]]:
    """The rows of the table with this head, by label without its bound."""
    lines = (ROOT / "README.md").read_text().split(head)[1].splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines[: lines.index("")]]
    return {name.split(" (")[0]: cells for name, *cells in rows}


def _text(row: dict[str, str], metric: str, scale: float) -> str:
    return f"{scale * float(row[f'{metric}_mean']):.1f} ± {scale * float(row[f'{metric}_sd']):.1f}"


def test_the_scribble_table_is_that_of_its_report() -> None:
    kept = {label: row for (label, _), row in _kept("acdc_scribble_small").items()}
    assert _printed("| method | Dice | HD95 |") == {
        label: [_text(row, "dice", 100), _text(row, "hd95", 1)] for label, row in kept.items()
    }


@pytest.mark.parametrize("label", ["supervised", "bcp", "mean_teacher", "cps", "entropy_minimisation"])
def test_the_table_of_few_labelled_volumes_is_that_of_its_report(label: str) -> None:
    kept, printed = _kept("hippocampus_semi"), _printed("| method | 5 % | 10 % | 20 % |")
    assert printed[label] == [_text(kept[label, amount], "dice", 100) for amount in ("5%", "10%", "20%")]
    assert printed["supervised, all labels"] == [_text(kept["supervised, all labels", "100%"], "dice", 100)] * 3
    assert len(printed) == 6


def test_what_is_in_it_names_every_method_and_network_and_no_other() -> None:
    section = (ROOT / "README.md").read_text().split("## What is in it\n")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert named == {*methods.names(), *networks.names()}
