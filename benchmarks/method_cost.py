"""What a step of every method costs, as a multiple of its family's baseline: ``python -m benchmarks.method_cost``.

Time: all methods in one process, one step of each by turns, on the same made-up batch with the same optimizer; printed
is the median over rounds of the ratio to the baseline's step of the same round. On a CPU it is processor time, because
other work on the machine stretches the clock on the wall. Labelling anew while training (``relabel_at`` after step 0)
is added per step, for ``--samples`` labelled samples in a run of ``--steps`` steps. Steps are those after all ramps, in
the last phase; of methods that begin otherwise, a row ``@start`` has the first step as well.

Memory: a process of its own for each method, that takes a tiny step and then two; counted is what the peak of these
adds to what it held before.

    python -m benchmarks.method_cost scribble --side 128 --batch 6 --memory-side 256 --memory-batch 12
    python -m benchmarks.method_cost semi --side 48 --depth 32 --batch 2 --network vnet --classes 2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import torch

import methods
from benchmark import receipt
from methods import networks
from methods.base import Method

from .method_steps import START, Size, Stepper

BASELINE = {"scribble": "pce", "semi": "supervised"}
ESTIMATES = {
    "pce_tv": 1.0, "pce_entropy": 1.0, "pce_intensity_variance": 1.0, "pce_mumford_shah": 1.0, "pce_random_walker": 1.0,
    "pce_gated_crf": 2.0, "wsl4mis": 1.65, "scribble2label": 1.4, "ustm": 4.0, "mask_mix_adv": 3.8,
    "shape_pu": 2.0, "cycle_mix": 8 / 3, "pce_dense_crf": 1.1, "pce_mix": 1.0, "pce_co_mixup": 8 / 3,
    "dmsps": 1.65, "scribblevs": 4 / 3, "zscribbleseg": 3.0,
}  # fmt: skip
"""Passes counted on paper, in steps of partial cross-entropy (12 × 256² on a GPU); of Gated CRF's 1.2 to 2, the 2."""
SEMI_ESTIMATES = {
    "entropy_minimisation": 12 / 6, "dtc": 12 / 6, "ict": 11 / 6, "mean_teacher": 14 / 6, "cpcl": 18 / 6,
    "cvcl": 18 / 6, "bcp": 16 / 12, "cps": 24 / 6, "r_drop": 24 / 6, "ua_mt": 30 / 6, "sassnet": 22.4 / 6,
    "cct": 32.4 / 6, "mc_net": 26.2 / 6, "cc_net": 25.6 / 6, "dcpa": 61.3 / 6, "ac_mt": 14 / 6, "ad_mt": 22 / 6,
    "ss_net": 32 / 6,
}  # fmt: skip
"""The same of volumes: forward passes of V-Net on one crop over those of supervised learning on the labelled half."""
_PHASED = ("bcp", "bhpc")
"""Methods that begin otherwise than they end: measured at their first step too."""
_COMPANION = "mean_teacher"
"""What the memory of methods with a teacher is compared with as well."""


@dataclass(frozen=True)
class Cost:
    """Of one method: its step in seconds and as a multiple of the baseline's, and its peak memory."""

    method: str
    seconds: float
    ratio: float
    estimate: float | None
    mib: float
    memory_ratio: float


def measure_time(names: list[str], family: str, size: Size, rounds: int, steps: int, samples: int) -> dict[str, float]:
    """Seconds per step of every method, and its ratio to the first: ``name -> seconds`` and ``name/ratio -> ratio``."""
    steppers = {name: Stepper(name, family, size) for name in names}
    found: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, stepper in steppers.items():
            seconds = stepper.seconds(stepper.step)
            if _relabels_while_training(stepper.method):
                calls = sum(stepper.method.relabel_at(step) for step in range(1, steps))
                seconds += stepper.seconds(stepper.relabel) / size.batch * samples * calls / steps
            if turn:  # the first one warms up
                found[name].append(seconds)
    ratios = {
        f"{name}/ratio": median(one / base for one, base in zip(found[name], found[names[0]], strict=True))
        for name in names
    }
    return {name: median(series) for name, series in found.items()} | ratios


