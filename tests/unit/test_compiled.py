"""Compiled loops are ready before a cell needs them: what ``warm_up`` compiles is what a step calls."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from datasets import kernels, rotation
from methods import compiled, networks
from methods.compiled import compiling
from methods.family import supervised_terms

MODULES = [kernels, *compiled.every()]


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


DIGEST = """
import hashlib
import numpy as np
from methods.compiled import activation, compiling, losses

digest, rng = hashlib.sha256(), np.random.default_rng(0)
for channels, lanes in ((16, 64), (6, 6)):
    maps, gradient = rng.standard_normal((2, 333, lanes)).astype(np.float32)
    affine, found = rng.standard_normal((4, channels)).astype(np.float32), np.empty_like(maps)
    ends = np.array([100, 333])
    for seeds in (None, np.array([[1, 2], [3, 4]], np.uint32)):
        rest = np.float32(0.01), seeds, np.uint32(2**30), np.float32(4 / 3)
        kept = activation.normalise_and_activate(maps, found, ends, *affine, 0.1, 1e-5, *rest)
        digest.update(found.tobytes())
        activation.gradients(maps, gradient, found, ends, *kept, *affine[2:], *rest)
        digest.update(found.tobytes() + affine.tobytes())
    label, sums = rng.integers(0, lanes, 333), np.zeros((3, lanes))
    losses.sums_of_known(maps, label, found, *sums)
    losses.gradient_of_known(found, label, np.float32(1), *sums[:2].astype(np.float32), maps, gradient)
    digest.update(gradient.tobytes() + sums.tobytes())
print(digest.hexdigest())
"""


def test_loops_from_disk_round_as_those_just_compiled(tmp_path: Path):
    """A cell may run in the process that compiles, and be repeated in one that loads what it kept."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", DIGEST]
    root = Path(networks.__file__).parents[2]
    first, second = (
        subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    )
    assert any(tmp_path.rglob("*.nbi"))
    assert first == second


@compiling.kernel
def exponentials(values: np.ndarray, found: np.ndarray) -> None:
    for i in range(values.size):
        found[i] = compiling.exponential(values[i])


@compiling.kernel
def logarithms(values: np.ndarray, found: np.ndarray) -> None:
    for i in range(values.size):
        found[i] = compiling.logarithm(values[i])


def test_exponentials_and_logarithms_are_those_of_numpy():
    values = np.linspace(-87, 88, 100_001, dtype=np.float32)
    found = np.empty_like(values)
    exponentials(values, found)
    exact = np.exp(values.astype(np.float64))
    assert np.abs(found / exact - 1).max() < 2e-7
    powers = np.exp(np.linspace(-85, 85, 100_001)).astype(np.float32)
    logarithms(powers, found)
    exact = np.log(powers.astype(np.float64))
    assert (np.abs(found - exact) <= 2e-7 * np.maximum(np.abs(exact), 0.1)).all()


@compiling.kernel_of_sums
def logarithms_of_one_and(values: np.ndarray, found: np.ndarray) -> None:
    for i in range(values.size):
        found[i] = compiling.logarithm_of_one_and(values[i])


def test_the_logarithm_of_one_and_little_is_that_little():
    values = np.array([0, 1e-30, 1e-9, 1e-7, 3e-5, 0.01, 1, 1e6, np.nan], np.float32)
    found = np.empty_like(values)
    logarithms_of_one_and(values, found)
    np.testing.assert_allclose(found, np.log1p(values.astype(np.float64)), rtol=3e-7)


def test_exponentials_and_logarithms_of_what_is_extreme():
    values = np.array([0, -88, -np.inf, np.nan], np.float32)
    found = np.empty_like(values)
    exponentials(values, found)
    np.testing.assert_array_equal(found, np.array([1, 0, 0, np.nan], np.float32))
    logarithms(np.array([1, np.nan, 0, 1e-30], np.float32), found)
    assert found[0] == 0
    assert np.isnan(found[1])
    assert found[2] < -80
    assert found[3] == pytest.approx(np.log(1e-30))
