"""How long the report of a large study takes, and how much memory: ``python -m benchmarks.report``.

Made-up records are written as the runner writes them: 10 000 cells of 40 cases × 3 classes, each with the three
selections of weights, in a temporary folder. The report is then built in a process of its own, from the start of Python
to the last byte of the page; printed are its seconds and its peak memory. Exit code 1: over a minute or over 4 GiB.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import record
from benchmark.metrics import METRICS_VERSION
from benchmark.plan import PROTOCOL_VERSION
from benchmark.training import Training

DATASETS, RATIOS, METHODS, SEEDS = 5, (0.05, 0.1, 0.2, 0.5, 1.0), 20, 20
"""5 × 5 × 20 × 20 = 10 000 cells; the first method is the lower bound, and at 100 % the upper one."""

PATIENTS, SCANS, CLASSES = 20, 2, ("left", "middle", "right")
SELECTIONS = ("last", "best_val", "oracle")
MOST_SECONDS, MOST_GIB = 60, 4
BUILD = "import sys, pathlib; from benchmark.report import build; build('large', pathlib.Path(sys.argv[1]))"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="fewer make a smaller study, of 500 cells each")
    parser.add_argument("--selections", type=int, default=3, choices=(1, 2, 3))
    parser.add_argument("--keep", type=Path, help="write the records below this folder and leave them there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        results = arguments.keep or Path(temporary)
        began, cells = time.monotonic(), 0
        for cells, cell in enumerate(study(range(arguments.seeds)), start=1):  # noqa: B007  (how many, said below)
            write(results / "large", cell, SELECTIONS[: arguments.selections])
        print(f"wrote {cells} records in {time.monotonic() - began:.0f} s", flush=True)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", BUILD, str(results)], check=True)
        seconds, used = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        gib = used.ru_maxrss / 2**20
        processor = used.ru_utime + used.ru_stime
        files = [path for path in (results / "large" / "report").rglob("*") if path.is_file()]
        print(f"report: {seconds:.1f} s by the clock, {processor:.1f} s of processor, {gib:.2f} GiB at most")
        print(f"{len(files)} files, {sum(path.stat().st_size for path in files) / 2**20:.0f} MiB")
    return int(seconds > MOST_SECONDS or gib > MOST_GIB)


def study(seeds: range) -> Iterator[dict[str, Any]]:
    """What the record of each cell says of it, in the order of a plan."""
    for seed, dataset, ratio, method in product(seeds, range(DATASETS), RATIOS, range(METHODS)):
        name, role = f"method_{method:02d}", "method"
        if method == 0:
            name, role = ("supervised", "upper" if ratio == 1 else "lower")
        yield {
            "plan": "large", "label": name, "role": role, "title": f"{name} organ_{dataset} {100 * ratio:g}% s{seed}",
            "amount": f"{100 * ratio:g}%", "method": name, "hyper": {}, "dataset": f"organ_{dataset}", "options": {},
            "annotation": "dense", "ratio": ratio, "count": None, "seed": seed, "fold": 1,
            "training": asdict(Training(patch=(64, 64))),
            "versions": {"protocol": PROTOCOL_VERSION, "metrics": METRICS_VERSION, "data": "1"},
        }  # fmt: skip


def write(folder: Path, cell: dict[str, Any], selections: tuple[str, ...]) -> None:
    """One cell's record and scores: Dice rises with labels and differs between methods, patients, seeds and classes."""
    place = int(cell["dataset"][-1]), int(cell["method"][-2:]) if cell["method"] != "supervised" else 0
    random = np.random.default_rng((*place, cell["seed"], int(100 * cell["ratio"])))
    level = 0.92 - (0.10 - 0.002 * place[1]) / (10 * cell["ratio"]) ** 0.5 + random.normal(0, 0.01)
    hardness = np.random.default_rng(place[0]).normal(0, 0.03, PATIENTS)
    scores = []
    for selection, patient, scan, (number, name) in product(
        selections, range(PATIENTS), range(SCANS), enumerate(CLASSES)
    ):
        size = 500 * (number + 1) * (1 + patient)
        missed = random.random() < 0.01
        dice = 0.0 if missed else float(np.clip(level + hardness[patient] + random.normal(0, 0.02), 0.01, 0.99))
        far = float("inf") if missed else 20 * (1 - dice)
        known = {"dice": dice, "jaccard": dice / (2 - dice), "nsd": dice, "nsd_count": dice, "n_gt": size}
        known |= {"n_pred": 0 if missed else size, "tp": int(dice * size)}
        values = tuple(known.get(metric, far) for metric in record.METRICS)
        case, status = f"patient{patient:02d} scan {scan}", "missed" if missed else "ok"
        scores.append(record.Score(selection, case, case[:9], name, status, "mm", 400.0, 300.0, values))
    identity = f"{cell['method']}-{cell['dataset']}-{cell['amount'][:-1]}pc-s{cell['seed']}"
    labelled = max(1, round(60 * cell["ratio"]))
    split = {
        "labelled_groups": [f"train{i}" for i in range(labelled)], "labelled_cases": 2 * labelled, "digest": "d1ge57",
        "train_groups": 60, "unlabelled_groups": 60 - labelled, "val_groups": 6, "val_cases": 12,
        "test_groups": PATIENTS, "test_cases": PATIENTS * SCANS, "ratio": cell["ratio"],
    }  # fmt: skip
    receipt = {
        "commit": "0123456789abcdef", "dirty": False, "data": "5ca1ab1e", "split": "d1ge57", "precision": "float32",
        "versions": {"python": "3.11", "torch": "2"}, "hardware": {"cpu": "made up", "cores": 2}, "source": "none",
        "openings": ["final evaluation"],
    }  # fmt: skip
    seconds = {"train": 60.0 + 10 * place[1] + random.normal(), "evaluate": 5.0, "total": 65.0}
    made = record.Record(
        identity, cell, "finished", seconds=seconds, memory_mib=900.0 + place[1], parameters=10**6, split=split,
        receipt=receipt, validation=[{"step": 250 * (i + 1), "dice": level * (0.8 + 0.05 * i)} for i in range(4)],
    )  # fmt: skip
    record.write(folder / identity, made, scores)


if __name__ == "__main__":
    sys.exit(main())
