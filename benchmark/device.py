"""Which device and which precision a cell runs in, by capability: never part of a cell's identity, always on record."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def pick() -> torch.device:
    """``BENCH_DEVICE`` if set, else the first CUDA device, else the CPU.

    Raises:
        ValueError: ``BENCH_DEVICE`` names a device that is not there.
    """
    wanted = os.environ.get("BENCH_DEVICE")
    if wanted:
        try:
            device = torch.device(wanted)
        except RuntimeError as error:
            raise ValueError(f"BENCH_DEVICE={wanted!r} is no device of torch; allowed are cpu, cuda, cuda:0") from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"BENCH_DEVICE={wanted}, but torch sees no CUDA device; unset it to run on the CPU")
        return device
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(wanted: str, device: torch.device) -> torch.dtype:
    """The dtype of convolutions: "auto" is bfloat16 where the hardware multiplies it natively.

    On CPUs, shapes of volumes that oneDNN gets wrong in bfloat16 are computed in float32 (``methods.networks.trust``).
    """
    if wanted != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[wanted]
    native = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
    return torch.bfloat16 if native else torch.float32


def _cpu_has_bf16() -> bool:
    return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Mixed precision for forwards; losses are computed in float32 by the loss functions themselves."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


@contextmanager
def tiny_as_zero() -> Iterator[None]:
    """Numbers too small for a normal float32 (1e-38) count as 0 for a while, in this thread, where a CPU can do so.

    They take it twenty times as long, and come in masses where probabilities saturate: a gradient times 1e-35.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
