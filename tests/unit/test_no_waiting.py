"""No step asks the device for a number: on a GPU, the host would wait there for all work in flight.

Seen from a CPU: operations whose result the host must know before it can go on. Copies to the host cannot be told apart
there; they are written ``.cpu()`` in the code.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import methods
from benchmarks import settings
from benchmarks.engine import Engine
from benchmarks.harness import Run
from benchmarks.settings import Setting

ROOT = Path(__file__).resolve().parents[2]
WAITING = {"_local_scalar_dense", "equal", "is_nonzero", "masked_select", "nonzero", "_unique2", "unique_dim"}
"""Operations of ATen; the first is what ``.item()``, ``int()``, ``bool()`` and ``if`` come to."""

MAKE: dict[str, Callable[[Run], Setting]] = {"2-D": lambda run: settings.acdc(run, 32), "3-D": settings.hippocampus}


class Waits(TorchDispatchMode):
    """Remembers where in the project an operation had the host wait; what torch's own optimizers ask is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket._qualified_op_name.removeprefix("aten::") in WAITING or _by_mask(func, args):
            files = [Path(frame.filename) for frame in traceback.extract_stack()]
            ours = [f.relative_to(ROOT).as_posix() for f in files if f.is_relative_to(ROOT) and ".venv" not in f.parts]
            asking = [f for f in ours if f.startswith(("methods/", "datasets/", "benchmark/"))][-1]
            self.found |= {asking} - {"benchmark/train.py"}  # it calls the optimizers
        return func(*args, **(kwargs or {}))


def _by_mask(func: Any, args: Any) -> bool:
    """Indexing by booleans: how many are true decides on the size of the result."""
    if "index" not in func.overloadpacket._qualified_op_name or len(args) < 2 or not isinstance(args[1], list | tuple):
        return False
    return any(isinstance(index, torch.Tensor) and index.dtype == torch.bool for index in args[1])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(tmp_path_factory.mktemp("waits"), time.monotonic() + 1000, quick=True)


def waits_of(run: Run, name: str, method: str) -> set[str]:
    setting = MAKE[name](run)
    engine = Engine(setting, run.scratch)
    engine.load(setting.cell(method))  # its first step, in which optimizers make their state
    with Waits() as waits:
        engine.steps(method, 1)
    return waits.found


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: bool(x.any()), torch.nonzero])
def test_what_would_wait_is_found(
    run: Run, wait: Callable[[torch.Tensor], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp = methods.get("mean_teacher").teach
    monkeypatch.setattr(methods.get("mean_teacher"), "teach", lambda self, image: (wait(image), ramp(self, image))[1])
    assert waits_of(run, "2-D", "mean_teacher") == {"methods/semi/mean_teacher.py"}


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKE)
def test_no_method_waits_in_a_step_nor_does_its_batch(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    found = {method: waits_of(run, name, method) for method in MAKE[name](run).methods()}
    assert len(found) > 10
    assert {method: files for method, files in found.items() if files} == {}
