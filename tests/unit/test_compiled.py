"""Compiled loops are ready before a cell needs them: what ``warm_up`` compiles is what a step calls."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from datasets import kernels, rotation
from methods import networks
from methods.compiled import activation, losses, pictures
from methods.family import supervised_terms

MODULES = [kernels, activation, losses, pictures]


def versions() -> dict[str, list[str]]:
    """By loop, the types that it is compiled for."""
    return {f"{m.__name__}.{name}": [str(s) for s in loop.signatures] for m in MODULES for name, loop in loops(m)}


def loops(module: ModuleType) -> Iterator[tuple[str, object]]:
    for name, value in vars(module).items():
        if hasattr(value, "signatures"):
            yield name, value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_compiles_nothing_that_warming_up_has_not(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for module in MODULES:
        module.warm_up()
    before = versions()
    assert any(before.values())
    image, label = torch.randn(4, 1, 32, 32), torch.randint(0, 3, (4, 32, 32))
    rotation.rotate(np.full(4, 20.0), np.arange(4), image, [label.to(torch.uint8)], "linear")
    network = networks.make("unet", ndim=2, channels=1, classes=3, width=4).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        logits = network(image.contiguous(memory_format=torch.channels_last))
        terms = supervised_terms(logits, label, 0.5)
    torch.stack(list(terms.values())).sum().backward()
    assert versions() == before
