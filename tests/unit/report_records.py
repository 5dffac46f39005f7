"""Synthetic records for the tests of the report: written as the runner writes them, with numbers known in advance."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np

import methods
from benchmark import receipt as receipts
from benchmark import record

CLASSES = ("right ventricle", "myocardium", "left ventricle")


def score(
    case: str,
    *,
    group: str | None = None,
    class_name: str = "organ",
    dice: float = 0.5,
    hd95: float = 4.0,
    status: str = "ok",
    selection: str = "last",
    unit: str = "mm",
    diagonal: float = 100.0,
    n_gt: int = 9,
) -> record.Score:
    """One row; a status other than ok gets the raw values that `benchmark.metrics` gives it."""
    if status != "ok":
        dice, hd95 = (nan, nan) if status == "both_empty" else (0.0, inf)
    known = {"dice": dice, "jaccard": dice / (2 - dice), "n_pred": 9, "tp": 9, "nsd": nan, "nsd_count": nan}
    known["n_gt"] = 0 if status in ("both_empty", "spurious") else n_gt
    values = tuple(float(known.get(metric, hd95)) for metric in record.METRICS)
    return record.Score(selection, case, group or case, class_name, status, unit, diagonal, diagonal, values)


def write_cell(
    results: Path,
    scores: Sequence[record.Score] = (),
    *,
    plan: str = "toy",
    method: str = "cps",
    label: str | None = None,
    role: str = "method",
    dataset: str = "phantom_2d",
    ratio: float = 0.1,
    seed: int = 0,
    fold: int = 1,
    hyper: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
    annotation: str = "dense",
    status: str = "finished",
    training: dict[str, Any] | None = None,
    **more: Any,
) -> Path:
    """Write one cell's record and return its folder."""
    amount = f"{100 * ratio:g}%"
    name = f"{method}-{dataset}-{amount.replace('%', 'pc')}-s{seed}-{fold}{role}{'x' if hyper else ''}"
    cell = {
        "plan": plan, "label": label or method, "role": role, "title": f"{label or method} {dataset} {amount} s{seed}",
        "amount": amount, "method": method, "hyper": hyper or {}, "dataset": dataset, "options": options or {},
        "annotation": annotation, "ratio": ratio, "count": None, "seed": seed, "fold": fold,
        "training": training or {"steps": 100}, "versions": {"protocol": "1", "metrics": "1", "data": "1"},
    }  # fmt: skip
    split = {
        "labelled_groups": [f"p{i}" for i in range(max(1, round(40 * ratio)))], "train_groups": 40,
        "unlabelled_groups": 40 - max(1, round(40 * ratio)), "val_groups": 4, "test_groups": 8,
        "labelled_cases": 2 * max(1, round(40 * ratio)), "ratio": ratio, "digest": "d1ge57",
    }  # fmt: skip
    receipt = {
        "commit": "0123456789abcdef", "dirty": False, "data": "5ca1ab1e", "split": "d1ge57",
        "versions": {"python": "3.11.2", "torch": "2.13.0"}, "hardware": {"cpu": "a processor", "cores": 2},
        "precision": "float32", "openings": ["final evaluation"],
        "source": receipts.source(method) if method in methods.names() else "of a method of tests alone",
    }  # fmt: skip
    seconds = {"train": 20.0 + seed, "evaluate": 2.0, "total": 22.0 + seed}
    fields = {"seconds": seconds, "memory_mib": 512.0, "parameters": 123456, "split": split, "receipt": receipt} | more
    folder = results / plan / name
    record.write(folder, record.Record(id=name, cell=cell, status=status, **fields), scores)
    return folder


def demo(results: Path) -> None:
    """Five methods and two bounds × two datasets × two ratios × three seeds; one cell failed, one organ missed."""
    strength = {"mean_teacher": 0.06, "cps": 0.09, "dan": 0.03, "pce": -0.06, "supervised": 0.0}
    for dataset, unit in (("phantom_2d", "px"), ("phantom_3d", "mm")):
        for seed in range(3):
            scores = _scores(0.93, unit, seed=(seed, 99))
            folder = write_cell(
                results, scores, method="supervised", label="supervised, all labels", role="upper", dataset=dataset,
                ratio=1.0, seed=seed, validation=_validation(0.93), seconds=_seconds(4, seed),
            )  # fmt: skip
            _examples(folder, 0.95, seed)
            for ratio, base in ((0.05, 0.7), (0.1, 0.8)):
                for number, (method, gain) in enumerate(strength.items()):
                    level = base + gain * (1 if ratio < 0.1 else 0.6) - (0.05 if unit == "mm" else 0)
                    role = "lower" if method in ("supervised", "pce") else "method"
                    if (method, dataset, ratio, seed) == ("dan", "phantom_3d", 0.05, 2):
                        write_cell(
                            results, method=method, dataset=dataset, ratio=ratio, seed=seed, status="failed",
                            reason="loss term consistency is NaN at step 417", traceback="Traceback ...",
                        )  # fmt: skip
                        continue
                    scores = _scores(level, unit, seed=(seed, number, int(100 * ratio), ord(unit[0])))
                    if (method, ratio) == ("pce", 0.05):
                        scores = [
                            _missed(s) if (s.case, s.class_name) == ("case3 ES", CLASSES[0]) else s for s in scores
                        ]
                    folder = write_cell(
                        results, scores, method=method, role=role, dataset=dataset, ratio=ratio, seed=seed,
                        validation=_validation(level), annotation="scribble" if method == "pce" else "dense",
                        seconds=_seconds(number, seed),
                    )  # fmt: skip
                    _examples(folder, level, seed)