def measure_memory(name: str, family: str, size: Size) -> float:
    """MiB that two steps of a method add to what its process held; in a process of its own."""
    settings = json.dumps([name, family, asdict(size)])
    command = [sys.executable, "-m", "benchmarks.method_cost", "--child", settings]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def table(costs: list[Cost], title: str) -> str:
    """Markdown, dearest first."""
    beside = next((cost.mib for cost in costs if cost.method == _COMPANION), None)
    further = f" × {_COMPANION} |" if beside else ""
    lines = [f"# {title}", "", f"| method | s per step | × baseline | estimate | peak MiB | × baseline |{further}"]
    lines += ["|---|---:|---:|---:|---:|---:|" + ("---:|" if beside else "")]
    for cost in sorted(costs, key=lambda cost: -cost.ratio):
        estimate = "" if cost.estimate is None else f"{cost.estimate:.3g}"
        lines.append(
            f"| {cost.method} | {cost.seconds:.3f} | {cost.ratio:.2f} | {estimate} | {cost.mib:.0f} "
            f"| {cost.memory_ratio:.2f} |" + (f" {cost.mib / beside:.2f} |" if beside else "")
        )
    if any(cost.method.endswith(START) for cost in costs):
        lines += ["", f"{START}: in its first phase; everything else after all ramps, in the last one."]
    if any(cost.method == "scribble2label" for cost in costs):
        lines += ["", "Left out: scribble2label's ensemble, two bytes per pixel, class and labelled sample."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", nargs="?", default="scribble", choices=sorted(BASELINE))
    parser.add_argument("--side", type=int, default=96, help="pixels along a side, for time")
    parser.add_argument("--batch", type=int, default=4, help="labelled samples (and as many unlabelled ones), for time")
    parser.add_argument("--memory-side", type=int, help="for memory; default: as for time")
    parser.add_argument("--memory-batch", type=int)
    parser.add_argument("--depth", type=int, default=0, help="voxels along the third axis of volumes; 0 = images")
    parser.add_argument("--memory-depth", type=int)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--memory-width", type=int)
    parser.add_argument("--network", default="unet", choices=networks.names())
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60_000, help="length of the run that relabelling is spread over")
    parser.add_argument("--samples", type=int, default=1512, help="labelled samples of that run: ACDC's fold 1")
    parser.add_argument("--only", nargs="*", help="methods beside the baseline")
    parser.add_argument("--save", type=Path, help="write the table and its receipt below this folder")
    parser.add_argument("--name", help="of these files; default: the family")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.child:
        name, family, size = json.loads(given.child)
        tiny = size | {"side": 32, "batch": 2, "depth": size["depth"] and 32}
        Stepper(name, family, Size(**tiny)).step()  # what torch loads at a first step
        print(_peak_of_two_steps(Stepper(name, family, Size(**size))))
        return 0
    size = Size(given.side, given.batch, given.width, given.precision, given.depth, given.network, given.classes)
    for_memory = {field: getattr(given, f"memory_{field}") for field in ("side", "batch", "depth", "width")}
    large = replace(size, **{field: value for field, value in for_memory.items() if value is not None})
    names = [BASELINE[given.family], *_others(given.family, given.only, len(size.space))]
    seconds = measure_time(names, given.family, size, given.rounds, given.steps, given.samples)
    memory = {name: measure_memory(name, given.family, large) for name in names}
    costs = [
        Cost(
            method=name,
            seconds=seconds[name],
            ratio=seconds[f"{name}/ratio"],
            estimate=(ESTIMATES | SEMI_ESTIMATES).get(name),
            mib=memory[name],
            memory_ratio=memory[name] / memory[names[0]],
        )
        for name in names
    ]
    title = f"Cost of a step, {given.family}: time at {size}; memory at {large}; baseline {names[0]}"
    text = table(costs, title)
    print(text)
    if given.save:
        _save(given.save, given.name or given.family, text, costs, {"time": asdict(size), "memory": asdict(large)})
    return 0


def _others(family: str, only: list[str] | None, ndim: int) -> list[str]:
    known = [name for name, where in methods.families().items() if where == family and name != BASELINE[family]]
    fitting = [name for name in known if ndim in methods.get(name).ndims and (only is None or name in only)]
    return fitting + [f"{name}{START}" for name in fitting if name in _PHASED]


def _relabels_while_training(method: Method) -> bool:
    return type(method).relabel_at is not Method.relabel_at and not method.offline_labels


def _peak_of_two_steps(stepper: Stepper) -> float:
    if stepper.where.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        stepper.step()
        stepper.step()
        return (torch.cuda.max_memory_allocated() - held) / 2**20
    held = _resident_mib("VmRSS")
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    stepper.step()
    stepper.step()
    return _resident_mib("VmHWM") - held


def _resident_mib(line: str) -> float:
    """Of this process: ``VmRSS`` now, or ``VmHWM`` at its peak."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{line}:")[1].split()[0]) / 1024


def _save(folder: Path, name: str, text: str, costs: list[Cost], sizes: dict[str, dict[str, object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text + "\n")
    made_with = receipt.code() | {"versions": receipt.versions(), "hardware": receipt.hardware()}
    content = {"sizes": sizes, "costs": [asdict(cost) for cost in costs], "receipt": made_with}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
