"""``make speed`` at tiny sizes: every part ends, and every row is a number or says why it is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.output import PARTS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1800)  # thirty starts of Python, which are slow on a machine that is busy
def test_every_speed_script_runs_at_tiny_sizes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for part in PARTS:
        found = json.loads((tmp_path / "out" / f"{part}.json").read_text())
        assert found["receipt"]["complete"]
        assert len(found["rows"]) >= 3
        assert all(row["value"] or row["note"] for row in found["rows"])
    assert (tmp_path / "out" / "roofline.png").stat().st_size > 10_000
    assert (tmp_path / "out" / "table.md").read_text().count("\n## ") == len(PARTS)