def _missed(s: record.Score) -> record.Score:
    return score(s.case, group=s.group, class_name=s.class_name, status="missed", unit=s.unit, selection=s.selection)


def _scores(level: float, unit: str, *, seed: tuple[int, ...], patients: int = 8) -> list[record.Score]:
    random = np.random.default_rng(seed)
    shift = random.normal(0, 0.012)
    hardness = np.random.default_rng(5).normal(0, 0.04, patients)
    rows = []
    for selection, bonus in (("last", 0.0), ("best_val", 0.002), ("oracle", 0.006)):
        for patient in range(patients):
            for phase in ("ED", "ES"):
                for place, class_name in enumerate(CLASSES):
                    dice = level + bonus + shift + hardness[patient] + 0.02 * (place - 1) + random.normal(0, 0.015)
                    dice = float(np.clip(dice, 0.05, 0.985))
                    hd95 = float(25 * (1 - dice) ** 1.2 * random.uniform(0.7, 1.4))
                    rows.append(
                        score(
                            f"case{patient} {phase}", group=f"patient{patient}", class_name=class_name, dice=dice,
                            hd95=hd95, unit=unit, selection=selection, n_gt=(60 + 40 * place) * (patient + 2),
                        )
                    )  # fmt: skip
    return rows


def _seconds(number: int, seed: int) -> dict[str, float]:
    """Training takes 20 s and more for the bounds, the number 4 and 3 of the demo, and up to twice that for others."""
    train = 20.0 + 6 * (4 - number) + seed
    return {"train": train, "evaluate": 2.0, "total": train + 2, "predict": 0.05 + 0.01 * (4 - number)}


def _validation(level: float) -> list[dict[str, float]]:
    return [{"step": 25 * i, "dice": level * (1 - 0.6 ** (i + 1))} for i in range(1, 5)]


def _examples(folder: Path, level: float, seed: int) -> None:
    """Three short-axis-like slices; predictions are the same shapes, shifted and swollen as the Dice is low."""
    arrays: dict[str, Any] = {"classes": np.array(("background", *CLASSES))}
    for case, rank in enumerate(("best", "median", "worst")):
        random = np.random.default_rng((case, 3))
        label = _heart(*(48 + random.uniform(-6, 6, 2)), 1 + 0.1 * case)
        wobble = np.random.default_rng((case, int(1000 * level), seed))
        centre = _centre(label) + 14 * (1 - level) * wobble.normal(0, 1, 2)
        prediction = _heart(*centre, 1 + 0.1 * case + 0.4 * (1 - level))
        image = np.array([60, 150, 90, 210])[label] + 18 * random.normal(0, 1, label.shape)
        arrays |= {
            f"{case}_image": np.clip(image, 0, 255).astype(np.uint8), f"{case}_label": label,
            f"{case}_prediction": prediction, f"{case}_name": np.array(f"case{case} ED"),
            f"{case}_spacing": np.array([1.4, 1.4]), f"{case}_rank": np.array(rank),
        }  # fmt: skip
    np.savez_compressed(folder / "examples.npz", **arrays)


def _centre(label: np.ndarray) -> np.ndarray:
    return np.array([axis.mean() for axis in np.nonzero(label == 3)])


def _heart(row: float, column: float, size: float) -> np.ndarray:
    rows, columns = np.mgrid[0:96, 0:96]
    radius = np.hypot(rows - row, columns - column) / size
    right = np.hypot((rows - row) / 1.4, columns - column + 20 * size) / size
    label = np.zeros((96, 96), np.uint8)
    label[right < 11] = 1
    label[radius < 16] = 2
    label[radius < 10] = 3
    return label
