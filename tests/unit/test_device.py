"""Device and precision by capability."""

from __future__ import annotations

import pytest
import torch

from benchmark import device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_the_device_is_the_named_one_else_a_gpu_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert device.pick() == CPU
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert device.pick() == CUDA
    monkeypatch.setenv("BENCH_DEVICE", "cuda:3")
    assert device.pick() == torch.device("cuda:3")
    monkeypatch.setenv("BENCH_DEVICE", "cpu")
    assert device.pick() == CPU


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setenv("BENCH_DEVICE", "cuda:1")
    with pytest.raises(ValueError, match="BENCH_DEVICE=cuda:1, but torch sees no CUDA device; unset it"):
        device.pick()


def test_a_device_that_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_DEVICE", "gpu")
    with pytest.raises(ValueError, match="BENCH_DEVICE='gpu' is no device of torch; allowed are cpu, cuda, cuda:0"):
        device.pick()


@pytest.mark.parametrize(
    ("native", "wanted", "found"),
    [
        (True, "auto", torch.bfloat16),
        (False, "auto", torch.float32),
        (True, "float32", torch.float32),
        (False, "bfloat16", torch.bfloat16),
    ],
)
def test_precision_on_a_cpu(monkeypatch: pytest.MonkeyPatch, native: bool, wanted: str, found: torch.dtype) -> None:
    monkeypatch.setattr(device, "_cpu_has_bf16", lambda: native)
    assert device.precision(wanted, CPU) == found


def test_precision_on_a_gpu_is_what_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, found in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(
            "torch.cuda.is_bf16_supported",
            lambda including_emulation, native=native: native and not including_emulation,
        )
        assert device.precision("auto", CUDA) == found
    assert device.precision("bfloat16", CUDA) == torch.bfloat16


def test_forwards_run_in_the_precision_that_was_chosen() -> None:
    layer, image = torch.nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2)
    for dtype in (torch.bfloat16, torch.float32):
        with device.autocast(CPU, dtype):
            assert layer(image).dtype == dtype


def test_numbers_that_are_nearly_nothing_are_nothing_for_a_while() -> None:
    tiny = torch.full((8,), 1e-39)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot")
    torch.set_flush_denormal(False)
    with device.tiny_as_zero():
        assert (tiny * 1.5 == 0).all()
    assert (tiny * 1.5 > 0).all()
